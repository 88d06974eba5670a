package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/vmm"
)

// stdio is what a call reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// vmmrhcs is the whole program but for the process around it. As the interpreter of a
// driver's script, or of the resource agent, it gets the script's path first.
func vmmrhcs(argv []string, io stdio) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // writing to a peer that is gone is an error like any other
	if len(argv) == 0 {
		usage(io.err)
		return 2
	}
	argv = command.HelpOf(argv)
	first, rest := argv[0], argv[1:]
	probe, remotes := vmm.ProbeOf(first)
	switch {
	case first == "--help" || first == "-h" || first == "help":
		usage(io.out)
		return 0
	case first == "--version" || first == "version":
		fmt.Fprintln(io.out, "vmm-rhcs", version.String())
		return 0
	case strings.Contains(first, "/resource.d/"), first == "resource":
		return runResource(ctx, cxmrc.AgentPath, programs(), rest, io)
	case isLibvirtHook(first), first == "libvirt-hook":
		return runLibvirtHook(ctx, cxmrc.AgentPath, rest, io)
	case first == "networks":
		return runNetworks(ctx, rest, io)
	case first == "agent" && len(rest) == 0:
		return runAgent(ctx, io)
	case isCommand(first):
		return people().Run(argv, command.Stdio{In: io.in, Out: io.out, Err: io.err})
	case probe != "":
		return runDriver(remotes, io, func(d *vmm.Driver) error { return d.Monitor(ctx, probe) })
	case vmm.IsPollAll(first, rest):
		return runDriver(remotesOf(first), io, func(d *vmm.Driver) error { return d.PollAll(ctx) })
	case slices.Contains(opennebula.VMMVerbs, filepath.Base(first)):
		return runVerb(ctx, first, rest, io)
	}
	fmt.Fprintf(io.err, "vmm-rhcs: no verb or command %q; vmm-rhcs --help lists them\n", first)
	return 2
}

// isLibvirtHook: the script's path, as /etc/libvirt/hooks/qemu or below qemu.d.
func isLibvirtHook(script string) bool { return strings.Contains(script, "/libvirt/hooks/") }

// people is what people call on a front-end.
func people() *command.Program {
	return &command.Program{
		Name: "vmm-rhcs", Title: "OpenNebula's VMs as services of a cluster",
		About:    "What people call on a front-end. The driver's verbs, the agent and the resource agent are called by OpenNebula and Pacemaker.",
		Commands: commands(),
		Files:    []command.File{{Path: cxmrc.HookPath, What: "NODES, the nodes that are asked where VMs are"}},
	}
}

func commands() []command.Command {
	return []command.Command{{
		Name: "recover", Setup: setupRecover,
		Sentence: "Ends states in which oned waits in vain, after a failover of a front-end or a node.",
		More:     []string{"What is not clear is left to a person, with what to type.", command.StatusOfLooking},
	}, {
		Name: "frontend-ha", Args: "show [DESCRIPTION] | check CLUSTER.CONF...", Least: 1, Most: 64, Setup: setupFrontend,
		Sentence: "Renders the front-end as a service of a cluster, and checks a cluster.conf.",
		More: []string{
			"show without a description prints an example of one. check judges the first file; the others are the other nodes' copies.",
			command.StatusOfLooking,
		},
	}}
}

func isCommand(word string) bool {
	return slices.ContainsFunc(people().All(), func(c command.Command) bool { return c.Name == word })
}

// remotesOf is the directory of the drivers' scripts that a script is in:
// REMOTES/vmm/rhcs/deploy; by hand, that of a host.
func remotesOf(script string) string {
	if !filepath.IsAbs(script) {
		return "/var/tmp/one"
	}
	return filepath.Join(filepath.Dir(script), "../..")
}

func runVerb(ctx context.Context, script string, argv []string, io stdio) int {
	verb := filepath.Base(script)
	if len(argv) > 0 && (argv[0] == "--help" || argv[0] == "-h") {
		fmt.Fprint(io.out, "vmm-rhcs ", opennebula.VMMUsage(verb), "--dry-run before the arguments prints the plan of the call and changes nothing.\n")
		return 0
	}
	dryRun := len(argv) > 0 && argv[0] == "--dry-run" // ours alone, oned gives none
	if dryRun {
		argv = argv[1:]
	}
	return runDriver(remotesOf(script), io, func(d *vmm.Driver) error {
		d.DryRun = dryRun
		return d.Do(ctx, verb, argv)
	})
}

// runDriver does what a script of the drivers is for.
func runDriver(remotes string, io stdio, do func(*vmm.Driver) error) int {
	release, versionErr := opennebula.DetectVersion(remotes)
	report := opennebula.NewReporter(io.err, release)
	if versionErr != nil {
		report.Warn("%v", versionErr)
	}
	cfg, err := cxmrc.LoadBelow(remotes)
	if err == nil {
		err = do(&vmm.Driver{
			Config: cfg, Release: release, Agent: agentArgv(), Remote: remoteArgv, FrontEnd: caller(os.Getenv), Runner: programs(), Report: report, Stdin: io.in, Stdout: io.out,
		})
	}
	report.Error(err)
	report.Close()
	return opennebula.ExitStatus(err)
}

// caller is the address of the machine that called this one by ssh.
func caller(env func(string) string) string {
	address, _, _ := strings.Cut(env("SSH_CLIENT"), " ")
	return address
}

// installed is the program as the nodes' sudo rule names it.
const installed = "/usr/libexec/one-clvm/vmm-rhcs"

func agentArgv() []string {
	if os.Geteuid() == 0 {
		return []string{installed, "agent"}
	}
	return []string{"sudo", "-n", installed, "agent"}
}

// remoteArgv is the privileged end of another node; the remote shell sees fixed words only.
func remoteArgv(host string) []string {
	return agent.Remote(host, "ssh", nil, 10*time.Second, installed).Argv
}

func usage(w io.Writer) {
	fmt.Fprint(w, `vmm-rhcs: OpenNebula's VMs as services of a cluster.

  vmm-rhcs VERB ARGUMENTS      as one_vmm_exec calls it on a node
  vmm-rhcs VERB --dry-run …    prints the plan of a call, and changes nothing
  vmm-rhcs VERB --help
  vmm-rhcs agent               serves one request on standard input; the verbs start it by sudo
  vmm-rhcs resource ACTION     Pacemaker's resource agent (ocf:one-clvm:VirtualDomain)
  vmm-rhcs libvirt-hook …      libvirt's hook, where the cluster manager activates no volumes
  vmm-rhcs networks PHASE VM   what that hook leaves behind: post and clean of network drivers

For people, on a front-end:
`)
	for _, c := range people().All() {
		fmt.Fprintf(w, "  %-16s %s\n", c.Name, c.Sentence)
	}
	fmt.Fprint(w, "\nVerbs:\n")
	for _, verb := range opennebula.VMMVerbs {
		_, sentence, _ := strings.Cut(strings.TrimSpace(opennebula.VMMUsage(verb)), "\n")
		fmt.Fprintf(w, "  %-16s %s\n", verb, sentence)
	}
}
