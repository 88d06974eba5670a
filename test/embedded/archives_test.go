//go:build embedded

package embedded

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// refused: CLONE of the image fails with one message that has want in it. (What is left
// is looked for at the end of every test.)
func (s *site) refused(image fakeoned.Image, want ...string) string {
	s.Helper()
	s.vm(fakeoned.CloneDisk(0, image, 0))
	message := s.fails(want, "clone", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
	s.settled()
	assert.Empty(s, s.names())
	assert.False(s, exists(device(0)))
	return message
}

func (s *site) write(image fakeoned.Image, content []byte) {
	s.Helper()
	require.NoError(s, os.WriteFile(image.Source, content, 0o644))
}

func gzipped(t *testing.T, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(plain, nil)
}

// entry is a member of an archive made by hand.
type entry struct {
	tar.Header
	content string
}

// tarOf makes an archive as no honest program would.
func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if e.Mode == 0 {
			e.Mode = 0o755
		}
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name}, content}
}

func link(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target}}
}

// An archive that is damaged on its way or on its shelf is never published.
func TestDamagedImage(t *testing.T) {
	s := start(t, testbed.Options{})
	plain := tarOf(t, file("first", "x"), file("large", string(randomBytes(t, 2<<20))), file("last", "y"))
	packed := map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstandard(t, plain)}
	image := s.tarImage(7, "64M", nil)
	for name, content := range packed {
		for _, at := range []int{1, 40, len(content) / 2, len(content) - 4, len(content) - 1} {
			t.Run(fmt.Sprintf("%s cut to %d", name, at), func(t *testing.T) {
				s := s.in(t)
				s.write(image, content[:at])
				s.refused(image)
			})
		}
		for _, at := range []int{2, len(content) / 3, len(content) / 2, len(content) - 2} {
			t.Run(fmt.Sprintf("%s flipped at %d", name, at), func(t *testing.T) {
				s := s.in(t)
				flipped := bytes.Clone(content)
				flipped[at] ^= 0x10
				s.write(image, flipped)
				s.refused(image)
			})
		}
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "empty"},
		{"empty archive", gzipped(t, nil), "cut short"},
		{"not a tar", gzipped(t, bytes.Repeat([]byte("plain text\n"), 1000)), "checksum"},
		{"a disk", append(make([]byte, 1<<20), randomBytes(t, 1<<20)...), "behind the end"},
		{"a disk of zeros", make([]byte, 1<<20), "without a member"},
		{"not compressed, cut in a header", plain[:700], "cut short"},
		{"not compressed, cut in a file", plain[:1<<20], "cut short"},
		{"not compressed, without an end", plain[:len(plain)-1024], "cut short"},
		{"not compressed, flipped in a header", flip(plain, 10), "checksum"},
		{"garbage behind the end", append(gzipped(t, plain), "garbage that goes on"...), "damaged"},
		{"two archives", gzipped(t, append(bytes.Clone(plain), plain...)), "behind the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.write(image, c.content)
			s.refused(image, c.want)
		})
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x01
	return b
}

// Nothing outside the new file system is read, written or even there.
func TestArchiveThatWantsOut(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.tarImage(7, "64M", nil)
	victim := filepath.Join(testbed.Scratch, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("as it was"), 0o644))
	device := entry{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "dev", Devmajor: 7, Devminor: 0}}
	for _, c := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"parent", []entry{file("../../../.."+victim, "x")}, "unsafe"},
		{"parent inside", []entry{file("a/../../b", "x")}, "unsafe"},
		{"absolute", []entry{file(victim, "x")}, "unsafe"},
		{"symlink, then through it", []entry{link(tar.TypeSymlink, "out", testbed.Scratch), file("out/victim", "x")}, "unsafe"},
		{"relative symlink", []entry{link(tar.TypeSymlink, "out", "../../../.."+testbed.Scratch), file("out/victim", "x")}, "unsafe"},
		{"symlink inside", []entry{file("d/f", ""), link(tar.TypeSymlink, "in", "d"), file("in/f", "x")}, "unsafe"},
		{"hard link to an absolute name", []entry{link(tar.TypeLink, "l", victim)}, "unsafe"},
		{"hard link to the parent", []entry{link(tar.TypeLink, "l", "../../../.."+victim)}, "unsafe"},
		{"hard link through a symlink", []entry{link(tar.TypeSymlink, "out", testbed.Scratch), link(tar.TypeLink, "l", "out/victim")}, "unsafe"},
		{"hard link to nothing", []entry{link(tar.TypeLink, "l", "nothing")}, "no such file"},
		{"below a device node", []entry{device, file("dev/x", "x")}, "not a directory"},
		{"a command as UUID, and a file named ..", []entry{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "x", PAXRecords: map[string]string{"ONECLVM.fs.uuid": "$(id)"}}}, file("..", "x")}, "unsafe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.write(image, gzipped(t, tarOf(t, c.entries...)))
			s.refused(image, c.want)
		})
	}
	text, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, "as it was", string(text))
}

// A device node is replaced, not written through; a link to elsewhere stays a link.
func TestArchiveThatReplacesItsMembers(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.tarImage(7, "64M", nil)
	pv, err := os.Stat(groupDir() + "/pv")
	require.NoError(t, err)
	s.write(image, gzipped(t, tarOf(t,
		entry{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "node", Devmajor: 7, Devminor: 0}}, file("node", "now a file"),
		link(tar.TypeSymlink, "link", groupDir()+"/pv"), file("link", "now a file"),
		file("f", "one"), link(tar.TypeLink, "g", "f"), file("f", "two"),
	)))
	s.vm(fakeoned.CloneDisk(0, image, 0))
	s.clone(image, 0)
	s.mounted(0, "ext4", func(directory string) {
		for name, text := range map[string]string{"node": "now a file", "link": "now a file", "g": "one", "f": "two"} {
			info, err := os.Lstat(filepath.Join(directory, name))
			require.NoError(t, err)
			assert.True(t, info.Mode().IsRegular(), name)
			got, err := os.ReadFile(filepath.Join(directory, name))
			require.NoError(t, err)
			assert.Equal(t, text, string(got), name)
		}
	})
	after, err := os.Stat(groupDir() + "/pv")
	require.NoError(t, err)
	assert.Equal(t, pv.Size(), after.Size())
	s.deleteDisk(0)
}

func TestArchiveThatIsTooLarge(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.tarImage(7, "64M", nil)
	t.Run("200000 empty files", func(t *testing.T) {
		s := s.in(t)
		s.flood(image.Source, 200_000)
		s.refused(image, "out of inodes", "larger size")
	})
	t.Run("1 TiB of holes", func(t *testing.T) {
		s := s.in(t)
		directory := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(directory, "sparse"), []byte("x"), 0o600))
		require.NoError(t, os.Truncate(filepath.Join(directory, "sparse"), 1<<40))
		s.root("tar", "-S", "-czf", image.Source, "-C", directory, ".")
		s.refused(image, "sparse", "1099511627776", "larger than the volume")
	})
	t.Run("more than the volume in one file", func(t *testing.T) {
		s := s.in(t)
		s.write(image, zstandard(t, tarOf(t, file("large", string(make([]byte, 65<<20))))))
		s.refused(image, "large", "larger than the volume")
	})
	t.Run("more than the file system", func(t *testing.T) {
		s := s.in(t)
		s.write(image, tarOf(t, file("large", string(randomBytes(t, 63<<20)))))
		s.refused(image, "no space left", "larger size")
	})
	for _, mode := range []string{"GZIP", "ZSTD"} {
		t.Run("disk, "+mode, func(t *testing.T) {
			s := s.in(t)
			image := s.image(8, map[string]string{"MODE": mode, "SIZE": "16M"})
			disk := append(make([]byte, 16<<20), 1)
			if mode == "GZIP" {
				disk = gzipped(t, disk)
			} else {
				disk = zstandard(t, disk)
			}
			s.write(image, disk)
			s.refused(image, "larger than the volume")
		})
	}
	for _, mode := range []string{"RAW", "GZIP", "ZSTD"} {
		t.Run("empty disk, "+mode, func(t *testing.T) {
			s := s.in(t)
			image := s.image(8, map[string]string{"MODE": mode, "SIZE": "16M"})
			s.write(image, nil)
			s.refused(image, "empty")
		})
	}
}

// flood writes an archive of many empty files, as a stream.
func (s *site) flood(path string, members int) {
	s.Helper()
	out, err := os.Create(path)
	require.NoError(s, err)
	buffered := bufio.NewWriter(out)
	packed, err := zstd.NewWriter(buffered)
	require.NoError(s, err)
	w := tar.NewWriter(packed)
	for i := range members {
		require.NoError(s, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%d/f%d", i/1000, i), Mode: 0o644}))
	}
	for _, err := range []error{w.Close(), packed.Close(), buffered.Flush(), out.Close()} {
		require.NoError(s, err)
	}
}
