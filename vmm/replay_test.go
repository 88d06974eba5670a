package vmm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

const recordings = "../opennebula/testdata/"

var (
	recordedCall = regexp.MustCompile(`^vmm/rhcs/(\S+) (.*?)   <stdin: as is (\S+)>$`)
	recordedFile = regexp.MustCompile(`<base64 of (\S+)>`)
)

// replay is two nodes with one libvirt each, and the front on both.
type replay struct {
	*testing.T
	base  string
	nodes map[string]*node
}

// recording is a file of the recorded run, as if the datastores were in the test's directory.
func (r *replay) recording(name string) string {
	text, err := os.ReadFile(recordings + name)
	require.NoError(r, err)
	return strings.ReplaceAll(string(text), "/var/lib/one//datastores", r.base)
}

// newReplay has the disks 0 to 3 of the two VMs on the SAN, and disk 5, which the first gets
// later; disk 4 is the context CD.
func newReplay(t *testing.T) *replay {
	r := &replay{T: t, nodes: map[string]*node{"node1": newNode(t), "node2": newNode(t)}}
	one, two := r.nodes["node1"], r.nodes["node2"]
	r.base, two.base = one.base, one.base
	one.peer, two.peer = two, one
	one.volumes = nil
	for vm := range 2 {
		home := filepath.Join(r.base, "101", fmt.Sprint(vm))
		require.NoError(t, os.MkdirAll(home, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(home, "disk.4"), nil, 0o600))
		for _, disk := range []int{0, 1, 2, 3, 5} {
			name := fmt.Sprintf("lv-one-%d-%d", vm, disk)
			one.volumes = append(one.volumes, lvm.Volume{Group: "vg-one", Name: name, Path: "/dev/vg-one/" + name, Tags: lvm.DiskTags(vm, disk, 101)})
		}
	}
	two.volumes = one.volumes
	return r
}

// link is the way from the end without privileges to the one with.
type link struct{ node *node }

func (l link) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	return run.Result{}, l.node.agent().Serve(ctx, c.Stdin, c.Stdout)
}

// play is one call of one_vmm_exec.
func (r *replay) play(verb string, argv []string, stdin string) (stdout string, err error) {
	var out, log bytes.Buffer
	release := opennebula.Version{Major: 7, Minor: 4}
	d := &Driver{
		Config: cxmrc.Defaults(cxmrc.Driver), Release: release, Agent: []string{"agent"}, Runner: link{r.nodes[argv[len(argv)-1]]},
		Report: opennebula.NewReporter(&log, release), Stdin: strings.NewReader(stdin), Stdout: &out,
	}
	err = d.Do(r.Context(), verb, argv)
	return out.String(), err
}

// TestEveryRecordedVMMCall: both runs, in order, on two nodes without a cluster. What has to
// fail says why, and leaves the VM running.
func TestEveryRecordedVMMCall(t *testing.T) {
	r := newReplay(t)
	lines := bufio.NewScanner(strings.NewReader(r.recording("trace.txt")))
	calls := 0
	for lines.Scan() {
		match := recordedCall.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		calls++
		verb, argv := match[1], strings.Fields(recordedFile.ReplaceAllStringFunc(match[2], func(text string) string {
			return base64.StdEncoding.EncodeToString([]byte(r.recording(recordedFile.FindStringSubmatch(text)[1])))
		}))
		host := r.nodes[argv[len(argv)-1]]
		second := argv[len(argv)-2] == "1"
		wanted := map[string]string{
			"resize":          "one-0 was started with at most 128 MiB, not 256", // without MEMORY_MAX libvirt has no room for more
			"snapshot_create": "onevm disk-snapshot-create",
		}[verb]
		if verb == "migrate" && second { // which failed in the recorded run, too
			wanted = "no route to node2"
			host.fail["virsh migrate"] = errors.New(wanted)
		}
		stdout, err := r.play(verb, argv, r.recording(match[3]))
		if wanted != "" {
			require.ErrorContains(t, err, wanted, match[0])
			assert.Equal(t, "running", host.state)
			continue
		}
		require.NoError(t, err, match[0])
		r.look(verb, argv, stdout)
	}
	assert.Equal(t, 26, calls)
}

// look is how it has to be after a call that succeeded.
func (r *replay) look(verb string, argv []string, stdout string) {
	host, id := r.nodes[argv[len(argv)-1]], argv[len(argv)-2]
	off := host.state == "" && host.peer.state == ""
	switch verb {
	case "deploy":
		assert.Equal(r, "one-"+id+"\n", stdout)
		assert.Equal(r, 4, strings.Count(host.created, `<disk type="block"`), "the context CD stays a file")
	case "shutdown", "cancel", "save":
		assert.True(r, off, verb)
	case "migrate":
		assert.Equal(r, []string{"", "running"}, []string{host.state, host.peer.state})
	case "attach_disk":
		assert.Equal(r, "/dev/vg-one/lv-one-0-5", host.disks["sde"])
	case "detach_disk":
		assert.NotContains(r, host.disks, argv[2])
	}
	if !off && verb != "migrate" {
		assert.Equal(r, "running", host.state, verb)
		assert.Empty(r, host.peer.state, "one node at a time")
	}
	if cluster.Verb(verb).ChangesHardware() {
		stored, err := os.ReadFile(filepath.Join(r.base, "101", id, "domain.xml"))
		require.NoError(r, err)
		for target := range host.disks {
			assert.Contains(r, string(stored), `dev="`+target+`"`, "the definition follows")
		}
	}
}
