//go:build lab

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// fullMatrix asks for all cases of the kill matrix; else some are drawn, always the same.
const fullMatrix = "ONE_CLVM_KILL_MATRIX"

const matrixSeed = 20130115

// patience is for what must end by itself; only a failure takes as long.
const patience = 5 * time.Minute

// matrix is the cluster of a kill matrix and its front-ends. Each front-end has a VM of its
// own, and its verbs' processes can be stopped at failpoints (internal/failpoint): at the
// front-end by files in its directory, on the nodes in that of the VM.
type matrix struct {
	*site
	bystander string // what the volume of another VM holds

	mutex     sync.Mutex
	all, good int
	reached   map[string]bool // failpoints, in the runs without a fault
}

const bystander = "lv-one-7-0"

// startMatrix starts a cluster with programs that can be stopped, and a volume that is none
// of their business.
func startMatrix(t *testing.T, p profile.Profile) *matrix {
	m := &matrix{site: start(t, p, nil), reached: map[string]bool{}}
	require.NoError(t, build.Program(t.Context(), m.program, "./cmd/tm-clvm", "-tags", "failpoint"))
	for _, n := range m.Nodes {
		require.NoError(t, n.PutFile(t.Context(), m.program, cluster.Program, 0o755))
	}
	m.vm(7, m.Nodes[0].Name, fakeoned.VolatileDisk(0, "", 4))
	m.ok("mkimage", append([]string{"4", "raw", at(m.Nodes[0].Name, 7, 0)}, of(7, fakeoned.SystemDS)...)...)
	m.fill(m.Nodes[0], "/dev/"+cluster.Group+"/"+bystander, "another VM's data", 0, 4<<20)
	m.bystander = m.seeBystander()
	return m
}

func (m *matrix) seeBystander() string {
	m.Helper()
	n := m.Nodes[0]
	return m.Output(m.T, n, "sha256sum", "/dev/"+cluster.Group+"/"+bystander) + m.Output(m.T, n, "lvs", "--noheadings", "-o", "tags,active", cluster.Group+"/"+bystander)
}

// worker is a front-end with a VM. It is the site of its own tests.
type worker struct {
	*site
	matrix *matrix
	id     int
	node   *cluster.Node // where the VM begins
	alive  []*cluster.Node
	holder string // pid of what has the disk open on its node
}

func agentOf(id int) string { return fmt.Sprintf("/usr/libexec/one-clvm/agent-%d", id) }

// newWorker makes the front-end of VM id, which is on the node first.
func (m *matrix) newWorker(t *testing.T, id int, node *cluster.Node) *worker {
	own := *m.site
	own.directory = t.TempDir()
	w := &worker{site: &own, matrix: m, id: id, node: node, alive: m.Nodes}
	w.T = t
	require.NoError(t, os.CopyFS(own.directory, os.DirFS(m.directory)))
	require.NoError(t, os.Mkdir(w.directory+"/failpoints", 0o700))
	settings, err := os.OpenFile(w.directory+"/var/remotes/etc/tm/clvm/cxmrc", os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = fmt.Fprintf(settings, "AGENT=%q\nSTATE_DIR=%q\nLOCK_DIR=%q\n", agentOf(id), w.directory+"/state", w.directory+"/locks")
	require.NoError(t, errors.Join(err, settings.Close()))
	for _, n := range m.Nodes {
		w.install(n)
	}
	return w
}

// install lets the VM's agents on a node be stopped.
func (w *worker) install(n *cluster.Node) {
	w.Helper()
	script := fmt.Sprintf("#!/bin/sh\nONE_CLVM_FAILPOINTS=%s exec %s \"$@\"\n", w.onNode(""), cluster.Program)
	rule := fmt.Sprintf("Defaults!%s !requiretty, !use_pty\noneadmin ALL = (root:root) NOPASSWD: %s agent\n", agentOf(w.id), agentOf(w.id))
	require.NoError(w, n.Put(w.Context(), agentOf(w.id), strings.NewReader(script), 0o755, 0))
	require.NoError(w, n.Put(w.Context(), fmt.Sprintf("/etc/sudoers.d/agent-%d", w.id), strings.NewReader(rule), 0o440, 0))
	w.Output(w.T, n, "mkdir", "-p", w.onNode(""))
}

// onNode is a file of the failpoints on a node.
func (w *worker) onNode(name string) string {
	return fmt.Sprintf("/run/failpoints/%d/%s", w.id, name)
}

// instant is a failpoint, and how often it is passed before the one that is meant.
type instant struct {
	node  *cluster.Node // nil at the front-end
	name  string
	after int
}

func (i instant) String() string {
	text := i.name
	if i.node != nil {
		text += " on " + i.node.Name
	}
	if i.after > 0 {
		text += fmt.Sprintf(" (%d)", i.after+1)
	}
	return text
}

// start starts a verb, the leader of a process group.
func (w *worker) start(a act) *exec.Cmd {
	w.Helper()
	if a.before != nil {
		a.before(w)
	}
	argv := a.argv(w)
	verb := exec.CommandContext(w.Context(), w.program, argv...)
	verb.Env = append(os.Environ(), "ONE_LOCATION="+w.directory, "ONE_AUTH="+w.directory+"/one_auth", "ONE_XMLRPC="+w.oned.URL(), "ONE_CLVM_FAILPOINTS="+w.directory+"/failpoints")
	verb.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	verb.Stderr = &bytes.Buffer{}
	if a.stdin != nil {
		verb.Stdin = strings.NewReader(a.stdin(w))
	}
	require.NoError(w, verb.Start())
	return verb
}

// succeeds runs an act to its end.
func (w *worker) succeeds(a act) {
	w.Helper()
	verb := w.start(a)
	require.NoError(w, verb.Wait(), "%v: %s", a.argv(w), verb.Stderr)
	if a.after != nil {
		a.after(w)
	}
}

// event is a line of the trace of failpoints.
type event struct {
	node       *cluster.Node
	pid        string
	kind, text string
}

// traced runs an act without a fault and tells what happened at each end.
func (w *worker) traced(a act) []event {
	w.Helper()
	own := w.directory + "/failpoints/trace"
	require.NoError(w, os.WriteFile(own, nil, 0o600))
	for _, n := range w.Nodes {
		require.NoError(w, n.Put(w.Context(), w.onNode("trace"), strings.NewReader(""), 0o600, 0))
	}
	w.succeeds(a)
	text, err := os.ReadFile(own)
	require.NoError(w, errors.Join(err, os.Remove(own)))
	events := readEvents(w.T, nil, string(text))
	for _, n := range w.Nodes {
		events = append(events, readEvents(w.T, n, w.Output(w.T, n, "cat", w.onNode("trace")))...)
		w.Output(w.T, n, "rm", w.onNode("trace"))
	}
	return events
}

func readEvents(t *testing.T, n *cluster.Node, text string) []event {
	var events []event
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		require.Len(t, words, 3, line)
		events = append(events, event{n, words[0], words[1], words[2]})
	}
	return events
}

// changesNothing are programs that only read, or only talk.
var changesNothing = regexp.MustCompile(`^run (ssh|sudo|blkid|lvm|lvs|vgs|pvs|lvmlockctl|lvmdevices|dlm_tool|dmsetup|sanlock|.*/datastore/clvm/ls|.*/datastore/downloader\.sh)$`)

// missed are two changes of one process without a failpoint between them.
func missed(events []event) []string {
	last := map[string]string{}
	var out []string
	for _, e := range events {
		key := fmt.Sprint(instant{node: e.node}, e.pid)
		switch {
		case e.kind == "hit":
			delete(last, key)
		case changesNothing.MatchString(e.text):
		default:
			if before := last[key]; before != "" {
				out = append(out, fmt.Sprintf("%q, then %q", before, e.text))
			}
			last[key] = e.text
		}
	}
	return out
}

// instants are those that a trace passes.
func instants(events []event) []instant {
	passed := map[string]int{}
	var out []instant
	for _, e := range events {
		if e.kind == "hit" {
			at := instant{node: e.node, name: e.text}
			at.after = passed[at.String()]
			passed[instant{node: e.node, name: e.text}.String()]++
			out = append(out, at)
		}
	}
	return out
}

// fault is what happens to a verb at an instant.
type fault string

const (
	killAgent    fault = "SIGKILL of the agent"
	killFrontEnd fault = "SIGKILL of the front-end"
	cutOff       fault = "lost connection"
)

// killCase is one of the matrix, of one act.
type killCase struct {
	at    instant
	fault fault
}

// casesOf are those that an act's trace makes possible. A front-end that stops has no agent
// at that time but where one waits for it.
func (m *matrix) casesOf(events []event) []killCase {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var cases []killCase
	for _, at := range instants(events) {
		m.reached[at.name] = true
		cases = append(cases, killCase{at, killFrontEnd})
		if at.node != nil {
			cases = append(cases, killCase{at, killAgent}, killCase{at, cutOff})
		}
	}
	return cases
}

// killed runs an act into a fault.
func (w *worker) killed(a act, c killCase) {
	w.Helper()
	verb := w.stopAt(a, c.at)
	switch c.fault {
	case killAgent:
		w.Output(w.T, c.at.node, "kill", "-KILL", reached(w.T, c.at.node, w.onNode("")))
	case killFrontEnd:
		require.NoError(w, syscall.Kill(verb.Process.Pid, syscall.SIGKILL))
	case cutOff:
		children := childrenOf(w.T, verb.Process.Pid)
		require.NotEmpty(w, children)
		for _, pid := range children {
			require.NoError(w, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	w.goOn(c.at)
	_ = verb.Wait() // how it fails is its own business
}

// stopAt runs an act to an instant, at which the process that reaches it stops.
func (w *worker) stopAt(a act, at instant) *exec.Cmd {
	w.Helper()
	order := fmt.Sprintf("%s %d", at.name, at.after)
	own := w.directory + "/failpoints/"
	if at.node == nil {
		require.NoError(w, os.WriteFile(own+"stop", []byte(order), 0o600))
	} else {
		require.NoError(w, at.node.Put(w.Context(), w.onNode("stop"), strings.NewReader(order), 0o600, 0))
	}
	verb := w.start(a)
	if at.node == nil {
		require.Eventually(w, func() bool { return exists(own + "reached") }, patience, 5*time.Millisecond, "%s: %s", at, verb.Stderr)
		return verb
	}
	reached(w.T, at.node, w.onNode(""), "%s: %s", at, verb.Stderr)
	return verb
}

// reached waits until a process has stopped at a failpoint of the directory, and is its pid. The
// node waits by itself, and starts no process for that: either would take its time from the verb.
func reached(t *testing.T, n *cluster.Node, directory string, text ...any) string {
	t.Helper()
	const wait = "exec 3<> <(:); until [[ -e $0/reached ]]; do read -t 0.05 -u 3; done; cat $0/reached" // nobody writes to 3
	pid, err := n.Output(t.Context(), "timeout", fmt.Sprint(patience.Seconds()), "bash", "-c", wait, directory)
	require.NoError(t, err, text...)
	return strings.TrimSpace(pid)
}

// goOn lets the process that was stopped go on, if it still lives.
func (w *worker) goOn(at instant) {
	w.Helper()
	if at.node == nil {
		require.NoError(w, os.Remove(w.directory+"/failpoints/reached"))
		return
	}
	w.Output(w.T, at.node, "rm", "-f", w.onNode("reached"), w.onNode("stop"))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// childrenOf are the processes that a process has started.
func childrenOf(t *testing.T, pid int) []int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	var children []int
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			require.NoError(t, err)
			children = append(children, child)
		}
	}
	return children
}

// cleared: DELETE of the home leaves nothing of the VM on any node, and nothing else has
// changed.
func (w *worker) cleared() {
	w.Helper()
	w.ok("delete", append([]string{w.node.Name + ":" + home(w.id)}, of(w.id, fakeoned.SystemDS)...)...)
	assert.Equal(w, w.matrix.bystander, w.matrix.seeBystander(), "another VM's volume")
	for _, n := range w.alive {
		left := w.Output(w.T, n, "sh", "-c", fmt.Sprintf("ls -d %s; losetup -a; dmsetup ls | grep -e '--%d-[0-9]' ; grep one-clvm /proc/mounts; true", home(w.id), w.id))
		assert.Empty(w, left, "left on %s", n.Name)
	}
	for name := range w.volumes(w.alive[0]) {
		assert.NotContains(w, name, fmt.Sprintf("-%d-", w.id))
	}
}

// settled: once all is over no process and no volume of any VM is left.
func (m *matrix) settled() {
	m.Helper()
	for _, n := range m.Nodes {
		agents := func() bool {
			_, err := n.Output(m.Context(), "pgrep", "-f", cluster.Program+" agent")
			var failed *run.Error
			return !errors.As(err, &failed) || failed.Status != 1
		}
		require.Eventually(m, func() bool { return !agents() }, patience, 100*time.Millisecond, "agents on %s", n.Name)
		m.Output(m.T, n, "vgck", cluster.Group)
	}
	names := []string{}
	for name := range m.volumes(m.Nodes[0]) {
		names = append(names, name)
	}
	assert.Equal(m, []string{bystander}, names)
}

// live runs a life over and over, each of its acts killed once each time, until all cases
// were seen or count of them. The first one is not killed: it is traced.
func (m *matrix) live(t *testing.T, w *worker, l life, count int) {
	possible := make([][]killCase, len(l.acts))
	random := rand.New(rand.NewPCG(matrixSeed, uint64(w.id)))
	for i, a := range l.acts {
		if !t.Run("no step is missed in "+a.name, func(t *testing.T) {
			w.T = t
			events := w.traced(a)
			assert.Empty(t, missed(events))
			possible[i] = m.casesOf(events)
			random.Shuffle(len(possible[i]), func(x, y int) { c := possible[i]; c[x], c[y] = c[y], c[x] })
		}) {
			t.Fatal("the verb without a fault")
		}
	}
	w.T = t
	w.cleared()
	for done, lap := 0, 0; done < count && slices.ContainsFunc(possible, func(c []killCase) bool { return lap < len(c) }); lap++ {
		for i, a := range l.acts {
			if lap >= len(possible[i]) || done >= count {
				w.T = t
				w.succeeds(a)
				continue
			}
			c := possible[i][lap]
			done++
			ok := m.counted(t, fmt.Sprintf("%s, %s, %s", a.name, c.at, c.fault), func(t *testing.T) {
				w.T = t
				w.killed(a, c)
				w.succeeds(a)
			})
			w.T = t
			require.True(t, ok, "the VM's life cannot go on")
		}
		w.cleared()
	}
}

// counted runs one case.
func (m *matrix) counted(t *testing.T, name string, do func(t *testing.T)) (ok bool) {
	ran := false
	ok = t.Run(name, func(t *testing.T) {
		ran = true
		do(t)
	})
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if ran {
		m.all++
	}
	if ran && ok {
		m.good++
	}
	return ok
}

// howMany is how many cases each life has, and where.
func howMany(drawn int) int {
	if os.Getenv(fullMatrix) == "" {
		return drawn
	}
	return 1 << 30
}

// run lets lives go on side by side, and prints how many cases they had.
func (m *matrix) run(t *testing.T, drawn int, lives ...life) {
	began := time.Now()
	t.Run("lives", func(t *testing.T) {
		for i, l := range lives {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				w := m.newWorker(t, 100+i, m.Nodes[i%len(m.Nodes)])
				w.vm(w.id, w.node.Name, l.disk(w))
				m.live(t, w, l, howMany(drawn))
			})
		}
	})
	m.settled()
	assert.Equal(t, m.all, m.good)
	fmt.Printf("kill-matrix: %d cases, %d ok (%s, %s)\n", m.all, m.good, m.Profile.Name, time.Since(began).Round(time.Second))
}

// The matrix on real LVM: lives on a node without a lock manager, and those that need one,
// or two nodes.
func TestKillMatrix(t *testing.T) {
	t.Parallel()
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		m := startMatrix(t, profile.Single)
		m.run(t, 40, snapshotLife, saveLife)
		for _, name := range []string{"livebackup.snapshot", "livesave.snapshot", "local.proven", "local.written", "local.kept", "lvm.written"} {
			assert.True(t, m.reached[name], "failpoint %s is reached here alone", name)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		startMatrix(t, profile.Cluster).run(t, 35, windowLife, imageLife)
	})
}
