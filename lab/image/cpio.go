package image

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// cpio writes an archive in the "newc" form, the one that the kernel unpacks (see
// Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	to          io.Writer
	inode       int
	directories map[string]bool
	err         error
}

func newCpio(to io.Writer) *cpio { return &cpio{to: to, directories: map[string]bool{".": true}} }

const (
	typeDirectory = 0o040000
	typeFile      = 0o100000
)

// add adds a file, and the directories above it. The first error is kept for close.
func (c *cpio) add(name string, data []byte, mode int) {
	c.mkdir(path.Dir(name))
	c.entry(name, data, typeFile|mode)
}

func (c *cpio) mkdir(name string) {
	if c.directories[name] {
		return
	}
	c.mkdir(path.Dir(name))
	c.directories[name] = true
	mode := 0o755
	if strings.HasSuffix(name, "/.ssh") || strings.HasSuffix(name, "/root") {
		mode = 0o700
	}
	c.entry(name, nil, typeDirectory|mode)
}

func (c *cpio) entry(name string, data []byte, mode int) {
	c.inode++
	header := "070701"
	for _, field := range []int{c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		header += fmt.Sprintf("%08x", field)
	}
	c.write([]byte(header+name+"\x00"), len(header)+len(name)+1)
	c.write(data, len(data))
}

// write writes the bytes and pads them to a multiple of four.
func (c *cpio) write(data []byte, size int) {
	for _, part := range [][]byte{data, make([]byte, (4-size%4)%4)} {
		if c.err == nil {
			_, c.err = c.to.Write(part)
		}
	}
}

// close ends the archive and returns the first error of all.
func (c *cpio) close() error {
	c.entry("TRAILER!!!", nil, 0)
	return c.err
}
