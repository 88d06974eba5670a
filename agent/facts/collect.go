package facts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"one-clvm/cxmrc"
	"one-clvm/internal/membership"
	"one-clvm/internal/run"
	"one-clvm/lvm/lvm2"
)

// Collector collects the facts of the node that it runs on.
type Collector struct {
	Runner    run.Runner
	Root      string // "/" outside of tests: where /sys, /proc, /etc and /dev are
	Installed func(program string) bool
	Version   string
	Groups    []string // volume groups that the agent may work in
	HomeBases []string
	Owner     string // of the homes
	FileVGDir string // where file-backed volume groups are
	FrontEnd  string // "": do not try to reach it
	Now       func() time.Time
}

// partTime bounds each part: a node whose cluster hangs has others to tell of.
const partTime = 20 * time.Second

// tools are the programs that the suite may need on a node.
var tools = []string{
	"lvm", "lvmlockctl", "lvmlockd", "clvmd", "dmsetup", "dlm_tool", "dlm_controld", "corosync-cmapctl", "cman_tool", "sanlock", "multipathd",
	"crm_mon", "clustat", "gfs2_edit", "mkfs.gfs2", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mkswap", "virsh", "chronyc", "runuser", "ssh", "find",
}

// The files that are looked at.
const (
	SudoersFile = "/etc/sudoers.d/one-clvm"
	SudoersVMM  = "/etc/sudoers.d/one-clvm-vmm"
	SudoersHook = "/etc/sudoers.d/one-clvm-hook"
	UdevFile    = "/etc/udev/rules.d/90-one-clvm.rules"
	AgentFile   = "/etc/one-clvm/agent.conf"
	PolkitOld   = "/etc/polkit-1/localauthority/50-local.d/50-one-clvm.pkla"
	PolkitFile  = "/etc/polkit-1/rules.d/50-one-clvm.rules"
	QemuFile    = "/etc/libvirt/qemu.conf"
	LibvirtFile = "/etc/libvirt/libvirtd.conf"
	HookFile    = "/etc/one-clvm/hook.conf"
)

// inspectedFiles, and of those that may hold secrets the settings that are told.
var inspectedFiles = map[string][]string{
	SudoersFile: nil, SudoersVMM: nil, SudoersHook: nil, UdevFile: nil, AgentFile: nil, PolkitOld: nil, PolkitFile: nil,
	QemuFile: {"user", "group", "dynamic_ownership"}, LibvirtFile: {"unix_sock_group"},
}

// Packaged are where packages put the files that an administrator would put elsewhere, and
// that are looked at in their absence: the administrator's take precedence with these programs.
var Packaged = map[string]string{
	UdevFile:   "/usr/lib/udev/rules.d/90-one-clvm.rules",
	PolkitFile: "/usr/share/polkit-1/rules.d/50-one-clvm.rules",
	PolkitOld:  "/var/lib/polkit-1/localauthority/10-vendor.d/50-one-clvm.pkla",
}

// maxFile is how much of a file is told, bytes.
const maxFile = 64 << 10

// collecting is one Collect.
type collecting struct {
	Collector
	mutex  sync.Mutex
	facts  *Facts
	closed bool // what a part that was left behind finds later is dropped
}

// Collect looks at everything. It does not fail: what could not be looked at is told in
// the result.
func (c Collector) Collect(ctx context.Context) *Facts {
	w := &collecting{Collector: c, facts: &Facts{Version: c.Version, Owner: c.Owner, Started: c.Now(), Unknown: map[string]string{}}}
	var group errgroup.Group
	for name, part := range map[string]func(context.Context) error{
		"host": w.host, "files": w.files, "versions": w.versions, "lvm": w.lvm, "homes": w.homes, "cluster": w.clusterAndHomes,
		"sanlock": w.sanlock, "pacemaker": w.pacemaker, "rgmanager": w.rgmanager, "front-end": w.reach, "hook": w.hook,
	} {
		group.Go(func() error { w.part(ctx, name, part); return nil })
	}
	_ = group.Wait() // parts do not fail
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.closed = true
	w.facts.forget()
	w.facts.Finished = c.Now()
	return w.facts
}

// part runs one part within its time. One that does not come back, because it waits in
// the kernel, is left behind.
func (w *collecting) part(ctx context.Context, name string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-time.After(partTime + time.Second):
		err = errors.New("no answer within " + partTime.String())
	}
	if err != nil {
		w.set(func(f *Facts) { f.Unknown[name] = err.Error() })
	}
}

// forget leaves out the volumes that nobody on this node uses: a group may have thousands.
func (f *Facts) forget() {
	if f.LVM == nil {
		return
	}
	used := map[string]bool{}
	for _, a := range f.Active {
		used[a.UUID] = true
	}
	for _, h := range f.Homes {
		for _, l := range h.Links {
			used[l.Target] = true
		}
	}
	f.LVM.Volumes = slices.DeleteFunc(f.LVM.Volumes, func(v lvm2.StoredVolume) bool { return !used[v.UUID] && !used[v.Path()] })
}

// set changes the facts.
func (w *collecting) set(change func(*Facts)) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if !w.closed {
		change(w.facts)
	}
}

func (w *collecting) path(name string) string { return filepath.Join(w.Root, name) }

// read is the text of a small file of the kernel, "" without it.
func (w *collecting) read(name string) string {
	data, err := os.ReadFile(w.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (w *collecting) number(name string) int64 {
	n, _ := strconv.ParseInt(w.read(name), 10, 64) // 0: not told
	return n
}

func (w *collecting) host(context.Context) error {
	programs := map[string]bool{}
	for _, name := range tools {
		programs[name] = w.Installed(name)
	}
	var memory int64
	for line := range strings.Lines(w.read("proc/meminfo")) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "MemTotal:" {
			memory, _ = strconv.ParseInt(words[1], 10, 64) // 0: not told
		}
	}
	_, err := os.Stat(w.path("run/systemd/system"))
	w.set(func(f *Facts) {
		f.Hostname, f.Kernel = w.read("proc/sys/kernel/hostname"), w.read("proc/sys/kernel/osrelease")
		f.Memory, f.Systemd, f.Tools = memory<<10, err == nil, programs
	})
	return nil
}

func (w *collecting) files(context.Context) error {
	all := map[string]File{}
	for name, settings := range inspectedFiles {
		file, err := readFile(w.path(name))
		if other := Packaged[name]; err == nil && file.Missing && other != "" {
			file, err = readFile(w.path(other))
		}
		if err != nil {
			return err
		}
		if settings != nil {
			file.Content = onlySettings(file.Content, settings)
		}
		all[name] = file
	}
	devices := fenceDevices(w.read("etc/dlm/dlm.conf"))
	_, noRules := os.Stat(filepath.Dir(w.path(PolkitFile)))
	_, noKeys := os.Stat(filepath.Dir(filepath.Dir(w.path(PolkitOld))))
	w.set(func(f *Facts) {
		f.Files, f.FenceDevices, f.PolkitKeys = all, devices, noRules != nil && noKeys == nil
	})
	return nil
}

// fenceDevices are the names of those in dlm.conf(5); what stands behind them may be secret.
func fenceDevices(conf string) []string {
	var names []string
	for line := range strings.Lines(conf) {
		switch words := strings.Fields(line); {
		case len(words) >= 3 && words[0] == "device":
			names = append(names, words[1])
		case len(words) >= 2 && words[0] == "fence_all":
			names = append(names, filepath.Base(words[1]))
		}
	}
	return names
}

// onlySettings keeps the lines NAME = VALUE with these names.
func onlySettings(content string, names []string) string {
	var kept strings.Builder
	for line := range strings.Lines(content) {
		name, _, found := strings.Cut(line, "=")
		if found && slices.Contains(names, strings.TrimSpace(name)) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func readFile(path string) (File, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{Missing: true}, nil
	}
	if err != nil {
		return File{}, err
	}
	file := File{Mode: uint32(info.Mode().Perm()), Links: info.Mode()&fs.ModeSymlink != 0}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		file.UID, file.GID = int(stat.Uid), int(stat.Gid)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return file, nil
	}
	data, err := os.ReadFile(path)
	file.Content = string(data)
	return file, err
}

func (w *collecting) lvm(ctx context.Context) error {
	found, err := filepath.Glob(w.path(filepath.Join(w.FileVGDir, "*", "metadata.json")))
	if err != nil {
		return err
	}
	var groups []string
	for _, path := range found {
		groups = append(groups, filepath.Base(filepath.Dir(path)))
	}
	w.set(func(f *Facts) { f.FileGroups = groups })
	if !w.Installed("lvm") {
		return nil
	}
	return w.realLVM(ctx)
}

// realLVM asks LVM, and the kernel before and after: a volume that is made or removed in
// between is no contradiction.
func (w *collecting) realLVM(ctx context.Context) error {
	before, err := w.active()
	if err != nil {
		return err
	}
	found, inspectErr := lvm2.Inspect(ctx, w.Runner, w.Groups)
	after, err := w.active()
	if err != nil {
		return err
	}
	active := slices.DeleteFunc(after, func(a Active) bool {
		same := func(b Active) bool { return b.UUID == a.UUID }
		stored := func(v lvm2.StoredVolume) bool { return v.UUID == a.UUID }
		return !slices.ContainsFunc(before, same) && !slices.ContainsFunc(found.Volumes, stored)
	})
	disks := w.disksOf(found.Physical)
	queueErr := w.queueing(ctx, disks)
	guests := w.inVolumes(found.Physical)
	w.set(func(f *Facts) { f.LVM, f.Active, f.Disks, f.Guests = &found, active, disks, guests })
	return errors.Join(inspectErr, queueErr)
}

// clusterAndHomes: the state of a GFS2 is in the kernel and in its lock space.
func (w *collecting) clusterAndHomes(ctx context.Context) error {
	var group errgroup.Group
	var cluster *membership.Cluster
	var dlm *membership.DLM
	group.Go(func() error {
		if !w.Installed("corosync-cmapctl") && !w.Installed("cman_tool") {
			return nil
		}
		found, err := membership.Read(ctx, w.Runner)
		if errors.Is(err, membership.ErrNoCluster) {
			return nil
		}
		cluster = &found
		return err
	})
	var dlmErr error
	group.Go(func() error {
		if !w.Installed("dlm_tool") {
			return nil
		}
		found, err := membership.ReadDLM(ctx, w.Runner)
		if err == nil {
			dlm = &found
		}
		dlmErr = err
		return nil // dlm_controld does not run: the checks know whether it must
	})
	err := group.Wait()
	w.set(func(f *Facts) {
		f.Cluster, f.DLM = cluster, dlm
		if dlmErr != nil && cluster != nil {
			f.Unknown["dlm"] = dlmErr.Error()
		}
	})
	return errors.Join(err, w.gfs2(ctx, dlm))
}

// hookProgram knows its own way to the front-ends.
const hookProgram = "/usr/libexec/one-clvm/one-migrate-hook"

func (w *collecting) hook(ctx context.Context) error {
	cfg, err := cxmrc.Parse(strings.NewReader(w.read(HookFile)), HookFile, cxmrc.Hook)
	if err == nil && len(cfg.List("FRONTENDS")) == 0 {
		return nil // missing, or as a package has put it there: nobody is told
	}
	r := &Reach{Host: HookFile}
	if _, err := w.Runner.Run(ctx, run.Cmd{Path: hookProgram, Args: []string{"ping"}}); err != nil {
		r.Error = err.Error()
	}
	w.set(func(f *Facts) { f.Hook = r })
	return nil
}

func (w *collecting) reach(ctx context.Context) error {
	if w.FrontEnd == "" {
		return nil
	}
	r := &Reach{Host: w.FrontEnd}
	_, err := w.Runner.Run(ctx, run.Cmd{Path: "runuser", Args: []string{"-u", w.Owner, "--",
		"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "--", w.FrontEnd, "true"}})
	if err != nil {
		r.Error = err.Error()
	}
	w.set(func(f *Facts) { f.FrontEnd = r })
	return nil
}
