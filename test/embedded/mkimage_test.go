//go:build embedded

package embedded

import (
	"encoding/json"
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
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// startWithFiles makes a machine whose image datastore keeps files.
func startWithFiles(t *testing.T, o testbed.Options) *site {
	s := start(t, o)
	entries, err := os.ReadDir(testbed.DatastorePath(fakeoned.ImageDS)) // those of other tests
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.Remove(filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), e.Name())))
	}
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, strings.ReplaceAll(fakeoned.ImageDatastore(nil), "<DS_MAD><![CDATA[clvm]]>", "<DS_MAD><![CDATA[fs]]>"))
	return s
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
	words := append([]string{program, "mkimage", "--datastore", strconv.Itoa(fakeoned.ImageDS), "--name", name, "--json"}, argv...)
	result, err := s.machine.RunAsOneadmin(s.Context(), words...)
	require.NoError(s, err)
	require.Zero(s, result.Status, result.Stderr)
	var made people.Result
	require.NoError(s, json.Unmarshal([]byte(result.Stdout), &made), result.Stdout)
	return made
}

// An image that a person makes is one that oned deploys.
func TestMkimageForPeople(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	tree := smallTree(t)
	archive := filepath.Join(public(t), "tree.tar.zst")
	s.root("tar", "--zstd", "-cf", archive, "-C", tree, ".")
	for i, source := range [][]string{{"--from", archive, "--format", "tar"}, {"--from", archive, "--mode", "TZST"}} {
		made := s.mkimage("tar-"+strconv.Itoa(i), append(source, "--size", "64M", "--fstype", "ext4", "--register")...)
		require.NotEqual(t, opennebula.None, made.ID)
		assert.Equal(t, int64(64<<20), made.Size)
		image := fakeoned.Image{ID: made.ID, Name: made.Name, Source: made.Path, SizeMiB: 64}
		s.vm(fakeoned.CloneDisk(0, image, 0))
		s.clone(image, 0)
		s.sameTree(tree, 0, "ext4")
		s.deleteDisk(0)
		s.deleteHome()
		s.oned.Remove(fakeoned.Images, made.ID)
		require.NoError(t, os.Remove(made.Path))
	}
}

func TestMkimageOfQCOW2(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	dir := public(t)
	raw := append([]byte(strings.Repeat("data", 1000)), make([]byte, 8<<20-4000)...)
	require.NoError(t, os.WriteFile(dir+"/raw", raw, 0o644))
	s.root("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", dir+"/raw", dir+"/disk.qcow2")
	made := s.mkimage("disk", "--from", dir+"/disk.qcow2", "--format", "qcow2")
	have, err := os.ReadFile(made.Path)
	require.NoError(t, err)
	assert.True(t, string(raw) == string(have))
	require.NoError(t, os.Remove(made.Path))
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

// Killed before the file has its name, nothing is left; between that and oned's answer, a
// whole image of which oned does not know; afterwards the image.
func TestMkimageIsKilled(t *testing.T) {
	s := startWithFiles(t, testbed.Options{Build: testbed.Failpoints})
	require.NoError(t, os.RemoveAll(failpointDirectory))
	require.NoError(t, os.Mkdir(failpointDirectory, 0o777))
	require.NoError(t, os.Chmod(failpointDirectory, 0o777))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(failpointDirectory)) })
	reached := filepath.Join(failpointDirectory, "reached")
	for _, c := range []struct {
		at    string
		files int
		known bool
	}{{"mkimage.filled", 0, false}, {"mkimage.published", 1, false}, {"mkimage.allocated", 1, true}} {
		writable(t, filepath.Join(failpointDirectory, "stop"), c.at+" 0")
		p, err := s.machine.Start(testbed.Command{
			Argv:  []string{program, "mkimage", "--datastore", "100", "--name", "x", "--from", "-", "--format", "raw", "--register"},
			Stdin: "a disk", Env: []string{"ONE_CLVM_FAILPOINTS=" + failpointDirectory},
		})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return exists(reached) || ended(p) }, patience, time.Millisecond)
		require.NoError(t, p.Signal(syscall.SIGKILL))
		p.Wait()
		require.NoError(t, os.Remove(reached), c.at)
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
