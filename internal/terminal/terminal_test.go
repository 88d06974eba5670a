package terminal

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestColoursAreForTerminals(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	assert.False(t, Is(file))
	assert.False(t, Is(&bytes.Buffer{}))
	assert.Equal(t, "text", For(file).Paint(Bad, "text"))
	assert.Equal(t, "\x1b[31mtext\x1b[0m", Painter(true).Paint(Bad, "text"))
	assert.Empty(t, Painter(true).Paint(Bad, ""))
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer master.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	assert.True(t, Is(master))
	assert.True(t, bool(For(master)))
	t.Setenv("NO_COLOR", "1")
	assert.False(t, bool(For(master)))
}
