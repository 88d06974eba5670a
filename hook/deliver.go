package hook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/cluster"
	"one-clvm/hook/entrance"
	"one-clvm/hook/spool"
	"one-clvm/internal/failpoint"
	"one-clvm/opennebula"
)

// Transport brings a report to a front-end, and its answer back.
type Transport interface {
	Send(ctx context.Context, frontEnd, line string) (Answer, error)
}

// Delivery empties the spool of a node, a VM after another.
//
// The events of a VM are one question to the cluster and one report: what is told is where
// the VM is now, so that it does not matter how many events there were, and in which order
// they came. They leave the spool when the report has ended; if the process dies before
// (failpoint deliver.answered), they are delivered again, and there is nothing to do then.
type Delivery struct {
	Spool     spool.Spool
	Cluster   Cluster
	Status    cluster.Surveyor // of a manager that calls nobody; nil: it calls the entrances
	Transport Transport
	FrontEnds []string // tried in turn, the one that answered last first
	StateFile string   // see State
	Now       func() time.Time
	Journal   entrance.Journal
}

// State is what a delivery remembers for the next one, and for status.
type State struct {
	FrontEnd string          `json:"front_end"` // that answered last
	Waiting  map[int]Waiting `json:"waiting"`   // by VM
	Last     []Delivered     `json:"last"`      // the newest last
	// Places are where the VMs of a manager that calls nobody were last, by service.
	Places map[string]string `json:"places,omitempty"`
	Blind  string            `json:"blind,omitempty"` // why its status was not seen
}

// Waiting is a VM that is tried again.
type Waiting struct {
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
	Why   string    `json:"why"`
}

func (s State) copy() State {
	s.Waiting, s.Last, s.Places = maps.Clone(s.Waiting), slices.Clone(s.Last), maps.Clone(s.Places)
	return s
}

// Delivered is a report that has ended.
type Delivered struct {
	VM     int       `json:"vm"`
	On     string    `json:"on"`
	Answer Answer    `json:"answer"`
	At     time.Time `json:"at"`
}

const (
	firstWait = 5 * time.Second
	longWait  = 5 * time.Minute
	keptLast  = 50
)

// wait before the next try: 5 s, 10 s, 20 s … 5 min.
func wait(tries int) time.Duration {
	if tries > 7 {
		return longWait
	}
	return min(firstWait<<max(tries-1, 0), longWait)
}

// ErrBusy says that another delivery of this node is at work.
var ErrBusy = errors.New("another delivery is at work")

// ReadState reads what deliveries remember.
func ReadState(file string) (State, error) {
	state := State{Waiting: map[int]Waiting{}}
	err := readJSON(file, &state)
	if state.Waiting == nil {
		state.Waiting = map[int]Waiting{}
	}
	return state, err
}

// Run delivers what is due. The result is the number of VMs that wait for another try.
func (d *Delivery) Run(ctx context.Context) (waiting int, err error) {
	unlock, err := d.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	state, err := ReadState(d.StateFile)
	if err != nil {
		d.Journal.Alarm("%v; nothing is remembered of earlier deliveries", err)
		state = State{Waiting: map[int]Waiting{}}
	}
	if d.Status != nil {
		if err := d.watch(ctx, &state); err != nil {
			return 0, err
		}
	}
	before := state.copy()
	vms, events, err := d.due(ctx, &state)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, vm := range vms {
		if failed = ctx.Err(); failed != nil {
			break
		}
		if next := state.Waiting[vm].Next; next.After(d.Now()) {
			continue
		}
		if failed = d.deliver(ctx, &state, vm, events[vm]); failed != nil {
			break
		}
	}
	if !reflect.DeepEqual(before, state) { // the timer comes often, and mostly for nothing
		failed = errors.Join(failed, writeJSON(d.StateFile, state))
	}
	return len(state.Waiting), failed
}

// lock: one delivery at a time. It ends with the process. The first one makes the directory, which
// systemd makes where there is one.
func (d *Delivery) lock() (func(), error) {
	if err := os.MkdirAll(filepath.Dir(d.StateFile), 0o700); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	file, err := os.OpenFile(d.StateFile+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrBusy, err), file.Close())
	}
	return func() { _ = file.Close() }, nil // nothing was written to it
}

// due are the VMs that events wait for, in the order of their first ones, and the entries of
// each in the spool.
func (d *Delivery) due(ctx context.Context, state *State) (vms []int, of map[int][]string, err error) {
	if err := d.Spool.Sweep(); err != nil {
		d.Journal.Alarm("%v", err)
	}
	entries, err := d.Spool.List()
	if err != nil {
		return nil, nil, err
	}
	of = map[int][]string{}
	names := map[string]int{} // VMs that were asked for already
	for _, entry := range entries {
		vm, err := d.vmOf(ctx, entry, names)
		switch {
		case errors.Is(err, ErrNoCluster), err != nil && ctx.Err() != nil:
			return nil, nil, err
		case errors.Is(err, ErrForeign):
			err = d.Spool.Remove(entry.Name)
		case errors.Is(err, entrance.ErrEvent), errors.Is(err, spool.ErrUntrusted):
			d.Journal.Alarm("%s: %v; put aside", entry.Name, err)
			err = d.Spool.Reject(entry.Name)
		case err == nil:
			if of[vm] == nil {
				vms = append(vms, vm)
			}
			of[vm] = append(of[vm], entry.Name)
		}
		if err != nil {
			d.Journal.Alarm("%s: %v; tried again", entry.Name, err)
		}
	}
	for vm := range state.Waiting {
		if of[vm] == nil { // somebody has removed its events
			delete(state.Waiting, vm)
		}
	}
	return vms, of, nil
}

// vmOf finds which VM an entry is about.
func (d *Delivery) vmOf(ctx context.Context, entry spool.Entry, names map[string]int) (int, error) {
	if entry.Err != nil {
		return opennebula.None, entry.Err
	}
	event, err := entrance.Read(entry.Data)
	if err != nil || event.VM != opennebula.None {
		return event.VM, err
	}
	if vm, known := names[event.Name]; known {
		return vm, nil
	}
	vm, err := d.Cluster.Identify(ctx, event.Name)
	if err == nil {
		names[event.Name] = vm
	}
	return vm, err
}

// deliver asks, reports, and removes the events of a VM if that has ended. An error
// (ErrNoCluster, of the spool) ends the whole delivery.
func (d *Delivery) deliver(ctx context.Context, state *State, vm int, entries []string) error {
	truth, err := d.Cluster.Where(ctx, vm)
	if errors.Is(err, ErrNoCluster) {
		return err
	}
	answer := Answer{Retry, fmt.Sprintf("where it is: %v", err)}
	if err == nil {
		answer = d.report(ctx, state, truth)
	}
	failpoint.Hit("deliver.answered")
	switch answer.Outcome {
	case Done, Nothing, Person:
		return d.ended(state, Delivered{vm, truth.On, answer, d.Now()}, entries)
	}
	tries := state.Waiting[vm].Tries + 1
	state.Waiting[vm] = Waiting{tries, d.Now().Add(wait(tries)), answer.String()}
	d.Journal.Note("VM %d: %s; next try in %s", vm, answer, wait(tries))
	return nil
}

func (d *Delivery) ended(state *State, delivered Delivered, entries []string) error {
	delete(state.Waiting, delivered.VM)
	state.Last = append(state.Last, delivered)
	state.Last = state.Last[max(0, len(state.Last)-keptLast):]
	if delivered.Answer.Outcome == Person {
		d.Journal.Alarm("VM %d needs a person: %s", delivered.VM, delivered.Answer.Text)
	}
	var errs []error
	for _, name := range entries {
		errs = append(errs, d.Spool.Remove(name))
	}
	return errors.Join(errs...)
}

// report tells a front-end where a VM is.
func (d *Delivery) report(ctx context.Context, state *State, truth Truth) Answer {
	switch {
	case truth.Doubt != "":
		return Answer{Retry, truth.Doubt}
	case truth.Moving:
		return Answer{Retry, "the cluster is moving it"}
	}
	line, err := truth.Line()
	if err != nil {
		return Answer{Retry, fmt.Sprint(err)}
	}
	return d.send(ctx, state, line)
}

// send tries the front-ends in turn.
func (d *Delivery) send(ctx context.Context, state *State, line string) Answer {
	last := Answer{Retry, "no front-end is configured (FRONTENDS in hook.conf)"}
	for _, frontEnd := range d.inTurn(state.FrontEnd) {
		answer, err := d.Transport.Send(ctx, frontEnd, line)
		if err != nil {
			last = Answer{Retry, fmt.Sprintf("front-end %s: %v", frontEnd, err)}
			continue
		}
		if answer.Outcome == Down {
			last = Answer{Retry, fmt.Sprintf("front-end %s: %s", frontEnd, answer.Text)}
			continue
		}
		state.FrontEnd = frontEnd
		return answer
	}
	return last
}

func (d *Delivery) inTurn(first string) []string {
	if !slices.Contains(d.FrontEnds, first) {
		return d.FrontEnds
	}
	others := slices.DeleteFunc(slices.Clone(d.FrontEnds), func(name string) bool { return name == first })
	return append([]string{first}, others...)
}
