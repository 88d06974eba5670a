package cxmrc

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trusted reads a file that must be the tester's own.
func trusted(path string) (*Config, error) { return loadTrusted(path, Agent, uint32(os.Getuid())) }

// agentFile makes a file in a directory, both writable by their owner alone.
func agentFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "one-clvm", "agent.conf")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestTrustedFile(t *testing.T) {
	config, err := trusted(agentFile(t, "ALLOWED_VGS='vg-one vg-two'\nWIPE_METHOD=write\n"))
	require.NoError(t, err)
	assert.Equal(t, []string{"vg-one", "vg-two"}, config.List("ALLOWED_VGS"))
	assert.Equal(t, "write", config.String("WIPE_METHOD"))
	assert.Equal(t, "oneadmin", config.String("OWNER"))
}

func TestUntrustedFiles(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"group may write":            func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o664)) },
		"others may write":           func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o646)) },
		"others may write directory": func(t *testing.T, path string) { require.NoError(t, os.Chmod(filepath.Dir(path), 0o777)) },
		"a symbolic link": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(path+".real", path))
		},
		"a directory": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		},
		"a pipe": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := agentFile(t, "ALLOWED_VGS=vg-one\n")
			spoil(t, path)
			_, err := trusted(path)
			require.ErrorIs(t, err, ErrUntrusted)
			assert.ErrorContains(t, err, filepath.Dir(path))
		})
	}
}

func TestForeignFile(t *testing.T) {
	path := agentFile(t, "ALLOWED_VGS=vg-one\n")
	_, err := loadTrusted(path, Agent, uint32(os.Getuid())+1)
	require.ErrorIs(t, err, ErrUntrusted)
	assert.ErrorContains(t, err, "chown root "+path)
	require.ErrorIs(t, checkOwner(path, noOwner{}, 0), ErrUntrusted)
}

// noOwner is the information on a file of a system without owners.
type noOwner struct{ fs.FileInfo }

func (noOwner) Sys() any { return nil }

func TestAgentFileMustExistAndName(t *testing.T) {
	_, err := LoadAgent(filepath.Join(t.TempDir(), "agent.conf"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "this machine is no node")
	_, err = LoadHook(filepath.Join(t.TempDir(), "hook.conf"))
	require.ErrorContains(t, err, "the hook is not set up here")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, checkDirectory(filepath.Join(t.TempDir(), "none"), 0), os.ErrNotExist)

	_, err = trusted(agentFile(t, "WIPE=create\n"))
	require.ErrorIs(t, err, ErrValue)
	require.ErrorContains(t, err, "ALLOWED_VGS is not set; set it, for example: ALLOWED_VGS=vg-one")
	_, err = trusted(agentFile(t, "ALLOWED_VGS=\n"))
	assert.ErrorIs(t, err, ErrValue)
}

func TestASystemFileIsTrustedButNoConfiguration(t *testing.T) {
	_, err := LoadAgent("/etc/passwd")
	require.ErrorIs(t, err, ErrSyntax)
	assert.NotErrorIs(t, err, ErrUntrusted)
}
