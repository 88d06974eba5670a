package opennebula

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// VMMCall is one call of a VMM driver's script by one_vmm_exec, its arguments typed and
// checked. What a verb does not have is None, zero or empty.
type VMMCall struct {
	Verb string
	VM   int
	Host string // where oned believes the VM to be; last argument of every call

	// DeployID is one-VM: the only one that this driver gives, and that oned invents
	// where it has none.
	DeployID string
	// File is the deployment file of deploy, the checkpoint of save and restore, the disk
	// of attach_disk, detach_disk and reconfigure.
	File HomePath
	To   string // of migrate: where to

	Target  string // of a disk: vda
	Index   int    // of a disk's target
	Disk    int    // of resize_disk
	SizeMiB int64  // of resize_disk

	MAC, Bridge, Model, NetDriver string // of a NIC; Model "" for the default

	Snapshot           int    // of snapshot_create: oned's id
	HypervisorSnapshot string // of snapshot_revert and snapshot_delete: what snapshot_create printed

	// Message is VMM_DRIVER_ACTION_DATA where it came as an argument; see ReadsAction.
	Message *VMMAction
}

// VMMAction is VMM_DRIVER_ACTION_DATA.
type VMMAction struct {
	VM        *VM
	Datastore *Datastore // system datastore; nil up to 4.14

	vm *etree.Element
}

// ServiceName is the name of a VM for the hypervisor and for a cluster: one-42.
func ServiceName(vm int) string { return "one-" + strconv.Itoa(vm) }

type vmmVerb struct {
	name     string
	args     string // for the usage line, without the VM's id and the host at the end
	sentence string
	min, max int // number of arguments without these two
	read     func(c *VMMCall, argv []string) error
}

var vmmVerbs = []vmmVerb{
	{"deploy", "DEPLOYMENT_FILE HOST", "Defines and starts the VM; its domain is on standard input.", 2, 2, readDeploy},
	{"shutdown", "DEPLOY_ID HOST", "Asks the guest to shut down and waits until it is off.", 2, 2, readDomain},
	{"cancel", "DEPLOY_ID HOST", "Switches the VM off at once.", 2, 2, readDomain},
	{"reboot", "DEPLOY_ID HOST", "Asks the guest to reboot.", 2, 2, readDomain},
	{"reset", "DEPLOY_ID HOST", "Resets the VM.", 2, 2, readDomain},
	{"save", "DEPLOY_ID CHECKPOINT HOST", "Saves the VM's memory and switches it off.", 3, 3, readSave},
	{"restore", "CHECKPOINT HOST [DEPLOY_ID]", "Goes on where save stopped.", 2, 3, readRestoreVM},
	{"migrate", "DEPLOY_ID NEW_HOST OLD_HOST", "Moves the running VM to another host.", 3, 3, readMigrateVM},
	{"migrate_local", "DEPLOY_ID NEW_HOST OLD_HOST", "The same, called on the front-end (-l migrate=migrate_local).", 3, 3, readMigrateVM},
	{"poll", "DEPLOY_ID HOST", "Prints the VM's state and figures (up to 5.10).", 2, 2, readDomain},
	{"attach_disk", "DEPLOY_ID HOME/disk.N TARGET INDEX [DOCUMENT]", "Attaches a disk.", 4, 5, readVMMDisk},
	{"detach_disk", "DEPLOY_ID HOME/disk.N TARGET INDEX", "Detaches a disk.", 4, 5, readVMMDisk},
	{"attach_nic", "DEPLOY_ID MAC BRIDGE MODEL NET_DRIVER [TARGET]", "Attaches a network interface.", 4, 6, readNIC},
	{"detach_nic", "DEPLOY_ID MAC", "Detaches a network interface.", 2, 2, readNIC},
	{"snapshot_create", "DEPLOY_ID SNAPSHOT", "Fails: a snapshot of the whole VM would be inside disks in QCOW2. Those of disks are the transfer manager's.", 2, 2, readVMSnapshot},
	{"snapshot_revert", "DEPLOY_ID SNAPSHOT", "Fails, as snapshot_create does.", 2, 2, readVMSnapshot},
	{"snapshot_delete", "DEPLOY_ID SNAPSHOT", "Fails, as snapshot_create does.", 2, 2, readVMSnapshot},
	{"resize_disk", "DEPLOY_ID DISK MIB DOCUMENT HOST", "Tells the running VM its disk's new size.", 5, 5, readResizeDisk},
	{"resize", "DEPLOY_ID", "Changes processors and memory of the running VM.", 1, 1, readResizeVM},
	{"prereconfigure", "DEPLOY_ID TARGET", "Takes the context CD out.", 2, 2, readContextCD},
	{"reconfigure", "DEPLOY_ID TARGET HOME/disk.N", "Puts the new context CD in.", 3, 3, readContextCD},
	{"exec", "VM_ID HOST COMMAND [INPUT]", "Fails: commands of onevm exec are not run in guests.", 0, 4, readNothing},
	{"exec_cancel", "VM_ID HOST", "Fails, as exec does.", 0, 4, readNothing},
}

// VMMVerbs are the names of all scripts of a VMM driver.
var VMMVerbs = vmmVerbNames()

func vmmVerbNames() []string {
	names := make([]string, 0, len(vmmVerbs))
	for _, v := range vmmVerbs {
		names = append(names, v.name)
	}
	return names
}

// VMMUsage is a script's arguments in one line and what it does in another; "" for an
// unknown one.
func VMMUsage(name string) string {
	i := slices.IndexFunc(vmmVerbs, func(v vmmVerb) bool { return v.name == name })
	if i < 0 {
		return ""
	}
	v := vmmVerbs[i]
	return fmt.Sprintf("%s %s VM_ID HOST\n%s\n", v.name, v.args, v.sentence)
}

// ParseVMM reads the arguments that one_vmm_exec gave a script, in the form of any version.
func ParseVMM(name string, argv []string) (VMMCall, error) {
	i := slices.IndexFunc(vmmVerbs, func(v vmmVerb) bool { return v.name == name })
	if i < 0 {
		return VMMCall{}, fmt.Errorf("%w: no verb %q; the verbs are %s", ErrUsage, name, strings.Join(VMMVerbs, ", "))
	}
	v := vmmVerbs[i]
	own := len(argv) - 2 // one_vmm_exec appends two to every call
	if own < v.min || own > v.max {
		return VMMCall{}, fmt.Errorf("%w: %d given; usage: %s %s VM_ID HOST", ErrUsage, len(argv), v.name, v.args)
	}
	c := VMMCall{Verb: name, Index: None, Disk: None, Snapshot: None, File: HomePath{Disk: None}}
	if err := c.read(v, argv[:own], argv[own:]); err != nil {
		return VMMCall{}, fmt.Errorf("%s: %w; usage: %s %s VM_ID HOST", name, err, v.name, v.args)
	}
	return c, nil
}

func (c *VMMCall) read(v vmmVerb, argv, tail []string) (err error) {
	if c.VM, err = argID("VM", tail[0]); err != nil {
		return err
	}
	if err = CheckHost(tail[1]); err != nil {
		return err
	}
	c.Host, c.DeployID = tail[1], ServiceName(c.VM)
	if err = v.read(c, argv); err != nil {
		return err
	}
	if c.File.Base != "" && c.File.VM != c.VM {
		return fmt.Errorf("%w: %s is of VM %d, but the VM's id is given as %d", ErrUsage, c.File, c.File.VM, c.VM)
	}
	return nil
}

// ReadsAction says that the call's document is on standard input. Up to 4.14 standard input
// is the stream of the commands that follow: only deploy may read it, for the domain.
func (c VMMCall) ReadsAction(v Version) bool {
	return v.AtLeast(5, 0, 0) && c.Verb != "deploy" && c.Message == nil
}

// ReadVMMAction reads VMM_DRIVER_ACTION_DATA, in base64 or as it is.
func ReadVMMAction(r io.Reader) (*VMMAction, error) {
	document, err := ReadDocument(r)
	if err != nil {
		return nil, fmt.Errorf("VMM_DRIVER_ACTION_DATA: %w", err)
	}
	root, err := parseRoot(bytes.NewReader(document), "VMM_DRIVER_ACTION_DATA")
	if err != nil {
		return nil, err
	}
	vm := root.SelectElement("VM")
	if vm == nil {
		return nil, fmt.Errorf("VMM_DRIVER_ACTION_DATA: %w: VM is missing", ErrDocument)
	}
	a := &VMMAction{vm: vm}
	if a.VM, err = readVM(vm); err != nil {
		return nil, err
	}
	if element := root.SelectElement("DATASTORE"); element != nil {
		a.Datastore, err = readDatastore(element)
	}
	return a, err
}
