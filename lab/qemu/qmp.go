package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"
)

// monitor is one connection to QEMU's monitor, which serves one at a time.
type monitor struct {
	connection net.Conn
	lines      *bufio.Reader
}

// message is a greeting, an answer or an event.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Text  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// Do runs commands on the machine's monitor, in one connection, and returns the answer to
// the last one.
func (s Spec) Do(ctx context.Context, commands ...Command) (json.RawMessage, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", s.Monitor())
	if err != nil {
		return nil, fmt.Errorf("monitor of %s: %w", s.Name, err)
	}
	defer connection.Close() // answered
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	m := monitor{connection: connection, lines: bufio.NewReader(connection)}
	answer, err := m.do(append([]Command{{Name: "qmp_capabilities"}}, commands...))
	if err != nil {
		return nil, fmt.Errorf("monitor of %s: %w", s.Name, errors.Join(err, ctx.Err()))
	}
	return answer, nil
}

// Command of the monitor.
type Command struct {
	Name      string         `json:"execute"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

func (m monitor) do(commands []Command) (answer json.RawMessage, err error) {
	if _, err := m.read(func(x message) bool { return x.Greeting != nil }); err != nil {
		return nil, err
	}
	for _, c := range commands {
		data, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		if _, err := m.connection.Write(append(data, '\n')); err != nil {
			return nil, err
		}
		x, err := m.read(func(x message) bool { return x.Return != nil || x.Error != nil })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		if x.Error != nil {
			return nil, fmt.Errorf("%s: %s", c.Name, x.Error.Text)
		}
		answer = x.Return
	}
	return answer, nil
}

// read reads until a message that is wanted; events are passed over.
func (m monitor) read(wanted func(message) bool) (message, error) {
	for {
		line, err := m.lines.ReadBytes('\n')
		if err != nil {
			return message{}, err
		}
		var x message
		if err := json.Unmarshal(line, &x); err != nil {
			return message{}, fmt.Errorf("%q: %w", line, err)
		}
		if wanted(x) {
			return x, nil
		}
	}
}

// SetLink plugs the cable of an interface in or out.
func (s Spec) SetLink(ctx context.Context, link string, up bool) error {
	_, err := s.Do(ctx, Command{"set_link", map[string]any{"name": link, "up": up}})
	return err
}

// AddPath plugs one more SCSI device in, target number of the same bus, that is the same
// disk to whoever asks.
func (s Spec) AddPath(ctx context.Context, d Disk, target int) error {
	id := fmt.Sprintf("%s-path%d", d.ID, target)
	_, err := s.Do(ctx,
		Command{"blockdev-add", map[string]any{
			"driver": "raw", "node-name": id, "discard": "unmap", "cache": map[string]any{"no-flush": true},
			"file": map[string]any{"driver": "file", "filename": d.File, "locking": "off"},
		}},
		Command{"device_add", map[string]any{
			"driver": "scsi-hd", "id": id + "-device", "drive": id, "bus": "san.0", "scsi-id": target, "lun": 0, "share-rw": true,
			"serial": s.serial(d), "wwn": s.wwn(d), "vendor": "LAB", "product": "SAN", "rerror": "report", "werror": "report",
		}})
	return err
}

// Throttle limits a disk to so many requests a second; 0 is no limit.
func (s Spec) Throttle(ctx context.Context, d Disk, perSecond int) error {
	limit := map[string]any{"id": d.device(), "iops": perSecond}
	for _, name := range []string{"bps", "bps_rd", "bps_wr", "iops_rd", "iops_wr"} {
		limit[name] = 0
	}
	_, err := s.Do(ctx, Command{"block_set_io_throttle", limit})
	return err
}

// sshForward is the line of "info usernet" about a forwarded port.
var sshForward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\b`)

// SSHPort is the port of this host that leads to the machine's sshd.
func (s Spec) SSHPort(ctx context.Context) (int, error) {
	answer, err := s.Do(ctx, Command{"human-monitor-command", map[string]any{"command-line": "info usernet"}})
	if err != nil {
		return 0, err
	}
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return 0, err
	}
	match := sshForward.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("%s forwards no port: %q", s.Name, text)
	}
	return strconv.Atoi(match[1])
}
