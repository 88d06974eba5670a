package entrance

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Called is what an entrance was called with.
type Called struct {
	Args  []string
	Env   func(string) string
	Stdin io.Reader
	Now   time.Time
}

// Parse makes the event of what an entrance was called with. false: it is none that changes
// a VM's place. Anything but the forms of the callers is an error, ErrEvent.
func Parse(kind Kind, c Called) (Event, bool, error) {
	parse, ok := map[Kind]func(Called) (Event, error){
		CXM: parseCXM, Pacemaker: parseAlert, Rgmanager: parseRgmanager, Libvirt: parseLibvirt, Hand: parseHand,
	}[kind]
	if !ok {
		return Event{}, false, fmt.Errorf("%w: entrance %s", ErrEvent, Quote(string(kind)))
	}
	e, err := parse(c)
	if errors.Is(err, errNothing) {
		return Event{}, false, nil
	}
	if err != nil {
		return Event{}, false, err
	}
	e.Entrance = kind
	if e.At.IsZero() {
		e.At = c.Now.UTC()
	}
	return e, true, e.check()
}

func words(args []string, form string) error {
	if want := len(strings.Fields(form)); len(args) != want {
		return fmt.Errorf("%w: %d arguments instead of %s", ErrEvent, len(args), form)
	}
	return nil
}

// parseCXM: the POST_MIGRATION_HOOK of cxm, after a migration, on the node that it left.
func parseCXM(c Called) (Event, error) {
	if err := words(c.Args, "VM SOURCE TARGET"); err != nil {
		return Event{}, err
	}
	for _, arg := range c.Args {
		if arg == "" {
			return Event{}, fmt.Errorf("%w: an empty argument", ErrEvent)
		}
	}
	return Event{VM: NoVM, Name: c.Args[0], What: "migrated", From: c.Args[1], To: c.Args[2]}, nil
}

// parseAlert: an alert agent of Pacemaker. Events of nodes and of fencing are followed by
// those of the VMs that start elsewhere.
func parseAlert(c Called) (Event, error) {
	switch kind := c.Env("CRM_alert_kind"); kind {
	case "node", "fencing", "attribute":
		return Event{}, errNothing
	case "resource":
	default:
		return Event{}, fmt.Errorf("%w: CRM_alert_kind %s", ErrEvent, Quote(kind))
	}
	e := Event{VM: NoVM, Name: c.Env("CRM_alert_rsc"), To: c.Env("CRM_alert_node")}
	rc, err := strconv.ParseUint(c.Env("CRM_alert_rc"), 10, 16)
	if err != nil {
		return Event{}, fmt.Errorf("%w: CRM_alert_rc %s", ErrEvent, Quote(c.Env("CRM_alert_rc")))
	}
	task := c.Env("CRM_alert_task")
	switch task {
	case "start", "stop", "monitor", "migrate_from":
	case "migrate_to", "promote", "demote", "notify", "meta-data", "reload", "reload-agent":
		return Event{}, errNothing
	default:
		return Event{}, fmt.Errorf("%w: CRM_alert_task %s", ErrEvent, Quote(task))
	}
	e.What = fmt.Sprintf("%s rc=%d", task, rc)
	if e.Sequence, err = number(c.Env("CRM_alert_node_sequence")); err != nil {
		return Event{}, err
	}
	seconds, err := number(c.Env("CRM_alert_timestamp_epoch")) // since 1.1.18
	if err != nil {
		return Event{}, err
	}
	microseconds, err := number(c.Env("CRM_alert_timestamp_usec"))
	if err != nil {
		return Event{}, err
	}
	if seconds > 0 && microseconds < 1e6 {
		e.At = time.Unix(seconds, microseconds*1000).UTC()
	}
	return e, nil
}

// number: a count that may be missing. 36 bits of seconds reach to the year 4147; JSON has no
// times behind 9999.
func number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 36)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is no number", ErrEvent, Quote(text))
	}
	return int64(n), nil
}

// rgmanagerStates are the words of clustat, and whether a VM may have a new place then.
var rgmanagerStates = map[string]bool{
	"started": true, "stopped": true, "disabled": true, "failed": true,
	"starting": false, "stopping": false, "migrating": false, "recovering": false, "recoverable": false,
	"uninitialized": false, "checking": false,
}

// parseRgmanager: a change of a service's state, in the strings that rgmanager gives:
// vm:one-42 started (none) node2 node1, and (none) for no owner. The third are its flags.
func parseRgmanager(c Called) (Event, error) {
	if err := words(c.Args, "SERVICE STATE FLAGS OWNER LAST-OWNER"); err != nil {
		return Event{}, err
	}
	kind, name, ok := strings.Cut(c.Args[0], ":")
	if !ok {
		return Event{}, fmt.Errorf("%w: service %s", ErrEvent, Quote(c.Args[0]))
	}
	if kind != "vm" {
		return Event{}, errNothing
	}
	settled, known := rgmanagerStates[c.Args[1]]
	if !known {
		return Event{}, fmt.Errorf("%w: state %s", ErrEvent, Quote(c.Args[1]))
	}
	if !settled {
		return Event{}, errNothing
	}
	return Event{VM: NoVM, Name: name, What: c.Args[1], To: owner(c.Args[3]), From: owner(c.Args[4])}, nil
}

func owner(word string) string {
	if slices.Contains([]string{"(none)", "none", "(unknown)", "unknown"}, word) {
		return ""
	}
	return word
}

// parseLibvirt: the hook of libvirt for QEMU, with the domain's document on standard input.
func parseLibvirt(c Called) (Event, error) {
	if len(c.Args) < 3 || len(c.Args) > 4 {
		return Event{}, fmt.Errorf("%w: %d arguments instead of GUEST OPERATION SUB-OPERATION EXTRA", ErrEvent, len(c.Args))
	}
	switch operation := c.Args[1] + " " + c.Args[2]; operation {
	case "started begin", "stopped end":
	default:
		return Event{}, errNothing
	}
	vm, err := domainVM(c.Stdin)
	if err != nil {
		return Event{}, err
	}
	if vm == NoVM {
		return Event{}, errNothing // not one of OpenNebula's
	}
	return Event{VM: vm, Name: c.Args[0], What: c.Args[1]}, nil
}

// parseHand: a person asks for it.
func parseHand(c Called) (Event, error) {
	if err := words(c.Args, "VM"); err != nil {
		return Event{}, err
	}
	vm, err := ParseVM(c.Args[0])
	return Event{VM: vm, What: "asked"}, err
}

// ParseVM reads an id as oned writes it, or ErrEvent.
func ParseVM(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return NoVM, fmt.Errorf("%w: %s is no id of a VM", ErrEvent, Quote(text))
	}
	return int(n), nil
}

// maxDomain bounds a domain's document, bytes. oned's have a few thousand.
const maxDomain = 4 << 20

// metadataSpace is the name space of what oned writes into a domain's metadata.
const metadataSpace = "http://opennebula.org/xmlns/libvirt/1.0"

// domainVM finds which VM a domain is: oned writes the VM's home, whose last part is its
// id, into the metadata. A name says nothing: anybody can call a domain one-42. None: it
// is not a VM of OpenNebula.
func domainVM(r io.Reader) (int, error) {
	var domain struct {
		Metadata struct {
			VM struct {
				XMLName xml.Name
				Home    string `xml:"http://opennebula.org/xmlns/libvirt/1.0 system_datastore"`
			} `xml:"http://opennebula.org/xmlns/libvirt/1.0 vm"`
		} `xml:"metadata"`
	}
	if err := xml.NewDecoder(io.LimitReader(r, maxDomain)).Decode(&domain); err != nil {
		return NoVM, fmt.Errorf("%w: the domain's document: %w", ErrEvent, err)
	}
	home := path.Clean(strings.TrimSpace(domain.Metadata.VM.Home))
	if domain.Metadata.VM.XMLName.Space != metadataSpace || home == "." {
		return NoVM, nil
	}
	return ParseVM(path.Base(home))
}
