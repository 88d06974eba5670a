package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// monitorOf is a specification whose monitor answers with what answer says, each answer
// after an event.
func monitorOf(t *testing.T, answer func(Command) string) Spec {
	t.Helper()
	s := Spec{Name: "node1", Directory: t.TempDir()}
	listener, err := net.Listen("unix", s.Monitor())
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(connection, `{"QMP": {"version": {}}}`)
			lines := bufio.NewScanner(connection)
			for lines.Scan() {
				var c Command
				_ = json.Unmarshal(lines.Bytes(), &c)
				reply := `{"return": {}}`
				if c.Name != "qmp_capabilities" {
					reply = answer(c)
				}
				fmt.Fprintln(connection, `{"event": "NIC_RX_FILTER_CHANGED"}`)
				fmt.Fprintln(connection, reply)
			}
		}
	}()
	return s
}

func TestMonitor(t *testing.T) {
	var asked []string
	s := monitorOf(t, func(c Command) string {
		data, _ := json.Marshal(c.Arguments)
		asked = append(asked, c.Name+" "+string(data))
		return `{"return": {}}`
	})
	require.NoError(t, s.SetLink(t.Context(), PrivateLink, false))
	require.NoError(t, s.Throttle(t.Context(), Disk{ID: "san0"}, 20))
	assert.Equal(t, []string{
		`set_link {"name":"private","up":false}`,
		`block_set_io_throttle {"bps":0,"bps_rd":0,"bps_wr":0,"id":"san0-device","iops":20,"iops_rd":0,"iops_wr":0}`,
	}, asked)
}

func TestMonitorThatRefuses(t *testing.T) {
	s := monitorOf(t, func(Command) string {
		return `{"error": {"class": "GenericError", "desc": "Device 'x' not found"}}`
	})
	err := s.SetLink(t.Context(), "x", true)
	require.EqualError(t, err, "monitor of node1: set_link: Device 'x' not found")
}

func TestMonitorThatDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := monitorOf(t, func(Command) string {
		cancel()
		return ""
	})
	_, err := s.Do(ctx, Command{Name: "stop"})
	require.Error(t, err)
	_, err = Spec{Name: "node2", Directory: t.TempDir()}.Do(t.Context(), Command{Name: "stop"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMigrationThatFails(t *testing.T) {
	s := monitorOf(t, func(Command) string {
		return `{"return": {"status": "failed", "error-desc": "Unknown savevm section"}}`
	})
	require.EqualError(t, s.migrated(t.Context(), "query-migrate"), "state of node1: failed Unknown savevm section")
}

func TestSSHPort(t *testing.T) {
	text := "Hub -1 (management):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[ESTABLISHED]   14       127.0.0.1 39001       10.0.2.15    22     0     0\r\n" +
		"  TCP[HOST_FORWARD]  11       127.0.0.1 39183       10.0.2.15    22     0     0\r\n"
	s := monitorOf(t, func(Command) string { return `{"return": ` + strconv.Quote(text) + `}` })
	port, err := s.SSHPort(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 39183, port)
	text = "none"
	_, err = s.SSHPort(t.Context())
	assert.ErrorContains(t, err, "forwards no port")
}

func TestPIDOfAnotherProcess(t *testing.T) {
	s := Spec{Name: "node1", Directory: t.TempDir()}
	_, err := s.PID()
	require.ErrorIs(t, err, ErrNotRunning)
	require.NoError(t, os.WriteFile(s.PIDFile(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600))
	_, err = s.PID()
	require.ErrorIs(t, err, ErrNotRunning, "the number belongs to somebody else by now")
	require.NoError(t, s.PowerOff())
}

func TestPowerOffWaitsForTheEnd(t *testing.T) {
	s := Spec{Name: "node1", Directory: t.TempDir()}
	ended := make(chan error, 1)
	go func() {
		_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "sh", Args: []string{"-c", "echo $$ > new && mv new " + s.PIDFile() + " && exec tail -f " + s.PIDFile()}, Dir: s.Directory})
		ended <- err
	}()
	require.Eventually(t, func() bool { _, err := s.PID(); return err == nil }, time.Minute, time.Millisecond)
	require.NoError(t, s.PowerOff())
	_, err := s.PID()
	require.ErrorIs(t, err, ErrNotRunning)
	require.ErrorContains(t, <-ended, "killed")
}

func TestArguments(t *testing.T) {
	s := Spec{Name: "node1", Directory: "/lab", Index: 1, Memory: "/lab/m", MemorySize: 1 << 30, CommandLine: []string{"lab.node=1"},
		Disks: []Disk{{ID: "san0", File: "/lab/san0"}}, Ports: []Port{{Name: "a", Socket: "/lab/a", Listen: true}, {Name: "b", Socket: "/lab/b"}}}
	args := strings.Join(s.Arguments(), " ")
	for _, want := range []string{
		"mem-path=/lab/m,share=off", "lab.node=1 -serial", "hostfwd=tcp:127.0.0.1:0-:22", "restrict=on", "hubport",
		"socket,id=port0,path=/lab/a,server=on,wait=off", "socket,id=port1,path=/lab/b,reconnect=1",
	} {
		assert.Contains(t, args, want)
	}
	assert.False(t, slices.Contains(s.Arguments(), "-incoming"))
	s.Incoming, s.MemoryShared = true, true
	assert.True(t, slices.Contains(s.Arguments(), "-incoming"))
	assert.Contains(t, strings.Join(s.Arguments(), " "), "share=on")
}
