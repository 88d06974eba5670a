//go:build embedded

package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// fullMatrix asks for all cases of the kill matrix, or for a part of them, "1/2" and "2/2",
// that run side by side. Without it some are drawn, always the same.
const fullMatrix = "ONE_CLVM_KILL_MATRIX"

const (
	matrixSeed  = 20130115
	matrixDrawn = 120
)

// failpointDirectory is where tests and processes talk, see internal/failpoint.
const failpointDirectory = testbed.Scratch + "/failpoints"

// elsewhere are failpoints that no scene reaches every time, and what kills there instead.
var elsewhere = map[string]string{
	"livebackup.snapshot":    "needs a snapshot of a disk in use, which a group in files cannot take: test/lab",
	"livesave.snapshot":      "the same",
	"local.proven":           "needs a volume group of LVM, whose disks may be shared: test/lab",
	"local.written":          "the same",
	"local.kept":             "the same",
	"lvm.written":            "the same",
	"spool.written":          "of one-migrate-hook, which no verb starts: cmd/one-migrate-hook",
	"spool.flushed":          "the same",
	"spool.published":        "the same",
	"receive.asked":          "the same",
	"reconcile.told":         "of one-migrate-hook reconcile: what status shows is the older, and the next one writes it",
	"recover.decided":        "of vmm-rhcs recover, which looks again: recovery",
	"deliver.answered":       "of one-migrate-hook; reports that are delivered twice: hook",
	"deliver.watched":        "likewise: events that are taken twice",
	"resource.shared":        "of the resource agent, which no verb starts: vmm",
	"resource.moved":         "the same",
	"resource.networks":      "the same",
	"libvirthook.announcing": "of libvirt's hook, which no verb starts: what is left is over by itself, vmm",
	"libvirthook.announced":  "the same",
	"libvirthook.arriving":   "the same",
	"libvirthook.networks":   "the same: what is due stays due",
	"libvirthook.due":        "the same",
	"libvirthook.posted":     "the same",
	"mkimage.filled":         "a person's command, no verb: TestMkimageIsKilled",
	"mkimage.published":      "the same",
	"mkimage.allocated":      "the same",
	"mkimage.unstaged":       "likewise: TestMkimageOnTheSANIsKilled",
	"setup.kept":             "a person's command, no verb: TestSetupIsKilled",
	"setup.written":          "the same",
	"datastore.merged":       "likewise: TestSetupOfDatastoresIsKilled",
	"adopt.named":            "likewise: TestAdoption",
	"adopt.tagged":           "the same",
	"release.untagged":       "the same",
	"gfs2.exclusive":         "a person's command, which needs a cluster with dlm: killed nowhere yet",
	"gfs2.made":              "the same",
	"gfs2.released":          "the same",
	"gfs2.journals":          "the same",
	"gfs2.grown":             "the same",
	"rgmanager.given":        "needs rgmanager, whose double is in the test's process: cluster/rgmanager",
	"rgmanager.loaded":       "the same",
	"rgmanager.updated":      "the same",
	"cxm.linked":             "needs Xen, whose double is in the test's process: vmm.TestXenDeathAtAnyInstant, vmm.TestXenRestsOfACancel",
	"cxm.unlinked":           "the same",
	"vmm.kept":               "the same",
}

var matrixAgent = map[string]string{"SHARED_DIRS": isos, "STACK": "standalone", "ALLOWED_VGS": strings.Join([]string{testbed.Group, otherGroup, smallGroup}, " ")}

// startMatrix makes a machine whose programs can be stopped and traced, the images that
// the scenes deploy, and a volume that is none of their business.
func startMatrix(t *testing.T) (*site, []scene) {
	s := start(t, testbed.Options{
		Build: testbed.Failpoints, VMM: true, AgentEnv: map[string]string{"ONE_CLVM_FAILPOINTS": failpointDirectory}, Agent: matrixAgent,
	})
	require.NoError(t, os.RemoveAll(failpointDirectory))
	require.NoError(t, os.Mkdir(failpointDirectory, 0o777))
	require.NoError(t, os.Chmod(failpointDirectory, 0o777))
	s.moreDatastores()
	images := sceneImages{
		tar:  s.tarImage(7, sceneDisk, nil),
		raw:  s.image(18, map[string]string{"MODE": "RAW", "SIZE": "16M"}),
		disk: s.image(19, map[string]string{"MODE": "GZIP", "SIZE": "16M"}),
	}
	s.pack(smallTree(t), images.tar)
	s.sparseDisk(images.raw.Source, 16<<20)
	s.root("cp", images.raw.Source, original(images.raw))
	require.NoError(t, os.WriteFile(images.disk.Source, []byte(s.root("gzip", "-c", images.raw.Source)), 0o644))
	images.newImage = fakeoned.Image{ID: 20, Name: "saved", SizeMiB: sceneMiB, Template: map[string]string{"MODE": "GZIP"}, Source: images.raw.Source + ".new"}
	s.oned.Put(fakeoned.Images, images.newImage.ID, images.newImage.Document())
	require.NoError(t, os.WriteFile(backedUp, randomBytes(t, sceneMiB<<20), 0o644))
	s.renewSmallGroup()
	s.addBystander()
	s.processes = processes(anybody)
	t.Cleanup(func() {
		s.removeBystander(t)
		s.root(program, "vg", "destroy", smallGroup)
	})
	return s, allScenes(images)
}

func anybody(process) bool { return true }

// run starts a scene's verb, or command, as oneadmin.
func (s *site) run(c scene) *testbed.Process {
	s.Helper()
	command := testbed.Command{Env: []string{"ONE_CLVM_FAILPOINTS=" + failpointDirectory}}
	ofDatastore, isDatastore := strings.CutPrefix(c.argv[0], "datastore/")
	ofVMM, isVMM := strings.CutPrefix(c.argv[0], "vmm/")
	switch {
	case isVMM:
		command.Argv = slices.Concat([]string{testbed.VMMVerb(ofVMM)}, c.argv[1:])
	case isDatastore:
		command.Argv = slices.Concat([]string{testbed.DatastoreVerb(ofDatastore)}, c.argv[1:])
	case slices.Contains([]string{"wipe-free", "reap"}, c.argv[0]):
		command.Argv = slices.Concat([]string{program}, c.argv)
	default:
		command.Argv = slices.Concat([]string{testbed.Verb(c.argv[0])}, c.argv[1:])
	}
	if c.stdin != nil {
		command.Stdin = c.stdin(s)
	}
	return must(s.T, s.machine.Start, command)
}

// succeeds runs a scene to its end; seen is told when that is reached.
func (s *site) succeeds(c scene, seen func()) {
	s.Helper()
	result := s.run(c).Wait()
	require.Zero(s, result.Status, "%v: %s", c.argv, result.Stderr)
	s.settled()
	seen()
	c.after(s)
	temporary, err := filepath.Glob(home + "/.one-clvm-*")
	require.NoError(s, err)
	assert.Empty(s, temporary, "half entries of the home")
}

// cleared leaves nothing behind, as oned would.
func (s *site) cleared(c scene) {
	s.Helper()
	if c.ds != 0 {
		s.deleteHomeIn(c.ds)
	}
	s.deleteHome()
	require.NoError(s, os.RemoveAll(domains))
	require.NoError(s, os.RemoveAll(domains+"-node2"))
	saved, err := filepath.Glob(filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), "*.new"))
	require.NoError(s, err)
	for _, path := range saved {
		require.NoError(s, os.Remove(path))
	}
	for _, group := range []string{otherGroup, smallGroup} {
		assert.Empty(s, s.volumesOf(group))
	}
	require.NoError(s, os.RemoveAll(filepath.Join(testbed.Home, "remotes/datastore/downloader.sh")))
}

// faults happen to the processes of a verb that is stopped at an instant. They say whether
// there was a process that they could happen to.
var faults = map[string]func(s *site, verb *testbed.Process) bool{
	"SIGKILL of the agent": killAgents,
	"SIGKILL of the front-end": func(s *site, verb *testbed.Process) bool {
		s.signal("-KILL", verb.PID())
		return true
	},
	"lost connection": func(s *site, verb *testbed.Process) bool {
		return s.killAll(processes(func(p process) bool { return p.parent == verb.PID() && filepath.Base(p.argv[0]) == "ssh" }))
	},
}

func killAgents(s *site, _ *testbed.Process) bool {
	s.Helper()
	return s.killAll(processes(func(p process) bool { return isAgent(p) && p.argv[1] == "agent" }))
}

func (s *site) killAll(victims []process) bool {
	s.Helper()
	for _, p := range victims {
		require.NoError(s, unix.Kill(p.pid, unix.SIGKILL))
	}
	return len(victims) > 0
}

// writable makes a file that every process may write.
func writable(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o666))
	require.NoError(t, os.Chmod(path+".new", 0o666))
	require.NoError(t, os.Rename(path+".new", path))
}

// stopAt runs a scene to an instant, at which the process that reaches it stops.
func (s *site) stopAt(c scene, at instant) *testbed.Process {
	s.Helper()
	writable(s.T, filepath.Join(failpointDirectory, "stop"), fmt.Sprintf("%s %d", at.name, at.after))
	verb := s.run(c)
	reached := filepath.Join(failpointDirectory, "reached")
	require.Eventually(s, func() bool { return exists(reached) || ended(verb) }, patience, time.Millisecond)
	require.True(s, exists(reached), "%s was not reached: %s", at, stderrOf(verb))
	return verb
}

func stderrOf(verb *testbed.Process) string {
	if !ended(verb) {
		return ""
	}
	return verb.Wait().Stderr
}

// goOn lets the process that was stopped go on, if it still lives.
func (s *site) goOn() {
	s.Helper()
	require.NoError(s, os.Remove(filepath.Join(failpointDirectory, "reached")))
}

// intact: no process is left, no lock is held, and the other VM's volume is as it was.
func (s *site) intact() {
	s.Helper()
	deadline := time.Now().Add(patience)
	known := map[int]bool{}
	for _, p := range s.processes {
		known[p.pid] = true
	}
	for _, p := range processes(func(p process) bool { return !known[p.pid] }) {
		s.ended(p.pid, deadline)
	}
	assert.Equal(s, s.bystander.was, s.seeBystander(), "another VM's volume")
	assert.Empty(s, s.heldLocks(), "locks")
}

// heldLocks are the files of the agent's lock directory that somebody has locked.
func (s *site) heldLocks() []string {
	s.Helper()
	files, err := filepath.Glob("/run/lock/one-clvm/*")
	require.NoError(s, err)
	var held []string
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		require.NoError(s, err)
		whole := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
		if unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole) != nil {
			held = append(held, file)
		}
		require.NoError(s, f.Close())
	}
	return held
}

// killCase is one of the kill matrix.
type killCase struct {
	scene scene
	at    instant
	fault string
}

func (c killCase) String() string {
	return strings.Join([]string{c.scene.name, c.at.String(), c.fault}, ", ")
}

// TestKillMatrix: whoever dies at whatever instant of whatever verb, nothing leaks, nothing
// else changes, and the same verb again succeeds.
//
// Which instants there are is told by a run of each verb without a fault. It also shows
// that none is missed: between two changes of state there is always one, and each one that
// has a name is reached.
func TestKillMatrix(t *testing.T) {
	s, all := startMatrix(t)
	var cases []killCase
	reached := map[string]bool{}
	for _, c := range all {
		t.Run("no step is missed in "+c.name, func(t *testing.T) {
			s := s.in(t)
			s.settings(matrixAgent, c.cxmrc)
			c.before(s)
			events := s.traced(c)
			assert.Empty(t, missed(events))
			for _, at := range instants(events) {
				reached[at.name] = true
				if elsewhere[at.name] != "" {
					continue // the proof of local disks is kept for a day: only the first run of all has it
				}
				for _, fault := range slices.Sorted(maps.Keys(faults)) {
					cases = append(cases, killCase{c, at, fault})
				}
			}
			s.cleared(c)
		})
	}
	for _, name := range failpoints(t) {
		assert.True(t, reached[name] || elsewhere[name] != "", "no scene reaches failpoint %s", name)
	}
	happened, good := 0, 0
	for _, c := range chosen(t, cases) {
		counts := false
		ok := t.Run(c.String(), func(t *testing.T) {
			counts = true // also where it fails before that is known
			s := s.in(t)
			s.settings(matrixAgent, c.scene.cxmrc)
			counts = s.killedAt(c)
		})
		if counts {
			happened++
		}
		if counts && ok {
			good++
		}
	}
	fmt.Printf("kill-matrix: %d cases, %d ok\n", happened, good)
}

// chosen are the cases that the environment asks for.
func chosen(t *testing.T, cases []killCase) []killCase {
	switch wish := os.Getenv(fullMatrix); wish {
	case "":
		return draw(cases, matrixDrawn)
	case "all":
		return cases
	default:
		var part, parts int
		_, err := fmt.Sscanf(wish, "%d/%d", &part, &parts)
		require.NoError(t, err, "%s=%s", fullMatrix, wish)
		var some []killCase
		for i := part - 1; i < len(cases); i += parts {
			some = append(some, cases[i])
		}
		return some
	}
}

// draw chooses cases, always the same: each failpoint once, and then any.
func draw(cases []killCase, count int) []killCase {
	shuffled := slices.Clone(cases)
	rand.New(rand.NewPCG(matrixSeed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	seen := map[string]bool{}
	var first, more []killCase
	for _, c := range shuffled {
		if seen[c.at.name] {
			more = append(more, c)
			continue
		}
		seen[c.at.name] = true
		first = append(first, c)
	}
	return append(first, more[:max(0, min(count-len(first), len(more)))]...)
}

// killedAt is one case. It says whether there was somebody to kill.
func (s *site) killedAt(k killCase) bool {
	s.Helper()
	c := k.scene
	c.before(s)
	verb := s.stopAt(c, k.at)
	happened := faults[k.fault](s, verb)
	s.goOn()
	verb.Wait()
	s.intact()
	s.succeeds(c, func() {})
	s.intact()
	s.cleared(c)
	return happened
}

// bystander is the volume of another VM, which nothing may change.
type bystander struct{ was string }

var bystanderName = lvm.DiskName(lvm.DefaultPrefix, 7, 0).String()

func (s *site) addBystander() {
	s.Helper()
	v, err := s.group().Create(context.WithoutCancel(s.Context()), lvm.CreateRequest{Name: bystanderName, Size: 4 << 20, Tags: lvm.DiskTags(7, 0, fakeoned.SystemDS)})
	require.NoError(s, err)
	require.NoError(s, os.WriteFile(v.Path, bytes.Repeat([]byte("another VM's data\n"), 4<<20/18), 0o600))
	s.bystander = &bystander{}
	s.bystander.was = s.seeBystander()
}

// seeBystander is what the volume holds and carries. It is active only for that.
func (s *site) seeBystander() string {
	s.Helper()
	ctx := context.WithoutCancel(s.Context())
	v, err := s.group().Activate(ctx, bystanderName, lvm.Exclusive)
	require.NoError(s, err)
	content, err := os.ReadFile(v.Path)
	require.NoError(s, err)
	_, err = s.group().Activate(ctx, bystanderName, lvm.Off)
	require.NoError(s, err)
	return fmt.Sprintf("%x %q", sha256.Sum256(content), v.Tags)
}

func (s *site) removeBystander(t *testing.T) {
	t.Helper()
	require.NoError(t, s.group().Remove(context.WithoutCancel(t.Context()), bystanderName))
	s.bystander = nil
}
