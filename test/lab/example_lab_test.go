//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// frontEndName is that of the page, packagesVersion what it calls VERSION.
const (
	frontEndName    = "fe"
	packagesVersion = "1.0.0"
)

// webVM is the first VM of an installation.
const webVM = 0

// example is what the page begins with: two nodes that a cluster has, an empty disk of the SAN,
// and a front-end with OpenNebula, as far as the lab has that.
type example struct {
	*site
	fe       *bed
	delivery string // the last one's last words
}

// The worked example of the manual, word by word: each command of it is typed where the page says,
// and has to give what the page shows. What is not typed is marked on the page, and said here;
// OpenNebula's own commands are played.
func TestExample(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	for _, c := range readPage(t, "../../docs/example.md") {
		if c.elsewhere != "" {
			t.Logf("not typed: %s (%s)", c.command, c.elsewhere)
			continue
		}
		began := time.Now()
		e.follow(c)
		t.Logf("%5.1f s %s: %s", time.Since(began).Seconds(), strings.Join(c.hosts, ","), c.command)
		if strings.HasPrefix(c.command, "onevm create") {
			e.tarMode(e.Nodes[0])
			assert.Equal(t, 1, e.runsOn(e.Nodes[0], webVM).boots)
		}
		require.False(t, t.Failed(), "what follows builds on it")
	}
	two := e.Nodes[1]
	assert.Equal(t, "running", e.domstate(two, webVM))
	assert.Equal(t, lvm.Exclusive, e.volumes(two)[volume(webVM, 0)].Mode)
	assert.Equal(t, 2, e.writing(two, webVM).boots, "it began anew, on its own disk")
	e.tarMode(two)
}

func startExample(t *testing.T) *example {
	t.Helper()
	packages := t.TempDir()
	checkout, err := build.Repository()
	require.NoError(t, err)
	require.NoError(t, build.Packages(t.Context(), checkout, packages, packagesVersion, "deb"))
	e := &example{site: &site{T: t, Cluster: labtest.StartBare(t, profile.HA)}}
	e.oned, err = fakeoned.Listen("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.oned.Close()) })
	e.oned.Live(e)
	e.fe = newBed(t, e.Image().RootFS(), frontEndName)
	e.fe.knowEachOther(t, e.Cluster, frontEndName)
	e.hasOpenNebula()
	debs, err := filepath.Glob(packages + "/*.deb")
	require.NoError(t, err)
	require.Len(t, debs, 3)
	for _, deb := range debs {
		e.fe.install(t, deb, "/root/"+filepath.Base(deb), "root", 0o644)
		for _, n := range e.Nodes {
			require.NoError(t, n.PutFile(t.Context(), deb, "/root/"+filepath.Base(deb), 0o644))
		}
	}
	for _, n := range e.Nodes {
		assert.Equal(t, "\n", e.Output(t, n, "sh", "-c", "ls /etc/one-clvm /usr/libexec/one-clvm 2>/dev/null; echo"), "a fresh node")
		e.Output(t, n, "ln", "-s", cluster.GroupDevice, "/dev/mapper/san") // as multipathd names it
	}
	return e
}

// runner is the machine that the page calls by that name.
func (e *example) runner(host string) run.Runner {
	if host == frontEndName {
		return e.fe
	}
	n, err := e.Node(host)
	require.NoError(e, err)
	return n
}

// tooSlow is what doctor says of a node that has not looked in its time, as whoever reads that does
// again: processors are emulated, and other tests run beside this one.
var tooSlow = regexp.MustCompile(`could not be looked at: .*(no answer within|deadline exceeded)`)

const looks = 5

// follow types a command on each of its hosts at once.
func (e *example) follow(c typed) {
	e.Helper()
	var all sync.WaitGroup
	came := make([]string, len(c.hosts))
	errs := make([]error, len(c.hosts))
	for i, host := range c.hosts {
		if e.isPlayed(host, c.command) {
			came[i] = e.play(c.command)
			continue
		}
		on := e.runner(host)
		all.Add(1)
		do := func() {
			defer all.Done()
			for range looks {
				if came[i], errs[i] = e.typeOn(on, c); !tooSlow.MatchString(came[i]) {
					return
				}
				e.Logf("a node had no time to look: %s", came[i])
			}
		}
		if len(c.hosts) > 1 {
			go do()
		} else {
			do()
		}
	}
	all.Wait()
	for i, host := range c.hosts {
		var failed *run.Error
		if c.finds() && errors.As(errs[i], &failed) && failed.Status == 1 {
			errs[i] = nil
		}
		require.NoError(e, errs[i], "on %s: %s\n%s", host, c.command, came[i])
		c.holds(e.T, came[i])
	}
}

// typeOn types a command on a machine, and answers what it asks.
func (e *example) typeOn(on run.Runner, c typed) (string, error) {
	command := strings.ReplaceAll(c.command, "VERSION", packagesVersion)
	if file, is := strings.CutPrefix(command, "cat "); is { // the page shows what is to be written
		if !c.root {
			file = oneadminHome + "/" + file
		}
		command = "cat > " + file + " <<'END'\n" + strings.Join(c.shown, "\n") + "\nEND\ncat " + file
	}
	question, answer := c.asks()
	line := []string{"sh", "-c", "cd\nexec 2>&1\n" + command}
	if strings.HasPrefix(answer, "yes") { // is asked on a terminal only
		line = []string{"sh", "-c", "cd\nexec script -qec \"$1\" /dev/null", "sh", command}
	}
	if !c.root {
		line = append([]string{"setpriv", "--reuid=oneadmin", "--regid=oneadmin", "--init-groups", "env", "HOME=" + oneadminHome, "USER=oneadmin"}, line...)
	} else {
		line = append([]string{"env", "HOME=/root"}, line...)
	}
	cmd := run.Cmd{Path: line[0], Args: line[1:], Env: []string{"NO_COLOR=1", "DEBIAN_FRONTEND=noninteractive"}}
	if question == "" {
		r, err := on.Run(e.Context(), cmd)
		return string(r.Stdout), err
	}
	return e.converse(on, cmd, question, answer)
}

// converse waits for the question of a program, and answers. Enter is pressed when the cables are
// pulled, and then timers go on until the program has ended.
func (e *example) converse(on run.Runner, cmd run.Cmd, question, answer string) (string, error) {
	ctx, cancel := context.WithTimeout(e.Context(), 3*recovery)
	defer cancel()
	said := &prompt{question: question, asked: make(chan struct{})}
	keyboard, keys := io.Pipe()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = keyboard, said, &bytes.Buffer{}
	ended := make(chan error, 1)
	go func() {
		_, err := on.Run(ctx, cmd)
		_ = keyboard.Close() // so that no answer waits for a reader
		ended <- err
	}()
	select {
	case <-said.asked:
	case err := <-ended:
		return said.text.String(), errors.Join(err, errors.New("it did not ask: "+question))
	}
	pulled := answer == "\n"
	if pulled {
		e.pullCables(e.Nodes[0])
	}
	_, err := io.WriteString(keys, answer)
	err = errors.Join(err, keys.Close())
	for {
		select {
		case ranErr := <-ended:
			return said.text.String(), errors.Join(err, ranErr)
		case <-time.After(time.Second): // that of the units is longer
			if pulled {
				e.tick(e.Nodes[1])
			}
		}
	}
}

// pullCables takes a node's network, by which it reaches its power switch, too.
func (e *example) pullCables(n *cluster.Node) {
	_, err := n.Output(e.Context(), "rm", "/usr/sbin/fence_lab")
	assert.NoError(e, err)
	assert.NoError(e, n.Cut(e.Context(), cluster.Private))
}

// tick is what the hook's timer does on a node, with the directory that its unit names, and oned with
// what it was told.
func (e *example) tick(n *cluster.Node) {
	// It fails while the cluster is at work, and is started again.
	_, err := n.Run(e.Context(), run.Cmd{Path: "sh", Args: []string{"-c", "install -d -m 0700 " + hookState + " && " + hookProgram + " deliver"}})
	if said := fmt.Sprint(err); err != nil && said != e.delivery {
		e.delivery = said
		e.Log(said)
	}
	e.oned.Settle()
}

// patient sets the suite's patience to that of the lab, whose processors are emulated.
func (e *example) patient() {
	e.Helper()
	const settings = "CONNECT_TIMEOUT=120\nSTART_TIMEOUT=240\nSHUTDOWN_TIMEOUT=120\nSETTLE_TIMEOUT=120\n"
	e.onFrontEnd("root", settings, "tee", "-a", oneadminHome+"/remotes/etc/tm/clvm/cxmrc")
}

// tarMode: the VM's disk has the files of the image, in a file system that was made for it.
func (e *example) tarMode(n *cluster.Node) {
	e.Helper()
	disk := "/dev/" + cluster.Group + "/" + volume(webVM, 0)
	assert.Equal(e, guestName+"\n", e.Output(e.T, n, "debugfs", "-R", "cat /etc/hostname", disk))
	assert.Contains(e, e.Output(e.T, n, "dumpe2fs", "-h", disk), "Block count:              2097152\n", "8 GiB")
}
