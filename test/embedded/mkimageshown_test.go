//go:build embedded

package embedded

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/test/testbed"
)

// pipe is one whose ends are closed with the test, if not before.
func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = reader.Close(), writer.Close() })
	return reader, writer
}

// terminal is a new one: what is written to side is read from control.
func terminal(t *testing.T) (control, side *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	fd := int(control.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	require.Zero(t, errno)
	side = os.NewFile(peer, "terminal")
	t.Cleanup(func() { _, _ = control.Close(), side.Close() })
	return control, side
}

// readUntil reads up to a text.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for piece := make([]byte, 4096); !strings.Contains(all.String(), text); {
		n, err := r.Read(piece)
		all.Write(piece[:n])
		require.NoError(t, err, "%q came, and no %q", all.String(), text)
	}
	return all.String()
}

// On a terminal there is a bar, piped there are lines.
func TestMkimageShowsItsProgress(t *testing.T) {
	s := startWithFiles(t, testbed.Options{})
	for name, c := range map[string]struct {
		shown func(*testing.T) (reader, writer *os.File)
		until string
		want  string
	}{
		"terminal": {terminal, "iB/s", `^disk +\[-+\] `},
		"piped":    {pipe, "\n", `^disk: 1\.0 MiB at \d+ [KM]iB/s\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			screen, stderr := c.shown(t)
			stdin, source := pipe(t)
			p, err := s.machine.Start(testbed.Command{
				Argv:      []string{program, "mkimage", "--datastore", "100", "--name", "disk", "--from", "-", "--format", "raw", "--mode", "GZIP"},
				StdinFile: stdin, StderrFile: stderr,
			})
			require.NoError(t, err)
			require.NoError(t, stderr.Close())
			_, err = source.Write(bytes.Repeat([]byte("data"), 1<<18))
			require.NoError(t, err)
			assert.Regexp(t, c.want, readUntil(t, screen, c.until))
			require.NoError(t, source.Close())
			result := p.Wait()
			require.Zero(t, result.Status)
			assert.Regexp(t, `^disk: GZIP image, .* on disk, of 1\.0 MiB read in `, result.Stdout)
			s.removeImages()
		})
	}
}
