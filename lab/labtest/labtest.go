// Package labtest gives tests a cluster of the lab each, fresh from its snapshot:
//
//	func TestSomething(t *testing.T) {
//		c := labtest.Start(t, profile.Cluster)
//		c.Output(t, c.Nodes[0], "lvcreate", "-aey", "-L", "8m", "-n", "lv-one-1-0", cluster.Group)
//		_, err := c.Nodes[1].Output(t.Context(), "lvchange", "-aey", cluster.Group+"/lv-one-1-0")
//		require.Error(t, err)
//	}
//
// Nodes are run.Runners: lvm2.New(cluster.Group, c.Nodes[0], …) works on a node's LVM.
// When the test fails, what the nodes know is in a folder that the log names.
package labtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/test/build"
)

// Cluster is the cluster of one test.
type Cluster struct{ *cluster.Cluster }

// Start starts a cluster for the test as soon as there is room for its nodes, and ends it
// with the test. A test has one cluster at a time.
func Start(t *testing.T, p profile.Profile) Cluster {
	t.Helper()
	return start(t, cluster.Options{Profile: p, Progress: os.Stderr})
}

// StartBare is Start of nodes without the suite, and without anything on the SAN's disks.
func StartBare(t *testing.T, p profile.Profile) Cluster {
	t.Helper()
	return start(t, cluster.Options{Profile: p, Progress: os.Stderr, Bare: true})
}

func start(t *testing.T, o cluster.Options) Cluster {
	t.Helper()
	asked := time.Now()
	takeRoom(t, o.Profile.Nodes)
	started := time.Now()
	c, err := cluster.Start(t.Context(), o)
	require.NoError(t, err)
	t.Logf("%s: room after %s, up %s later", o.Profile.Name, started.Sub(asked).Round(time.Second), time.Since(started).Round(10*time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			collect(t, c)
		}
		require.NoError(t, c.Stop())
	})
	return Cluster{c}
}

// FailuresVariable names the folder below which failing tests leave what the nodes know.
const FailuresVariable = "ONE_CLVM_LAB_FAILURES"

// collectTime bounds the collecting from a cluster that may be broken.
const collectTime = time.Minute

func collect(t *testing.T, c *cluster.Cluster) {
	parent := os.Getenv(FailuresVariable)
	if parent == "" {
		parent = filepath.Join(os.TempDir(), "one-clvm-lab-failures")
	}
	folder := filepath.Join(parent, t.Name(), time.Now().UTC().Format("20060102T150405.000"))
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	err := c.Collect(ctx, folder)
	t.Logf("what the nodes know is in %s (%v)", folder, err)
}

// Output runs a program on a node as root; it must succeed. The result is its standard
// output.
func (c Cluster) Output(t *testing.T, n *cluster.Node, argv ...string) string {
	t.Helper()
	out, err := n.Output(t.Context(), argv...)
	require.NoError(t, err)
	return out
}

// RunTests compiles the tests of a package of this checkout (with the build tag lab) and
// runs them on the node as root with these arguments ("-test.run", "Conformance"). Their
// failure is the test's, and so is a test that was skipped.
func (c Cluster) RunTests(t *testing.T, n *cluster.Node, name string, arguments ...string) {
	t.Helper()
	program := filepath.Join(c.Directory, filepath.Base(name)+".test")
	require.NoError(t, build.TestProgram(t.Context(), program, name, "-tags", "lab", "-ldflags", "-s -w"))
	const installed = "/run/lab/tests"
	require.NoError(t, n.PutFile(t.Context(), program, installed, 0o755))
	out := &lines{prefix: c.Profile.Name + " " + n.Name + ": "}
	_, err := n.Run(t.Context(), run.Cmd{
		Path: installed, Args: append([]string{"-test.v"}, arguments...), Env: []string{OnNodeVariable + "=" + c.Profile.Name},
		Stdout: out, Stderr: out,
	})
	require.NoError(t, err)
	require.Positive(t, out.passed, "tests that ran")
	require.Zero(t, out.skipped, "tests that were skipped")
}

// lines prints what a node's tests print, line by line: others may run beside them.
type lines struct {
	prefix          string
	rest            []byte
	passed, skipped int
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, complete := bytes.Cut(l.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		l.rest = rest
		switch text := bytes.TrimSpace(line); {
		case bytes.HasPrefix(text, []byte("=== ")):
			continue
		case bytes.HasPrefix(text, []byte("--- PASS")):
			l.passed++
		case bytes.HasPrefix(text, []byte("--- SKIP")):
			l.skipped++
		}
		if _, err := fmt.Printf("%s%s\n", l.prefix, line); err != nil {
			return 0, err
		}
	}
}

// OnNodeVariable is set to the profile's name where RunTests runs tests.
const OnNodeVariable = "ONE_CLVM_LAB_PROFILE"

// OnNode is the profile of the node that this test program runs on, by way of RunTests.
// Elsewhere there is none.
func OnNode() (profile.Profile, bool) {
	p, err := profile.Named(os.Getenv(OnNodeVariable))
	return p, err == nil
}
