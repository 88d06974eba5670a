package opennebula

import (
	"fmt"
	"strings"

	"one-clvm/internal/lazyregexp"
)

var (
	diskTarget   = lazyregexp.New(`^[a-z]{2,4}[a-z]$`) // vda, xvdb, hdc
	macAddress   = lazyregexp.New(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)
	deviceName   = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,62}$`) // of a bridge, a NIC's model, its target
	snapshotName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
)

// domain checks the deploy id. Where oned has none (a deploy that failed is cancelled) the
// argument is empty or a dash.
func (c *VMMCall) domain(text string) error {
	if text != "" && text != "-" && text != c.DeployID {
		return fmt.Errorf("%w: deploy id %q is not %s: the VM was deployed by another driver", ErrUsage, text, c.DeployID)
	}
	return nil
}

// file reads a path in the VM's home.
func (c *VMMCall) file(text string, fits func(HomePath) bool, what string) (err error) {
	if c.File, err = ParseDiskPath(text); err != nil {
		return err
	}
	if !fits(c.File) {
		return fmt.Errorf("%w: %q is not %s", ErrUsage, text, what)
	}
	return nil
}

func isCheckpoint(h HomePath) bool { return h.Name == "checkpoint" }

func isDisk(h HomePath) bool { return h.Disk >= 0 }

func readDeploy(c *VMMCall, argv []string) error {
	isDeployment := func(h HomePath) bool { return strings.HasPrefix(h.Name, "deployment.") }
	if err := c.file(argv[0], isDeployment, "a deployment file (deployment.N)"); err != nil {
		return err
	}
	return CheckHost(argv[1])
}

// readDomain: DEPLOY_ID HOST.
func readDomain(c *VMMCall, argv []string) error {
	if err := c.domain(argv[0]); err != nil {
		return err
	}
	return CheckHost(argv[1])
}

func readSave(c *VMMCall, argv []string) error {
	if err := c.file(argv[1], isCheckpoint, "a checkpoint"); err != nil {
		return err
	}
	return readDomain(c, []string{argv[0], argv[2]})
}

// readRestoreVM: the deploy id since 4.4.
func readRestoreVM(c *VMMCall, argv []string) error {
	if err := c.file(argv[0], isCheckpoint, "a checkpoint"); err != nil {
		return err
	}
	if len(argv) == 3 {
		if err := c.domain(argv[2]); err != nil {
			return err
		}
	}
	return CheckHost(argv[1])
}

func readMigrateVM(c *VMMCall, argv []string) error {
	c.To = argv[1]
	if err := CheckHost(c.To); err != nil {
		return err
	}
	return readDomain(c, []string{argv[0], argv[2]})
}

func readVMMDisk(c *VMMCall, argv []string) (err error) {
	if err = c.domain(argv[0]); err != nil {
		return err
	}
	if err = c.file(argv[1], isDisk, "a disk (disk.N)"); err != nil {
		return err
	}
	if c.Target = argv[2]; !diskTarget.MatchString(c.Target) {
		return fmt.Errorf("%w: %q is not the target of a disk", ErrUsage, c.Target)
	}
	if c.Index, err = argID("target index", argv[3]); err != nil {
		return err
	}
	if len(argv) == 5 {
		return c.message(argv[4])
	}
	return nil
}

// message reads the document where it is an argument.
func (c *VMMCall) message(text string) (err error) {
	if c.Message, err = ReadVMMAction(strings.NewReader(text)); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if c.Message.VM.ID != c.VM {
		return fmt.Errorf("%w: the document is of VM %d, but the VM's id is given as %d", ErrUsage, c.Message.VM.ID, c.VM)
	}
	return nil
}

// readNIC: of attach_nic the driver and the target are younger than the rest.
func readNIC(c *VMMCall, argv []string) error {
	if err := c.domain(argv[0]); err != nil {
		return err
	}
	if c.MAC = strings.ToLower(argv[1]); !macAddress.MatchString(c.MAC) {
		return fmt.Errorf("%w: %q is not a MAC address", ErrUsage, argv[1])
	}
	for i, to := range []*string{&c.Bridge, &c.Model, &c.NetDriver, &c.Target} {
		if i+2 >= len(argv) || argv[i+2] == "-" && i > 0 {
			continue
		}
		if *to = argv[i+2]; !deviceName.MatchString(*to) {
			return fmt.Errorf("%w: %q is not the name of a device or driver", ErrUsage, *to)
		}
	}
	return nil
}

// readNothing is for verbs that only fail.
func readNothing(*VMMCall, []string) error { return nil }

func readVMSnapshot(c *VMMCall, argv []string) (err error) {
	if err = c.domain(argv[0]); err != nil {
		return err
	}
	if c.Verb == "snapshot_create" {
		c.Snapshot, err = argID("snapshot", argv[1])
		return err
	}
	if c.HypervisorSnapshot = argv[1]; !snapshotName.MatchString(argv[1]) {
		return fmt.Errorf("%w: %q is not the name of a snapshot", ErrUsage, argv[1])
	}
	return nil
}

func readResizeDisk(c *VMMCall, argv []string) (err error) {
	if err = readDomain(c, []string{argv[0], argv[4]}); err != nil {
		return err
	}
	if c.Disk, err = argID("disk", argv[1]); err != nil {
		return err
	}
	if c.SizeMiB, err = argSize(argv[2]); err != nil {
		return err
	}
	return c.message(argv[3])
}

func readResizeVM(c *VMMCall, argv []string) error { return c.domain(argv[0]) }

func readContextCD(c *VMMCall, argv []string) error {
	if err := c.domain(argv[0]); err != nil {
		return err
	}
	if c.Target = argv[1]; !diskTarget.MatchString(c.Target) {
		return fmt.Errorf("%w: %q is not the target of a disk", ErrUsage, c.Target)
	}
	if len(argv) == 3 {
		return c.file(argv[2], isDisk, "a disk (disk.N)")
	}
	return nil
}
