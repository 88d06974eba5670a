//go:build failpoint

package failpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStopAndTrace(t *testing.T) {
	directory = t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600))
	}
	Change("unheard")
	write("trace", "")
	write("stop", "b.c 1")
	Change("create", "lv-one-42-0")
	Hit("a.b")
	Hit("b.c")
	done := make(chan bool)
	go func() { Hit("b.c"); close(done) }()
	reached := filepath.Join(directory, "reached")
	require.Eventually(t, func() bool { return exists(reached) }, time.Minute, time.Millisecond)
	select {
	case <-done:
		t.Fatal("did not stop")
	default:
	}
	Hit("b.c") // only the first one stops
	require.NoError(t, os.Remove(reached))
	<-done
	text, err := os.ReadFile(filepath.Join(directory, "trace"))
	require.NoError(t, err)
	assert.Regexp(t, `^\d+ change create lv-one-42-0\n\d+ hit a.b\n\d+ hit b.c\n\d+ hit b.c\n\d+ hit b.c\n$`, string(text))
}
