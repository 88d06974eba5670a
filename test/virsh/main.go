// Virsh plays libvirt's client of that name, as far as the VMM driver uses it, for tests
// without a hypervisor: a domain that runs is a file. Its words and exit statuses are
// those of the real one.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// directory holds the document of each domain that runs on this node; for another one its
// name follows.
var directory = "/run/virsh"

func main() {
	if err := virsh(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// virsh has one command, after -c URI.
func virsh(argv []string) error {
	if len(argv) < 3 || argv[0] != "-c" {
		return errors.New("unexpected arguments")
	}
	command, rest := argv[2], argv[3:]
	directory += there(argv[1])
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	switch command {
	case "list":
		return list()
	case "create":
		return create(rest[0], false)
	case "restore": // FILE --xml DOCUMENT [--paused]
		if _, err := os.Stat(rest[0]); err != nil {
			return err
		}
		return create(rest[2], slices.Contains(rest, "--paused"))
	}
	if command == "migrate" {
		rest = rest[1:] // --live
	}
	d, err := open(rest[0])
	if err != nil {
		return err
	}
	return d.do(command, rest[1:])
}

// there is the node that a URI names, with a dash before it; "" for this one.
func there(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	host, _, _ := strings.Cut(rest, "/")
	if host == "" {
		return ""
	}
	return "-" + host
}

func list() error {
	files, err := filepath.Glob(file("*"))
	for _, name := range files {
		fmt.Println(strings.TrimSuffix(filepath.Base(name), ".xml"))
	}
	return err
}

func file(name string) string { return filepath.Join(directory, name+".xml") }

func create(document string, waits bool) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		return err
	}
	name := doc.Root().SelectElement("name").Text()
	if _, err := os.Stat(file(name)); err == nil {
		return fmt.Errorf("operation failed: domain '%s' is already active", name)
	}
	if waits {
		doc.Root().CreateAttr(paused, "")
	}
	return (&domain{name, doc}).write()
}

// paused marks the document of a domain that is.
const paused = "paused"

type domain struct {
	name string
	doc  *etree.Document
}

func open(name string) (*domain, error) {
	d := &domain{name, etree.NewDocument()}
	err := d.doc.ReadFromFile(file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("failed to get domain '%s'", name)
	}
	return d, err
}

// write is whole or not at all.
func (d *domain) write() error {
	if err := d.doc.WriteToFile(file(d.name) + ".new"); err != nil {
		return err
	}
	return os.Rename(file(d.name)+".new", file(d.name))
}

func (d *domain) do(command string, argv []string) error {
	switch command {
	case "domstate":
		state := "running"
		if d.doc.Root().SelectAttr(paused) != nil {
			state = "paused"
		}
		fmt.Println(state)
	case "resume":
		if d.doc.Root().RemoveAttr(paused) == nil {
			return errors.New("Requested operation is not valid: domain is already running") //nolint:staticcheck // libvirt's words
		}
		return d.write()
	case "dumpxml":
		_, err := d.doc.WriteTo(os.Stdout)
		return err
	case "destroy", "shutdown":
		return os.Remove(file(d.name))
	case "migrate": // --live NAME URI
		to := "/run/virsh" + there(argv[len(argv)-1])
		return errors.Join(os.MkdirAll(to, 0o700), os.Rename(file(d.name), filepath.Join(to, d.name+".xml")))
	case "save":
		return errors.Join(os.WriteFile(argv[0], nil, 0o600), os.Remove(file(d.name)))
	case "reboot", "reset", "setmem", "setvcpus", "blockresize":
	default:
		return d.change(command, argv)
	}
	return nil
}

// change is of the domain's devices.
func (d *domain) change(command string, argv []string) error {
	devices := d.doc.FindElement("domain/devices")
	switch command {
	case "attach-device":
		added := etree.NewDocument()
		if err := added.ReadFromFile(argv[0]); err != nil {
			return err
		}
		devices.AddChild(added.Root())
	case "detach-disk":
		disk := devices.FindElement("disk/target[@dev='" + argv[0] + "']/..")
		if disk == nil {
			return fmt.Errorf("No disk found whose source path or target is %s", argv[0]) //nolint:staticcheck // libvirt's words
		}
		devices.RemoveChild(disk)
	case "detach-interface":
		nic := devices.FindElement("interface/mac[@address='" + argv[2] + "']/..")
		if nic == nil {
			return fmt.Errorf("No interface with MAC address %s was found", argv[2]) //nolint:staticcheck // libvirt's words
		}
		devices.RemoveChild(nic)
	case "change-media":
		disk := devices.FindElement("disk/target[@dev='" + argv[0] + "']/..")
		if disk == nil {
			return fmt.Errorf("No disk found whose source path or target is %s", argv[0]) //nolint:staticcheck // libvirt's words
		}
		if source := disk.SelectElement("source"); source != nil {
			disk.RemoveChild(source)
		}
		if !strings.HasPrefix(argv[1], "--") {
			disk.CreateElement("source").CreateAttr("file", argv[1])
		}
	default:
		return fmt.Errorf("unknown command: '%s'", command)
	}
	return d.write()
}
