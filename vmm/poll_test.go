package vmm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/pacemaker"
	"one-clvm/internal/run"
)

// crowded are the programs of a node with many VMs, each with two disks and an interface. A
// call starts a program that does nothing, since starting one is most of what it costs.
type crowded struct {
	vms   int
	calls map[string]int
}

func (c *crowded) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	c.calls[cmd.Path]++
	res, err := run.Exec{}.Run(ctx, run.Cmd{Path: "true", Reads: true})
	text := map[string]string{
		"virsh":    "Domain: 'one-%[1]d'\n  state.state=1\n  state.reason=1\n  cpu.time=27610303490\n  balloon.rss=612344\n  net.0.rx.bytes=1\n  block.0.rd.reqs=7\n  block.1.wr.bytes=8\n\n",
		"crm_mon":  `<resource id="one-%[1]d" role="Started" target_role="Started" managed="true"><node name="node1"/></resource>`,
		"cibadmin": `<primitive id="one-%[1]d" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes><nvpair name="definition" value="/var/lib/one/datastores/101/%[1]d/domain.xml"/></instance_attributes></primitive>`,
	}[cmd.Path]
	var out strings.Builder
	for i := range c.vms {
		if text != "" {
			fmt.Fprintf(&out, text, i)
		}
	}
	around := map[string][2]string{
		"crm_mon": {`<pacemaker-result api-version="2.30"><summary><current_dc with_quorum="true"/><cluster_options stonith-enabled="true"/></summary><nodes><node name="node1" online="true"/></nodes><resources>`,
			`</resources><status code="0" message="OK"/></pacemaker-result>`},
		"cibadmin": {"<resources>", "</resources>"},
		"crm_node": {"node1\n", ""},
	}[cmd.Path]
	res.Stdout = []byte(around[0] + out.String() + around[1])
	return res, err
}

// TestPollOf200VMs asks each source once, and prints what that costs against the six questions
// (dominfo, domstate, dumpxml, domifstat, domblkstat twice) that the stock driver has for each VM.
func TestPollOf200VMs(t *testing.T) {
	const vms, questions, tried = 200, 6, 10
	tools := &crowded{vms: vms, calls: map[string]int{}}
	n := newNode(t)
	a := n.agent()
	a.Runner = tools
	a.Stack = func(func() (string, error)) (cluster.Stack, error) {
		return &pacemaker.Stack{Runner: tools, Virsh: a.virsh()}, nil
	}
	text, err := json.Marshal(n.request(VerbPoll))
	require.NoError(t, err)
	var out bytes.Buffer
	once := processorTime(t, func() { err = a.Serve(t.Context(), bytes.NewReader(text), &out) })
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"virsh": 1, "crm_mon": 1, "cibadmin": 1, "crm_node": 1}, tools.calls)
	var l Line
	require.NoError(t, json.Unmarshal(out.Bytes(), &l))
	assert.Len(t, l.Survey.VMs, vms)
	each := processorTime(t, func() {
		for range tried * questions {
			_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "true", Reads: true})
			require.NoError(t, err)
		}
	}) * vms / tried
	fmt.Printf("ratio poll %.1f (%d VMs: %.3f s of processors against %.3f s)\n", each.Seconds()/once.Seconds(), vms, once.Seconds(), each.Seconds())
}

// processorTime is what this process and the programs that it starts take for something.
func processorTime(t *testing.T, do func()) time.Duration {
	used := func() (sum time.Duration) {
		for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
			var usage syscall.Rusage
			require.NoError(t, syscall.Getrusage(who, &usage))
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
		return sum
	}
	before := used()
	do()
	return used() - before
}
