//go:build embedded

package debian

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// Differences must see each of the things that Decorate makes.
func TestDifferencesSeesEverything(t *testing.T) {
	ctx := context.Background()
	want := filepath.Join(t.TempDir(), "want")
	require.NoError(t, Decorate(ctx, want))
	for name, spoil := range map[string]func(path func(string) string) error{
		"nothing": func(func(string) string) error { return nil },
		"content": func(path func(string) string) error { return os.WriteFile(path("setuid"), []byte("y"), 0o755) },
		"owner":   func(path func(string) string) error { return os.Lchown(path("symlink"), 1, 1) },
		"mode":    func(path func(string) string) error { return os.Chmod(path("setuid"), 0o755) },
		"attribute": func(path func(string) string) error {
			return run1(ctx, "setfattr", "-x", "user.comment", path("plain"))
		},
		"capability": func(path func(string) string) error { return run1(ctx, "setcap", "-r", path("capable")) },
		"ACL":        func(path func(string) string) error { return run1(ctx, "setfacl", "-k", path("shared")) },
		"extra":      func(path func(string) string) error { return os.WriteFile(path("extra"), nil, 0o600) },
		"missing":    func(path func(string) string) error { return os.Remove(path("null")) },
		"nanosecond": func(path func(string) string) error { return run1(ctx, "touch", "-d", "@1700000000.1", path(".")) },
		"hard link": func(path func(string) string) error {
			return run1(ctx, "cp", "-a", "--remove-destination", path("hardlink-1"), path("hardlink-2"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			have := filepath.Join(t.TempDir(), "have")
			require.NoError(t, run1(ctx, "cp", "-a", want, have))
			require.NoError(t, spoil(func(file string) string { return filepath.Join(have, "srv/decoration", file) }))
			differences, err := Differences(ctx, want, have)
			require.NoError(t, err)
			assert.Equal(t, name == "nothing", differences == "", differences)
		})
	}
}

func run1(ctx context.Context, argv ...string) error {
	_, err := run.Exec{}.Run(ctx, run.Cmd{Path: argv[0], Args: argv[1:]})
	return err
}
