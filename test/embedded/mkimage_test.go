//go:build embedded

package embedded

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	people "one-clvm/mkimage"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// startWithFiles makes a machine whose image datastore keeps files.
func startWithFiles(t *testing.T, o testbed.Options) *site {
	s := start(t, o)
	s.removeImages() // those of other tests
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, strings.ReplaceAll(fakeoned.ImageDatastore(nil), "<DS_MAD><![CDATA[clvm]]>", "<DS_MAD><![CDATA[fs]]>"))
	return s
}

// removeImages empties the image datastore.
func (s *site) removeImages() {
	s.Helper()
	entries, err := os.ReadDir(testbed.DatastorePath(fakeoned.ImageDS))
	require.NoError(s, err)
	for _, e := range entries {
		require.NoError(s, os.Remove(filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), e.Name())))
	}
}

// public is a directory that oneadmin can read.
func public(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testbed.Scratch, "mkimage")
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// mkimage makes an image as a person does.
func (s *site) mkimage(name string, argv ...string) people.Result {
	s.Helper()
	return s.mkimageOf(nil, name, argv...)
}

// mkimageOf gives it something on its standard input.
func (s *site) mkimageOf(stdin *os.File, name string, argv ...string) people.Result {
	s.Helper()
	words := append([]string{program, "mkimage", "--datastore", strconv.Itoa(fakeoned.ImageDS), "--name", name, "--json", "--quiet"}, argv...)
	result, err := s.machine.Run(s.Context(), testbed.Command{Argv: words, StdinFile: stdin})
	require.NoError(s, err)
	require.Zero(s, result.Status, result.Stderr)
	require.Empty(s, result.Stderr)
	var made people.Result
	require.NoError(s, json.Unmarshal([]byte(result.Stdout), &made), result.Stdout)
	return made
}

// An image that a person makes is one that oned deploys.
func TestMkimageForPeople(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	tree := smallTree(t)
	dir := public(t)
	archive, roots := filepath.Join(dir, "tree.tar.zst"), filepath.Join(dir, "of-root")
	s.root("tar", "--zstd", "-cf", archive, "-C", tree, ".")
	s.root("cp", "-r", "/etc/skel", roots) // whose files oneadmin may only read
	for i, c := range []struct {
		tree   string
		source []string
	}{
		{tree, []string{"--from", archive, "--format", "tar"}},
		{tree, []string{"--from", archive, "--mode", "TZST"}},
		{roots, []string{"--from", roots}},
	} {
		made := s.mkimage("tar-"+strconv.Itoa(i), append(c.source, "--size", "64M", "--fstype", "ext4", "--register")...)
		require.NotEqual(t, opennebula.None, made.ID)
		assert.Equal(t, int64(64<<20), made.Size, "exact bytes")
		image := fakeoned.Image{ID: made.ID, Name: made.Name, Source: made.Source, SizeMiB: 64}
		s.vm(fakeoned.CloneDisk(0, image, 0))
		s.clone(image, 0)
		s.sameTree(c.tree, 0, "ext4")
		s.deleteDisk(0)
		s.deleteHome()
		s.oned.Remove(fakeoned.Images, made.ID)
		require.NoError(t, os.Remove(made.Source))
	}
}

func TestMkimageOfQCOW2(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	dir := public(t)
	raw := append([]byte(strings.Repeat("data", 1000)), make([]byte, 8<<20-4000)...)
	require.NoError(t, os.WriteFile(dir+"/raw", raw, 0o644))
	s.root("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", dir+"/raw", dir+"/disk.qcow2")
	packed, err := os.Open(dir + "/disk.qcow2")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, packed.Close()) })
	for _, from := range []string{dir + "/disk.qcow2", "-"} {
		made := s.mkimageOf(packed, "disk", "--from", from, "--format", "qcow2")
		have, err := os.ReadFile(made.Source)
		require.NoError(t, err)
		assert.True(t, string(raw) == string(have))
		require.NoError(t, os.Remove(made.Source))
	}
	for _, argv := range [][]string{
		{"--from", dir + "/disk.qcow2"}, {"--from", dir + "/raw", "--format", "qcow2"}, {"--size", "8G", "--mode", "RAW", "--fstype", "zfs"}, {},
	} {
		result, err := s.machine.RunAsOneadmin(t.Context(), append([]string{program, "mkimage", "--datastore", "100", "--name", "x"}, argv...)...)
		require.NoError(t, err)
		assert.NotZero(t, result.Status, argv)
		s.noImages()
	}
}

// noImages: nothing is in the image datastore, not even a file without a name's leftovers.
func (s *site) noImages() {
	s.Helper()
	entries, err := os.ReadDir(testbed.DatastorePath(fakeoned.ImageDS))
	require.NoError(s, err)
	assert.Empty(s, entries)
}

// Ctrl-C leaves nothing; piped, the progress is plain lines, with --quiet none.
func TestMkimageInterrupted(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	p, err := s.machine.Start(testbed.Command{
		Argv:      []string{program, "mkimage", "--datastore", "100", "--name", "x", "--from", "-", "--format", "raw", "--mode", "GZIP", "--register"},
		StdinFile: reader,
	})
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	_, err = writer.Write(make([]byte, 1<<20)) // it has begun once it has read more than a pipe holds
	require.NoError(t, err)
	require.NoError(t, p.Signal(syscall.SIGINT))
	require.Eventually(t, func() bool {
		_, err := writer.Write([]byte("more"))
		return err != nil || ended(p)
	}, patience, 10*time.Millisecond)
	require.NoError(t, writer.Close())
	result := p.Wait()
	assert.Equal(t, 1, result.Status)
	assert.Contains(t, result.Stderr, "interrupted, nothing is left")
	assert.NotContains(t, result.Stderr, "\x1b", "no terminal")
	s.noImages()
	assert.Empty(t, s.oned.Document(fakeoned.Images, 0))
}

// withFailpoints makes a machine whose programs can be stopped.
func withFailpoints(t *testing.T, start func(*testing.T, testbed.Options) *site) *site {
	s := start(t, testbed.Options{Build: testbed.Failpoints, AgentEnv: map[string]string{"ONE_CLVM_FAILPOINTS": failpointDirectory}})
	require.NoError(t, os.RemoveAll(failpointDirectory))
	require.NoError(t, os.Mkdir(failpointDirectory, 0o777))
	require.NoError(t, os.Chmod(failpointDirectory, 0o777))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(failpointDirectory)) })
	return s
}

// killMkimage kills the making and registering of an image of a disk at an instant.
func (s *site) killMkimage(at, disk string) {
	s.Helper()
	s.killAt(at, 0, testbed.Command{
		Argv:  []string{program, "mkimage", "--datastore", "100", "--name", "x", "--from", "-", "--format", "raw", "--register"},
		Stdin: disk,
	})
}

// killAt kills a person's command when it, or an agent of its, comes to an instant for the time
// after that many.
func (s *site) killAt(at string, after int, command testbed.Command) {
	s.Helper()
	reached := filepath.Join(failpointDirectory, "reached")
	writable(s.T, filepath.Join(failpointDirectory, "stop"), fmt.Sprintf("%s %d", at, after))
	command.Env = append(command.Env, "ONE_CLVM_FAILPOINTS="+failpointDirectory)
	p, err := s.machine.Start(command)
	require.NoError(s, err)
	require.Eventually(s, func() bool { return exists(reached) || ended(p) }, patience, time.Millisecond)
	require.True(s, exists(reached), "%s was not reached: %s", at, stderrOf(p))
	killAgents(s, p)
	s.signal("-KILL", p.PID())
	p.Wait()
	require.NoError(s, os.Remove(reached), at)
	require.NoError(s, os.Remove(filepath.Join(failpointDirectory, "stop")))
	s.settled()
}

// Killed before the file has its name, nothing is left; between that and oned's answer, a
// whole image of which oned does not know; afterwards the image.
func TestMkimageIsKilled(t *testing.T) {
	s := withFailpoints(t, startWithFiles)
	for _, c := range []struct {
		at    string
		files int
		known bool
	}{{"mkimage.filled", 0, false}, {"mkimage.published", 1, false}, {"mkimage.allocated", 1, true}} {
		s.killMkimage(c.at, "a disk")
		files, err := filepath.Glob(testbed.DatastorePath(fakeoned.ImageDS) + "/*")
		require.NoError(t, err)
		assert.Len(t, files, c.files, c.at)
		assert.Equal(t, c.known, s.oned.Document(fakeoned.Images, 0) != "", c.at)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, "a disk", string(content[:6]))
			require.NoError(t, os.Remove(file))
		}
	}
	s.oned.Remove(fakeoned.Images, 0)
}

// On the SAN a kill leaves at most the file that the volume is made of, and never half an
// image: what oned was told of becomes whole without whoever told it.
func TestMkimageOnTheSANIsKilled(t *testing.T) {
	s := withFailpoints(t, start)
	staging := public(t)
	require.NoError(t, os.Chmod(staging, 0o777))
	s.playOned(1, map[string]string{"VG_NAME": testbed.Group, "SAFE_DIRS": staging})
	disk := string(randomBytes(t, 1<<20))
	for _, c := range []struct {
		at    string
		files int
		known bool
	}{{"mkimage.filled", 0, false}, {"mkimage.published", 1, false}, {"mkimage.allocated", 1, true}, {"mkimage.unstaged", 0, true}} {
		s.killMkimage(c.at, disk)
		left, err := filepath.Glob(staging + "/*")
		require.NoError(t, err)
		assert.Len(t, left, c.files, c.at)
		assert.Equal(t, c.known, s.oned.Document(fakeoned.Images, 0) != "", c.at)
		if c.known {
			image := fakeoned.Image{ID: 0, Source: imageVolume(0)}
			require.Eventually(t, func() bool { return strings.Contains(s.oned.Document(fakeoned.Images, 0), image.Source) }, patience, 10*time.Millisecond, c.at)
			assert.True(t, disk == s.copyOf(image.Source)[:len(disk)], c.at)
			s.unregister(image)
			s.oned.Remove(fakeoned.Images, 0)
		} else {
			assert.Empty(t, s.volumes(), c.at)
		}
		for _, file := range left {
			require.NoError(t, os.Remove(file))
		}
	}
}

// The files of an archive or a directory become a disk with any file system, for root: it is
// mounted for that, by a confined child.
func TestMkimageMounts(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	tree := smallTree(t)
	archive := filepath.Join(public(t), "tree.tgz")
	s.root("tar", "-czf", archive, "-C", tree, ".")
	for _, c := range []struct{ from, format, mode, fstype string }{
		{archive, "tar", "RAW", "xfs"}, {archive, "tar", "ZSTD", "ext4"}, {tree, "dir", "GZIP", "btrfs"},
	} {
		t.Run(c.fstype, func(t *testing.T) {
			s := s.in(t)
			size, mib := sizeFor(c.fstype)
			argv := []string{program, "mkimage", "--datastore", "100", "--name", "disk", "--from", c.from, "--format", c.format, "--mode", c.mode, "--fstype", c.fstype, "--size", size, "--json"}
			refused, err := s.machine.RunAsOneadmin(t.Context(), argv...)
			require.NoError(t, err)
			assert.Equal(t, 1, refused.Status)
			assert.Contains(t, refused.Stderr, "only root may")
			s.noImages()
			result, err := s.machine.Run(t.Context(), testbed.Command{Argv: argv, Root: true})
			require.NoError(t, err)
			require.Zero(t, result.Status, result.Stderr)
			var made people.Result
			require.NoError(t, json.Unmarshal([]byte(result.Stdout), &made), result.Stdout)
			image := fakeoned.Image{ID: 7, Name: made.Name, Source: made.Source, SizeMiB: mib, Template: map[string]string{"MODE": c.mode, "SIZE": size}}
			s.oned.Put(fakeoned.Images, image.ID, image.Document())
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.sameTree(tree, 0, c.fstype)
			s.deleteHome()
			s.removeImages()
		})
	}
}

// playOned has the datastore driver make the contents of new images, as oned does, with
// these settings of the datastore and that size in MiB, as stat would tell it.
func (s *site) playOned(mib int, settings map[string]string) {
	ds := fakeoned.ImageDatastore(settings)
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, ds)
	ended := make(chan struct{})
	s.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		for {
			select {
			case <-s.Context().Done():
				return
			case id := <-s.oned.Copying():
				s.oned.Change(fakeoned.Images, id, map[string]string{"SIZE": strconv.Itoa(mib)})
				document := "<DS_DRIVER_ACTION_DATA>" + s.oned.Document(fakeoned.Images, id) + ds + "</DS_DRIVER_ACTION_DATA>"
				result, err := s.machine.Run(s.Context(), testbed.Command{Argv: []string{testbed.DatastoreVerb("cp"), strconv.Itoa(id)}, Stdin: encoded(document)})
				fields := map[string]string{"STATE": "1", "SOURCE": strings.TrimSuffix(result.Stdout, " raw\n")}
				if err != nil || result.Status != 0 {
					s.Logf("cp of image %d: %v %s", id, err, result.Stderr)
					fields = map[string]string{"STATE": "5"}
				}
				s.oned.Change(fakeoned.Images, id, fields)
			}
		}
	}()
}

// On the SAN, oned's driver makes a volume of what the person has: of an archive and a
// directory with any file system, of a disk with what it has.
func TestMkimageOnTheSAN(t *testing.T) {
	s := start(t, testbed.Options{})
	tree := smallTree(t)
	dir := public(t)
	staging := filepath.Join(dir, "staging")
	require.NoError(t, os.Mkdir(staging, 0o777))
	require.NoError(t, os.Chmod(staging, 0o777))
	settings := map[string]string{"VG_NAME": testbed.Group, "SAFE_DIRS": staging}
	s.root("tar", "-cf", dir+"/tree.tar", "-C", tree, ".")
	for _, fstype := range []string{"xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			s := s.in(t)
			size, mib := sizeFor(fstype)
			s.playOned(int(mib), settings)
			made := s.mkimage("tree", "--from", dir+"/tree.tar", "--format", "tar", "--size", size, "--fstype", fstype, "--register", "--host", "node1")
			assert.Equal(t, []any{imageVolume(made.ID), tarmode.RAW, mib << 20}, []any{made.Source, made.Mode, made.Size})
			image := fakeoned.Image{ID: made.ID, Name: made.Name, Source: made.Source, SizeMiB: mib}
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.sameTree(tree, 0, fstype)
			s.deleteHome()
			s.unregister(image)
			s.oned.Remove(fakeoned.Images, made.ID)
		})
	}
	t.Run("disk", func(t *testing.T) {
		s := s.in(t)
		s.playOned(8, settings)
		disk := append(randomBytes(t, 4096), make([]byte, 8<<20-4096)...)
		require.NoError(t, os.WriteFile(dir+"/disk", disk, 0o644))
		made := s.mkimage("disk", "--from", dir+"/disk", "--register")
		assert.True(t, string(disk) == s.copyOf(made.Source))
		s.unregister(fakeoned.Image{ID: made.ID, Source: made.Source})
		s.oned.Remove(fakeoned.Images, made.ID)
	})
	t.Run("another node", func(t *testing.T) {
		s := s.in(t)
		s.playOned(8, settings)
		result, err := s.machine.RunAsOneadmin(t.Context(), program, "mkimage", "--datastore", "100", "--name", "disk", "--from", dir+"/disk", "--register", "--host", "node9")
		require.NoError(t, err)
		assert.Equal(t, 1, result.Status)
		assert.Contains(t, result.Stderr, "the datastore driver failed")
		assert.Empty(t, s.oned.Document(fakeoned.Images, 0), "it is deleted again")
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		s := s.in(t)
		p, err := s.machine.Start(testbed.Command{Argv: []string{program, "mkimage", "--datastore", "100", "--name", "disk", "--from", dir + "/disk", "--register"}})
		require.NoError(t, err)
		id := <-s.oned.Copying() // whose driver does nothing
		require.NoError(t, p.Signal(syscall.SIGINT))
		result := p.Wait()
		assert.Equal(t, 1, result.Status)
		assert.Contains(t, result.Stderr, "interrupted, nothing is left")
		assert.Empty(t, s.oned.Document(fakeoned.Images, id))
	})
	left, err := os.ReadDir(staging)
	require.NoError(t, err)
	assert.Empty(t, left)
}
