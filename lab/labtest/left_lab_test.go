//go:build lab

package labtest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
)

// crashVariable is set in the process that starts a lab and never ends it.
const crashVariable = "LABTEST_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(crashVariable) == "" {
		os.Exit(m.Run())
	}
	c, err := cluster.Start(context.Background(), cluster.Options{Profile: profile.Legacy, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.Directory)
	select {}
}

// directoryWriter gets the first line and then ends the process that wrote it.
type directoryWriter struct {
	text string
	kill context.CancelFunc
}

func (w *directoryWriter) Write(p []byte) (int, error) {
	w.text += string(p)
	if strings.HasSuffix(w.text, "\n") {
		w.kill()
	}
	return len(p), nil
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	directory := ""
	t.Run("of a lab", func(t *testing.T) {
		c := labtest.Start(t, profile.Legacy)
		directory = c.Directory
		_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "ssh", Args: []string{"-F", c.SSHConfig(), "node1", "true"}})
		require.NoError(t, err)
		require.NotEmpty(t, processesOf(t, directory))
	})
	assert.NoDirExists(t, directory)
	require.Eventually(t, func() bool { return len(processesOf(t, directory)) == 0 }, wait, 10*time.Millisecond)
}

// TestNothingIsLeftOfACrash kills a process that has a lab with signal 9. The nodes die
// with it; its directory goes when the next lab starts.
func TestNothingIsLeftOfACrash(t *testing.T) {
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	out := &directoryWriter{kill: kill}
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = run.Exec{}.Run(ctx, run.Cmd{Path: self, Env: append(os.Environ(), crashVariable+"=1"), Stdout: out, Stderr: os.Stderr})
	require.ErrorIs(t, err, context.Canceled)
	directory := strings.TrimSpace(out.text)
	require.DirExists(t, directory)
	require.Eventually(t, func() bool { return len(processesOf(t, directory)) == 0 }, wait, 10*time.Millisecond)
	labtest.Start(t, profile.Single)
	assert.NoDirExists(t, directory)
}
