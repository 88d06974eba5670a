package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/hook/entrance"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
	"one-clvm/opennebula"
)

// Answer is what a report ends in: one line on standard output of receive.
type Answer struct {
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
}

func (a Answer) String() string { return string(a.Outcome) + " " + opennebula.Sanitize(a.Text) }

// parseAnswer reads what a front-end said.
func parseAnswer(line string) (Answer, error) {
	word, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch outcome := Outcome(word); outcome {
	case Done, Nothing, Retry, Person, Down, Refused:
		return Answer{outcome, opennebula.Sanitize(text)}, nil
	}
	return Answer{}, fmt.Errorf("the front-end answers %s; check that its authorized_keys starts one-migrate-hook receive", entrance.Quote(line))
}

// API is what is needed of oned.
type API interface {
	VM(ctx context.Context, id int) (*opennebula.VM, error)
	VMs(ctx context.Context) ([]opennebula.VM, error)
	Hosts(ctx context.Context) ([]opennebula.Host, error)
	Do(ctx context.Context, request opennebula.Request) error
}

// Receiver brings oned's records to the truth, on the front-end.
type Receiver struct {
	OneD         API
	Version      opennebula.Version
	LocalMigrate bool
	// StateDir has a file for each VM that was told of: when, and how often in vain.
	StateDir string
	Now      func() time.Time
	Journal  entrance.Journal
}

// MaxAge is how old a report may be, or how far in the future by the clock of another node.
// What is older is not told any more: the VM may be elsewhere by now.
const MaxAge = 2 * time.Minute

// Serve is the forced command of a node's key: command is what that node wanted to have run.
// Anything but a report, or a ping, is refused and goes into the journal; only for a report
// a receiver is made.
func Serve(ctx context.Context, command string, journal entrance.Journal, receiver func() (*Receiver, error)) Answer {
	if command == pingLine {
		return pong
	}
	t, err := ParseReport(command)
	if err != nil {
		journal.Alarm("refused: %v", err)
		return Answer{Refused, err.Error()}
	}
	r, err := receiver()
	if err != nil {
		journal.Alarm("VM %d: %v", t.VM, err)
		return down(err)
	}
	return r.Receive(ctx, t)
}

// Receive tells oned a truth that a node reports. Where a person was told before, it begins
// anew: something has happened since, or that person asks for it.
func (r *Receiver) Receive(ctx context.Context, t Truth) Answer { return r.receive(ctx, t, true) }

func (r *Receiver) receive(ctx context.Context, t Truth, anew bool) Answer {
	if age := r.Now().Sub(t.Seen); age > MaxAge || age < -MaxAge {
		return r.answer(t, Answer{Retry, fmt.Sprintf("seen %s ago by this clock, which is not now: look again, and see whether the clocks agree", age.Round(time.Second))})
	}
	told, unlock, err := r.lock(t.VM)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return Answer{Retry, "another report of this VM is being dealt with"}
	}
	if err != nil {
		return r.answer(t, down(err))
	}
	defer unlock()
	if t.Seen.UnixNano() < told.Seen {
		return r.answer(t, Answer{Retry, "a newer report came before this one: look again"})
	}
	if anew && told.Person {
		told.Asked = 0
	}
	return r.answer(t, r.tell(ctx, t, told))
}

func (r *Receiver) answer(t Truth, a Answer) Answer {
	note := r.Journal.Note
	if a.Outcome == Person {
		note = r.Journal.Alarm
	}
	note("VM %d: %s", t.VM, a)
	return a
}

// told is what is remembered of a VM.
type told struct {
	Seen  int64 `json:"seen"`  // of the newest report, nanoseconds since 1970
	Asked int   `json:"asked"` // calls of oned since its record was right
	// Person: that many did not help, or could not, and a person was told.
	Person bool `json:"person,omitempty"`
}

// lock has the VM for this process alone. The lock goes with the process, however it ends.
func (r *Receiver) lock(vm int) (told, func(), error) {
	file, err := os.OpenFile(filepath.Join(r.StateDir, fmt.Sprintf("vm-%d.lock", vm)), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return told{}, nil, fmt.Errorf("lock of VM %d: %w", vm, err)
	}
	unlock := func() { _ = file.Close() } // nothing was written to it
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unlock()
		return told{}, nil, fmt.Errorf("lock of VM %d: %w", vm, err)
	}
	var before told
	if err := readJSON(r.toldFile(vm), &before); err != nil {
		r.Journal.Alarm("VM %d: %v; taken for a VM that was never told of", vm, err)
		before = told{}
	}
	return before, unlock, nil
}

func (r *Receiver) toldFile(vm int) string {
	return filepath.Join(r.StateDir, fmt.Sprintf("vm-%d.json", vm))
}

// tell decides and acts. What is left if the process dies: before receive.asked nothing;
// after it a call that is counted and not made, or made: the next report sees which.
func (r *Receiver) tell(ctx context.Context, t Truth, before told) Answer {
	s, err := r.situation(ctx, t)
	if err != nil {
		return down(err)
	}
	s.Asked = before.Asked
	d := Decide(s)
	after := told{t.Seen.UnixNano(), before.Asked, d.Outcome == Person}
	switch d.Outcome {
	case Act:
		after.Asked++
	case Nothing: // it helped
		after.Asked = 0
	}
	if err := writeJSON(r.toldFile(t.VM), after); err != nil {
		return down(err)
	}
	failpoint.Hit("receive.asked")
	switch {
	case d.Outcome == Nothing && before.Asked > 0:
		return Answer{Done, d.Why}
	case d.Outcome != Act:
		return Answer{d.Outcome, d.Why}
	}
	if err := r.OneD.Do(ctx, d.Call); err != nil {
		return refusal(d, err)
	}
	return Answer{Retry, fmt.Sprintf("%s; oned was called (%s), its record will be looked at again", d.Why, d.Call)}
}

// situation asks oned for its side.
func (r *Receiver) situation(ctx context.Context, t Truth) (Situation, error) {
	s := Situation{Version: r.Version, Truth: t, Target: opennebula.None, LocalMigrate: r.LocalMigrate}
	vm, err := r.OneD.VM(ctx, t.VM)
	if errors.Is(err, opennebula.ErrNoSuchObject) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	hosts, err := r.OneD.Hosts(ctx)
	if err != nil {
		return s, err
	}
	s.Record, s.Truth = recordOf(vm), t.TakenOffline(hosts)
	s.Target = hostID(hosts, t.On)
	return s, nil
}

func recordOf(vm *opennebula.VM) Record {
	record := Record{Known: true, State: vm.State, LCM: vm.LCMState}
	if last := vm.Last(); last != nil {
		record.Host, record.Since = last.Hostname, last.Since
	}
	return record
}

func hostID(hosts []opennebula.Host, name string) int {
	for _, host := range hosts {
		if host.Name == name {
			return host.ID
		}
	}
	return opennebula.None
}

// down: this front-end cannot deal with a report, whether its oned or itself is the reason;
// another one may.
func down(err error) Answer { return Answer{Down, err.Error()} }

// codeAction is oned's error for a call that the state of the object does not allow.
const codeAction = 0x0800

// refusal: oned did not take the call.
func refusal(d Decision, err error) Answer {
	var api *opennebula.APIError
	if errors.As(err, &api) && api.Code != codeAction {
		return Answer{Person, fmt.Sprintf("%s: oned refuses: %v; when that is mended, type on a node: one-migrate-hook report", d.Why, err)}
	}
	if errors.As(err, &api) {
		return Answer{Retry, fmt.Sprintf("%s: oned refuses just now: %v", d.Why, err)}
	}
	return down(err)
}

// readJSON reads a small file; one that is not there leaves value as it is.
func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a small file: after a crash it is the old or the new one.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return err
	}
	file, err := publish.Create(path)
	if err != nil {
		return err
	}
	if _, err = file.Write(append(data, '\n')); err == nil {
		err = file.Flush()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), file.Discard())
	}
	return file.Publish()
}
