package entrance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/hook/spool"
)

// lines is a Journal.
type lines []string

func (l *lines) Note(format string, args ...any)  { *l = append(*l, fmt.Sprintf(format, args...)) }
func (l *lines) Alarm(format string, args ...any) { l.Note("ALARM "+format, args...) }

func at(dir string) func() spool.Spool { return func() spool.Spool { return spool.Spool{Dir: dir} } }

// A caller that leaves standard input open is not waited for.
func TestAcceptEndsInTime(t *testing.T) {
	w := &lines{}
	never, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := at(t.TempDir())
	err := Accept(ctx, Libvirt, Called{Args: []string{"one-1", "started", "begin", "-"}, Stdin: never, Now: noon}, s, w)
	require.ErrorIs(t, err, ErrNotAccepted)
	require.ErrorIs(t, err, context.Canceled)
	assert.Contains(t, (*w)[0], "one-1")
}

// Whatever hangs on the way to the spool, or is broken there.
func TestAcceptWaitsForNoConfiguration(t *testing.T) {
	w := &lines{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	hang := make(chan struct{})
	defer close(hang)
	err := Accept(ctx, CXM, called("", "", "web", "node1", "node2"), func() spool.Spool { <-hang; return spool.Spool{} }, w)
	require.ErrorIs(t, err, context.Canceled)
	assert.Contains(t, (*w)[0], "cxm: web migrated")
	err = Accept(context.Background(), CXM, called("", "", "web", "node1", "node2"), func() spool.Spool { panic("broken") }, w)
	require.ErrorIs(t, err, ErrNotAccepted)
	assert.Contains(t, (*w)[1], "broken")
	require.NoError(t, Accept(context.Background(), Pacemaker, called("CRM_alert_kind=node", ""), nil, w), "it does not matter where the spool is")
}

func TestAcceptTellsWhatItCannotStore(t *testing.T) {
	w := &lines{}
	s := at(filepath.Join(t.TempDir(), "none"))
	c := called("", "", "web", "node1", "node2")
	require.ErrorIs(t, Accept(context.Background(), CXM, c, s, w), ErrNotAccepted)
	require.Len(t, *w, 1)
	for _, word := range []string{"ALARM", "cxm: web migrated", "node1", "node2", "reconcile"} {
		assert.Contains(t, (*w)[0], word)
	}
	c.Args = []string{strings.Repeat("x", 1<<20)}
	require.ErrorIs(t, Accept(context.Background(), CXM, c, s, w), ErrEvent)
	assert.Less(t, len((*w)[1]), 1000)
	require.ErrorIs(t, Accept(context.Background(), Libvirt, Called{Args: []string{"a", "started", "begin"}}, s, w), ErrEvent, "no standard input")
}

// A log gets what syslog(3) would send; without one standard error has the line.
func TestJournal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer log.Close()
	var stderr bytes.Buffer
	journal := &Syslog{Program: "one-migrate-hook", Stderr: &stderr, Socket: socket}
	journal.Note("one %d", 1)
	journal.Alarm("two")
	for _, want := range []string{`^<29>one-migrate-hook\[\d+\]: one 1$`, `^<27>one-migrate-hook\[\d+\]: two$`} {
		message := make([]byte, 100)
		n, err := log.Read(message)
		require.NoError(t, err)
		assert.Regexp(t, want, string(message[:n]))
	}
	assert.Equal(t, "one-migrate-hook: one 1\none-migrate-hook: two\n", stderr.String())
	journal.Socket += ".gone"
	journal.Alarm("three")
	assert.Contains(t, stderr.String(), "three\none-migrate-hook: system log: no such file")
}
