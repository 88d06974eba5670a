package vmm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/internal/lazyregexp"
	"one-clvm/opennebula"
)

// Request is what the unprivileged end asks for: one verb for one VM. The privileged end
// trusts none of it, see validate.
type Request struct {
	Verb   cluster.Verb `json:"verb"`
	VM     int          `json:"vm"`
	DS     int          `json:"ds"`   // system datastore; None where the verb does not tell
	Home   string       `json:"home"` // "" where the verb does not tell
	Node   string       `json:"node"` // where OpenNebula has the VM
	To     string       `json:"to,omitempty"`
	Domain string       `json:"domain,omitempty"`  // of deploy
	Name   string       `json:"name,omitempty"`    // of deploy: the domain's, under Xen
	DryRun bool         `json:"dry_run,omitempty"` // only tell the plan

	// Of the verbs that change the hardware.
	Device    string `json:"device,omitempty"`   // document of what is attached
	Target    string `json:"target,omitempty"`   // of a disk: vda
	MAC       string `json:"mac,omitempty"`      // of a NIC
	Disk      int    `json:"disk,omitempty"`     // DISK_ID of reconfigure and resize_disk
	SizeMiB   int64  `json:"size,omitempty"`     // of resize_disk
	Networks  string `json:"networks,omitempty"` // document for network drivers, of attach_nic and detach_nic
	CPUs      int    `json:"cpus,omitempty"`     // of resize; 0 as it is
	MemoryMiB int64  `json:"memory,omitempty"`   // of resize; 0 as it is

	// How long to wait, seconds.
	Start    int `json:"start"`
	Shutdown int `json:"shutdown"`
	Migrate  int `json:"migrate"`
	Settle   int `json:"settle"`
}

// Line is one of the privileged end's answer. The last one has Done.
type Line struct {
	Log   string `json:"log,omitempty"`
	Warn  bool   `json:"warn,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	// Plan is what would be done, of a request with DryRun.
	Plan string `json:"plan,omitempty"`
	// Survey is the answer of poll.
	Survey *Survey `json:"survey,omitempty"`
}

// Config is the node's own, root-owned word.
type Config struct {
	HomeBases      []string // directories below which the homes are
	Hypervisor     string   // URI of libvirt
	MigrationURI   string   // of another node's, %s stands for the node
	MigrateOptions []string
	After          string // resource of Pacemaker that VMs need where they run
	LockDir        string
	Xen            string // program that runs VMs under Xen; "" where libvirt does
	XenFiles       string // directory of the VMs' files there
	Remotes        string // OpenNebula's scripts on this node
	Owner          string // user that runs them
}

const (
	maxRequest = 8 << 20 // bytes
	maxSeconds = 24 * 60 * 60
	maxID      = 1<<31 - 1
)

var hostPattern = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$`)

// readRequest reads and checks a request.
func readRequest(r io.Reader, c *Config) (Request, error) {
	var q Request
	decoder := json.NewDecoder(io.LimitReader(r, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return q, fmt.Errorf("request: %w", err)
	}
	if err := q.validate(c); err != nil {
		return q, fmt.Errorf("request %s: %w", q.Verb, err)
	}
	return q, nil
}

// served are the verbs that a request may have.
var served = []cluster.Verb{
	cluster.VerbStart, cluster.VerbShutdown, cluster.VerbCancel, cluster.VerbReboot,
	cluster.VerbReset, cluster.VerbSave, cluster.VerbRestore, cluster.VerbMigrate,
	cluster.VerbAttachDisk, cluster.VerbDetachDisk, cluster.VerbAttachNIC, cluster.VerbDetachNIC,
	cluster.VerbResize, cluster.VerbResizeDisk, cluster.VerbEject, cluster.VerbInsert,
	VerbPoll, verbNetworks,
}

func (q *Request) validate(c *Config) error {
	switch {
	case !slices.Contains(served, q.Verb):
		return fmt.Errorf("verb %q is not known", q.Verb)
	case q.VM < 0 || q.VM > maxID:
		return fmt.Errorf("VM id %d", q.VM)
	case !hostPattern.MatchString(q.Node):
		return fmt.Errorf("host name %q", q.Node)
	case (q.Verb == cluster.VerbMigrate) != (q.To != ""):
		return errors.New("only migrate has a host to go to, and needs one")
	case q.To != "" && !hostPattern.MatchString(q.To):
		return fmt.Errorf("host name %q", q.To)
	case (q.Verb == cluster.VerbStart) != (q.Domain != ""):
		return errors.New("only deploy has a domain, and needs one")
	case q.DryRun && q.Verb == verbNetworks:
		return errors.New("it has no plan")
	}
	if q.Name != "" && (!hostPattern.MatchString(q.Name) || q.Verb != cluster.VerbStart) {
		return fmt.Errorf("name %q of a VM", q.Name)
	}
	if err := q.validateDevice(); err != nil {
		return err
	}
	for _, seconds := range []int{q.Start, q.Shutdown, q.Migrate, q.Settle} {
		if seconds < 1 || seconds > maxSeconds {
			return fmt.Errorf("patience of %d seconds", seconds)
		}
	}
	return q.validateHome(c)
}

var (
	targetPattern = lazyregexp.New(`^[a-z]{2,4}[a-z]$`)
	macPattern    = lazyregexp.New(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)
)

const (
	maxCPUs = 4096
	maxMiB  = 1 << 40
)

// validateDevice holds what verbs on the hardware say to what they are about.
func (q *Request) validateDevice() error {
	attach := q.Verb == cluster.VerbAttachDisk || q.Verb == cluster.VerbAttachNIC
	disk := slices.Contains([]cluster.Verb{cluster.VerbAttachDisk, cluster.VerbDetachDisk, cluster.VerbEject, cluster.VerbInsert}, q.Verb)
	nic := q.Verb == cluster.VerbAttachNIC || q.Verb == cluster.VerbDetachNIC
	switch {
	case attach != (q.Device != ""):
		return errors.New("only attaching has a device, and needs one")
	case disk != (q.Target != "") || disk && !targetPattern.MatchString(q.Target):
		return fmt.Errorf("target of a disk %q", q.Target)
	case !nic && q.Networks != "":
		return errors.New("only interfaces have a document for network drivers")
	case nic != (q.MAC != "") || nic && !macPattern.MatchString(q.MAC):
		return fmt.Errorf("MAC address %q", q.MAC)
	case q.Disk < 0 || q.Disk > maxID:
		return fmt.Errorf("disk %d", q.Disk)
	case (q.Verb == cluster.VerbResizeDisk) != (q.SizeMiB != 0) || q.SizeMiB < 0 || q.SizeMiB > maxMiB:
		return fmt.Errorf("size of a disk %d MiB", q.SizeMiB)
	case q.CPUs < 0 || q.CPUs > maxCPUs || q.MemoryMiB < 0 || q.MemoryMiB > maxMiB:
		return fmt.Errorf("%d processors and %d MiB", q.CPUs, q.MemoryMiB)
	case (q.Verb == cluster.VerbResize) != (q.CPUs > 0 || q.MemoryMiB > 0):
		return errors.New("only resize has processors and memory, and needs one of them")
	}
	return nil
}

// needsHome: the verbs that read or write files of the VM.
func (q *Request) needsHome() bool {
	return slices.Contains([]cluster.Verb{cluster.VerbStart, cluster.VerbSave, cluster.VerbRestore, verbNetworks}, q.Verb)
}

// validateHome holds the home to BASE/DATASTORE/VM, and to the ids of the request.
func (q *Request) validateHome(c *Config) error {
	if q.Home == "" && !q.needsHome() {
		return nil
	}
	for _, base := range c.HomeBases {
		if q.Home == path.Join(base, strconv.Itoa(q.DS), strconv.Itoa(q.VM)) && q.DS >= 0 {
			return nil
		}
	}
	return fmt.Errorf("home %q is not HOME_BASE/%d/%d (HOME_BASE is %s)", q.Home, q.DS, q.VM, strings.Join(c.HomeBases, " "))
}

// homeOf is the VM's home: that in the first HOME_BASE that has one.
func (c *Config) homeOf(ds, vm int) string {
	below := path.Join(strconv.Itoa(ds), strconv.Itoa(vm))
	for _, base := range c.HomeBases {
		if info, err := os.Lstat(path.Join(base, below)); err == nil && info.IsDir() {
			return path.Join(base, below)
		}
	}
	return path.Join(c.HomeBases[0], below)
}

// definitionName is the file in the home that a cluster starts the VM from: one path for
// all its life, which moves with the home.
const definitionName = "domain.xml"

const checkpointName = "checkpoint"

// service is the VM as the cluster gets to know it.
func (q *Request) service(c *Config) cluster.Service {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	s := cluster.Service{
		VM: q.VM, Name: opennebula.ServiceName(q.VM), Hypervisor: c.Hypervisor, After: c.After,
		Patience: cluster.Patience{
			Start: seconds(q.Start), Shutdown: seconds(q.Shutdown), Migrate: seconds(q.Migrate), Settle: seconds(q.Settle),
			// The cluster's own stop asks the guest as long, then destroys it and lets go of the volumes.
			Stop: seconds(q.Shutdown + q.Settle),
		},
	}
	if q.Home != "" {
		s.Definition = path.Join(q.Home, definitionName)
	}
	return s
}

func (q *Request) order(c *Config) cluster.Order {
	o := cluster.Order{Verb: q.Verb, Service: q.service(c), Node: q.Node, To: q.To, SizeMiB: q.SizeMiB, CPUs: q.CPUs, MemoryMiB: q.MemoryMiB}
	if q.Verb == cluster.VerbSave || q.Verb == cluster.VerbRestore {
		o.File = path.Join(q.Home, checkpointName)
	}
	return o
}
