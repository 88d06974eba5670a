package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/internal/run"
)

// evidence is what is asked on every node after a failure.
var evidence = [][]string{
	{"lvs", "-a", "-o", "+lv_uuid,lv_tags,lv_active,devices"},
	{"vgs", "-o", "+vg_lock_type,vg_tags"},
	{"pvs"},
	{"dmsetup", "table"},
	{"dmsetup", "info", "-c"},
	{"ps", "axf", "-o", "pid,stat,wchan:20,etimes,args"},
	{"findmnt"},
	{"dmesg"},
	{"lvmlockctl", "-i"},
	{"lvmlockctl", "--dump"},
	{"dlm_tool", "ls"},
	{"dlm_tool", "status"},
	{"dlm_tool", "dump"},
	{"dlm_tool", "lockdump", "lvm_" + Group},
	{"corosync-quorumtool", "-s"},
	{"crm_mon", "-1", "-frnA"},
	{"cibadmin", "-Q"},
	{"virsh", "-c", "qemu:///system", "list", "--all"},
	{"sanlock", "client", "status", "-D"},
	{"sanlock", "client", "log_dump"},
}

// logs are files of a node that are copied.
const logs = "/var/log"

// Collect asks every node that still answers for what it knows of its volumes and locks,
// and puts it into the folder with the consoles and the fence device's log. What cannot
// be had is in the error; the rest is there.
func (c *Cluster) Collect(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var errs []error
	if text, err := os.ReadFile(filepath.Join(c.Directory, fenceLogName)); err == nil {
		errs = append(errs, os.WriteFile(filepath.Join(folder, fenceLogName), text, 0o644))
	}
	errs = append(errs, c.each(func(n *Node) error { return n.collect(ctx, folder) }))
	return errors.Join(errs...)
}

func (n *Node) collect(ctx context.Context, folder string) error {
	errs := []error{copySparse(n.spec.Console(), filepath.Join(folder, n.Name+".console"))}
	if running, err := n.Running(); err != nil || !running {
		return errors.Join(append(errs, err, os.WriteFile(filepath.Join(folder, n.Name+".off"), nil, 0o644))...)
	}
	text, err := os.Create(filepath.Join(folder, n.Name+".txt"))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, argv := range evidence {
		fmt.Fprintf(text, "==== %s\n", strings.Join(argv, " "))
		if _, err := n.Run(ctx, run.Cmd{Path: argv[0], Args: argv[1:], Stdout: text, Stderr: text}); err != nil {
			fmt.Fprintf(text, "(%v)\n", err) // not every profile has every program
		}
		if ctx.Err() != nil {
			break
		}
	}
	archive, err := os.Create(filepath.Join(folder, n.Name+".log.tar.gz"))
	if err != nil {
		return errors.Join(append(errs, err, text.Close())...)
	}
	_, err = n.Run(ctx, run.Cmd{Path: "tar", Args: []string{"-cz", "-C", logs, "."}, Stdout: archive})
	return errors.Join(append(errs, err, archive.Close(), text.Close())...)
}
