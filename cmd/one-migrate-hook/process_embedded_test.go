//go:build embedded

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/cxmrc"
	"one-clvm/hook/entrance"
	"one-clvm/hook/spool"
	"one-clvm/internal/run"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main(m.Run, testbed.Hook, testbed.HookFailpoints, testbed.HookCommands, testbed.HookCommandsFailpoints, testbed.Nothing)
}

const installedHook = "/usr/libexec/one-clvm/one-migrate-hook"

// install puts the programs, and their configuration, where they belong.
func install(t *testing.T, program, commands testbed.Build) spool.Spool {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(installedHook), 0o755))
	for path, build := range map[string]testbed.Build{installedHook: program, installedHook + "-commands": commands} {
		text, err := os.ReadFile(build.Path())
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.WriteFile(path, text, 0o755))
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Dir(cxmrc.HookPath), 0o755))
	settings := "SPOOL_DIR=" + dir + "\nSTATE_DIR=" + dir + "\nVERSION=7.4.0\nFRONTENDS=192.0.2.1\n" // which nobody has
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte(settings), 0o644))
	return spool.Spool{Dir: dir}
}

func hookProcess(words ...string) (run.Result, error) {
	return run.Exec{}.Run(context.Background(), run.Cmd{Path: installedHook, Args: words})
}

func events(t *testing.T, s spool.Spool) int {
	t.Helper()
	entries, err := s.List()
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, e.Err)
	}
	return len(entries)
}

// killedAt kills the program with SIGKILL at a failpoint.
func killedAt(t *testing.T, failpoint string, env []string, words ...string) {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "stop"), []byte(failpoint+" 0"), 0o600))
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := run.Exec{Env: env}.Run(ctx, run.Cmd{Path: installedHook, Args: words, Env: []string{"ONE_CLVM_FAILPOINTS=" + directory}})
		ended <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(directory, "reached")); return err == nil }, time.Minute, time.Millisecond, failpoint)
	kill()
	require.Error(t, <-ended)
}

// Killed at any instant, an event is there whole or not at all, and the next one is taken.
func TestKilledWhileAppending(t *testing.T) {
	s := install(t, testbed.HookFailpoints, testbed.HookCommandsFailpoints)
	for _, c := range []struct {
		failpoint string
		left      int
	}{{"spool.written", 0}, {"spool.flushed", 0}, {"spool.published", 1}} {
		killedAt(t, c.failpoint, nil, "cxm", "web", "node1", "node2")
		assert.Equal(t, c.left, events(t, s), c.failpoint)
		_, err := hookProcess("cxm", "web", "node1", "node2")
		require.NoError(t, err)
		require.Equal(t, c.left+1, events(t, s))
		entries, err := s.List()
		require.NoError(t, err)
		for _, e := range entries {
			require.NoError(t, s.Remove(e.Name))
		}
	}
}

// libvirt kills a guest whose hook fails, and writes nothing that may be taken for XML.
func TestLibvirtNeverHearsOfFailures(t *testing.T) {
	install(t, testbed.Hook, testbed.HookCommands)
	for _, words := range [][]string{
		{"libvirt"}, {"libvirt", "one-1", "started", "begin", "-"}, {"libvirt", "--help", "started", "begin", "-"},
		{"libvirt", "-x", "reconnect", "begin", "-"}, {"libvirt", "/etc/libvirt/hooks/qemu", "help", "migrate", "begin", "-"},
	} {
		r, err := hookProcess(words...)
		require.NoError(t, err, words)
		assert.Empty(t, r.Stdout, words)
	}
	link := filepath.Join(t.TempDir(), "libvirt/hooks/qemu")
	require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
	require.NoError(t, os.Symlink(installedHook, link))
	_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: link, Args: []string{"web", "reconnect", "begin", "-"}})
	require.NoError(t, err, "the program itself, not its script")
}

// All that is no entrance is the other program's.
func TestCommandsAreTheOtherProgram(t *testing.T) {
	install(t, testbed.Hook, testbed.HookCommands)
	r, err := hookProcess("--help")
	require.NoError(t, err)
	assert.Contains(t, string(r.Stdout), "reconcile")
	require.NoError(t, os.Remove(installedHook+"-commands"))
	r, err = hookProcess("status")
	require.Error(t, err)
	assert.Contains(t, string(r.Stderr), "install it beside")
}

// A full disk, no spool, a spool that is none: the caller is not held up, and what was not
// accepted is told.
func TestWhatCannotBeAcceptedIsInTheJournal(t *testing.T) {
	s := install(t, testbed.Hook, testbed.HookCommands)
	for name, spoil := range map[string]func(dir string){
		"no spool": func(dir string) { require.NoError(t, os.Remove(dir)) },
		"a file": func(dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		},
		"disk full":  func(dir string) { mountTiny(t, dir, "nr_inodes=1") },
		"not a byte": func(dir string) { mountTiny(t, dir, "size=4k,nr_inodes=99"); fill(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(s.Dir, strings.ReplaceAll(name, " ", "-"))
			require.NoError(t, os.Mkdir(dir, 0o777))
			spoil(dir)
			require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte("SPOOL_DIR="+dir+"\n"), 0o644))
			r, err := hookProcess("cxm", "web-7", "node1", "node2")
			require.Error(t, err)
			assert.Contains(t, string(r.Stderr), "not accepted")
			assert.Contains(t, string(r.Stderr), "web-7")
			assert.Contains(t, string(r.Stderr), "reconcile")
		})
	}
}

func mountTiny(t *testing.T, dir, options string) {
	t.Helper()
	_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "mount", Args: []string{"-t", "tmpfs", "-o", options, "tmpfs", dir}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: "umount", Args: []string{dir}})
		assert.NoError(t, err)
	})
}

func fill(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 4096), 0o600))
}

// Every alert is in the spool or in the journal, with the VM; the front-end is down. No time
// is asserted: the machine may be busy with other things. What it costs to run a program
// that does nothing, as often, is printed beside.
func TestThousandAlertsAtOnce(t *testing.T) {
	const alerts = 1000
	s := install(t, testbed.Hook, testbed.HookCommands)
	floor, _ := atOnce(t, alerts, testbed.Nothing.Path(), func(int) []string { return nil })
	taken, stderr := atOnce(t, alerts, installedHook, func(i int) []string {
		return []string{"CRM_alert_kind=resource", fmt.Sprintf("CRM_alert_rsc=one-%d", i), "CRM_alert_node=node1", "CRM_alert_task=start", "CRM_alert_rc=0"}
	})
	accepted := map[string]bool{}
	entries, err := s.List()
	require.NoError(t, err)
	for _, e := range entries {
		event, err := entrance.Read(e.Data)
		require.NoError(t, err)
		accepted[event.Name] = true
	}
	for i, failed := range taken.failed {
		vm := fmt.Sprintf("one-%d", i)
		if failed {
			assert.Contains(t, stderr, "not accepted: alert: "+vm+" ")
		} else {
			assert.Contains(t, accepted, vm)
		}
	}
	fmt.Printf("hook: %d alerts at once: %d in the spool; %s\n", alerts, len(entries), taken)
	fmt.Printf("hook: a program that does nothing, as often: %s\n", floor)
}

// cost is what processes took that were started as fast as one process can.
type cost struct {
	took    []time.Duration // of each, from its exec to its end; in order
	failed  []bool          // by process
	started time.Duration   // until the last one was
	cpu     time.Duration   // of all, and of starting them
}

func (c cost) String() string {
	n, failed := len(c.took), 0
	for _, f := range c.failed {
		if f {
			failed++
		}
	}
	at := func(i int) time.Duration { return c.took[i].Round(time.Millisecond) }
	return fmt.Sprintf("%d failed; p50 %s, p99 %s, longest %s; all started within %s; %.1f ms of CPU each", failed, at(n/2), at(n*99/100), at(n-1),
		c.started.Round(time.Millisecond), float64(c.cpu.Microseconds())/1000/float64(n))
}

func cpuUsed() time.Duration {
	var total time.Duration
	for _, who := range []int{unix.RUSAGE_CHILDREN, unix.RUSAGE_SELF} {
		var u unix.Rusage
		_ = unix.Getrusage(who, &u) // fails for no such arguments
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}

// atOnce starts a program n times without waiting. The result has what all said on standard
// error.
func atOnce(t *testing.T, n int, program string, env func(i int) []string) (cost, string) {
	t.Helper()
	stderr, err := os.OpenFile(filepath.Join(t.TempDir(), "stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer stderr.Close()
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(t, err)
	defer nothing.Close()
	c := cost{took: make([]time.Duration, n), failed: make([]bool, n)}
	before, begin := cpuUsed(), time.Now()
	var all sync.WaitGroup
	for i := range n {
		process, err := os.StartProcess(program, []string{program}, &os.ProcAttr{Env: env(i), Files: []*os.File{nothing, nothing, stderr}})
		require.NoError(t, err)
		executed := time.Now() // StartProcess returns after the exec
		all.Add(1)
		go func() {
			defer all.Done()
			state, err := process.Wait()
			c.took[i] = time.Since(executed)
			c.failed[i] = err != nil || !state.Success()
		}()
	}
	c.started = time.Since(begin)
	all.Wait()
	c.cpu = cpuUsed() - before
	slices.Sort(c.took)
	text, err := os.ReadFile(stderr.Name())
	require.NoError(t, err)
	return c, string(text)
}

// A spool that cannot be read or written, by the one who calls.
func TestSpoolOfSomebodyElse(t *testing.T) {
	s := install(t, testbed.Hook, testbed.HookCommands)
	closed := filepath.Join(s.Dir, "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte("SPOOL_DIR="+closed+"\n"), 0o644))
	r, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "setpriv", Args: []string{"--reuid=65534", "--regid=65534", "--clear-groups", installedHook, "web-7", "node1", "node2"}})
	require.Error(t, err)
	assert.Contains(t, string(r.Stderr), "not accepted: cxm: web-7 migrated")
	assert.Contains(t, string(r.Stderr), "permission denied")
}

// The key of a node, past a real sshd.
func TestForcedCommand(t *testing.T) {
	install(t, testbed.Hook, testbed.HookCommands)
	m, err := testbed.Start(t.Context(), testbed.Options{Program: "/usr/bin/echo", GroupSize: "-"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	m.Oned.Put(fakeoned.VMs, 42, fakeoned.VM{ID: 42, Name: "web", Host: "node1", LCMState: 3}.Document())
	key := allowKey(t)
	state := t.TempDir()
	require.NoError(t, os.Chmod(state, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(state), 0o755))
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte("STATE_DIR="+state+"\nVERSION=7.4.0\n"), 0o644))
	for _, c := range []struct{ name, command, answer string }{
		{"a report", fmt.Sprintf("report/1 vm=42 on=node1 seen=%d alive=node1 fenced= lost=", time.Now().UnixNano()), "nothing oned has it running"},
		{"a shell", "", "refused"},
		{"another command", "id", "refused"},
		{"a path", "/bin/cat /etc/passwd", "refused"},
		{"two commands", fmt.Sprintf("report/1 vm=42 on=node1 seen=%d alive=node1 fenced= lost=; id", time.Now().UnixNano()), "refused"},
		{"an over-long line", strings.Repeat("x", 100_000), "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := []string{"-T", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "node1"}
			if c.command != "" {
				argv = append(argv, c.command)
			}
			r, err := m.RunAsOneadmin(t.Context(), append([]string{"ssh"}, argv...)...)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(r.Stdout, c.answer), "%s %s", r.Stdout, r.Stderr)
			assert.NotContains(t, r.Stdout, "uid=")
			if c.answer == "refused" {
				assert.Contains(t, r.Stderr, "refused: ", "it is in the journal")
			}
		})
	}
}

// A report whose front-end dies before it calls oned is made good by the next one.
func TestKilledBeforeCallingOned(t *testing.T) {
	install(t, testbed.HookFailpoints, testbed.HookCommandsFailpoints)
	m, err := testbed.Start(t.Context(), testbed.Options{Program: "/usr/bin/echo", GroupSize: "-"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	m.Oned.Put(fakeoned.VMs, 42, fakeoned.VM{ID: 42, Name: "web", Host: "node1", LCMState: 3}.Document())
	report := func() []string {
		return []string{
			fmt.Sprintf("SSH_ORIGINAL_COMMAND=report/1 vm=42 on=node2 seen=%d alive=node1,node2 fenced= lost=", time.Now().UnixNano()),
			"ONE_XMLRPC=" + m.Oned.URL(), "ONE_AUTH=" + filepath.Join(testbed.Home, ".one/one_auth"),
		}
	}
	killedAt(t, "receive.asked", report(), "receive")
	require.Empty(t, m.Oned.Changes())
	r, err := run.Exec{Env: report()}.Run(t.Context(), run.Cmd{Path: installedHook, Args: []string{"receive"}})
	require.NoError(t, err)
	assert.Contains(t, string(r.Stdout), "retry")
	assert.Equal(t, []string{"one.vm.migrate"}, m.Oned.Changes())
}

// allowKey makes a key of a node and allows it what docs/hook.md says.
func allowKey(t *testing.T) string {
	t.Helper()
	key := filepath.Join(testbed.Home, ".ssh", "hook")
	require.NoError(t, os.RemoveAll(key)) // of another test
	_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-f", key}})
	require.NoError(t, err)
	public, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	file, err := os.OpenFile(filepath.Join(testbed.Home, ".ssh", "authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = fmt.Fprintf(file, "command=\"%s receive\",restrict %s", installedHook, public)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	_, err = run.Exec{}.Run(t.Context(), run.Cmd{Path: "chown", Args: []string{"oneadmin", key}})
	require.NoError(t, err)
	return key
}
