// Package entrance takes what a cluster does by itself: whoever tells of it (cxm, Pacemaker,
// rgmanager, libvirt, a person) is answered by an event in the spool, and waits for nothing
// else.
//
// A thousand callers may come at once, each with a process of its own: what this package
// imports is loaded a thousand times, and there is no network, no client of OpenNebula, no
// table of regular expressions among it.
package entrance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is who brought an event.
type Kind string

// The entrances.
const (
	CXM       Kind = "cxm"
	Pacemaker Kind = "alert"
	Rgmanager Kind = "rgmanager"
	Libvirt   Kind = "libvirt"
	Hand      Kind = "report"
)

// Event is a reason to look where a VM is. It is not believed further than that: only what
// the cluster says at the time of delivery is told.
type Event struct {
	Entrance Kind      `json:"entrance"`
	VM       int       `json:"vm"`   // NoVM: to be asked by Name
	Name     string    `json:"name"` // of the service or domain; "" if the VM is known
	What     string    `json:"what"` // in the entrance's own words
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`
	At       time.Time `json:"at"`
	// Sequence is the source's own number of the event; 0: it has none.
	Sequence int64 `json:"sequence,omitempty"`
}

// ErrEvent says that an entrance was called with what its caller never gives.
var ErrEvent = errors.New("not an event")

// errNothing: an event that changes no VM's place.
var errNothing = errors.New("nothing to report")

// NoVM is the id of a VM that is not known yet.
const NoVM = -1

// MaxVM is the largest id of a VM.
const MaxVM = 1<<31 - 1

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	lower   = "abcdefghijklmnopqrstuvwxyz0123456789_"
)

// isWord: up to most characters of those, the first one a letter, a digit or _.
func isWord(text, others string, most int) bool {
	return text != "" && len(text) <= most && strings.ContainsRune(letters, rune(text[0])) && only(text, letters+others)
}

func only(text, characters string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(characters, r) })
}

// isService: what cluster managers and libvirt call VMs.
func isService(name string) bool { return isWord(name, ".:+@-", 255) }

// isNode: a node is a host of OpenNebula.
func isNode(name string) bool { return isWord(name, ".-", 253) }

// isPhrase: the words of the entrances.
func isPhrase(text string) bool { return text != "" && len(text) <= 64 && only(text, lower+" =-") }

// check is the allow-list that every event passes, when it is made and when it is read.
func (e Event) check() error {
	switch {
	case e.VM < NoVM || e.VM > MaxVM:
		return fmt.Errorf("%w: VM %d", ErrEvent, e.VM)
	case e.VM == NoVM && e.Name == "":
		return fmt.Errorf("%w: it names no VM", ErrEvent)
	case e.Name != "" && !isService(e.Name):
		return fmt.Errorf("%w: %s is no name of a service", ErrEvent, Quote(e.Name))
	case !isPhrase(e.What):
		return fmt.Errorf("%w: %s", ErrEvent, Quote(e.What))
	}
	for _, node := range []string{e.From, e.To} {
		if node != "" && !isNode(node) {
			return fmt.Errorf("%w: %s is no name of a node", ErrEvent, Quote(node))
		}
	}
	switch e.Entrance {
	case CXM, Pacemaker, Rgmanager, Libvirt, Hand:
		return nil
	}
	return fmt.Errorf("%w: entrance %s", ErrEvent, Quote(string(e.Entrance)))
}

// record is the event as it lies in the spool.
func (e Event) record() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// Read reads a record: whoever may write to the spool may have written anything.
func Read(data []byte) (Event, error) {
	e := Event{VM: NoVM}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return e, e.check()
}

// Quote shows a text of unknown origin, and not all of a long one.
func Quote(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%q and %d more bytes", text[:most], len(text)-most)
	}
	return fmt.Sprintf("%q", text)
}

// subject of the event, for logs.
func (e Event) subject() string {
	if e.VM != NoVM {
		return fmt.Sprintf("VM %d", e.VM)
	}
	return e.Name
}
