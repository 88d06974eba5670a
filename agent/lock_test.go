package agent

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test program be the other process that holds a lock: record locks
// do not exclude within one process.
func TestMain(m *testing.M) {
	if dir := os.Getenv("AGENT_TEST_LOCK_DIR"); dir != "" {
		os.Exit(holdLock(dir, os.Getenv("AGENT_TEST_STUBBORN") != ""))
	}
	os.Exit(m.Run())
}

// lockedHome is whose lock is held.
const lockedHome = "/srv/101/42"

// holdLock holds VM 42's lock until it is asked to stop, or, stubborn, until killed.
func holdLock(dir string, stubborn bool) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	lock, err := lockVM(context.Background(), dir, os.Getenv("AGENT_TEST_LOCK_HOME"), time.Minute, false)
	if err != nil {
		return 1
	}
	os.Stdout.WriteString("locked\n")
	<-stop
	if stubborn {
		select {}
	}
	if lock.unlock() != nil {
		return 1
	}
	return 0
}

func holder(t *testing.T, dir, home string, stubborn bool) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "AGENT_TEST_LOCK_DIR="+dir, "AGENT_TEST_LOCK_HOME="+home)
	if stubborn {
		cmd.Env = append(cmd.Env, "AGENT_TEST_STUBBORN=1")
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return cmd
}

func TestRemoveEndsARunningVerb(t *testing.T) {
	n := newNode(t)
	other := holder(t, n.server.Config.LockDir, n.request(OpRemove).Home, false)
	_, err := n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.NoError(t, other.Wait(), "it was asked to stop and ended by itself")
}

func TestOtherVerbsWait(t *testing.T) {
	dir := t.TempDir()
	other := holder(t, dir, lockedHome, false)
	got := make(chan error, 1)
	go func() {
		lock, err := lockVM(context.Background(), dir, lockedHome, time.Minute, false)
		if err == nil {
			err = lock.unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, other.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, <-got)
}

func TestLockGivesUp(t *testing.T) {
	n := newNode(t)
	holder(t, n.server.Config.LockDir, n.request(OpRemove).Home, true)
	q := n.request(OpRemove)
	q.Patience = 0
	_, err := n.do(q, Transfer{})
	require.ErrorIs(t, err, ErrBusy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = lockVM(ctx, n.server.Config.LockDir, q.Home, time.Minute, false)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestKilledHolderLeavesNoLock(t *testing.T) {
	dir := t.TempDir()
	other := holder(t, dir, lockedHome, true)
	require.NoError(t, other.Process.Kill())
	lock, err := lockVM(context.Background(), dir, lockedHome, time.Minute, false)
	require.NoError(t, err)
	assert.NoError(t, lock.unlock())
}

func TestLocksOfOtherVMsDoNotWait(t *testing.T) {
	dir := t.TempDir()
	holder(t, dir, lockedHome, true)
	lock, err := lockVM(context.Background(), dir, "/srv/101/43", time.Millisecond, false)
	require.NoError(t, err)
	assert.NoError(t, lock.unlock())
}

func TestLockDirectoryMustBeUsable(t *testing.T) {
	_, err := lockVM(context.Background(), "/proc/none", lockedHome, time.Second, false)
	assert.ErrorContains(t, err, "lock directory")
}
