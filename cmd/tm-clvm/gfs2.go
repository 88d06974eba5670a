package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"one-clvm/cxmrc"
	"one-clvm/gfs2"
	"one-clvm/internal/command"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/membership"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// gfs2Options are the flags of all forms of the command.
type gfs2Options struct {
	name        string
	journals    int
	add         int
	journalSize int
	yes         bool
}

// setupGFS2 makes, checks and grows the shared file system, on a node and as root.
func setupGFS2(flags *pflag.FlagSet) command.Action {
	var o gfs2Options
	flags.StringVar(&o.name, "name", "home", "format: `NAME` of the file system in the cluster")
	flags.IntVar(&o.journals, "journals", 0, "format: `N` journals; 0: one more than the cluster has nodes")
	flags.IntVar(&o.add, "add", 1, "journals: `N` more")
	flags.IntVar(&o.journalSize, "journal-size", 0, "`MIB` of a journal; 0: by the size of the device (format), 128 (journals)")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	forms := map[string]func(context.Context, string, gfs2Options, command.Stdio) error{
		"format": formatGFS2, "check": checkGFS2, "journals": addJournals, "grow": growGFS2,
	}
	return func(ctx context.Context, words []string, io command.Stdio) error {
		form, ok := forms[words[0]]
		if !ok {
			return fmt.Errorf("%w: %q", command.ErrUsage, words[0])
		}
		return form(ctx, words[1], o, io)
	}
}

// quorateCluster is the running cluster, which may change what its nodes share.
func quorateCluster(ctx context.Context) (membership.Cluster, error) {
	c, err := membership.Read(ctx, run.Exec{})
	if err != nil {
		return c, fmt.Errorf("%w; start corosync and dlm first", err)
	}
	if !c.Quorate {
		return c, fmt.Errorf("cluster %s has no quorum here; start its other nodes first", c.Name)
	}
	return c, nil
}

// target is what is to be formatted: a device, perhaps a volume's.
type target struct {
	device string
	volume string    // "" for another device
	group  lvm.Group // of the volume
	before lvm.Mode
}

// formatGFS2 makes the file system. What a crash leaves after each step, and what the same
// command again makes of it:
//
//	gfs2.exclusive   the volume active exclusively on this node: goes on
//	gfs2.made        the same, with the file system: it is made anew
//	gfs2.released    the file system, active shared here
func formatGFS2(ctx context.Context, word string, o gfs2Options, io command.Stdio) (err error) {
	cluster, err := quorateCluster(ctx)
	if err != nil {
		return err
	}
	to, err := findTarget(ctx, word)
	if err != nil {
		return err
	}
	plan := gfs2.Plan{Device: to.device, Table: gfs2.Table{Cluster: cluster.Name, Name: o.name}, Journals: o.journals, JournalSize: o.journalSize}
	if plan.Journals == 0 {
		plan.Journals = len(cluster.Nodes) + 1
	}
	if err := plan.Validate(len(cluster.Nodes)); err != nil {
		return err
	}
	// Exclusive first: that no other node has the volume is the lock manager's word.
	if err := to.activate(ctx, lvm.Exclusive); err != nil {
		return err
	}
	failpoint.Hit("gfs2.exclusive")
	defer func() {
		after := to.before
		if err == nil {
			after = lvm.Shared
		}
		err = errors.Join(err, to.activate(context.WithoutCancel(ctx), after))
		failpoint.Hit("gfs2.released")
	}()
	if err := gfs2.Unused(to.device); err != nil {
		return err
	}
	if err := consent(o.yes, io, destroyed(ctx, to, plan)); err != nil {
		return err
	}
	made, err := gfs2.Format(ctx, run.Exec{}, plan)
	if err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "GFS2 %s on %s: %d journals, blocks of %d bytes, UUID %s\n\n", made.Table, to.device, plan.Journals, made.BlockSize, made.UUID)
	fmt.Fprint(io.Out, "Now on every node, for the system datastore DATASTORE:\n")
	if to.volume != "" {
		fmt.Fprintf(io.Out, "  lvchange -asy %s/%s\n", to.group.Name(), to.volume)
	}
	_, err = fmt.Fprintf(io.Out, "  mount -t gfs2 -o noatime %s /var/lib/one/datastores/DATASTORE\nand once: chown oneadmin:oneadmin /var/lib/one/datastores/DATASTORE\n", to.device)
	return err
}

// findTarget: VG/VOLUME and /dev/VG/VOLUME are volumes if the agent may work in that group.
func findTarget(ctx context.Context, word string) (target, error) {
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		return target{}, err
	}
	group, name, _ := strings.Cut(strings.TrimPrefix(word, "/dev/"), "/")
	if !slices.Contains(cfg.List("ALLOWED_VGS"), group) {
		return target{device: word}, checkDevice(word)
	}
	g, err := openGroup(cfg, group)
	if err != nil {
		return target{}, err
	}
	info, err := g.Info(ctx)
	if err != nil {
		return target{}, err
	}
	if info.LockManager != "dlm" {
		return target{}, fmt.Errorf("volume group %s has lock manager %s: a GFS2 needs dlm, and so does its volume", group, info.LockManager)
	}
	v, err := g.Volume(ctx, name)
	if err != nil {
		return target{}, err
	}
	if v.Tags.Has(lvm.TagOurs) {
		return target{}, fmt.Errorf("%s/%s is a disk of a VM, or an image (%s): it is not formatted", group, name, strings.Join(v.Tags, ","))
	}
	return target{device: "/dev/" + group + "/" + name, volume: name, group: g, before: v.Mode}, nil
}

func checkDevice(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 || !filepath.IsAbs(path) {
		return fmt.Errorf("%s is no block device", path)
	}
	return nil
}

func (t target) activate(ctx context.Context, mode lvm.Mode) error {
	if t.volume == "" {
		return nil
	}
	_, err := t.group.Activate(ctx, t.volume, mode)
	return err
}

// destroyed says what a format destroys.
func destroyed(ctx context.Context, t target, plan gfs2.Plan) string {
	size := "unknown size"
	if file, err := os.Open(t.device); err == nil {
		if n, err := lvm.DeviceSize(file); err == nil {
			size = humanize.IBytes(uint64(n))
		}
		_ = file.Close() // only read
	}
	text := fmt.Sprintf("%s (%s) becomes a GFS2 %s with %d journals. All that it holds is destroyed:\n  %s\n", t.device, size, plan.Table, plan.Journals, contentOf(ctx, t.device))
	if t.volume == "" {
		text += "It is no volume, so no lock says whether another node uses it: make sure that none has it mounted.\n"
	}
	return text
}

// contentOf is what blkid finds; 2 is its status for nothing.
func contentOf(ctx context.Context, device string) string {
	result, err := run.Exec{}.Run(ctx, run.Cmd{Path: "blkid", Args: []string{"-p", "-o", "export", device}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status == 2 {
		return "nothing that blkid knows"
	}
	if err != nil {
		return "not known: " + err.Error()
	}
	return strings.Join(strings.Fields(string(result.Stdout)), " ")
}

// examine reads the state of the file system at a directory, and who shares it.
func examine(ctx context.Context, point string) (gfs2.State, gfs2.Peers, error) {
	table, err := gfs2.At(point)
	if err != nil {
		return gfs2.State{}, gfs2.Peers{}, err
	}
	cluster, err := membership.Read(ctx, run.Exec{})
	if err != nil {
		return gfs2.State{}, gfs2.Peers{}, err
	}
	dlm, err := membership.ReadDLM(ctx, run.Exec{})
	if err != nil {
		return gfs2.State{}, gfs2.Peers{}, err
	}
	s, err := gfs2.Examine(ctx, run.Exec{}, "/", table, &dlm)
	return s, gfs2.PeersOf(cluster), err
}

func checkGFS2(ctx context.Context, point string, _ gfs2Options, io command.Stdio) error {
	s, peers, err := examine(ctx, point)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	found := s.Check(peers)
	for _, p := range found {
		fmt.Fprintf(io.Out, "fail  %s: %s\n", p.Kind, p.Text)
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %d problems of %s; tm-clvm doctor names what mends them", command.ErrFindings, len(found), s.Table)
	}
	var space unix.Statfs_t // it answers: nothing of the above is wrong
	if err := unix.Statfs(point, &space); err != nil {
		return fmt.Errorf("%s: %w", point, err)
	}
	free := space.Bavail * uint64(space.Bsize)
	_, err = fmt.Fprintf(io.Out, "ok    GFS2 %s on %s: %d journals for %d nodes, mounted on all %d that are there, %s free\n",
		s.Table, s.Device, s.Journals, len(peers.Nodes), len(peers.Present), humanize.IBytes(free))
	return err
}

// defaultJournal is what gfs2_jadd takes by itself, MiB.
const defaultJournal = 128

func addJournals(ctx context.Context, point string, o gfs2Options, io command.Stdio) error {
	if o.journalSize == 0 {
		o.journalSize = defaultJournal
	}
	if o.add < 1 || o.journalSize < gfs2.MinJournal || o.journalSize > gfs2.MaxJournal {
		return fmt.Errorf("%w: %d journals of %d MiB: at least one, of %d to %d MiB", command.ErrUsage, o.add, o.journalSize, gfs2.MinJournal, gfs2.MaxJournal)
	}
	s, peers, err := examine(ctx, point)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("GFS2 %s has %d journals for %d nodes and gets %d more. They take %d MiB of it and cannot be removed again.\n", s.Table, s.Journals, len(peers.Nodes), o.add, o.add*o.journalSize)
	if err := consent(o.yes, io, what); err != nil {
		return err
	}
	n, err := gfs2.AddJournals(ctx, run.Exec{}, point, s.Device, o.add, o.journalSize)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Out, "GFS2 %s has %d journals\n", s.Table, n)
	return err
}

func growGFS2(ctx context.Context, point string, o gfs2Options, io command.Stdio) error {
	s, _, err := examine(ctx, point)
	if err != nil {
		return err
	}
	if err := consent(o.yes, io, fmt.Sprintf("GFS2 %s becomes as large as its device %s. It cannot be made smaller again.\n", s.Table, s.Device)); err != nil {
		return err
	}
	err = gfs2.Grow(ctx, run.Exec{}, point)
	if errors.Is(err, gfs2.ErrNotGrown) {
		err = fmt.Errorf("%w; make its volume larger first: lvextend --lockopt shupdate -L +SIZE VG/VOLUME, then lvchange --refresh VG/VOLUME on the other nodes", err)
	}
	if err != nil {
		return err
	}
	return checkGFS2(ctx, point, o, io)
}
