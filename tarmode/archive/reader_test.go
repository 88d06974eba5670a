package archive

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// member makes the block of one, and edit changes it before it is sealed.
func member(name string, letter byte, size int64, edit func(*block)) []byte {
	var b block
	copy(b.name(), name)
	putOctal(b.mode(), 0o644)
	putOctal(b.uid(), 1)
	putOctal(b.gid(), 2)
	putOctal(b.size(), size)
	putOctal(b.modTime(), 1000)
	b[typeAt] = letter
	copy(b.magic(), magicUstar)
	if edit != nil {
		edit(&b)
	}
	b.seal()
	return b[:]
}

func asGNU(b *block) { copy(b.magic(), magicGNU) }
func asV7(b *block)  { clear(b.magic()) }

// described makes a header and its content, filled up to blocks.
func described(letter byte, content string) []byte {
	out := member("header", letter, int64(len(content)), nil)
	out = append(out, content...)
	return append(out, zeroBlock[:padding(int64(len(content)))]...)
}

func extendedHeader(records ...string) []byte {
	var content []byte
	for i := 0; i < len(records); i += 2 {
		content = appendRecord(content, records[i], records[i+1])
	}
	return described('x', string(content))
}

func join(parts ...[]byte) io.Reader {
	return bytes.NewReader(append(bytes.Join(parts, nil), make([]byte, 2*blockSize)...))
}

// only reads the one member of an archive.
func only(t *testing.T, parts ...[]byte) *Header {
	t.Helper()
	h, err := NewReader(join(parts...)).Next()
	require.NoError(t, err)
	return h
}

func TestNames(t *testing.T) {
	long := strings.Repeat("l", 300)
	for _, c := range []struct {
		name, want string
		parts      [][]byte
	}{
		{"plain", "a", [][]byte{member("a", '0', 0, nil)}},
		{"hundred bytes without NUL", long[:100], [][]byte{member(long, '0', 0, nil)}},
		{"prefix", "dir/a", [][]byte{member("a", '0', 0, func(b *block) { copy(b.prefix(), "dir") })}},
		{"prefix of star", long[:131] + "/a", [][]byte{member("a", '0', 0, func(b *block) {
			copy(b.prefix(), long[:131]+"\x0017777777777")
			copy(b.starMark(), "tar\x00")
		})}},
		{"no prefix in GNU", "a", [][]byte{member("a", '0', 0, func(b *block) { asGNU(b); copy(b.prefix(), "times") })}},
		{"no prefix in v7", "a", [][]byte{member("a", '0', 0, func(b *block) { asV7(b); copy(b.prefix(), "junk") })}},
		{"GNU long", long, [][]byte{described('L', long+"\x00"), member("a", '0', 0, asGNU)}},
		{"path", long, [][]byte{extendedHeader("path", long), member("a", '0', 0, nil)}},
		{"path taken back", "a", [][]byte{extendedHeader("path", long, "path", ""), member("a", '0', 0, nil)}},
		{"header of Solaris", "x", [][]byte{described('X', string(appendRecord(nil, "path", "x"))), member("a", '0', 0, nil)}},
		{"absolute", "/etc/passwd", [][]byte{member("/etc/passwd", '0', 0, nil)}},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, only(t, c.parts...).Name) })
	}
}

func TestTypes(t *testing.T) {
	for _, c := range []struct {
		name   string
		letter byte
		want   Type
	}{
		{"a", '0', File}, {"a", 0, File}, {"a", '7', File}, {"a", '1', Hard}, {"a", '2', Symlink},
		{"a", '3', Char}, {"a", '4', Block}, {"a", '5', Dir}, {"a/", '5', Dir}, {"a", '6', FIFO},
		{"a/", '0', Dir}, {"a/", 0, Dir}, {"a", 'D', Dir},
	} {
		h := only(t, member(c.name, c.letter, 0, nil))
		assert.Equal(t, c.want, h.Type, "%q %q", c.name, c.letter)
		assert.Equal(t, c.name, h.Name)
	}
}

func TestSizeOfWhatHasNoContent(t *testing.T) {
	for _, letter := range []byte("123456") {
		r := NewReader(join(member("a", letter, 700, nil), member("b", '0', 0, nil)))
		h, err := r.Next()
		require.NoError(t, err)
		assert.Zero(t, h.Size)
		h, err = r.Next()
		require.NoError(t, err, "%q", letter)
		assert.Equal(t, "b", h.Name)
	}
}

func TestDirectoriesWithContentAreSkipped(t *testing.T) {
	content := make([]byte, 2*blockSize)
	content[0] = 'Y'
	for _, m := range [][]byte{member("a", 'D', 600, nil), member("a/", '0', 600, nil)} {
		r := NewReader(join(m, content, member("b", '0', 0, nil)))
		_, err := r.Next()
		require.NoError(t, err)
		_, err = r.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		h, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, "b", h.Name)
	}
}

func TestNumbers(t *testing.T) {
	binary := func(field []byte, first byte, rest ...byte) {
		for i := range field {
			field[i] = first | 0x80
			if first == 0 {
				field[i] = 0
			}
		}
		field[0] = first | 0x80
		copy(field[len(field)-len(rest):], rest)
	}
	h := only(t, member("a", '3', 0, func(b *block) {
		copy(b.mode(), "0104755 ")
		copy(b.uid(), "  17 \x00\x00")
		binary(b.gid(), 0, 1, 0, 0, 0)
		binary(b.modTime(), 0x7f, 0xff, 0xfe)
		copy(b.major(), "0000010\x00")
		binary(b.minor(), 0, 2, 0, 0)
	}))
	assert.Equal(t, uint32(0o4755), h.Mode, "the bits of the type are not the mode's")
	assert.Equal(t, 15, h.UID)
	assert.Equal(t, 1<<24, h.GID)
	assert.True(t, h.ModTime.Equal(time.Unix(-2, 0)), h.ModTime)
	assert.Equal(t, [2]uint32{8, 2 << 16}, [2]uint32{h.Major, h.Minor})
	h = only(t, extendedHeader("uid", "4294967294", "gid", "70000", "mtime", "-1.5", "SCHILY.devmajor", "9", "SCHILY.devminor", "10"),
		member("a", '4', 0, nil))
	assert.Equal(t, [4]int{maxID, 70000, 9, 10}, [4]int{h.UID, h.GID, int(h.Major), int(h.Minor)})
	assert.True(t, h.ModTime.Equal(time.Unix(-2, 5e8)), h.ModTime)
}

func TestSignedChecksum(t *testing.T) {
	raw := member("gr\xfcn", '0', 0, nil)
	b := (*block)(raw)
	_, signed := b.sums()
	putOctal(b.checksum()[:7], signed)
	assert.Equal(t, "gr\xfcn", only(t, raw).Name)
}

func TestGlobal(t *testing.T) {
	global := func(records ...string) []byte {
		out := extendedHeader(records...)
		out[typeAt] = 'g'
		(*block)(out).seal()
		return out
	}
	r := NewReader(join(
		global("ONECLVM.fs.uuid", "one", "mtime", "5.5", "uid", "7", "path", "ignored"),
		member("a", '0', 0, nil),
		global("ONECLVM.fs.uuid", "two", "uid", ""),
		extendedHeader("gid", "9", "mtime", "6"), member("b", '0', 0, nil)))
	h, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"ONECLVM.fs.uuid": "one", "mtime": "5.5", "uid": "7", "path": "ignored"}, r.Global())
	assert.Equal(t, "a", h.Name)
	assert.Equal(t, [2]int{7, 2}, [2]int{h.UID, h.GID})
	assert.True(t, h.ModTime.Equal(time.Unix(5, 5e8)))
	h, err = r.Next()
	require.NoError(t, err)
	assert.Equal(t, "two", r.Global()["ONECLVM.fs.uuid"])
	assert.Equal(t, [2]int{1, 9}, [2]int{h.UID, h.GID})
	assert.True(t, h.ModTime.Equal(time.Unix(6, 0)))
}

func TestGlobalIsBounded(t *testing.T) {
	var parts [][]byte
	for i := range 3 {
		part := extendedHeader(strings.Repeat("k", i+1), strings.Repeat("v", maxRecords/2))
		part[typeAt] = 'g'
		(*block)(part).seal()
		parts = append(parts, part)
	}
	_, err := NewReader(join(parts...)).Next()
	require.ErrorIs(t, err, ErrCorrupt)
	assert.ErrorContains(t, err, "global")
}

func TestXattrs(t *testing.T) {
	h := only(t, extendedHeader(
		"SCHILY.xattr.user.a", "1=2\n\x00",
		"SCHILY.xattr.user.x%3Dy%25", "p",
		"SCHILY.xattr.user.empty", "",
		"LIBARCHIVE.xattr.user.b%20c", "AQID",
		"LIBARCHIVE.xattr.user.pad", "MQ==",
		"LIBARCHIVE.xattr.user.a", "AQID",
		"RHT.security.selinux", "system_u:object_r:etc_t:s0",
		"SCHILY.acl.default", "user::rwx,group::r-x,other::---",
		"SCHILY.fflags", "nodump", "LIBARCHIVE.creationtime", "12", "atime", "x", "ctime", "y", "comment", "z",
	), member("a", '5', 0, nil))
	assert.Equal(t, map[string][]byte{
		"user.a": []byte("1=2\n\x00"), "user.x=y%": []byte("p"), "user.empty": {}, "user.b c": {1, 2, 3}, "user.pad": []byte("1"),
		"security.selinux": []byte("system_u:object_r:etc_t:s0\x00"),
		aclDefault:         []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"),
	}, h.Xattrs)
}

func TestRefused(t *testing.T) {
	numbers := func(edit func(*block)) []byte { return member("bad", '0', 0, edit) }
	for _, c := range []struct {
		name string
		want error
		part []byte
		text string
	}{
		{"unknown type", ErrCorrupt, member("bad", 'Q', 0, nil), `'Q'`},
		{"volume label", ErrUnsupported, member("bad", 'V', 0, asGNU), "--label"},
		{"multi-volume", ErrUnsupported, member("bad", 'M', 0, asGNU), "join"},
		{"multi-volume of pax", ErrUnsupported, extendedHeader("GNU.volume.offset", "1"), "join"},
		{"sparse of star", ErrUnsupported, member("bad", 'S', 0, nil), "GNU tar"},
		{"sparse of the future", ErrUnsupported, append(extendedHeader("GNU.sparse.major", "2"), member("bad", '0', 0, nil)...), "2.0"},
		{"NFSv4 ACL", ErrUnsupported, extendedHeader("SCHILY.acl.ace", "x"), "POSIX"},
		{"named ACL", ErrUnsupported, append(extendedHeader("SCHILY.acl.access", "user::rw-\nuser:joe:rw-\ngroup::r--\nmask::rw-\nother::r--"),
			member("bad", '0', 0, nil)...), "--xattrs-include"},
		{"binary ACL", ErrCorrupt, append(extendedHeader("SCHILY.xattr."+aclAccess, "xx"), member("bad", '0', 0, nil)...), "ACL"},
		{"octal", ErrCorrupt, numbers(func(b *block) { copy(b.uid(), "8") }), "user id"},
		{"negative size", ErrCorrupt, numbers(func(b *block) { copy(b.size(), bytes.Repeat([]byte{0xff}, 12)) }), "size"},
		{"huge size", ErrCorrupt, numbers(func(b *block) { copy(b.size(), "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") }), "size"},
		{"overflowing size", ErrCorrupt, numbers(func(b *block) { copy(b.size(), "\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00") }), "size"},
		{"negative owner", ErrCorrupt, numbers(func(b *block) { copy(b.gid(), bytes.Repeat([]byte{0xff}, 8)) }), "group id"},
		{"bad time", ErrCorrupt, numbers(func(b *block) { copy(b.modTime(), "12:00") }), "time"},
		{"bad mode", ErrCorrupt, numbers(func(b *block) { copy(b.mode(), "rwx") }), "mode"},
		{"bad device", ErrCorrupt, member("bad", '3', 0, func(b *block) { copy(b.major(), "x") }), "major"},
		{"bad minor", ErrCorrupt, member("bad", '4', 0, func(b *block) { copy(b.minor(), "x") }), "minor"},
		{"size in pax", ErrCorrupt, append(extendedHeader("size", "9223372036854775807"), member("bad", '0', 0, nil)...), "size"},
		{"size beyond pax", ErrCorrupt, extendedHeader("size", "9223372036854775808"), "size"},
		{"negative size in pax", ErrCorrupt, extendedHeader("size", "-1"), "size"},
		{"owner in pax", ErrCorrupt, extendedHeader("uid", "4294967295"), "uid"},
		{"time in pax", ErrCorrupt, extendedHeader("mtime", "1.x"), "mtime"},
		{"sign alone", ErrCorrupt, extendedHeader("mtime", "-"), "mtime"},
		{"NUL in path", ErrCorrupt, extendedHeader("path", "a\x00b"), "path"},
		{"two headers", ErrCorrupt, append(extendedHeader("uid", "1"), extendedHeader("uid", "2")...), "two"},
		{"record without key", ErrCorrupt, described('x', "6 =ab\n"), "KEY=VALUE"},
		{"record without value", ErrCorrupt, described('x', "6 abc\n"), "KEY=VALUE"},
		{"record length", ErrCorrupt, described('x', "7 a=b\n"), "length"},
		{"record overrun", ErrCorrupt, described('x', "99 a=b\n"), "length"},
		{"record without length", ErrCorrupt, described('x', "a=b\n"), "length"},
		{"record short", ErrCorrupt, described('x', "0 \n"), "length"},
		{"extended header too long", ErrCorrupt, member("bad", 'x', maxRecords+1, nil), "extended header"},
		{"long name too long", ErrCorrupt, member("bad", 'L', 1<<32, nil), "extended header"},
		{"percent code", ErrCorrupt, extendedHeader("LIBARCHIVE.xattr.user.%4", "AA"), "LIBARCHIVE"},
		{"base64", ErrCorrupt, extendedHeader("LIBARCHIVE.xattr.user.a", "?"), "LIBARCHIVE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(join(member("good", '0', 0, nil), c.part))
			_, err := r.Next()
			require.NoError(t, err)
			h, err := r.Next()
			require.ErrorIs(t, err, c.want)
			assert.Nil(t, h)
			assert.ErrorContains(t, err, c.text)
			_, again := r.Next()
			assert.Equal(t, err, again, "there is no reading on")
			_, again = r.Read(make([]byte, 1))
			assert.Equal(t, err, again)
		})
	}
}

// small is an archive with something of everything.
func small(t *testing.T) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	require.NoError(t, w.WriteGlobal(map[string]string{"ONECLVM.fs.uuid": "u"}))
	require.NoError(t, w.WriteHeader(&Header{Name: "d", Type: Dir, Mode: 0o755, ModTime: time.Unix(1, 5)}))
	write := func(h *Header, content string) {
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	write(&Header{Name: "d/f", Type: File, Size: 600, Xattrs: map[string][]byte{"user.a": []byte("b")}}, strings.Repeat("f", 600))
	write(&Header{Name: "d/s", Type: File, Size: 5000, Sparse: []Extent{{512, 512}, {2048, 2}}}, strings.Repeat("s", 514))
	require.NoError(t, w.WriteHeader(&Header{Name: "l", Type: Symlink, Linkname: strings.Repeat("t", 200)}))
	require.NoError(t, w.Close())
	return out.Bytes()
}

// drain reads a whole archive: the number of members and the first error.
func drain(r io.Reader) (members int, err error) {
	reader := NewReader(r)
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return members, err
		}
		n, err := io.Copy(io.Discard, reader)
		if err != nil {
			return members, err
		}
		if n != h.Stored() {
			return members, errors.New("content and header disagree")
		}
		members++
	}
}

func TestTruncated(t *testing.T) {
	whole := small(t)
	end := bytes.LastIndexByte(whole, 't') // of the checksum's block: what follows is the end mark
	end = end/blockSize*blockSize + blockSize
	for length := range end + blockSize {
		_, err := drain(bytes.NewReader(whole[:length]))
		require.ErrorIs(t, err, ErrTruncated, "%d bytes", length)
		_, err = drain(iotest.OneByteReader(bytes.NewReader(whole[:length])))
		require.ErrorIs(t, err, ErrTruncated, "%d bytes", length)
		_, err = skipAll(bytes.NewReader(whole[:length]))
		require.ErrorIs(t, err, ErrTruncated, "%d bytes", length)
	}
	for length := end + blockSize; length <= len(whole); length++ {
		members, err := drain(bytes.NewReader(whole[:length]))
		require.NoError(t, err, "one block of zeros is an end")
		require.Equal(t, 4, members)
	}
}

// skipAll reads headers only.
func skipAll(r io.Reader) (members int, err error) {
	reader := NewReader(r)
	for {
		if _, err := reader.Next(); errors.Is(err, io.EOF) {
			return members, nil
		} else if err != nil {
			return members, err
		}
		members++
	}
}

func TestSkip(t *testing.T) {
	members, err := skipAll(bytes.NewReader(small(t)))
	require.NoError(t, err)
	assert.Equal(t, 4, members)
}

func TestBitFlips(t *testing.T) {
	whole := small(t)
	failed := 0
	for at := range whole {
		bit := byte(1) << (at % 8)
		whole[at] ^= bit
		if _, err := drain(bytes.NewReader(whole)); err != nil {
			known := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrUnsupported)
			require.True(t, known, "byte %d: %v", at, err)
			failed++
		}
		whole[at] ^= bit
	}
	assert.Greater(t, failed, 9*blockSize/2, "headers are protected by checksums")
}

func TestErrorOfTheSource(t *testing.T) {
	broken := errors.New("connection reset")
	whole := small(t)
	for _, length := range []int{0, 100, 512, 2600, 4000} {
		_, err := drain(io.MultiReader(bytes.NewReader(whole[:length]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, ErrTruncated)
	}
}

func TestBinaryNumbers(t *testing.T) {
	for _, c := range []struct {
		field string
		want  int64
	}{
		{"\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 1},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1},
		{"\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", math.MaxInt64},
		{"\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\x00\x00", math.MinInt64},
		{"777 \x00\x00\x00\x00\x00\x00\x00\x00", 0o777},
		{"\x00\x00\x00\x00\x00\x00\x00\x00", 0},
	} {
		n, err := parseNumber([]byte(c.field))
		require.NoError(t, err, "%q", c.field)
		assert.Equal(t, c.want, n, "%q", c.field)
	}
}
