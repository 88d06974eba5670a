//go:build embedded

package tarmode

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUnpackLeavesPageCache: of a file much larger than what may be on its way to the
// disk, not much more than that stays in memory.
func TestUnpackLeavesPageCache(t *testing.T) {
	root := mounted(t, "ext4", 512<<20)
	data := archiveOf(t, fileItem("large", strings.Repeat("large", 8*behindBytes/5)))
	dir, err := os.Open(root)
	require.NoError(t, err)
	_, err = Unpack(context.Background(), dir, bytes.NewReader(data), UnpackOptions{})
	require.NoError(t, err)
	require.NoError(t, dir.Close())
	resident := command(t, "fincore", "--bytes", "--noheadings", "--output", "RES", filepath.Join(root, "large"))
	cached, err := strconv.Atoi(strings.TrimSpace(resident))
	require.NoError(t, err)
	assert.Less(t, cached, 2*behindBytes)
}
