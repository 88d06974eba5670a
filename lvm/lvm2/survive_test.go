package lvm2_test

import (
	"context"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// creatorRole makes this test program one that creates a volume, with an lvcreate that
// takes its time: the child of TestLVMSurvivesOurDeath, and its child.
const creatorRole = "LVM2_TEST_CREATOR"

func createSlowly(dir string) int {
	host := newCluster(lvmfake.LockNone).hostA
	group := allowed(lvm2.New(vg, script(func(cmd run.Cmd) (run.Result, error) {
		if cmd.Path != "lvcreate" {
			return host.Run(context.Background(), cmd)
		}
		cmd.Path, cmd.Env = os.Args[0], []string{childRole + "=" + dir}
		return run.Exec{}.Run(context.Background(), cmd)
	}), lvm2.Options{}))
	_, _ = group.Create(context.Background(), request())
	return 1 // it was to be killed
}

// A program that writes LVM's metadata does not die with us: neither when we are asked to
// end, nor when we are killed, with our whole process group.
func TestLVMSurvivesOurDeath(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGKILL} {
		if ossignal.Ignored(signal) {
			continue // by who started the tests (nohup), and so by all that they start
		}
		t.Run(signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			creator := exec.Command(self)
			creator.Env = append(os.Environ(), creatorRole+"="+dir)
			creator.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			require.NoError(t, creator.Start())
			await(dir, "started")
			require.NoError(t, syscall.Kill(-creator.Process.Pid, signal))
			require.ErrorContains(t, creator.Wait(), "signal: "+signal.String())
			assert.NoFileExists(t, filepath.Join(dir, "done"))
			touch(dir, "gate")
			assert.Eventually(t, func() bool {
				_, err := os.Stat(filepath.Join(dir, "done"))
				return err == nil
			}, time.Minute, time.Millisecond, "it died with us")
		})
	}
}
