package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/agent"
	"one-clvm/agent/facts"
	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/version"
	"one-clvm/lvm"
	"one-clvm/lvm/filevg"
	"one-clvm/lvm/lvm2"
)

func setupAgent(*pflag.FlagSet) command.Action { return runAgent }

func runAgent(ctx context.Context, _ []string, io command.Stdio) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := &agent.Server{Runner: run.Exec{}, Version: version.String(), Self: self}
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		return server.Refuse(io.Out, err)
	}
	server.Config = settings(cfg)
	server.Config.SpoolDir = hookSpool()
	server.OpenGroup = func(name string) (lvm.Group, error) { return openGroup(cfg, name) }
	server.Disks = func(ctx context.Context) ([]lvm.PhysicalVolume, error) { return disks(ctx, cfg) }
	server.Facts = func(ctx context.Context, frontEnd string) *facts.Facts { return collector(cfg, frontEnd).Collect(ctx) }
	return server.Serve(ctx, io.In, io.Out)
}

func collector(cfg *cxmrc.Config, frontEnd string) facts.Collector {
	return facts.Collector{
		Runner: run.Exec{}, Root: "/", Installed: run.Installed, Version: version.String(), Now: time.Now,
		Groups: cfg.List("ALLOWED_VGS"), HomeBases: cfg.List("HOME_BASE"), Owner: cfg.String("OWNER"), FileVGDir: cfg.String("FILE_VG_DIR"), FrontEnd: frontEnd,
	}
}

func settings(cfg *cxmrc.Config) agent.Config {
	return agent.Config{
		Groups: cfg.List("ALLOWED_VGS"), Prefix: cfg.String("LV_PREFIX"), HomeBases: cfg.List("HOME_BASE"),
		FSTypes: cfg.List("FSTYPES"), ReadGuestFS: cfg.Bool("READ_GUEST_FS"), SharedDirs: cfg.List("SHARED_DIRS"), Wipe: agent.Wipe(cfg.String("WIPE")), Zeroing: zeroMode(cfg),
		WipeRate: cfg.Size("WIPE_RATE"), WipeJobs: cfg.Int("WIPE_JOBS"), RunDir: cfg.String("TMP_ROOT"), LockDir: cfg.String("LOCK_DIR"),
		SingleWriter: cfg.Bool("SINGLE_WRITER"), Owner: cfg.String("OWNER"), StallTimeout: agent.StallTimeout,
	}
}

// hookSpool is the spool of one-migrate-hook; "" where that is not configured, or by somebody
// who may not: its own programs say so.
func hookSpool() string {
	cfg, err := cxmrc.LoadHook(cxmrc.HookPath)
	if err != nil {
		return ""
	}
	return cfg.String("SPOOL_DIR")
}

func zeroMode(cfg *cxmrc.Config) lvm.ZeroMode {
	if cfg.String("WIPE_METHOD") == "write" {
		return lvm.ZeroWrite
	}
	return lvm.ZeroAuto
}

// disks lists the physical volumes that this node sees: none where LVM is not installed.
func disks(ctx context.Context, cfg *cxmrc.Config) ([]lvm.PhysicalVolume, error) {
	if !run.Installed("lvm") {
		return nil, nil
	}
	return lvm2.PhysicalVolumes(ctx, run.Exec{}, cfg.List("ALLOWED_VGS"))
}

// openGroup opens a file-backed volume group if there is one of that name, else LVM's.
func openGroup(cfg *cxmrc.Config, name string) (lvm.Group, error) {
	dir := filepath.Join(cfg.String("FILE_VG_DIR"), name)
	if _, err := os.Stat(filepath.Join(dir, "metadata.json")); err == nil {
		g, err := filevg.Open(dir)
		return lvm.Traced(g), err
	}
	return lvm2.New(name, run.Exec{}, lvm2.Options{Others: cfg.List("ALLOWED_VGS")}), nil
}
