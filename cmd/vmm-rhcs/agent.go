package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"one-clvm/agent"
	"one-clvm/cluster"
	"one-clvm/cluster/cxm"
	"one-clvm/cluster/pacemaker"
	"one-clvm/cluster/rgmanager"
	"one-clvm/cluster/standalone"
	"one-clvm/cluster/virsh"
	"one-clvm/cluster/xen"
	"one-clvm/cxmrc"
	"one-clvm/hook/entrance"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/vmm"
)

func runAgent(ctx context.Context, io stdio) int {
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		_ = json.NewEncoder(io.out).Encode(vmm.Line{Done: true, Error: err.Error()}) // a peer that is gone has no use for it
		return 1
	}
	runner := programs()
	config := settings(cfg)
	if _, config.Xen, err = chosen(cfg); err != nil {
		_ = json.NewEncoder(io.out).Encode(vmm.Line{Done: true, Error: err.Error()})
		return 1
	}
	a := &vmm.Agent{
		Config: config, Groups: cfg.List("ALLOWED_VGS"), Agents: volumeAgents(io), Runner: runner, Clock: cluster.RealClock{},
		Stack: func(document func() (string, error)) (cluster.Stack, error) { return stack(cfg, runner, document) },
	}
	if err := a.Serve(ctx, io.in, io.out); err != nil {
		return 1 // it has been told
	}
	return 0
}

// runResource is Pacemaker's resource agent. Not every action needs a configuration.
func runResource(ctx context.Context, config string, runner run.Runner, argv []string, io stdio) int {
	if len(argv) != 1 {
		fmt.Fprintln(io.err, "usage: vmm-rhcs resource start|stop|monitor|migrate_to|migrate_from|validate-all|meta-data")
		return 2
	}
	r := &vmm.Resource{Runner: runner, Clock: cluster.RealClock{}, Root: "/", Agents: volumeAgents(io), Env: os.Getenv, Stdout: io.out, Stderr: io.err, Peer: remoteArgv}
	cfg, err := cxmrc.LoadAgent(config)
	if err != nil {
		cfg, r.Unconfigured = cxmrc.Defaults(cxmrc.Agent), err
	}
	r.Config, r.Groups = settings(cfg), cfg.List("ALLOWED_VGS")
	return r.Do(ctx, argv[0])
}

// programs are started with what this one was given by a test.
func programs() run.Runner { return run.Exec{Env: failpoint.Environment()} }

func settings(cfg *cxmrc.Config) vmm.Config {
	return vmm.Config{
		HomeBases: cfg.List("HOME_BASE"), Hypervisor: cfg.String("LIBVIRT_URI"), MigrationURI: cfg.String("MIGRATION_URI"),
		MigrateOptions: cfg.List("MIGRATE_OPTIONS"), After: cfg.String("PACEMAKER_AFTER"), LockDir: cfg.String("LOCK_DIR"),
		XenFiles: cfg.String("CFG_DIR"), Remotes: cfg.String("REMOTES"), Owner: cfg.String("OWNER"),
	}
}

// chosen are the stack of this node, and the program that runs VMs under Xen.
func chosen(cfg *cxmrc.Config) (stack, xen string, err error) {
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	stack = vmm.ChooseStack(cfg.String("STACK"), exists, run.Installed)
	xen, err = vmm.ChooseHypervisor(cfg.String("HYPERVISOR"), stack, exists)
	return stack, xen, err
}

func stack(cfg *cxmrc.Config, runner run.Runner, document func() (string, error)) (cluster.Stack, error) {
	name, program, err := chosen(cfg)
	if err != nil {
		return nil, err
	}
	client := &virsh.Client{Runner: runner, MigrationURI: cfg.String("MIGRATION_URI"), MigrateOptions: cfg.List("MIGRATE_OPTIONS")}
	underXen := &xen.Client{Runner: runner, Program: program}
	switch {
	case name == pacemaker.Name:
		return &pacemaker.Stack{Runner: runner, Virsh: client, Document: document}, nil
	case name == rgmanager.Name:
		return rhcs(cfg, runner, client, document)
	case name == cxm.Name:
		self, err := os.Hostname()
		return &cxm.Stack{
			Runner: runner, Hypervisor: underXen, Self: self, AutoDir: cfg.String("AUTO_DIR"), Files: cfg.String("CFG_DIR"),
			Config: func() ([]byte, error) { return os.ReadFile("/etc/xen/cxm.conf") },
		}, err
	case program != "":
		return &standalone.Stack{Hypervisor: underXen, Manager: standalone.Xen(program)}, nil
	}
	return &standalone.Stack{Hypervisor: client, Document: document}, nil
}

// clusterLock is the file below HOME_BASE, which all nodes share, that keeps writers of
// cluster.conf apart.
const clusterLock = ".cluster.conf.lock"

// configLockWait is how long other nodes' changes of cluster.conf are waited for: ccs takes
// seconds for each.
const configLockWait = 15 * time.Minute

func rhcs(cfg *cxmrc.Config, runner run.Runner, client *virsh.Client, document func() (string, error)) (cluster.Stack, error) {
	scratch := cfg.String("TMP_ROOT")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	lock := filepath.Join(cfg.List("HOME_BASE")[0], clusterLock)
	return &rgmanager.Stack{
		Runner: runner, Virsh: client, Clock: cluster.RealClock{}, Document: document, Scratch: scratch, RHEL5: !run.Installed("ccs"),
		Config: func() ([]byte, error) { return os.ReadFile(rgmanager.ConfigFile) },
		Lock: func(ctx context.Context) (func(), error) {
			file, err := cluster.LockFile(ctx, lock, cluster.RealClock{}, configLockWait)
			if err != nil {
				return nil, err
			}
			return func() { _ = file.Close() }, nil // the lock ends with it
		},
	}, nil
}

// runLibvirtHook is the program as libvirt's hook. It fails only where libvirt then starts no
// domain: guests that run are killed when their hook fails, whatever is broken here and
// whosever they are.
func runLibvirtHook(ctx context.Context, config string, argv []string, io stdio) int {
	if len(argv) < 3 {
		fmt.Fprintln(io.err, "usage: vmm-rhcs libvirt-hook DOMAIN OPERATION PART [MORE]; libvirt calls it as /etc/libvirt/hooks/qemu")
		return 2
	}
	call := vmm.ParseHookCall(argv)
	switch err := doHook(ctx, config, call, io); {
	case err != nil && call.MayRefuse():
		fmt.Fprintln(io.err, opennebula.Sanitize(err.Error())) // libvirt logs it
		return 1
	case err != nil:
		journal := &entrance.Syslog{Program: "vmm-rhcs", Stderr: io.err, Socket: entrance.LogSocket}
		journal.Alarm("%s; its disks may be active here still, or its networks not be set up; tm-clvm audit on the front-end finds the former", opennebula.Sanitize(err.Error()))
	}
	tell(cxmrc.HookPath, argv, io)
	return 0
}

func doHook(ctx context.Context, config string, call vmm.HookCall, io stdio) (err error) {
	if call.Idle() {
		return nil // whether or not there is a configuration
	}
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("a defect of vmm-rhcs: %v; please report it", broken)
		}
	}()
	h, err := libvirtHook(config, io)
	if err != nil {
		return err
	}
	return h.Do(ctx, call, io.in)
}

// tell passes on to one-migrate-hook what libvirt says, where that is configured: libvirt
// calls one program alone before 6.5. It reads the document of other calls than LibvirtHook.
func tell(config string, argv []string, io stdio) {
	if _, err := os.Stat(config); err == nil {
		_ = entrance.Take(entrance.Libvirt, argv, entrance.Process{Stdin: io.in, Stderr: io.err, Config: config}) // the journal has its failures
	}
}

// nodes reach tm-clvm's agent, on this node and on others.
type nodes struct{ client *agent.Client }

// program is tm-clvm on every node.
const program = "/usr/libexec/one-clvm/tm-clvm"

func volumeAgents(io stdio) vmm.Agents {
	return nodes{&agent.Client{
		Runner: programs(), Version: version.String(), StallTimeout: agent.StallTimeout,
		OnLog: func(l agent.LogLine) {
			if l.Level == "warn" {
				fmt.Fprintln(io.err, l.Text)
			}
		},
	}}
}

// Do implements vmm.Agents.
func (n nodes) Do(ctx context.Context, host string, q agent.Request) (agent.Result, error) {
	to := agent.Local("this node", program)
	if host != vmm.Here {
		to = agent.Remote(host, "ssh", nil, 10*time.Second, program)
	}
	return n.client.Do(ctx, to, q, agent.Transfer{})
}
