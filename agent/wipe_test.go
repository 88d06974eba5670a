package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// lastBytes keeps what a volume holds when it is removed.
func (n *node) lastBytes() map[string][]byte {
	last := map[string][]byte{}
	n.group.before = func(op, name string) {
		if op != "remove" {
			return
		}
		content, err := os.ReadFile(n.group.volumes[name].Path)
		require.NoError(n, err)
		last[name] = content
	}
	return last
}

func (n *node) warnings() string {
	var text []string
	for _, l := range n.logs {
		if l.Level == "warn" {
			text = append(text, l.Text)
		}
	}
	return strings.Join(text, "\n")
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		asked, least Wipe
		wiped, clean bool // the data, and the group's tag afterwards
		warning      string
	}{
		{"", WipeOff, true, true, ""},
		{WipeDelete, WipeOff, true, true, ""},
		{WipeDiscard, WipeOff, true, false, ""}, // a file without its blocks reads as zeros
		{WipeCreate, WipeOff, false, false, ""},
		{WipeOff, WipeOff, false, false, "WIPE=off"},
		{WipeOff, WipeCreate, false, false, ""},
		{WipeOff, WipeDelete, true, true, ""},
	} {
		t.Run(fmt.Sprintf("%s at least %s", c.asked, c.least), func(t *testing.T) {
			n := newNode(t)
			n.server.Config.Wipe = c.least
			n.group.tags = lvm.NewTags(lvm.TagClean, "other")
			n.group.put(t, "lv-one-42-0", "secret", "one", "vm=42", "disk=0", "ds=101")
			last := n.lastBytes()
			q := n.request(OpRemove)
			q.Wipe = c.asked
			_, err := n.do(q, Transfer{})
			require.NoError(t, err)
			assert.Empty(t, n.group.names())
			require.Len(t, last, 1)
			for _, content := range last {
				assert.Equal(t, c.wiped, len(bytes.Trim(content, "\x00")) == 0)
			}
			assert.Equal(t, c.clean, n.group.tags.Has(lvm.TagClean))
			assert.Contains(t, n.group.tags, "other")
			assert.Contains(t, n.warnings(), c.warning)
			assert.Equal(t, c.warning == "", n.warnings() == "", n.warnings())
		})
	}
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	n := newNode(t)
	q := n.request(OpRemove)
	q.Wipe = "sometimes"
	_, err := n.do(q, Transfer{})
	assert.ErrorContains(t, err, `policy against old data "sometimes"`)
}

// Only an empty disk, or one whose file system was told so, is handed out as it is.
func TestNewDiskUnderWipeOff(t *testing.T) {
	for _, c := range []struct {
		content Content
		shows   bool
	}{{ContentNone, true}, {ContentFS, true}, {ContentDisk, false}} {
		n := newNode(t)
		n.server.Config.Wipe = WipeOff
		n.group.data = func(string) []byte { return bytes.Repeat([]byte("another tenant's secret "), 8<<20/24) }
		q := n.create(c.content, "RAW")
		q.Wipe, q.FSType = WipeOff, "ext4"
		transfer := Transfer{}
		if c.content == ContentDisk {
			transfer = sendBytes([]byte("boot"))
		}
		_, err := n.do(q, transfer)
		require.NoError(t, err)
		content, err := os.ReadFile(n.link())
		require.NoError(t, err)
		assert.Equal(t, c.shows, bytes.Contains(content, []byte("secret")), c.content)
		assert.Equal(t, c.shows, strings.Contains(n.warnings(), "may show what its blocks held before"))
		if c.content == ContentFS {
			_, label := identify(context.Background(), n.server.Runner, n.link())
			assert.Empty(t, label)
		}
	}
}

func TestCleanSpaceIsNotZeroedAgain(t *testing.T) {
	n := newNode(t)
	n.group.tags = lvm.NewTags(lvm.TagClean)
	n.group.data = func(string) []byte { return nil }
	res, err := n.do(n.create(ContentNone, ""), Transfer{})
	require.NoError(t, err)
	assert.True(t, res.Clean)
	assert.True(t, n.group.tags.Has(lvm.TagClean))
}

// A tag that is not true is found out by samples, and taken away.
func TestSpaceThatOnlyClaimsToBeClean(t *testing.T) {
	n := newNode(t)
	n.group.tags = lvm.NewTags(lvm.TagClean)
	res, err := n.do(n.create(ContentNone, ""), Transfer{})
	require.NoError(t, err)
	assert.False(t, res.Clean)
	assert.False(t, n.group.tags.Has(lvm.TagClean))
	assert.Contains(t, n.warnings(), "is not zero")
	content, err := os.ReadFile(n.link())
	require.NoError(t, err)
	assert.Empty(t, bytes.Trim(content, "\x00"))
}

// What is wiped is not wiped again: that would take as long as the first time.
func TestWipeGoesOnWhereItStopped(t *testing.T) {
	n := newNode(t)
	name := "lv-onedel-0011223344aa"
	n.group.put(t, name, "secret", "one", "vm=42", "disk=0", "quarantine", fmt.Sprintf("wiped=%d", extent/2))
	f, err := os.OpenFile(n.group.volumes[name].Path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("secret"), extent/2)
	require.NoError(t, errors.Join(err, f.Close()))
	last := n.lastBytes()
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "secret", string(bytes.Trim(last[name], "\x00")), "the first half counted as wiped")
	assert.Equal(t, byte('s'), last[name][0])
}

func TestWipeThatIsStoppedNotesHowFarItCame(t *testing.T) {
	n := newNode(t)
	n.server.Config.WipeRate = 1 // slices of 1 MiB, and the second has to wait for days
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "quarantine", "vm=42", "disk=0")
	ctx, cancel := context.WithCancel(context.Background())
	n.client.OnProgress = func(p Progress) {
		if p.Bytes > 0 {
			assert.EqualValues(t, extent, p.Total)
			cancel()
		}
	}
	_, err := n.client.Do(ctx, Host{"node1", []string{"agent"}}, n.request(OpReap), Transfer{})
	require.Error(t, err)
	require.Eventually(t, func() bool {
		v, err := n.group.Volume(context.Background(), "lv-onedel-0011223344aa")
		return err == nil && v.Tags.Get(lvm.TagWiped) != ""
	}, time.Minute, time.Millisecond)
	v := n.group.volumes["lv-onedel-0011223344aa"]
	assert.Positive(t, wipedBytes(*v))
	assert.Less(t, wipedBytes(*v), v.Size)
	assert.False(t, v.Tags.Has(lvm.TagWipeFailed), "it was stopped, it did not fail")
}

func TestPace(t *testing.T) {
	assert.EqualValues(t, wipeSlice, newPace(0).slice())
	assert.EqualValues(t, 10<<20, newPace(10<<20+5).slice())
	assert.EqualValues(t, 1<<20, newPace(1000).slice())
	assert.EqualValues(t, wipeSlice, newPace(1<<40).slice())
	require.NoError(t, newPace(0).wait(context.Background(), 1<<40))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, newPace(1).wait(ctx, 1<<40), context.Canceled)
}

func TestWipesAtATimeAreBounded(t *testing.T) {
	n := newNode(t)
	c := &session{Server: n.server, frames: &frameWriter{w: &bytes.Buffer{}}}
	var held []*wipeLock
	for range n.server.Config.WipeJobs {
		lock, err := c.awaitWipeSlot(context.Background())
		require.NoError(t, err)
		held = append(held, lock)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.awaitWipeSlot(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, held[0].unlock())
	lock, err := c.awaitWipeSlot(context.Background())
	require.NoError(t, err)
	require.NoError(t, lock.unlock())
}

// Two removals of one disk: the second waits for the wipe of the first.
func TestRemoveAwaitsTheWipeThatRuns(t *testing.T) {
	n := newNode(t)
	name := "lv-onedel-0011223344aa"
	n.group.put(t, name, "secret", "one", "vm=42", "disk=0", "quarantine")
	c := &session{Server: n.server, frames: &frameWriter{w: &bytes.Buffer{}}}
	lock, err := c.tryWipeLock(lockByte("vg-one", name))
	require.NoError(t, err)
	n.client.OnLog = func(l LogLine) {
		if strings.Contains(l.Text, "waiting for the wipe") {
			n.group.mu.Lock()
			delete(n.group.volumes, name) // the other one is done
			n.group.mu.Unlock()
			assert.NoError(t, lock.unlock())
		}
	}
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
}

func TestReap(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "vm=7", "disk=1", "quarantine")
	n.group.put(t, "lv-onedel-0011223344bb", "secret", "quarantine") // not ours
	n.group.put(t, "lv-one-42-0", "data", "one", "vm=42", "disk=0")
	n.group.volumes["lv-onedel-0011223344aa"].Mode = lvm.Off
	last := n.lastBytes()
	res, err := n.do(n.request(OpReap), Transfer{})
	require.NoError(t, err)
	assert.EqualValues(t, extent, res.Wiped)
	assert.Equal(t, []string{"lv-one-42-0", "lv-onedel-0011223344bb"}, n.group.names())
	assert.Empty(t, bytes.Trim(last["lv-onedel-0011223344aa"], "\x00"))
}

// Without a lock manager a second node could wipe what the first has removed meanwhile.
func TestReapLeavesAnotherNodesWipeAlone(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "vm=7", "disk=1", "quarantine", "wiper=elsewhere")
	_, err := n.do(n.request(OpReap), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	require.ErrorContains(t, err, "elsewhere")
	require.ErrorContains(t, err, "--force")
	q := n.request(OpReap)
	q.Force = true
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.group.names())
}

func TestMonitorSpeaksOfTheQuarantine(t *testing.T) {
	n := newNode(t)
	free := n.group.free
	n.group.put(t, "lv-onedel-0011223344aa", "", "one", "vm=7", "disk=1", "quarantine", wiperTag())
	n.group.put(t, "lv-onedel-0011223344bb", "", "one", "quarantine", "free-space", fmt.Sprintf("wiped=%d", extent))
	n.group.put(t, "lv-onedel-0011223344cc", "", "one", "quarantine", "wiper=elsewhere")
	n.group.put(t, "lv-onedel-0011223344dd", "", "one", "quarantine", "wiper=elsewhere", "wipe-failed")
	res, err := n.do(n.request(OpMonitor), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, free-3*extent, res.Info.Free, "what is wiped is free")
	assert.Contains(t, n.warnings(), "2 deleted volumes (8.0 MiB) are in quarantine and nobody wipes them: lv-onedel-0011223344aa, lv-onedel-0011223344dd")
	assert.NotContains(t, n.warnings(), "0011223344cc", "the other node may be at it")
}

func TestAFullGroupGivesWhatIsInQuarantine(t *testing.T) {
	n := newNode(t)
	n.group.free = 4 * extent
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "vm=7", "disk=1", "quarantine")
	n.group.put(t, "lv-onedel-0011223344bb", "", "one", "quarantine", "free-space", fmt.Sprintf("wiped=%d", extent))
	n.group.put(t, "lv-onedel-0011223344cc", "", "one", "quarantine", "free-space", fmt.Sprintf("wiped=%d", extent))
	q := n.create(ContentNone, "") // two extents, and one is free
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Contains(t, n.group.names(), "lv-one-42-0")
	assert.Contains(t, n.group.names(), "lv-onedel-0011223344aa", "what is wiped goes first")
	q.Size = 1 << 40
	_, err = n.do(q, Transfer{})
	assert.ErrorIs(t, err, lvm.ErrNoSpace)
}

// One that cannot be wiped does not keep the others' space.
func TestAFullGroupPassesOverABadVolume(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "vm=7", "disk=1", "quarantine", "wiper=elsewhere")
	n.group.put(t, "lv-onedel-0011223344bb", "secret", "one", "vm=7", "disk=2", "quarantine")
	n.group.free = extent
	_, err := n.do(n.create(ContentNone, ""), Transfer{}) // two extents
	require.NoError(t, err)
	assert.Equal(t, []string{"lv-one-42-0", "lv-onedel-0011223344aa"}, n.group.names())
}

// Somebody removes a volume without wiping it, after the last look and before the tag.
func TestWipeFreeLooksBehindItsTag(t *testing.T) {
	n := newNode(t)
	n.group.free = 2 * extent
	n.group.put(t, "lv-one-7-0", "secret", "one", "vm=7", "disk=0")
	last := n.lastBytes()
	n.group.tagged = func(add lvm.Tags) {
		if _, there := n.group.volumes["lv-one-7-0"]; there && add.Has(lvm.TagClean) {
			assert.NoError(t, n.group.Remove(context.Background(), "lv-one-7-0"))
		}
	}
	res, err := n.do(n.request(OpWipeFree), Transfer{})
	require.NoError(t, err)
	assert.EqualValues(t, 2*extent, res.Wiped, "what was removed, too")
	assert.Len(t, last, 3)
	assert.True(t, n.group.tags.Has(lvm.TagClean))
	assert.Empty(t, n.group.names())
}

func TestWipeFree(t *testing.T) {
	n := newNode(t)
	n.group.free, n.group.largest = 12*extent, 3*extent // in pieces
	n.group.put(t, "lv-one-42-0", "data", "one", "vm=42", "disk=0")
	// An earlier run was stopped.
	n.group.put(t, "lv-onedel-0011223344aa", "secret", "one", "quarantine", "free-space", wiperTag())
	free := n.group.free
	last := n.lastBytes()
	res, err := n.do(n.request(OpWipeFree), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, free+extent, res.Wiped)
	assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
	assert.Equal(t, free+extent, n.group.free)
	assert.True(t, n.group.tags.Has(lvm.TagClean))
	var wiped int64
	for _, content := range last {
		wiped += int64(len(content))
		assert.Empty(t, bytes.Trim(content, "\x00"))
	}
	assert.Equal(t, free+extent, wiped)
	assert.Greater(t, len(last), 4)
}

// Until the last extent is wiped the group is not clean, and a second run goes on.
func TestWipeFreeThatFails(t *testing.T) {
	n := newNode(t)
	n.group.free, n.group.largest = 12*extent, 3*extent
	n.group.fail["activate off"] = lvm.ErrInUse
	_, err := n.do(n.request(OpWipeFree), Transfer{})
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.False(t, n.group.tags.Has(lvm.TagClean))
	assert.NotEmpty(t, n.group.names())
	n.group.fail = map[string]error{}
	_, err = n.do(n.request(OpWipeFree), Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.group.names())
	assert.True(t, n.group.tags.Has(lvm.TagClean))
}

func TestWipeFreeRunsOnce(t *testing.T) {
	n := newNode(t)
	c := &session{Server: n.server, frames: &frameWriter{w: &bytes.Buffer{}}}
	lock, err := c.tryWipeLock(lockByte("vg-one", ""))
	require.NoError(t, err)
	n.group.put(t, "lv-onedel-0011223344bb", "", "one", "quarantine", "free-space")
	_, err = n.do(n.request(OpWipeFree), Transfer{})
	require.ErrorIs(t, err, ErrBusy)
	_, err = n.do(n.request(OpReap), Transfer{})
	require.NoError(t, err)
	assert.NotEmpty(t, n.group.names(), "reap leaves its pieces alone")
	require.NoError(t, lock.unlock())
}

// udev opens a device that was just written to, for a moment.
func TestRemoveAwaitsUdev(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
	looks := 0
	n.group.before = func(op, name string) {
		if op == "remove" {
			looks++
			n.group.open[name] = looks == 1
		}
	}
	_, err := n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, 2, looks)
	assert.Empty(t, n.group.volumes)
}
