//go:build lab

package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// step is one command of the recorded user, with the calls of drivers that it led to.
type step struct {
	run   int
	name  string
	calls []string
	vm    string // the document at its end
}

var (
	stepLine     = regexp.MustCompile(`^== ([a-z0-9-]+): `)
	documentLine = regexp.MustCompile(`^\s*\(VM document: (vm/\S+)\)$`)
)

// shrink is by how much all recorded sizes become smaller: emulated nodes read and write it.
const shrink = 8

// recordedMiB is the size of the file that the recorded user made images of.
const recordedMiB = 1024 / shrink

// recordedSize is one in a call or in a document, in MiB.
var recordedSize = regexp.MustCompile(`(<(?:ORIGINAL_)?SIZE(?:_PREV)?>(?:<!\[CDATA\[)?|^tm/clvm/(?:mkimage|mkswap) |^tm/clvm/resize \S+ |^vmm/rhcs/resize_disk \S+ \d+ )(\d+)`)

// smaller is a recorded call or document with smaller sizes.
func smaller(text string) string {
	return recordedSize.ReplaceAllStringFunc(text, func(found string) string {
		parts := recordedSize.FindStringSubmatch(found)
		mib, _ := strconv.Atoi(parts[2]) // digits
		return parts[1] + strconv.Itoa(mib/shrink)
	})
}

// readTrace reads what a real oned 7.4 called (opennebula/testdata/trace.txt).
func readTrace(t *testing.T) []step {
	t.Helper()
	var steps []step
	run := 0
	for line := range strings.Lines(readRecorded(t, "trace.txt")) {
		line = smaller(strings.TrimRight(line, "\n"))
		switch {
		case strings.HasPrefix(line, "#### run "):
			run++
			steps = append(steps, step{run: run, name: "before the first VM"})
		case stepLine.MatchString(line):
			steps = append(steps, step{run: run, name: stepLine.FindStringSubmatch(line)[1]})
		case documentLine.MatchString(line):
			steps[len(steps)-1].vm = documentLine.FindStringSubmatch(line)[1]
		case line != "":
			steps[len(steps)-1].calls = append(steps[len(steps)-1].calls, line)
		}
	}
	return steps
}

func readRecorded(t *testing.T, name string) string {
	t.Helper()
	root, err := build.Repository()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "opennebula/testdata", name))
	require.NoError(t, err)
	return string(text)
}

var stdinPart = regexp.MustCompile(`\s+<stdin: base64 of (\S+)>$`)

// split separates a recorded call from the document on its standard input.
func (s *site) split(call string) (argv, document string) {
	s.Helper()
	found := stdinPart.FindStringSubmatch(call)
	if found == nil {
		return call, ""
	}
	return strings.TrimSuffix(call, found[0]), smaller(readRecorded(s.T, found[1]))
}

// replay runs one recorded call of the transfer manager.
func (s *site) replay(call string) {
	s.Helper()
	var stdin io.Reader
	call, document := s.split(call)
	if document != "" {
		stdin = bytes.NewReader(opennebula.EncodeDocument([]byte(document)))
	}
	words := strings.Fields(strings.TrimPrefix(strings.ReplaceAll(call, "/var/lib/one/vms/", s.directory+"/vms/"), "tm/clvm/"))
	s.asRecorded(call, s.verb(stdin, words[0], words[1:]...))
}

// replayDatastore runs one recorded call of the datastore driver; path is the file that the
// recorded user made images of. oned knows the new image afterwards.
func (s *site) replayDatastore(call, path string) {
	s.Helper()
	call, document := s.split(call)
	document = strings.NewReplacer("/srv/images/test.raw", path, "<![CDATA[/var/tmp]]>", "<![CDATA["+filepath.Dir(path)+"]]>").Replace(document)
	action, err := opennebula.ParseDriverAction(strings.NewReader(document))
	require.NoError(s, err)
	words := strings.Fields(strings.Replace(call, "/clvm/", "/", 1))
	r := s.verb(bytes.NewReader(opennebula.EncodeDocument([]byte(document))), words[0], words[1:]...)
	require.Zero(s, r.status, "%s: %s", call, r.stderr)
	if words[0] == "datastore/monitor" {
		assert.Regexp(s, `^USED_MB=\d+\nTOTAL_MB=\d+\nFREE_MB=\d+\n$`, r.stdout)
		return
	}
	image := fakeoned.Image{ID: action.Image.ID, SizeMiB: action.Image.Size}
	image.Name = lvm.ImageName(lvm.DefaultPrefix, image.ID).String()
	image.Source = image.Name
	answers := map[string]string{"datastore/stat": fmt.Sprintln(recordedMiB), "datastore/cp": image.Source + " raw\n", "datastore/mkfs": image.Source + "\n"}
	assert.Equal(s, answers[words[0]], r.stdout, call)
	if words[0] != "datastore/stat" {
		s.oned.Put(fakeoned.Images, image.ID, image.Document())
	}
}

// where is what is to be true after a step.
type where struct {
	node  string // that has the VM's disks, linked; "": they are parked, or gone
	disks string // ids, as one text
	boots int    // how often the guest that runs there has booted; 0: no domain and no service is left
	more  func(*site, int)
}

// expected is where the VM is after the steps that change it; after the others, all is as before.
var expected = map[string]where{
	"1 deploy":       {"node1", "0123", 1, nil},
	"1 migrate-live": {"node2", "0123", 1, nil},
	"1 saveas-live": {"node2", "0123", 1, func(s *site, _ int) {
		s.sameAsDisk(1, 0, 4, 1<<20) // before that the guest counts
		s.imageBooted(1, 4, 1)
	}},
	"1 snap-create": {"node2", "0123", 1, func(s *site, vm int) {
		s.hasSnapshots(vm, 0)
		s.mark(1, vm, "second")
	}},
	"1 snap-create2": {"node2", "0123", 1, func(s *site, vm int) { s.hasSnapshots(vm, 0, 1); s.mark(1, vm, "third") }},
	"1 disk-resize": {"node2", "0123", 1, func(s *site, vm int) {
		s.hasSize(vm, 0, 2048/shrink)
		s.hasSnapshots(vm, 0, 1)
		s.holds(1, vm, "third")
	}},
	"1 attach": {"node2", "01235", 1, func(s *site, vm int) {
		assert.Equal(s, "/dev/"+cluster.Group+"/"+volume(vm, 5), s.plugged(s.Nodes[1], vm, "sde"))
	}},
	"1 detach":        {"node2", "0123", 1, func(s *site, vm int) { assert.Empty(s, s.plugged(s.Nodes[1], vm, "sde")) }},
	"1 suspend":       {"node2", "0123", 0, nil},
	"1 resume":        {"node2", "0123", 1, nil},
	"1 stop":          {"", "0123", 0, nil},
	"1 resume-deploy": {"node1", "0123", 1, nil},
	"1 poweroff":      {"node1", "0123", 0, nil},
	"1 saveas-off":    {"node1", "0123", 0, func(s *site, _ int) { s.sameAsDisk(0, 0, 5, 0) }},
	"1 snap-revert":   {"node1", "0123", 0, func(s *site, vm int) { s.hasSnapshots(vm, 0, 1); s.holds(0, vm, "first") }},
	"1 snap-delete":   {"node1", "0123", 0, func(s *site, vm int) { s.hasSnapshots(vm, 0) }},
	"1 migrate-off":   {"node2", "0123", 0, func(s *site, vm int) { s.hasSnapshots(vm, 0); s.holds(1, vm, "first") }},
	"1 resume-on":     {"node2", "0123", 2, nil}, // the snapshot is of its first life
	"1 reboot":        {"node2", "0123", 3, nil},
	"1 reboot-hard":   {"node2", "0123", 4, nil},
	"1 undeploy":      {"node1", "0123", 5, nil},
	"1 migrate-cold":  {"node2", "0123", 5, nil},
	"1 terminate-hard": {"", "", 0, func(s *site, _ int) {
		assert.Equal(s, []string{"lv-oneimg-0", "lv-oneimg-1", "lv-oneimg-2", "lv-oneimg-3", "lv-oneimg-4", "lv-oneimg-5"}, s.names())
		s.imageHolds(0, 1, "kept")
	}},

	"2 deploy":      {"node1", "0123", 1, nil},
	"2 snap-create": {"node1", "0123", 1, func(s *site, vm int) { s.hasSnapshots(vm, 0); s.mark(0, vm, "second") }},
	"2 snap-create2": {"node1", "0123", 1, func(s *site, vm int) {
		s.hasSnapshots(vm, 0, 1)
		s.mark(0, vm, "third")
	}},
	"2 snap-delete":     {"node1", "0123", 1, func(s *site, vm int) { s.hasSnapshots(vm, 1) }},
	"2 poweroff":        {"node1", "0123", 0, nil},
	"2 snap-create-off": {"node1", "0123", 0, func(s *site, vm int) { s.hasSnapshots(vm, 1, 2) }},
	"2 snap-revert":     {"node1", "0123", 0, func(s *site, vm int) { s.hasSnapshots(vm, 1, 2); s.holds(0, vm, "second") }},
	"2 snap-saveas":     {"node1", "0123", 0, func(s *site, _ int) { s.imageHolds(0, 6, "second"); s.imageBooted(0, 6, 1) }},
	"2 resize-off":      {"node1", "0123", 0, func(s *site, _ int) { s.imageHasSize(3, 3072/shrink) }},
	"2 resume":          {"node1", "0123", 2, func(s *site, vm int) { s.seesSize(0, vm, "sdb", 3072/shrink) }},
	"2 detach":          {"node1", "013", 2, func(s *site, vm int) { assert.Empty(s, s.plugged(s.Nodes[0], vm, "sdc")) }},
	"2 terminate": {"", "", 0, func(s *site, _ int) {
		assert.Equal(s, []string{"lv-oneimg-0", "lv-oneimg-1", "lv-oneimg-2", "lv-oneimg-3", "lv-oneimg-4", "lv-oneimg-5", "lv-oneimg-6"}, s.names())
		s.imageHolds(1, 3, "kept")
	}},
}

// What a real oned called of its datastore driver, transfer manager and VMM driver in the life
// of two VMs, in its order and with its documents, leaves the volumes, their activation, the
// links, the guest and what it has written right after each step, and the cluster's
// configuration as it was in the end.
func TestTraceOfOned(t *testing.T) {
	s := startHA(t, profile.HA)
	s.set("SNAPSHOT_SPACE", "10")
	before := s.configuration(s.Nodes[0])
	for _, file := range []string{"vms/0/context.sh", "vms/1/context.sh"} {
		s.write(file, "ONE=1\n")
	}
	path := s.guestDisk("test.raw", recordedMiB)
	var now where
	for _, st := range readTrace(t) {
		vm := st.run - 1
		if st.vm != "" {
			document := smaller(readRecorded(t, st.vm))
			// mkfs.xfs of Debian 12 refuses the 100 MiB that the recorded user attached as XFS.
			s.oned.Put(fakeoned.VMs, vm, strings.ReplaceAll(document, "<FS><![CDATA[xfs]]></FS>", "<FS><![CDATA[ext4]]></FS>"))
		}
		for _, call := range st.calls {
			began := time.Now()
			switch {
			case strings.HasPrefix(call, "tm/clvm/"):
				s.replay(call)
			case strings.HasPrefix(call, "datastore/clvm/"):
				s.replayDatastore(call, path)
			default:
				s.replayVMM(call)
			}
			t.Logf("%6.1fs %s", time.Since(began).Seconds(), call)
		}
		if next, ok := expected[fmt.Sprintf("%d %s", st.run, st.name)]; ok {
			now = next
		}
		s.holdsTrue(vm, now, st.name)
		if st.name == "deploy" {
			s.mark(0, vm, "first")
			s.fill(s.Nodes[0], home(vm)+"/disk.1", fmt.Sprintf("%-16s", "kept"), marks, 1<<20)
		}
	}
	assert.Equal(s, before, s.configuration(s.Nodes[0]), "of the cluster, before the first VM and after the last")
}

// imageVolume is an image that the test makes, with its name for content.
func (s *site) imageVolume(id int, mib int64) {
	s.Helper()
	name := lvm.ImageName(lvm.DefaultPrefix, id).String()
	v, err := s.group(s.Nodes[0]).Create(s.Context(), lvm.CreateRequest{Name: name, Size: mib << 20, Tags: lvm.NewTags("one", lvm.KeyTag("image", id))})
	require.NoError(s, err)
	s.fill(s.Nodes[0], v.Path, name+"\n", 0, 1<<20)
	_, err = s.group(s.Nodes[0]).Activate(s.Context(), name, lvm.Off)
	require.NoError(s, err)
	s.oned.Put(fakeoned.Images, id, fakeoned.Image{ID: id, Name: name, SizeMiB: mib, Source: name}.Document())
}

// names are all volumes of the group.
func (s *site) names() []string {
	s.Helper()
	list, err := s.group(s.Nodes[0]).Volumes(s.Context())
	require.NoError(s, err)
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

// diskOf is a VM's disk: its own volume, or the image that it uses in place.
func diskOf(volumes map[string]lvm.Volume, vm, disk int) (lvm.Volume, bool) {
	for _, v := range volumes {
		if v.Origin == "" && v.Tags.Has("one", lvm.KeyTag("vm", vm), lvm.KeyTag("disk", disk)) {
			return v, true
		}
	}
	return lvm.Volume{}, false
}

// holdsTrue compares every node with what is to be.
func (s *site) holdsTrue(vm int, want where, step string) {
	s.Helper()
	for _, n := range s.Nodes {
		volumes := s.volumes(n)
		for disk := range 10 {
			v, found := diskOf(volumes, vm, disk)
			assert.Equal(s, strings.Contains(want.disks, fmt.Sprint(disk)), found, "%s: disk %d of VM %d", step, disk, vm)
			if !found {
				continue
			}
			mode := lvm.Off
			if n.Name == want.node {
				if want.boots > 0 || v.Mode != lvm.Off { // at rest they may be either
					mode = lvm.Exclusive
				}
				target := s.Output(s.T, n, "readlink", fmt.Sprintf("%s/disk.%d", home(vm), disk))
				assert.Equal(s, v.Path+"\n", target, step)
			}
			assert.Equal(s, mode, v.Mode, "%s: disk %d of VM %d on %s", step, disk, vm, n.Name)
			assert.Equal(s, want.node == "", v.Tags.Has(lvm.TagParked), "%s: %v", step, v.Tags)
			assert.False(s, v.Tags.Has(lvm.TagBuilding), step)
		}
		for _, v := range volumes {
			if v.Tags.Get(lvm.TagVM) == "" {
				assert.Equal(s, lvm.Off, v.Mode, "%s: %s on %s", step, v.Name, n.Name)
			}
		}
	}
	s.guestHoldsTrue(vm, want, step)
	if want.more != nil {
		want.more(s, vm)
	}
}

// marks is where the test writes onto disks: behind what the guest needs.
const marks = 1 << 20

// mark writes onto disk 0, on the node with that index, as its user would.
func (s *site) mark(node, vm int, text string) {
	s.Helper()
	s.fill(s.Nodes[node], fmt.Sprintf("%s/disk.0", home(vm)), fmt.Sprintf("%-16s", text), marks, 1<<20)
}

// marked is what was written so.
func (s *site) marked(n *cluster.Node, path string) string {
	s.Helper()
	return strings.TrimSpace(s.peek(n, path, marks, 16))
}

// onDisk does something with disk 0 of a VM on a node, which need not be active there.
func (s *site) onDisk(node, vm int, do func(path string)) {
	s.Helper()
	n := s.Nodes[node]
	if v := s.volumes(n)[volume(vm, 0)]; v.Mode != lvm.Off {
		do(v.Path)
		return
	}
	s.whileActive(n, volume(vm, 0), do)
}

func (s *site) holds(node, vm int, text string) {
	s.Helper()
	s.onDisk(node, vm, func(path string) { assert.Equal(s, text, s.marked(s.Nodes[node], path)) })
}

func (s *site) onImage(node, id int, do func(path string)) {
	s.Helper()
	s.whileActive(s.Nodes[node], lvm.ImageName(lvm.DefaultPrefix, id).String(), do)
}

func (s *site) imageHolds(node, id int, text string) {
	s.Helper()
	s.onImage(node, id, func(path string) { assert.Equal(s, text, s.marked(s.Nodes[node], path)) })
}

// imageBooted: the image is a disk of a guest that had booted so often.
func (s *site) imageBooted(node, id, boots int) {
	s.Helper()
	s.onImage(node, id, func(string) {
		assert.Equal(s, boots, s.guestOn(s.Nodes[node], lvm.ImageName(lvm.DefaultPrefix, id).String()).boots)
	})
}

// sameAsDisk compares an image with disk 0 of the VM, from an offset.
func (s *site) sameAsDisk(node, vm, id, from int) {
	s.Helper()
	s.onImage(node, id, func(image string) {
		s.onDisk(node, vm, func(disk string) {
			s.Output(s.T, s.Nodes[node], "cmp", "-i", fmt.Sprint(from), image, disk)
		})
	})
}

func (s *site) hasSnapshots(vm int, ids ...int) {
	s.Helper()
	var want, found []string
	for _, id := range ids {
		want = append(want, fmt.Sprintf("%s_s%d", volume(vm, 0), id))
	}
	for _, name := range s.names() {
		if strings.HasPrefix(name, volume(vm, 0)+"_s") {
			found = append(found, name)
		}
	}
	assert.Equal(s, want, found)
}

func (s *site) hasSize(vm, disk int, mib int64) {
	s.Helper()
	v, found := diskOf(s.volumes(s.Nodes[0]), vm, disk)
	require.True(s, found)
	assert.Equal(s, mib<<20, v.Size)
}

func (s *site) imageHasSize(id int, mib int64) {
	s.Helper()
	assert.Equal(s, mib<<20, s.volumes(s.Nodes[0])[lvm.ImageName(lvm.DefaultPrefix, id).String()].Size)
}
