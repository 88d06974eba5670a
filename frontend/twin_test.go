package frontend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTwins(t *testing.T) {
	twin := func(files map[string]string) Hashes {
		root := t.TempDir()
		for path, text := range files {
			path = filepath.Join(root, path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/one/remotes/tm"), 0o755))
		require.NoError(t, os.Symlink(files["target"], filepath.Join(root, "var/lib/one/remotes/tm/link")))
		hashes, err := ReadHashes(root)
		require.NoError(t, err)
		return hashes
	}
	first := twin(map[string]string{"etc/one/oned.conf": "a", "var/lib/one/.ssh/id_rsa": "k", "var/lib/one/.ssh/known_hosts": "1", "var/lib/one/remotes/tm/clone": "c", "target": "x", "etc/passwd": "p"})
	assert.Len(t, first, 4, "and nothing else")
	assert.Empty(t, CompareTwins(first, first))
	second := twin(map[string]string{"etc/one/oned.conf": "b", "var/lib/one/.one/one_auth": "o", "var/lib/one/.ssh/known_hosts": "2", "var/lib/one/remotes/tm/clone": "c", "target": "y"})
	said := map[string]string{}
	for path, f := range CompareTwins(first, second) {
		said[path] = f.What
	}
	assert.Equal(t, map[string]string{
		"/etc/one/oned.conf": "the twin's is another one", "/var/lib/one/.ssh/id_rsa": "the twin does not have it",
		"/var/lib/one/.one/one_auth": "only the twin has it", "/var/lib/one/remotes/tm/link": "the twin's is another one",
	}, said)
}

// The key with which one front-end fences the other, wherever it is.
func TestTwinsHaveOneKey(t *testing.T) {
	for _, place := range []string{defaultKey, "/srv/fence.key"} {
		root := t.TempDir()
		write := func(path, text string) {
			path = filepath.Join(root, path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o400))
		}
		write(clusterConf, strings.ReplaceAll(rendered(t, "cluster.conf"), defaultKey, place))
		write(place, "one")
		ours, err := ReadHashes(root)
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(root, place)))
		write(place, "another")
		theirs, err := ReadHashes(root)
		require.NoError(t, err)
		found := CompareTwins(ours, theirs)
		require.Len(t, found, 1, place)
		assert.Equal(t, "the twin's is another one", found[place].What)
	}
}
