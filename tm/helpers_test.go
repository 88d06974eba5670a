package tm

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/tarmode"
	"one-clvm/tarmode/archive"
)

// makeTar makes a small compressed tar with a file system's identity.
func makeTar(t *testing.T, c tarmode.Compression, members ...string) []byte {
	var out bytes.Buffer
	packed, err := tarmode.NewCompressor(&out, c, 1)
	require.NoError(t, err)
	w := archive.NewWriter(packed)
	require.NoError(t, w.WriteGlobal(tarmode.Identity("11111111-2222-3333-4444-555555555555", "root")))
	for _, name := range members {
		require.NoError(t, w.WriteHeader(&archive.Header{Name: name, Type: archive.File, Mode: 0o644, Size: 4, ModTime: time.Unix(1, 0)}))
		_, err := w.Write([]byte("data"))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, packed.Close())
	return out.Bytes()
}
