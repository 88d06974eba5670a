//go:build embedded

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/test/build"
)

const previousVersion = "1.0.0"

// previousPackages is the directory of those of the commit before this one, in the cache.
func previousPackages() (directory, checkout, commit string, err error) {
	if checkout, err = build.Repository(); err != nil {
		return "", "", "", err
	}
	for _, name := range []string{"HEAD~1", "HEAD"} { // a clone may have one commit only
		if commit, err = git(checkout, "rev-parse", "--verify", "--quiet", name+"^{commit}"); err == nil {
			break
		}
	}
	return filepath.Join(checkout, ".cache/previous", commit), checkout, commit, err
}

// git asks about the checkout, whoever owns it.
func git(checkout string, args ...string) (string, error) {
	result, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: "git", Args: append([]string{"-c", "safe.directory=*", "-C", checkout}, args...)})
	return strings.TrimSpace(string(result.Stdout)), err
}

// makePrevious makes packages of the commit before this one by its own means, where the cache has
// none: with other defaults, and a verb that is no more, so that an upgrade has something to do.
func makePrevious() error {
	directory, checkout, commit, err := previousPackages()
	if err != nil {
		return err
	}
	if _, err := os.Stat(directory); err == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(filepath.Dir(directory)), os.MkdirAll(filepath.Dir(directory), 0o755)); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(directory), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) // a second time where all is well
	tree, out := filepath.Join(work, "tree"), filepath.Join(work, "dist")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if _, err := git(checkout, "archive", "--output", work+"/tar", commit); err != nil {
		return err
	}
	if _, err := (run.Exec{}).Run(context.Background(), run.Cmd{Path: "tar", Args: []string{"-xf", work + "/tar", "-C", tree}}); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"cxmrc/agent.conf.example": "# of old\n", "cxmrc/cxmrc.example": "# of old\n", "remotes/tm/clvm/former": "#!/usr/libexec/one-clvm/tm-clvm\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	if err := build.Packages(context.Background(), tree, out, previousVersion, "deb", "rpm"); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(out, "programs")); err != nil {
		return err
	}
	return os.Rename(out, directory)
}

// previous are the packages of the commit before this one.
func previous(t *testing.T) made {
	t.Helper()
	directory, _, _, err := previousPackages()
	require.NoError(t, err)
	return made{directory, previousVersion}
}
