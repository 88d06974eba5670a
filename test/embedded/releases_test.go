//go:build embedded

package embedded

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// The images of a life: one that VMs have copies of, a persistent one, and those made of both.
const (
	goldenImage     = 60
	persistentImage = 61
	clonedImage     = 62
	blankImage      = 63 // waits for a disk's content
	fileImage       = 64 // a tar
	rawImage        = 65 // a persistent file
	savedFile       = 66 // a file that waits for a disk's content
)

// line is one call of a driver as releases from since on, before until, make it. Words in
// braces are filled in by life.word.
type line struct {
	since, until string
	call         string
	stdin        string // a document; "" is what a script must not read
	prints       string // a regular expression; "" is nothing
}

// lives are the calls in the life of a VM with seven disks, and of the images it is made of,
// in their order: OpenNebula's src/tm, src/vm and src/datastore of each release.
var lives = []line{
	{"", "6.4.4", "datastore/stat {stat} 0", "", `8\n`},
	{"6.8", "", "datastore/stat 0", "{stat}", `8\n`},
	{"", "6.0", "datastore/cp {cp} 60", "", `lv-oneimg-60\n`},
	{"6.0", "6.4.4", "datastore/cp {cp} 60", "", `lv-oneimg-60 raw\n`},
	{"6.8", "", "datastore/cp 60", "{cp}", `lv-oneimg-60 raw\n`},
	{"", "6.4.4", "datastore/mkfs {mkfs} 61", "", `lv-oneimg-61\n`},
	{"6.8", "", "datastore/mkfs 61", "{mkfs}", `lv-oneimg-61\n`},
	{"", "6.4.4", "datastore/clone {clone} 62", "", `lv-oneimg-62( raw)?\n`},
	{"6.8", "", "datastore/clone 62", "{clone}", `lv-oneimg-62( raw)?\n`},
	{"", "6.4.4", "datastore/mkfs {blank} 63", "", `lv-oneimg-63\n`},
	{"6.8", "", "datastore/mkfs 63", "{blank}", `lv-oneimg-63\n`},
	{"4.4", "6.4.4", "datastore/monitor {image datastore} 100", "", capacity},
	{"6.8", "", "datastore/monitor 100", "{image datastore}", capacity},
	{"5.0", "6.4.4", "monitor {system datastore} {ds}", "", capacity},
	{"6.8", "", "monitor {ds}", "{system datastore}", capacity},
	// what -i of 6.4.4 to 6.6 does
	{"6.4.4", "6.8", "datastore/stat - 0", "{stat}", `8\n`},
	{"6.4.4", "6.8", "datastore/cp - 60", "{cp}", `lv-oneimg-60 raw\n`},
	{"6.4.4", "6.8", "datastore/mkfs - 61", "{mkfs}", `lv-oneimg-61\n`},
	{"6.4.4", "6.8", "datastore/clone {clone} 62", "", `lv-oneimg-62( raw)?\n`}, // not all were told to use it
	{"6.4.4", "6.8", "datastore/mkfs - 63", "{blank}", `lv-oneimg-63\n`},
	{"6.4.4", "6.8", "datastore/monitor - 100", "{image datastore}", capacity},
	{"6.4.4", "6.8", "monitor - {ds}", "{system datastore}", capacity},

	{"", "", "clone frontend:lv-oneimg-60 node1:{home}/disk.0 42 100", "", ""},
	{"", "", "ln frontend:lv-oneimg-61 node1:{home}/disk.1 42 100", "", ""},
	{"", "6.0", "mkimage 16 ext4 node1:{home}/disk.2 42 {ds}", "", ""},
	{"6.0", "", "mkimage 16 raw node1:{home}/disk.2 42 {ds}", "", ""},
	{"", "", "clone frontend:{file} node1:{home}/disk.5 42 100", "", ""},
	{"", "", "ln frontend:{raw file} node1:{home}/disk.6 42 100", "", ""},
	{"", "", "clone frontend:{boot file} node1:{home}/kernel 42 100", "", ""},
	{"", "", "clone frontend:{boot file} node1:{home}/initrd 42 100", "", ""},
	{"", "", "mkswap 8 node1:{home}/disk.3 42 {ds}", "", ""},
	{"", "", "context {context.sh} node1:{home}/disk.4 42 {ds}", "", ""},

	{"3.8", "4.0", "premigrate node2 node1 {home} 42 {ds} {VM}", "", ""},
	{"4.0", "5.10", "premigrate node1 node2 {home} 42 {ds} {VM}", "", ""},
	{"5.10", "", "premigrate node1 node2 {home} 42 {ds}", "{VM}", ""},
	{"4.14", "5.10", "failmigrate node1 node2 {home} 42 {ds} {VM}", "", ""},
	{"5.10", "", "failmigrate node1 node2 {home} 42 {ds}", "{VM}", ""},
	{"4.14", "5.10", "premigrate node1 node2 {home} 42 {ds} {VM}", "", ""},
	{"5.10", "", "premigrate node1 node2 {home} 42 {ds}", "{VM}", ""},
	{"3.8", "4.0", "postmigrate node2 node1 {home} 42 {ds} {VM}", "", ""},
	{"4.0", "5.10", "postmigrate node1 node2 {home} 42 {ds} {VM}", "", ""},
	{"5.10", "", "postmigrate node1 node2 {home} 42 {ds}", "{VM}", ""},

	{"4.0", "4.14", "cpds node2:{home}/disk.0 lv-oneimg-63 42 100", "", ""},
	{"4.14", "", "cpds node2:{home}/disk.0 lv-oneimg-63 -1 42 100", "", ""},
	{"4.0", "4.14", "cpds node2:{home}/disk.5 {saved file} 42 100", "", ""},
	{"4.14", "", "cpds node2:{home}/disk.5 {saved file} -1 42 100", "", ""},
	{"4.14", "", "snap_create node2:{home}/disk.1 0 42 100", "", ""},
	{"4.14", "", "snap_create_live node2:{home}/disk.0 0 42 100", "", ""},
	{"4.14", "", "snap_create node2:{home}/disk.0 1 42 100", "", ""},
	{"4.14", "", "snap_revert node2:{home}/disk.0 0 42 100", "", ""},
	{"4.14", "", "cpds node2:{home}/disk.0 lv-oneimg-63 1 42 100", "", ""},
	{"4.14", "", "snap_delete node2:{home}/disk.0 0 42 100", "", ""},
	{"4.14", "", "snap_delete node2:{home}/disk.0 1 42 100", "", ""},
	{"5.4", "", "resize node2:{home}/disk.0 12 42 100", "", ""},
	{"6.6", "6.8", "prebackup_live node2:{home} 0 one-42 42 {ds}", "{VM as it is}", ""},
	{"6.6", "6.8", "postbackup_live node2:{home} 0 one-42 42 {ds}", "{VM as it is}", ""},
	{"6.8", "", "prebackup_live node2:{home} 0:2 one-42 - 42 {ds}", "{VM as it is}", ""},
	{"6.8", "", "postbackup_live node2:{home} 0:2 one-42 - 42 {ds}", "{VM as it is}", ""},
	{"6.6", "6.8", "prebackup node2:{home} 0 one-42 42 {ds}", "{VM as it is}", ""},
	{"6.6", "6.8", "postbackup node2:{home} 0 one-42 42 {ds}", "{VM as it is}", ""},
	{"6.8", "", "prebackup node2:{home} 0:2 one-42 - 42 {ds}", "{VM as it is}", ""},
	{"6.8", "", "postbackup node2:{home} 0:2 one-42 - 42 {ds}", "{VM as it is}", ""},

	{"", "", "mv node2:{home}/disk.0 frontend:{home}/disk.0 42 100", "", ""},
	{"", "", "mv node2:{home}/disk.2 frontend:{home}/disk.2 42 {ds}", "", ""},
	{"", "", "mv node2:{home}/disk.5 frontend:{home}/disk.5 42 100", "", ""},
	{"", "", "mv node2:{home} frontend:{home} 42 {ds}", "", ""},
	{"", "", "mv frontend:{home}/disk.0 node1:{home}/disk.0 42 100", "", ""},
	{"", "", "mv frontend:{home}/disk.2 node1:{home}/disk.2 42 {ds}", "", ""},
	{"", "", "mv frontend:{home}/disk.5 node1:{home}/disk.5 42 100", "", ""},
	{"", "", "mv frontend:{home} node1:{home} 42 {ds}", "", ""},

	{"6.10", "", "restore node1:{home} 42 30 -1 0", "", ""},

	{"", "4.0", "mvds node1:{home}/disk.0 lv-oneimg-63 42 100", "", ""}, // SAVE_AS
	{"4.0", "", "delete node1:{home}/disk.0 42 100", "", ""},
	{"", "", "mvds node1:{home}/disk.1 lv-oneimg-61 42 100", "", ""},
	{"", "", "delete node1:{home}/disk.2 42 {ds}", "", ""},
	{"", "", "delete node1:{home}/disk.5 42 100", "", ""},
	{"", "", "mvds node1:{home}/disk.6 {raw file} 42 100", "", ""},
	{"", "", "delete node1:{home} 42 {ds}", "", ""},
	{"4.14", "6.4.4", "datastore/snap_revert {snapshot} 61", "", ""},
	{"4.14", "6.4.4", "datastore/snap_delete {snapshot} 61", "", ""},
	{"6.4.4", "6.8", "datastore/snap_revert - 61", "{snapshot}", ""},
	{"6.4.4", "6.8", "datastore/snap_delete - 61", "{snapshot}", ""},
	{"6.8", "", "datastore/snap_revert 61", "{snapshot}", ""},
	{"6.8", "", "datastore/snap_delete 61", "{snapshot}", ""},
	{"5.0", "6.4.4", "datastore/export {rm 60} 60", "", exported},
	{"6.4.4", "6.8", "datastore/export - 60", "{rm 60}", exported},
	{"6.8", "", "datastore/export 60", "{rm 60}", exported},
	{"", "6.4.4", "datastore/rm {rm 60} 60", "", ""},
	{"", "6.4.4", "datastore/rm {rm 61} 61", "", ""},
	{"", "6.4.4", "datastore/rm {rm 62} 62", "", ""},
	{"", "6.4.4", "datastore/rm {rm 63} 63", "", ""},
	{"6.4.4", "6.8", "datastore/rm - 60", "{rm 60}", ""},
	{"6.4.4", "6.8", "datastore/rm {rm 61} 61", "", ""},
	{"6.4.4", "6.8", "datastore/rm - 62", "{rm 62}", ""},
	{"6.4.4", "6.8", "datastore/rm - 63", "{rm 63}", ""},
	{"6.8", "", "datastore/rm 60", "{rm 60}", ""},
	{"6.8", "", "datastore/rm 61", "{rm 61}", ""},
	{"6.8", "", "datastore/rm 62", "{rm 62}", ""},
	{"6.8", "", "datastore/rm 63", "{rm 63}", ""},
}

const exported = `(?s)<IMPORT_INFO>.*</IMPORT_INFO>\s*`

const capacity = `USED_MB=\d+\nTOTAL_MB=\d+\nFREE_MB=\d+\n`

// wayAround runs on this machine what ssh would run on a node: all that is tried here is
// said on the front-end.
const wayAround = `#!/bin/sh
until [ "$1" = sudo ]; do shift; done
exec "$@"
`

// TestEveryRelease lives that life as each release has it.
func TestEveryRelease(t *testing.T) {
	around := testbed.Scratch + "/way-around"
	s := start(t, testbed.Options{Cxmrc: map[string]string{"SSH": around, "TMP_ROOT": exports}})
	s.root("install", "-d", "-o", "oneadmin", exports)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(exports)) })
	require.NoError(t, os.WriteFile(around, []byte(wayAround), 0o755))
	for _, release := range []string{"3.6.3", "3.8.5", "4.4.1", "4.14.2", "5.4.13", "5.12.12", "6.0.2", "6.4.3", "6.4.7", "6.6.3", "6.10.5", "7.0.1", "7.4.0"} {
		t.Run(release, func(t *testing.T) {
			l := newLife(s.in(t), release)
			calls := 0
			for _, line := range lives {
				if l.has(line) {
					l.call(line)
					calls++
				}
			}
			t.Logf("%d calls", calls)
			l.refusal()
			assert.Empty(t, l.names())
		})
	}
}

// life is a VM's under one release.
type life struct {
	*site
	release  opennebula.Version
	home     string
	systemDS int
	words    *strings.Replacer
}

func newLife(s *site, text string) *life {
	release, err := opennebula.ParseVersion(text)
	require.NoError(s, err)
	l := &life{site: s, release: release, systemDS: fakeoned.SystemDS}
	if !release.AtLeast(3, 8, 0) {
		l.systemDS = 0 // the only one that there was
	}
	l.home = fmt.Sprintf("%s//datastores/%d/%d", testbed.Home, l.systemDS, vmID)
	s.release(text)
	if !release.AtLeast(4, 4, 0) {
		require.NoError(s, os.Remove(filepath.Join(testbed.Home, "remotes/VERSION")))
	}
	l.knownToOned()
	l.documents()
	return l
}

// knownToOned puts everything into oned's records as the release has it.
func (l *life) knownToOned() {
	l.oned.Be(l.release)
	l.Cleanup(func() {
		l.oned.Be(opennebula.Version{})
		l.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(nil))
		l.oned.Put(fakeoned.Datastores, fakeoned.SystemDS, fakeoned.SystemDatastore(map[string]string{"VG_NAME": testbed.Group}))
		l.site.release("7.4.0")
	})
	l.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"VG_NAME": testbed.Group, "SAFE_DIRS": inbox}))
	l.oned.Put(fakeoned.Datastores, l.systemDS, l.systemDatastore())
	if l.systemDS != fakeoned.SystemDS {
		require.NoError(l, os.MkdirAll(testbed.DatastorePath(l.systemDS), 0o755))
		l.Cleanup(func() { assert.NoError(l, os.RemoveAll(testbed.DatastorePath(l.systemDS))) })
	}
	golden, persistent := l.imageOnSAN(goldenImage), l.imageOnSAN(persistentImage)
	l.imageOnSAN(blankImage)
	first := fakeoned.CloneDisk(0, golden, 0)
	if !l.release.AtLeast(4, 0, 0) {
		first = first.With(map[string]string{"SAVE": "YES", "SAVE_AS": strconv.Itoa(blankImage)})
	}
	vm := fakeoned.VM{ID: vmID, Name: "vm", Host: "node2", DS: l.systemDS, Context: 4, Disks: []fakeoned.Disk{
		first, fakeoned.PersistentDisk(1, persistent), fakeoned.VolatileDisk(2, "ext4", 16), fakeoned.SwapDisk(3, 8),
		fakeoned.CloneDisk(5, l.file(fileImage, map[string]string{"MODE": "TGZ", "SIZE": "16M", "FSTYPE": "ext4"}), 0),
		fakeoned.PersistentDisk(6, l.file(rawImage, map[string]string{"MODE": "RAW", "SIZE": "16M"})),
	}}
	l.file(savedFile, map[string]string{"MODE": "GZIP"})
	l.oned.Put(fakeoned.VMs, vmID, vm.Document())
	require.NoError(l, os.WriteFile(backedUp, randomBytes(l.T, 3<<20), 0o644))
	l.backupImage(30, map[int]string{0: backedUp})
}

// file is an image that is a file; one that a disk is saved to is not there yet.
func (l *life) file(id int, template map[string]string) fakeoned.Image {
	image := l.image(id, template)
	switch template["MODE"] {
	case "TGZ":
		l.pack(smallTree(l.T), image)
	case "RAW":
		l.sparseDisk(image.Source, 16<<20)
	}
	l.Cleanup(func() {
		l.oned.Remove(fakeoned.Images, id)
		assert.NoError(l, os.RemoveAll(image.Source))
	})
	return image
}

func (l *life) systemDatastore() string {
	document := fakeoned.SystemDatastore(map[string]string{"VG_NAME": testbed.Group})
	return strings.NewReplacer("<ID>101</ID>", fmt.Sprintf("<ID>%d</ID>", l.systemDS), "datastores/101", fmt.Sprintf("datastores/%d", l.systemDS)).Replace(document)
}

// documents fills in what stands in braces.
func (l *life) documents() {
	script := filepath.Join(testbed.Home, "vms/42/context.sh")
	require.NoError(l, os.MkdirAll(filepath.Dir(script), 0o755))
	require.NoError(l, os.WriteFile(script, []byte("NAME=x\n"), 0o644))
	content := strings.Repeat("\x00", 3<<20) + "golden" + strings.Repeat("\x00", 5<<20-6)
	path := l.deposit("golden.raw", []byte(content))
	vm := l.oned.Document(fakeoned.VMs, vmID)
	of := func(id int, fields imageFields) string {
		return strings.TrimSpace(encoded(fakeoned.Aged(l.action(id, fields, nil), l.release)))
	}
	bare := func(datastore string) string {
		return strings.TrimSpace(encoded("<DS_DRIVER_ACTION_DATA>" + fakeoned.Aged(datastore, l.release) + "</DS_DRIVER_ACTION_DATA>"))
	}
	pairs := []string{
		"{home}", l.home, "{ds}", strconv.Itoa(l.systemDS), "{context.sh}", script,
		"{VM}", strings.TrimSpace(encoded(vm)), "{VM as it is}", vm,
		"{image datastore}", bare(fakeoned.ImageDatastore(map[string]string{"VG_NAME": testbed.Group})), "{system datastore}", bare(l.systemDatastore()),
		"{stat}", of(0, imageFields{"PATH": path, "SIZE": ""}), "{cp}", of(goldenImage, imageFields{"PATH": path}),
		"{mkfs}", of(persistentImage, imageFields{"FORMAT": "raw", "FS": "ext4", "SIZE": "16"}),
		"{clone}", of(clonedImage, imageFields{"PATH": "lv-oneimg-60", "CLONING_ID": "60"}),
		"{file}", fileOf(fileImage), "{raw file}", fileOf(rawImage), "{saved file}", fileOf(savedFile), "{boot file}", path,
		"{snapshot}", of(persistentImage, imageFields{"SOURCE": imageVolume(persistentImage), "TARGET_SNAPSHOT": "0"}),
		"{blank}", of(blankImage, imageFields{"FORMAT": "save_as"}),
	}
	for id := goldenImage; id <= blankImage; id++ {
		pairs = append(pairs, fmt.Sprintf("{rm %d}", id), of(id, imageFields{"SOURCE": imageVolume(id)}))
	}
	l.words = strings.NewReplacer(pairs...)
}

// fileOf is where an image is that is a file.
func fileOf(id int) string {
	return filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("%032x", id))
}

// has says whether the release makes that call.
func (l *life) has(c line) bool {
	reached := func(text string) bool {
		v, err := opennebula.ParseVersion(text)
		require.NoError(l, err)
		return l.release.AtLeast(v.Major, v.Minor, v.Patch)
	}
	return (c.since == "" || reached(c.since)) && (c.until == "" || !reached(c.until))
}

// call makes it, and holds the answer to what the release expects.
func (l *life) call(c line) {
	l.Helper()
	result, read := l.run(c)
	require.Zero(l, result.Status, "%s: %s", c.call, result.Stderr)
	if c.stdin == "" {
		require.Zero(l, read, "%s: standard input is the stream of the commands that follow", c.call)
	}
	require.Regexp(l, "^"+c.prints+"$", result.Stdout, c.call)
	require.True(l, result.Stderr == "" || strings.HasSuffix(result.Stderr, "\n"), "%s: without a newline the stream hangs: %q", c.call, result.Stderr)
	require.NotRegexp(l, `(?m)^ExitCode: `, result.Stderr, "%s: oned up to 5.4 takes that for the status", c.call)
	if l.release.AtLeast(6, 99, 0) {
		require.Empty(l, messages(result.Stderr), c.call)
	}
	l.look(wordsOf(c.call)[0])
}

// ofOned is what drivers find in their environment: all of defaultrc and tmrc, where an
// administrator names other programs for OpenNebula's own scripts.
var ofOned = []string{"ONE_MAD_DEBUG=1", "PRIORITY=19", "RUBYLIB=/usr/lib/one/ruby", "LC_ALL=de_DE.UTF-8", "SSH=/nonexistent", "SCP=/nonexistent",
	"SUDO=/nonexistent", "DD=/nonexistent", "MKFS=/nonexistent", "QEMU_IMG=/nonexistent", "LVCREATE=/nonexistent"}

// run runs a call's script as one_tm or one_datastore does; the result is also how much of
// standard input was read.
func (l *life) run(c line) (testbed.Result, int64) {
	l.Helper()
	var argv []string
	for _, word := range wordsOf(c.call) {
		argv = append(argv, l.words.Replace(word))
	}
	argv[0] = script(argv[0])
	stdin := l.words.Replace(c.stdin)
	if stdin == "" {
		stdin = "what comes next\n"
	} else {
		stdin += "\n"
	}
	f, err := os.CreateTemp(l.TempDir(), "stdin")
	require.NoError(l, err)
	defer f.Close()
	_, err = f.WriteString(stdin)
	require.NoError(l, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(l, err)
	result, err := l.machine.Run(l.Context(), testbed.Command{Argv: argv, StdinFile: f, Env: ofOned})
	require.NoError(l, err)
	read, err := f.Seek(0, io.SeekCurrent)
	require.NoError(l, err)
	return result, read
}

var callWord = regexp.MustCompile(`(?:\{[^}]*\}|[^ {])+`)

// wordsOf splits a call at blanks that are not in braces.
func wordsOf(call string) []string { return callWord.FindAllString(call, -1) }

func script(verb string) string {
	if name, ok := strings.CutPrefix(verb, "datastore/"); ok {
		return testbed.DatastoreVerb(name)
	}
	return testbed.Verb(verb)
}

// look is how it has to be after some of the verbs.
func (l *life) look(verb string) {
	l.Helper()
	mode := func(disk int) lvm.Mode {
		for _, v := range l.volumes() {
			if v.Tags.Has(lvm.KeyTag("vm", vmID), lvm.KeyTag("disk", disk)) {
				return v.Mode
			}
		}
		return lvm.Mode(-1)
	}
	switch verb {
	case "mkswap":
		for disk := range 4 {
			require.Equal(l, lvm.Exclusive, mode(disk), "disk %d", disk)
		}
		require.Equal(l, int64(8<<20), l.volume(0).Size, "as large as its image, wherever the release tells that")
		for _, disk := range []struct {
			id int
			fs string
		}{{1, "ext4"}, {2, "ext4"}, {3, "swap"}, {5, "ext4"}} {
			require.Contains(l, l.root("blkid", "-p", fmt.Sprintf("%s/disk.%d", l.home, disk.id)), `TYPE="`+disk.fs+`"`)
		}
	case "premigrate":
		require.Equal(l, lvm.Shared, mode(0))
	case "postmigrate", "failmigrate":
		require.Equal(l, lvm.Exclusive, mode(0))
	}
}

// refusal is a verb that fails: the user of that release sees one sentence of it.
func (l *life) refusal() {
	l.Helper()
	result, _ := l.run(line{call: "mkimage 16 raw node1:{home}/disk.7 42 {ds}"})
	require.Equal(l, 1, result.Status)
	assert.Equal(l, "mkimage of VM 42 disk 7: VM 42 has no disk 7", l.shown(result.Stderr))
}

// shown is what the release shows its user of a failed script's standard error.
func (l *life) shown(stderr string) string {
	switch {
	case l.release.AtLeast(6, 99, 0):
		return strings.Join(messages(stderr), "")
	case l.release.AtLeast(6, 0, 3):
		return strings.TrimSpace(strings.ReplaceAll(stderr, "\n", " "))
	}
	_, message, _ := strings.Cut(stderr, "ERROR MESSAGE --8<------\n")
	message, _, found := strings.Cut(message, "\nERROR MESSAGE ------>8--\n")
	require.True(l, found, "%q", stderr)
	return message
}
