package tarmode

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestUnpackClosesFiles: also those that still were on their way to the disk, and when
// the archive turns out to be bad.
func TestUnpackClosesFiles(t *testing.T) {
	var items []item
	for _, name := range strings.Fields("a b c d e f") {
		items = append(items, fileItem(name, strings.Repeat(name, 2*worthStarting)))
	}
	data := archiveOf(t, items...)
	p := newPlace(t)
	before := openFiles(t)
	_, err := p.unpack(t, data, UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, before, openFiles(t))
	_, err = p.unpack(t, data[:len(data)/2], UnpackOptions{})
	require.ErrorIs(t, err, ErrTruncated)
	assert.Equal(t, before, openFiles(t))
}

// TestWriteBehindFails: what could not be written is an error of whoever comes later.
func TestWriteBehindFails(t *testing.T) {
	var b writeBehind
	const closed = 1 << 20 // no such descriptor
	require.NoError(t, b.start(closed, 0, behindBytes))
	err := b.start(closed, behindBytes, 1)
	assert.ErrorIs(t, err, unix.EBADF)
	assert.ErrorContains(t, err, "write the members before it to the disk")
	require.NoError(t, b.close(closed))
	assert.ErrorIs(t, b.end(), unix.EBADF)
}
