package opennebula

import (
	"fmt"
	"strings"
)

// readImageVerb: clone and ln. A kernel or an initrd is cloned, too.
func readImageVerb(c *Call, argv []string) (err error) {
	c.SourceRaw, c.DestRaw = argv[0], argv[1]
	if c.Source, err = ParseSource(argv[0]); err != nil {
		return err
	}
	bootFile := func(h HomePath) bool { return h.Disk >= 0 || h.Name == "kernel" || h.Name == "initrd" }
	if c.Dest, err = c.home(argv[1], bootFile, "a disk (disk.N), kernel or initrd"); err != nil {
		return err
	}
	return c.owner(argv[2], argv[3])
}

func readMkswap(c *Call, argv []string) (err error) {
	if c.SizeMiB, err = argSize(argv[0]); err != nil {
		return err
	}
	return readDestination(c, argv[1:])
}

func readMkimage(c *Call, argv []string) error {
	c.Format = argv[1]
	if !formatName.MatchString(c.Format) {
		return fmt.Errorf("%w: format %q", ErrUsage, c.Format)
	}
	return readMkswap(c, append([]string{argv[0]}, argv[2:]...))
}

// readContext: the files come first, as many as there are.
func readContext(c *Call, argv []string) error {
	fixed := len(argv) - 3
	c.Files = argv[:fixed]
	for _, file := range c.Files {
		if strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' || r == 0x7f }) || file == "" {
			return fmt.Errorf("%w: file %q", ErrUsage, file)
		}
	}
	return readDestination(c, argv[fixed:])
}

// readDestination: HOST:HOME/disk.N VM DS.
func readDestination(c *Call, argv []string) (err error) {
	c.DestRaw = argv[0]
	if c.Dest, err = c.disk(argv[0]); err != nil {
		return err
	}
	return c.owner(argv[1], argv[2])
}

func readMv(c *Call, argv []string) (err error) {
	c.SourceRaw, c.DestRaw = argv[0], argv[1]
	if c.Source, err = c.diskOrDirectory(argv[0]); err != nil {
		return err
	}
	c.SourceHome = c.Home
	if c.Dest, err = c.diskOrDirectory(argv[1]); err != nil {
		return err
	}
	if c.SourceHome.Name != c.Home.Name || c.SourceHome.VM != c.Home.VM {
		return fmt.Errorf("%w: %s and %s are not the same disk or directory", ErrUsage, argv[0], argv[1])
	}
	return c.owner(argv[2], argv[3])
}

func readMvds(c *Call, argv []string) (err error) {
	c.SourceRaw, c.DestRaw = argv[0], argv[1]
	if c.Source, err = c.disk(argv[0]); err != nil {
		return err
	}
	if c.Dest, err = ParseSource(argv[1]); err != nil {
		return err
	}
	return c.owner(argv[2], argv[3])
}

// readCpds: since 4.14 with the snapshot as third argument.
func readCpds(c *Call, argv []string) (err error) {
	if len(argv) == 5 {
		if c.Snapshot, err = argIDOrNone("snapshot", argv[2]); err != nil {
			return err
		}
		argv = append([]string{argv[0], argv[1]}, argv[3:]...)
	}
	return readMvds(c, argv)
}

func readDelete(c *Call, argv []string) (err error) {
	c.DestRaw = argv[0]
	if c.Dest, err = c.diskOrDirectory(argv[0]); err != nil {
		return err
	}
	return c.owner(argv[1], argv[2])
}

func readResize(c *Call, argv []string) (err error) {
	if c.SizeMiB, err = argSize(argv[1]); err != nil {
		return err
	}
	return readDestination(c, []string{argv[0], argv[2], argv[3]})
}

func readSnapshot(c *Call, argv []string) (err error) {
	if c.Snapshot, err = argID("snapshot", argv[1]); err != nil {
		return err
	}
	return readDestination(c, []string{argv[0], argv[2], argv[3]})
}

// readMigrate: the hosts, the directory without a host, and up to two more: the VM's
// document (up to 5.8) and the calling TM (when another driver passes the call on).
func readMigrate(c *Call, argv []string) (err error) {
	c.From, c.To = argv[0], argv[1]
	for _, host := range argv[:2] {
		if err := CheckHost(host); err != nil {
			return err
		}
	}
	if c.Home, err = ParseDiskPath(argv[2]); err != nil {
		return err
	}
	if !c.Home.IsHome() {
		return fmt.Errorf("%w: %q is not a VM's directory", ErrUsage, argv[2])
	}
	if err := c.owner(argv[3], argv[4]); err != nil {
		return err
	}
	return c.migrateExtras(argv[5:])
}

func (c *Call) migrateExtras(extras []string) error {
	if len(extras) > 0 {
		if c.VMDocument = vmDocument(extras[0]); c.VMDocument != nil {
			extras = extras[1:]
		}
	}
	switch {
	case len(extras) == 0:
		return nil
	case len(extras) > 1:
		return fmt.Errorf("%w: argument 6 is not a VM document in base64", ErrUsage)
	case !driverName.MatchString(extras[0]):
		return fmt.Errorf("%w: %q is neither a VM document in base64 nor the name of a driver", ErrUsage, shorten(extras[0], 40))
	}
	c.CallerTM = extras[0]
	return nil
}

// readBackup: since 6.8 with a job id.
func readBackup(c *Call, argv []string) (err error) {
	c.DestRaw = argv[0]
	if c.Dest, err = c.directory(argv[0]); err != nil {
		return err
	}
	for _, text := range strings.Split(argv[1], ":") {
		disk, err := argID("disk", text)
		if err != nil {
			return err
		}
		c.Disks = append(c.Disks, disk)
	}
	c.DeployID = argv[2]
	if !driverName.MatchString(c.DeployID) {
		return fmt.Errorf("%w: deploy id %q", ErrUsage, c.DeployID)
	}
	if len(argv) == 6 && argv[3] != "-" {
		if _, err := argID("backup job", argv[3]); err != nil {
			return err
		}
		c.JobID = argv[3]
	}
	return c.owner(argv[len(argv)-2], argv[len(argv)-1])
}

func readRestore(c *Call, argv []string) (err error) {
	c.DestRaw = argv[0]
	if c.Dest, err = c.directory(argv[0]); err != nil {
		return err
	}
	if c.VM, err = argID("VM", argv[1]); err != nil {
		return err
	}
	if c.Image, err = argID("image", argv[2]); err != nil {
		return err
	}
	if c.Increment, err = argIDOrNone("increment", argv[3]); err != nil {
		return err
	}
	if c.Disk, err = argIDOrNone("disk", argv[4]); err != nil {
		return err
	}
	return c.sameVM()
}

// readMonitor only checks the id; ReadDriverAction reads the document.
func readMonitor(c *Call, argv []string) (err error) {
	c.Datastore, err = argID("datastore", argv[len(argv)-1])
	return err
}
