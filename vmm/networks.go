package vmm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path"
	"slices"
	"strings"

	"one-clvm/cluster"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// networkName is the VM's document as attach_nic and detach_nic leave it; vmName is what
// oned writes into the home with a deploy, since 6.0.
const (
	networkName = "network.xml"
	vmName      = "vm.xml"
)

// phase is a script of a network driver: pre before a VM starts on a node, post once it
// runs, clean once it is gone.
type phase string

const (
	pre   phase = "pre"
	post  phase = "post"
	clean phase = "clean"
)

var networkDriver = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// verbNetworks asks the node that a cluster moves a VM to for the phase before.
const verbNetworks cluster.Verb = "networks"

// networks runs on this node what OpenNebula runs around its own verbs, for a VM that the
// cluster starts, stops or moves by itself. The scripts and the document are oneadmin's, and
// so is the user that they run as.
type networks struct {
	runner         run.Runner
	remotes, owner string
	vm             int
	home           string
	log            func(format string, args ...any)
	// unstarted: libvirt must not be asked. Drivers ask it of a VM whose document has a
	// DEPLOY_ID, those of 5.x in each phase.
	unstarted bool
}

// drivers are those of the VM's interfaces, and the document that they get. Without a
// document nothing is known, and nothing done.
func (n *networks) drivers() (names []string, document string, err error) {
	h, err := openHome(n.home)
	if err != nil {
		return nil, "", err
	}
	defer h.close()
	document, err = h.read(networkName)
	if errors.Is(err, fs.ErrNotExist) {
		document, err = h.read(vmName)
	}
	if errors.Is(err, fs.ErrNotExist) {
		n.log("the home has no document of the VM (OpenNebula before 6.0): networks are left as they are")
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	vm, err := opennebula.ParseVM(strings.NewReader(document))
	if err != nil {
		return nil, "", fmt.Errorf("document in the home: %w", err)
	}
	if vm.ID != n.vm {
		return nil, "", fmt.Errorf("document in the home: it is of VM %d", vm.ID)
	}
	for _, nic := range vm.NICs {
		switch {
		case nic.Driver == "" || nic.Driver == "dummy" || slices.Contains(names, nic.Driver):
		case !networkDriver.MatchString(nic.Driver):
			return nil, "", fmt.Errorf("document in the home: %q is not the name of a network driver", nic.Driver)
		default:
			names = append(names, nic.Driver)
		}
	}
	return names, document, nil
}

// run is one phase of all drivers. It ends with the first that fails.
func (n *networks) run(ctx context.Context, p phase) error {
	names, document, err := n.drivers()
	if err != nil {
		return fmt.Errorf("networks: %w", err)
	}
	if n.unstarted {
		if document, err = opennebula.WithoutDeployID(document); err != nil {
			return fmt.Errorf("networks: %w", err)
		}
	}
	for _, name := range names {
		script := path.Join(n.remotes, "vnm", name, string(p))
		args := []string{"-u", n.owner, "--", script}
		if p == post {
			args = append(args, opennebula.ServiceName(n.vm))
		}
		_, err := n.runner.Run(ctx, run.Cmd{Path: "runuser", Args: args, Env: n.environment(), Stdin: bytes.NewReader(opennebula.EncodeDocument([]byte(document)))})
		if err != nil {
			return fmt.Errorf("network driver %s, %s: %w", name, p, err)
		}
		n.log("network driver %s: %s done", name, p)
	}
	return nil
}

// environment is the user's: runuser leaves root's.
func (n *networks) environment() []string {
	u, err := user.Lookup(n.owner)
	if err != nil {
		return nil // runuser says so, too
	}
	return []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
}
