package clustertest

import (
	"context"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest/double"
	"one-clvm/internal/run"
)

// Bench is what a scenario over a stateful double has.
type Bench struct {
	Tools   double.Tools
	Stack   cluster.Stack
	Service func(*cluster.Service) // changes that of all scenarios; nil for none
	Scratch string                 // a directory whose name is not to be in the log
}

// RunStateful runs all scenarios of a directory over a double with a state: it has the file
// state instead of reports, and its log ends with what the state has become.
//
//	verb   the verb, then the node that it goes to
//	state  what there is, and what goes wrong, in the words of the double
//	plan   what is decided
//	log    what then happens, by a clock that only waiting moves
func RunStateful(t *testing.T, dir string, least int, bench func(t *testing.T, state string, runner run.Runner, clock cluster.Clock) Bench) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "verb"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found), least)
	for _, file := range found {
		path := filepath.Dir(file)
		t.Run(filepath.Base(path), func(t *testing.T) {
			start := time.Date(2026, 2, 3, 10, 0, 0, 0, time.UTC)
			w := &world{t: t, dir: path, start: start, now: start}
			b := bench(t, w.read("state"), w, w)
			w.bench = &b
			w.play(b.Stack)
		})
	}
}

// call is one of a program of the double.
func (w *world) call(c run.Cmd) (run.Result, error) {
	call, stdin := c.Path+" "+strings.Join(c.Args, " "), ""
	if c.Stdin != nil {
		text, err := io.ReadAll(c.Stdin)
		require.NoError(w.t, err)
		stdin = string(text)
	}
	tools := w.bench.Tools
	reads := tools.Reads(c.Path, c.Args)
	if !reads {
		text := call
		if stdin != "" {
			text += " <<< " + strings.TrimSpace(stdin)
		}
		w.note("run", text)
	}
	reply := tools.Call(Self, c.Path, c.Args, stdin, w.now)
	w.now = w.now.Add(reply.Took)
	if reply.Hangs { // until the caller's deadline, which it has
		w.now = w.now.Add(Service().Patience.Settle)
	}
	return double.Result(c, reply)
}

// copies are private copies of a file, in directories with names by chance.
var copies = regexp.MustCompile(`/run/[a-z.]+-[0-9]+`)

// plain is an error's text without names by chance.
func (w *world) plain(text string) string {
	if w.bench == nil || w.bench.Scratch == "" {
		return text
	}
	return copies.ReplaceAllString(strings.ReplaceAll(text, w.bench.Scratch, "/run"), "/run/copy")
}

// Lock of the world is never contended.
func Lock(context.Context) (func(), error) { return func() {}, nil }
