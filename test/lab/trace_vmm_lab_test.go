//go:build lab

package lab

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
)

var longArgument = regexp.MustCompile(`<base64 of (\S+)>`)

// emulated is a recorded domain for nodes without KVM, and without its emulator.
var emulated = strings.NewReplacer("<domain type='kvm'", "<domain type='qemu'", "/usr/bin/qemu-kvm-one", "/usr/bin/qemu-system-x86_64")

// refusals are the beginnings of the recorded calls that these drivers do not do, with what they
// say. The recorded drivers did nothing, and succeeded but for the last migration. What follows
// such a call oned would not have called; it is refused, too.
var refusals = map[string]string{
	"tm/clvm/resize node2:":       "LVM cannot extend it while VM 0 runs", // with its snapshots
	"vmm/rhcs/resize_disk one-0 ": "Cannot grow device files",
	"vmm/rhcs/resize one-0 ":      "one-0 was started with at most 128 MiB, not 256", // without MEMORY_MAX libvirt has no room for more
	"tm/clvm/premigrate node1 node2 /var/lib/one//datastores/101/1 ": "no live migration", // LVM cannot share a volume with snapshots
	"vmm/rhcs/migrate one-1 ":         "Cannot access storage file",
	"vmm/rhcs/snapshot_create one-1 ": "onevm disk-snapshot-create",
}

// asRecorded: the call has ended as it is to.
func (s *site) asRecorded(call string, r result) {
	s.Helper()
	for beginning, words := range refusals {
		if strings.HasPrefix(call, beginning) {
			require.NotZero(s, r.status, call)
			require.Contains(s, r.stderr, words, call)
			return
		}
	}
	require.Zero(s, r.status, "%s: %s", call, r.stderr)
}

// replayVMM runs one recorded call of the VMM driver on its host, which is its last argument;
// the one before is the VM.
func (s *site) replayVMM(call string) {
	s.Helper()
	call, document, _ := strings.Cut(call, "   <stdin: as is ")
	stdin := emulated.Replace(smaller(readRecorded(s.T, strings.TrimSuffix(document, ">"))))
	words := strings.Fields(longArgument.ReplaceAllStringFunc(call, func(text string) string {
		return base64.StdEncoding.EncodeToString([]byte(smaller(readRecorded(s.T, longArgument.FindStringSubmatch(text)[1]))))
	}))
	verb, host := strings.TrimPrefix(words[0], "vmm/rhcs/"), words[len(words)-1]
	vm, err := strconv.Atoi(words[len(words)-2])
	require.NoError(s, err)
	r := s.driver(host, stdin, verb, vm, words[1:len(words)-2]...)
	s.asRecorded(call, r)
	if verb == "deploy" {
		assert.Equal(s, name(vm)+"\n", r.stdout)
	}
}

// guestHoldsTrue: the guest runs where it is to run, has booted as often as it is to have, and
// writes; or there is nothing left of it.
func (s *site) guestHoldsTrue(vm int, want where, step string) {
	s.Helper()
	if want.boots == 0 {
		s.isOffEverywhere(vm)
		return
	}
	for _, n := range s.Nodes {
		state := map[bool]string{true: "running"}[n.Name == want.node]
		assert.Equal(s, state, s.domstate(n, vm), "%s: %s", step, n.Name)
	}
	n := s.Nodes[slices.IndexFunc(s.Nodes, func(n *cluster.Node) bool { return n.Name == want.node })]
	first := s.guest(n, vm)
	g := s.awaitGuest(n, vm, step+": the guest writes", func(g guest) bool { return g.boots >= want.boots && g.writes > first.writes+1 })
	assert.Equal(s, want.boots, g.boots, step)
}

// seesSize is what the hypervisor makes of a disk that has grown.
func (s *site) seesSize(node, vm int, target string, mib int) {
	s.Helper()
	assert.Regexp(s, fmt.Sprintf(`Capacity:\s+%d\n`, mib<<20), s.Output(s.T, s.Nodes[node], "virsh", "-c", "qemu:///system", "domblkinfo", name(vm), target))
}
