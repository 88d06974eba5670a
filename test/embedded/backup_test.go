//go:build embedded

package embedded

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// backedUp is a disk as a backup server keeps it.
var backedUp = filepath.Join(testbed.Scratch, "backed-up")

// backupImage makes a backup image known to oned, and stands in for the two programs of
// OpenNebula's that find and fetch what is in it: the datastore driver's ls, which reads a
// document and prints addresses, and the downloader.
func (s *site) backupImage(id int, disks map[int]string) {
	s.Helper()
	s.image(id, nil)
	urls := map[string]string{}
	for disk, path := range disks {
		urls[fmt.Sprint(disk)] = "rsync://100//0:3ffce7" + path
	}
	list, err := json.Marshal(urls)
	require.NoError(s, err)
	scripts := filepath.Join(testbed.Home, "remotes/datastore")
	require.NoError(s, os.MkdirAll(filepath.Join(scripts, "clvm"), 0o755))
	for name, text := range map[string]string{
		"clvm/ls":       "#!/bin/sh\ntest \"$1\" = -i || exit 1\ngrep -q '<IMAGE>' || exit 1\necho '" + string(list) + "'\n",
		"downloader.sh": "#!/bin/sh\ntest \"$1 $3\" = '--nodecomp -' || exit 1\nexec cat \"${2#rsync://100//0:3ffce7}\"\n",
	} {
		require.NoError(s, os.WriteFile(filepath.Join(scripts, name), []byte(text), 0o755))
	}
}

// backedUp: the home has what oned's backup drivers fetch, for oneadmin to read.
func (s *site) backedUp(disk int) {
	s.Helper()
	file := fmt.Sprintf("%s/backup/disk.%d.0", home, disk)
	s.root("cmp", device(disk), file)
	assert.Equal(s, "oneadmin", strings.TrimSpace(s.root("stat", "-c", "%U", file)))
	document, err := os.ReadFile(home + "/backup/vm.xml")
	require.NoError(s, err)
	assert.True(s, strings.TrimSpace(s.oned.Document(fakeoned.VMs, vmID)) == string(document), "as it came")
}

func TestBackup(t *testing.T) {
	s := start(t, testbed.Options{})
	s.volatile()
	s.scribble(0, 1)
	document := s.oned.Document(fakeoned.VMs, vmID)
	for verb, argv := range map[string][]string{
		"prebackup":      append([]string{"node1:" + home, "0", "one-42"}, ofSystem...), // 6.6
		"prebackup_live": append([]string{"node1:" + home, "0", "one-42", "-"}, ofSystem...),
	} {
		for range 2 {
			s.okOn(document, verb, argv...)
			s.backedUp(0)
			entries, err := os.ReadDir(home + "/backup")
			require.NoError(t, err)
			assert.Len(t, entries, 2)
		}
		var blocks int64
		_, err := fmt.Sscan(s.root("stat", "-c", "%b", home+"/backup/disk.0.0"), &blocks)
		require.NoError(t, err)
		assert.Less(t, blocks*512, int64(1<<20), "empty space takes none")
		for range 2 {
			s.okOn(document, strings.Replace(verb, "pre", "post", 1), argv...)
			assert.False(t, exists(home+"/backup"))
		}
	}
	argv := append([]string{"node1:" + home, "0:7", "one-42", "-"}, ofSystem...)
	s.failed(s.verbOn(document, "prebackup", argv...), "no disk 7")
	held, err := os.Open(device(0))
	require.NoError(t, err)
	argv[1] = "0"
	s.failed(s.verbOn(document, "prebackup_live", argv...), volume(0), "in use")
	assert.False(t, exists(home+"/backup"))
	require.NoError(t, held.Close())
	s.complete(0, lvm.Exclusive)
	s.deleteDisk(0)
}

func TestRestore(t *testing.T) {
	s := start(t, testbed.Options{})
	s.volatile()
	old := s.scribble(0, 1)
	uuid := s.volume(0).UUID
	require.NoError(t, os.WriteFile(backedUp, randomBytes(t, 5<<20), 0o644))
	s.backupImage(30, map[int]string{0: backedUp, 3: "/nonexistent"})
	restore := func(disk string) []string { return []string{"node1:" + home, fmt.Sprint(vmID), "30", "-1", disk} }
	s.fails([]string{"no disk 9"}, "restore", restore("9")...)
	s.fails([]string{"/nonexistent"}, "restore", restore("3")...)
	s.fails([]string{"not supported", "full backups"}, "restore", "node1:"+home, fmt.Sprint(vmID), "30", "2", "0")
	s.fails([]string{"/nonexistent"}, "restore", restore("-1")...)
	assert.Equal(t, []string{volume(0)}, s.names())
	s.root("cmp", old, device(0))
	assert.Equal(t, uuid, s.complete(0, lvm.Exclusive).UUID, "the second disk failed, so the first stays")
	s.ok("snap_create", ofSnapshot("node1", 0, 0)...)
	s.ok("restore", restore("0")...)
	s.root("cmp", "-n", fmt.Sprint(5<<20), backedUp, device(0))
	s.zeros(0, 5<<20)
	assert.NotEqual(t, uuid, s.complete(0, lvm.Exclusive).UUID)
	assert.Equal(t, int64(8<<20), s.volume(0).Size)
	assert.Equal(t, []string{volume(0)}, s.names(), "oned drops its records of the snapshots, too")

	require.NoError(t, os.WriteFile(backedUp, randomBytes(t, 9<<20), 0o644))
	s.fails([]string{"more than"}, "restore", restore("0")...)
	s.complete(0, lvm.Exclusive)
	assert.Equal(t, []string{volume(0)}, s.names())
	s.deleteDisk(0)
}

// replacement is what a RESTORE that was killed has left in quarantine.
func (s *site) replacement(disk int) {
	s.Helper()
	tags := lvm.DiskTags(vmID, disk, fakeoned.SystemDS).With(lvm.TagQuarantine, "replacement")
	_, err := s.group().Create(s.Context(), lvm.CreateRequest{Name: "lv-onedel-0011223344aa", Size: 64 << 20, Tags: tags})
	require.NoError(s, err)
}
