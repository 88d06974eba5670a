package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	programs "one-clvm/internal/run"
	"one-clvm/test/build"
	"one-clvm/vmm"
)

// pollVMs are on the node whose VMs are polled.
const pollVMs = 200

// asTool plays libvirt's and Pacemaker's programs, with all their VMs. It says whether this
// process was started as one of them.
func asTool(argv []string) bool {
	words := strings.Join(argv[1:], " ")
	var out strings.Builder
	switch filepath.Base(argv[0]) {
	case "virsh":
		for i := range pollVMs {
			name := fmt.Sprintf("one-%d", i)
			if !strings.Contains(words, "domstats") && !strings.HasSuffix(words, " "+name) {
				continue
			}
			toolOfVM(&out, words, name)
		}
	case "crm_mon":
		out.WriteString(`<pacemaker-result api-version="2.30"><summary><current_dc with_quorum="true"/><cluster_options stonith-enabled="true"/></summary><nodes><node name="node1" online="true"/></nodes><resources>`)
		for i := range pollVMs {
			fmt.Fprintf(&out, `<resource id="one-%d" role="Started" target_role="Started" managed="true"><node name="node1"/></resource>`, i)
		}
		out.WriteString(`</resources><status code="0" message="OK"/></pacemaker-result>`)
	case "cibadmin":
		out.WriteString("<resources>")
		for i := range pollVMs {
			fmt.Fprintf(&out, `<primitive id="one-%d" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes><nvpair name="definition" value="/var/lib/one/datastores/101/%d/domain.xml"/></instance_attributes></primitive>`, i, i)
		}
		out.WriteString("</resources>")
	case "crm_node":
		out.WriteString("node1\n")
	default:
		return false
	}
	fmt.Print(out.String())
	return true
}

// toolOfVM answers a question about one VM: two disks, one interface.
func toolOfVM(out *strings.Builder, words, name string) {
	switch {
	case strings.Contains(words, "domstats"):
		fmt.Fprintf(out, "Domain: '%s'\n  state.state=1\n  state.reason=1\n  cpu.time=27610303490\n  balloon.current=1048576\n  balloon.maximum=1048576\n  balloon.rss=612344\n"+
			"  net.count=1\n  net.0.name=%s-0\n  net.0.rx.bytes=1000\n  net.0.tx.bytes=2000\n  block.count=2\n  block.0.name=vda\n  block.0.rd.reqs=7\n  block.0.rd.bytes=4096\n"+
			"  block.0.wr.reqs=8\n  block.0.wr.bytes=8192\n  block.1.name=vdb\n  block.1.rd.reqs=7\n  block.1.rd.bytes=4096\n  block.1.wr.reqs=8\n  block.1.wr.bytes=8192\n\n", name, name)
	case strings.Contains(words, "dumpxml"):
		fmt.Fprintf(out, "<domain><name>%s</name><devices><disk><target dev='vda'/></disk><disk><target dev='vdb'/></disk><interface><target dev='%s-0'/></interface></devices></domain>\n", name, name)
	default:
		fmt.Fprintf(out, "%s rx_bytes 1000\n%s tx_bytes 2000\n", name, name)
	}
}

// poll: the figures of all VMs of a node, and the same by the questions that the stock
// driver asks for each (dominfo, domstate, dumpxml, domifstat and domblkstat for each
// device). Both are counted in time of processors, programs included.
func (b *bench) poll(ctx context.Context) (err error) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	const place = "/usr/local/bin"
	if err := unix.Mount("tmpfs", place, "tmpfs", 0, ""); err != nil { // in this namespace
		return fmt.Errorf("mount %s: %w", place, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(place, 0)) }()
	for _, name := range []string{"virsh", "crm_mon", "cibadmin", "crm_node"} {
		if err := os.WriteFile(filepath.Join(place, name), self, 0o755); err != nil {
			return err
		}
	}
	if err := b.machine.Configure(map[string]string{"STACK": "pacemaker"}, nil); err != nil {
		return err
	}
	plain, ours, err := b.alternate(ctx, b.runs, processors(pollEach), processors(pollAll))
	if err != nil {
		return err
	}
	b.report.ratio("poll", plain, ours, 0, fmt.Sprintf("time of processors for %d VMs", pollVMs))
	b.report.line("poll-budget", time.Second.Seconds()/ours.Seconds(), 1, fmt.Sprintf("1 s against %.3f s", ours.Seconds()))
	return nil
}

// processors measures the time of processors that the programs of something take.
func processors(do func(context.Context) error) measured {
	return func(ctx context.Context) (time.Duration, error) {
		before, err := usedByChildren()
		if err == nil {
			err = do(ctx)
		}
		if err != nil {
			return 0, err
		}
		after, err := usedByChildren()
		return after - before, err
	}
}

func usedByChildren() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

func pollEach(ctx context.Context) error {
	for i := range pollVMs {
		name := fmt.Sprintf("one-%d", i)
		for _, question := range []string{"dominfo", "domstate", "dumpxml", "domifstat", "domblkstat", "domblkstat"} {
			if _, err := (programs.Exec{}).Run(ctx, programs.Cmd{Path: "virsh", Args: []string{"-c", "qemu:///system", "--readonly", question, name}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func pollAll(ctx context.Context) error {
	root, err := build.Repository()
	if err != nil {
		return err
	}
	request, err := json.Marshal(vmm.Request{Verb: vmm.VerbPoll, Node: "node1", Start: 60, Shutdown: 60, Migrate: 60, Settle: 60})
	if err != nil {
		return err
	}
	res, err := (programs.Exec{}).Run(ctx, programs.Cmd{Path: filepath.Join(root, "bin/vmm-rhcs"), Args: []string{"agent"}, Stdin: strings.NewReader(string(request))})
	if err != nil {
		return fmt.Errorf("%w: %s", err, res.Stdout)
	}
	var line vmm.Line
	if err := json.Unmarshal(res.Stdout, &line); err != nil {
		return err
	}
	if line.Survey == nil || len(line.Survey.VMs) != pollVMs || slices.ContainsFunc(line.Survey.VMs, func(s vmm.Sight) bool { return !s.Here || s.Figures == nil }) {
		return errors.New("the answer has not all VMs")
	}
	return nil
}
