package opennebula

import (
	"fmt"
	"io"
	"time"

	"github.com/beevik/etree"
)

// VM is what drivers need of one.vm.info, `onevm show -x`, or the document that
// oned's driver processes hand over. The latter has only the last history record.
type VM struct {
	ID        int
	Name      string
	UserName  string // owner
	GroupName string
	DeployID  string // what the VMM driver's deploy printed
	State     State
	LCMState  LCMState // counts while State is StateActive

	Disks []Disk
	NICs  []NIC
	// ContextDisk is the DISK_ID of the contextualization CD, or None.
	ContextDisk int
	History     []History
	// Snapshots of disks, by DISK_ID; since 4.14.
	Snapshots map[int][]Snapshot
	// Backup is how it is backed up (BACKUPS/BACKUP_CONFIG): MODE, FS_FREEZE, …; since 6.6.
	Backup map[string]string
	Access Access
	// Attributes are the simple ones of TEMPLATE, UserAttributes those of USER_TEMPLATE.
	Attributes, UserAttributes map[string]string
}

// History is a stay of the VM on a host.
type History struct {
	Seq         int
	Hostname    string // any text: see CheckHost before it goes into a command
	HostID      int
	ClusterID   int // None where the version does not tell
	DatastoreID int // system datastore; None where the version does not tell
	VMMAD       string
	TMMAD       string    // TM of the system datastore
	Since       time.Time // since when oned has it there, or running there (STIME, RSTIME: seconds); zero where the document does not tell
}

// Snapshot of a disk.
type Snapshot struct {
	ID     int
	Name   string
	Parent int   // None for the base
	Size   int64 // MiB, virtual
	Active bool  // what the disk was last reverted to
}

// ParseVM reads a VM document.
func ParseVM(r io.Reader) (*VM, error) {
	root, err := parseRoot(r, "VM")
	if err != nil {
		return nil, err
	}
	return readVM(root)
}

// ParseVMPool reads a list of VMs (one.vmpool.info, `onevm list -x`).
func ParseVMPool(r io.Reader) ([]VM, error) {
	root, err := parseRoot(r, "VM_POOL")
	if err != nil {
		return nil, err
	}
	var vms []VM
	for _, element := range root.SelectElements("VM") {
		vm, err := readVM(element)
		if err != nil {
			return nil, err
		}
		vms = append(vms, *vm)
	}
	return vms, nil
}

func readVM(root *etree.Element) (*VM, error) {
	f := &fields{element: root, object: "VM"}
	vm := &VM{
		ID:          f.id("ID"),
		Name:        f.text("NAME"),
		UserName:    f.text("UNAME"),
		GroupName:   f.text("GNAME"),
		DeployID:    f.text("DEPLOY_ID"),
		ContextDisk: None,
		Snapshots:   map[int][]Snapshot{},
	}
	f.object = fmt.Sprintf("VM %d", vm.ID)
	vm.State = State(f.number(None, "STATE"))
	vm.LCMState = LCMState(f.number(None, "LCM_STATE"))
	vm.Attributes = attributes(root.SelectElement("TEMPLATE"))
	vm.Access = readAccess(f)
	vm.Backup = attributes(root.FindElement("BACKUPS/BACKUP_CONFIG"))
	vm.UserAttributes = attributes(root.SelectElement("USER_TEMPLATE"))
	for _, read := range []func(*etree.Element) error{vm.readDisks, vm.readNICs, vm.readContext, vm.readHistory, vm.readSnapshots} {
		if f.err == nil {
			f.err = read(root)
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return vm, nil
}

func (vm *VM) readDisks(root *etree.Element) error {
	seen := map[int]bool{}
	for _, element := range root.FindElements("TEMPLATE/DISK") {
		disk, err := readDisk(element, vm.ID)
		if err != nil {
			return err
		}
		if seen[disk.ID] {
			return fmt.Errorf("VM %d: %w: two disks have DISK_ID %d", vm.ID, ErrDocument, disk.ID)
		}
		seen[disk.ID] = true
		vm.Disks = append(vm.Disks, disk)
	}
	return nil
}

func (vm *VM) readContext(root *etree.Element) error {
	element := root.FindElement("TEMPLATE/CONTEXT")
	if element == nil {
		return nil
	}
	f := &fields{element: element, object: fmt.Sprintf("VM %d CONTEXT", vm.ID)}
	vm.ContextDisk = f.number(None, "DISK_ID")
	return f.err
}

func (vm *VM) readHistory(root *etree.Element) error {
	for _, element := range root.FindElements("HISTORY_RECORDS/HISTORY") {
		f := &fields{element: element, object: fmt.Sprintf("VM %d HISTORY", vm.ID)}
		vm.History = append(vm.History, History{
			Seq:         f.id("SEQ"),
			Hostname:    f.text("HOSTNAME"),
			HostID:      f.number(None, "HID"),
			ClusterID:   f.number(None, "CID"),
			DatastoreID: f.number(None, "DS_ID"),
			VMMAD:       f.text("VM_MAD", "VMMMAD"),
			TMMAD:       f.text("TM_MAD", "TMMAD"),
			Since:       later(f.time("STIME"), f.time("RSTIME")),
		})
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (vm *VM) readSnapshots(root *etree.Element) error {
	for _, list := range root.SelectElements("SNAPSHOTS") {
		f := &fields{element: list, object: fmt.Sprintf("VM %d SNAPSHOTS", vm.ID)}
		disk := f.id("DISK_ID")
		for _, element := range list.SelectElements("SNAPSHOT") {
			s := &fields{element: element, object: fmt.Sprintf("VM %d DISK %d SNAPSHOT", vm.ID, disk), err: f.err}
			vm.Snapshots[disk] = append(vm.Snapshots[disk], Snapshot{
				ID:     s.id("ID"),
				Name:   s.text("NAME"),
				Parent: s.number(None, "PARENT"),
				Size:   s.mebibytes("SIZE"),
				Active: s.yes("ACTIVE"),
			})
			f.err = s.err
		}
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// Disk finds a disk by its DISK_ID. The contextualization CD is not among the disks:
// see ContextDisk.
func (vm *VM) Disk(id int) (*Disk, error) {
	for i := range vm.Disks {
		if vm.Disks[i].ID == id {
			return &vm.Disks[i], nil
		}
	}
	return nil, fmt.Errorf("VM %d has no disk %d", vm.ID, id)
}

// Last is the last history record: where the VM is, was last, or, during a
// migration, goes. nil for a VM that was never deployed.
func (vm *VM) Last() *History {
	var last *History
	for i := range vm.History {
		if last == nil || vm.History[i].Seq > last.Seq {
			last = &vm.History[i]
		}
	}
	return last
}
