//go:build embedded

package embedded

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/build"
)

// event is a line of the trace of failpoints.
type event struct {
	pid        int
	kind, text string
}

// traced runs a scene without a fault and tells what happened.
func (s *site) traced(c scene) []event {
	s.Helper()
	trace := filepath.Join(failpointDirectory, "trace")
	writable(s.T, trace, "")
	var text []byte
	s.succeeds(c, func() {
		text = must(s.T, os.ReadFile, trace)
		require.NoError(s, os.Remove(trace))
	})
	var events []event
	for line := range strings.Lines(string(text)) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		require.Len(s, words, 3, line)
		pid, err := strconv.Atoi(words[0])
		require.NoError(s, err, line)
		events = append(events, event{pid, words[1], words[2]})
	}
	return events
}

// changesNothing are programs that only read, or only talk.
var changesNothing = regexp.MustCompile(`^run (ssh|sudo|blkid|genisoimage|mkisofs|xorrisofs|btrfs|.*/datastore/clvm/ls|.*/datastore/downloader\.sh|` + program + `)$`)

// missed are the steps of a trace that no process can be killed between: two changes of
// one process without a failpoint between them.
func missed(events []event) []string {
	last := map[int]string{}
	var out []string
	for _, e := range events {
		switch {
		case e.kind == "hit":
			delete(last, e.pid)
		case changesNothing.MatchString(e.text):
		default:
			if before := last[e.pid]; before != "" {
				out = append(out, fmt.Sprintf("%q, then %q", before, e.text))
			}
			last[e.pid] = e.text
		}
	}
	return out
}

func TestMissedFindsWhatIsMissed(t *testing.T) {
	assert.Empty(t, missed([]event{{1, "change", "a"}, {2, "change", "b"}, {1, "hit", "x"}, {1, "change", "run blkid"}, {1, "change", "c"}}))
	assert.Equal(t, []string{`"a", then "c"`}, missed([]event{{1, "change", "a"}, {2, "hit", "x"}, {1, "change", "run blkid"}, {1, "change", "c"}}))
}

// instant is a failpoint, and how often it is passed before the one that is meant.
type instant struct {
	name  string
	after int
}

func (i instant) String() string {
	if i.after == 0 {
		return i.name
	}
	return fmt.Sprintf("%s (%d)", i.name, i.after+1)
}

// instants are those that a trace passes, in order.
func instants(events []event) []instant {
	passed := map[string]int{}
	var out []instant
	for _, e := range events {
		if e.kind == "hit" {
			out = append(out, instant{e.text, passed[e.text]})
			passed[e.text]++
		}
	}
	return out
}

// failpoints are the names of all instants in the source.
func failpoints(t *testing.T) []string {
	t.Helper()
	root, err := build.Repository()
	require.NoError(t, err)
	names := map[string]bool{}
	hit := regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range hit.FindAllStringSubmatch(string(source), -1) {
			names[match[1]] = true
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return slices.Sorted(maps.Keys(names))
}
