package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

const image8 = "lv-oneimg-8"

// aboutImage is a request about image 7.
func (n *node) aboutImage(op Op) Request {
	return Request{Op: op, Operation: "0123456789ab", Group: "vg-one", Patience: 60, Image: &Image{Group: "vg-one", ID: 7}}
}

func (n *node) makeImage(content Content, mode tarmode.Mode) Request {
	q := n.aboutImage(OpMakeImage)
	q.Size, q.Content, q.Mode = 8<<20, content, mode
	return q
}

// extentsOf is a stream of a disk of 8 MiB with data at these places.
func extentsOf(t *testing.T, data map[int64]string) []byte {
	disk := make([]byte, 8<<20)
	for at, text := range data {
		copy(disk[at:], text)
	}
	var out bytes.Buffer
	_, _, err := tarmode.SendStream(t.Context(), &out, bytes.NewReader(disk), nil)
	require.NoError(t, err)
	return out.Bytes()
}

func TestMakeImage(t *testing.T) {
	n := newNode(t)
	for range 2 { // the second time it replaces what the first one made
		res, err := n.do(n.makeImage(ContentExtents, ""), sendBytes(extentsOf(t, map[int64]string{0: "boot", 5<<20 + 3: "data"})))
		require.NoError(t, err)
		v := n.group.volumes[image7]
		assert.Equal(t, image7, res.Volume)
		assert.Equal(t, lvm.NewTags("one", "image=7", "op=0123456789ab", "data=20:IQ"), v.Tags, "MiB 0 and 5")
		assert.Equal(t, lvm.Off, v.Mode, "any node may use it")
		assert.Equal(t, "boot", n.content(image7)[:4])
		assert.Equal(t, []string{image7}, n.group.names())
	}
}

func TestMakeEmptyImages(t *testing.T) {
	n := newNode(t)
	_, err := n.do(n.makeImage(ContentNone, ""), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "", n.content(image7))
	assert.True(t, n.group.volumes[image7].Tags.Has("data=20:"), "all of it is zero")
	q := n.makeImage(ContentFS, "")
	q.FSType = "ext4"
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.NewTags("one", "image=7", "op=0123456789ab", "fs=ext4"), n.group.volumes[image7].Tags)
}

// reads tells what is read of an image: of a gap only samples of some KiB.
func TestCloneReadsOnlyData(t *testing.T) {
	n := newNode(t)
	_, err := n.do(n.makeImage(ContentExtents, ""), sendBytes(extentsOf(t, map[int64]string{0: "boot", 5 << 20: "data"})))
	require.NoError(t, err)
	c := &session{Server: n.server}
	device, err := os.OpenFile(n.group.volumes[image7].Path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer device.Close()
	frames := &frameWriter{w: io.Discard}
	c.frames = frames
	parts, err := c.dataOf(device, *n.group.volumes[image7])
	require.NoError(t, err)
	assert.Equal(t, []tarmode.Range{{Off: 0, Length: 1 << 20}, {Off: 5 << 20, Length: 1 << 20}}, parts)

	_, err = n.do(n.cloneOfImage(), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, n.content(image7), n.content(disk0))

	// Somebody wrote to it by hand: it is noticed, and read whole.
	_, err = device.WriteAt(bytes.Repeat([]byte("x"), 3<<20), 2<<20)
	require.NoError(t, err)
	parts, err = c.dataOf(device, *n.group.volumes[image7])
	require.NoError(t, err)
	assert.Equal(t, []tarmode.Range{{Length: 8 << 20}}, parts)
}

// Whoever may write to an image takes the map away, in the same step.
func TestWritersForgetTheData(t *testing.T) {
	for name, do := range map[string]func(*node) Request{
		"link":  func(n *node) Request { return n.ofImage(OpLink) },
		"store": func(n *node) Request { n.group.fail["extend"] = errors.New("no"); return n.ofImage(OpStore) },
	} {
		n := newNode(t)
		_, err := n.do(n.makeImage(ContentExtents, ""), sendBytes(extentsOf(t, map[int64]string{0: "boot"})))
		require.NoError(t, err)
		n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
		if name == "link" {
			delete(n.group.volumes, disk0)
		}
		_, _ = n.do(do(n), Transfer{}) // perhaps it failed after that
		assert.Empty(t, n.group.volumes[image7].Tags.Get(lvm.TagData), name)
	}
}

func TestCopyImage(t *testing.T) {
	n := imaged(t)
	q := n.makeImage(ContentImage, "")
	q.Image, q.Source = &Image{Group: "vg-one", ID: 8}, &Image{Group: "vg-one", ID: 7}
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, n.content(image7), n.content(image8))
	assert.True(t, n.group.volumes[image8].Tags.Has("image=8", "fs=xfs"))
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), n.group.volumes[image7].Tags)
}

func TestDropImage(t *testing.T) {
	n := imaged(t)
	n.group.put(t, "lv-oneimg-70", "another", "one", "image=70")
	for range 2 {
		_, err := n.do(n.aboutImage(OpDropImage), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, []string{"lv-oneimg-70"}, n.group.names())
	}
}

func TestSendImage(t *testing.T) {
	n := imaged(t)
	q := n.aboutImage(OpSendImage)
	q.Mode = tarmode.GZIP
	var got bytes.Buffer
	_, err := n.do(q, Transfer{Receive: func(s Start) (io.Writer, error) {
		assert.Equal(t, tarmode.GZIP, s.Mode)
		return &got, nil
	}})
	require.NoError(t, err)
	plain, err := tarmode.NewDecompressor(&got, tarmode.Gzip)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, n.content(image7), strings.TrimRight(string(content), "\x00"))
	assert.Equal(t, lvm.Off, n.group.volumes[image7].Mode)
}

func TestImageOperationsRefuse(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*node)
		want string
	}{
		{"not ours", func(n *node) { n.group.volumes[image7].Tags = nil }, "does not carry its tags"},
		{"in use", func(n *node) { n.group.volumes[image7].Tags = lvm.NewTags("one", "image=7", "vm=43", "disk=5") }, "in use"},
		{"open", func(n *node) { n.group.open[image7] = true }, "in use"},
		{"elsewhere", func(n *node) { n.group.fail["activate exclusive "+image7] = lvm.ErrLocked }, "locked by another node"},
	} {
		for _, op := range []Op{OpMakeImage, OpDropImage} {
			n := imaged(t)
			c.edit(n)
			q := n.aboutImage(op)
			if op == OpMakeImage {
				q = n.makeImage(ContentNone, "")
			}
			_, err := n.do(q, Transfer{})
			require.ErrorContains(t, err, c.want, "%s %s", op, c.name)
			assert.Equal(t, "an image", n.content(image7))
		}
	}
}

// A failure leaves nothing.
func TestMakeImageRollsBack(t *testing.T) {
	n := newNode(t)
	cut := extentsOf(t, map[int64]string{0: "boot"})
	_, err := n.do(n.makeImage(ContentExtents, ""), sendBytes(cut[:len(cut)-3]))
	require.ErrorIs(t, err, tarmode.ErrTruncated)
	assert.Empty(t, n.group.names())
	_, err = n.do(n.makeImage(ContentExtents, ""), Transfer{Send: func(io.Writer) error { return errors.New("checksum") }})
	require.ErrorContains(t, err, "checksum")
	assert.Empty(t, n.group.names())
}

func TestImageOperationsAreValidated(t *testing.T) {
	n := imaged(t)
	with := func(op Op, edit func(*Request)) Request {
		q := n.aboutImage(op)
		if op == OpMakeImage {
			q = n.makeImage(ContentImage, "")
			q.Source = &Image{Group: "vg-one", ID: 8}
		}
		edit(&q)
		return q
	}
	for _, c := range []struct {
		q    Request
		want string
	}{
		{with(OpDropImage, func(q *Request) { q.Image = nil }), "needs an image"},
		{with(OpMakeImage, func(q *Request) { q.Image.ID = -1 }), "image id -1"},
		{with(OpMakeImage, func(q *Request) { q.Source = nil }), "needs an image to copy"},
		{with(OpMakeImage, func(q *Request) { q.Source.Group = "evil" }), `"evil" is not allowed`},
		{with(OpMakeImage, func(q *Request) { q.Source.ID = 7 }), "onto itself"},
		{with(OpMakeImage, func(q *Request) { q.Group = "evil" }), `"evil" is not allowed`},
		{with(OpMakeImage, func(q *Request) { q.Size = 0 }), "size of 0 bytes"},
		{with(OpDropImage, func(q *Request) { q.Source = &Image{Group: "vg-one", ID: 8} }), "takes no image to copy"},
		{with(OpSendImage, func(*Request) {}), "mode"},
	} {
		_, err := n.do(c.q, Transfer{})
		assert.ErrorContains(t, err, c.want)
	}
	n.server.Config.Groups = append(n.server.Config.Groups, "vg-two")
	_, err := n.do(with(OpDropImage, func(q *Request) { q.Image.Group = "vg-two" }), Transfer{})
	assert.ErrorContains(t, err, "the request is about vg-one")
}
