package hook

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

const goodReport = "report/1 vm=42 on=node2 seen=1763728000123456789 alive=node1,node2 fenced=node3 lost="

func TestReport(t *testing.T) {
	want := Truth{VM: 42, On: "node2", Seen: time.Unix(0, 1763728000123456789), Nodes: map[string]Fate{"node1": Alive, "node2": Alive, "node3": Fenced}}
	got, err := ParseReport(goodReport)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	line, err := want.Line()
	require.NoError(t, err)
	assert.Equal(t, goodReport, line)
	_, err = Truth{VM: 42, On: "node2", Seen: noon}.Line()
	assert.ErrorIs(t, err, ErrReport, "a node that is not alive runs nothing")
}

// A person's word is not believed of a node that lives.
func TestTakenOffline(t *testing.T) {
	before := Truth{VM: 42, Nodes: map[string]Fate{"node1": Alive, "node2": Lost}}
	offline := func(name string) opennebula.Host {
		return opennebula.Host{Name: name, State: opennebula.HostOffline}
	}
	got := before.TakenOffline([]opennebula.Host{offline("node1"), offline("node2"), offline("node3"), {Name: "node4", State: opennebula.HostError}})
	assert.Equal(t, map[string]Fate{"node1": Alive, "node2": Fenced, "node3": Fenced}, got.Nodes)
	assert.Equal(t, Lost, before.Nodes["node2"], "what was seen stays what it was")
	assert.Len(t, Truth{}.TakenOffline([]opennebula.Host{offline("node1")}).Nodes, 1)
}

// notReports is what the key must not be able to say.
func notReports() []string {
	many := make([]string, maxNodes+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	return []string{
		"", "sh", "/bin/sh -c id", "bash -i", "report", "report/2" + goodReport[8:], " " + goodReport, goodReport + " ", goodReport + "\n", goodReport + "; id",
		goodReport + "\nid", "scp -t /etc", "internal-sftp", "one-migrate-hook receive", "../" + goodReport, strings.ToUpper(goodReport),
		strings.Replace(goodReport, "42", "-1", 1), strings.Replace(goodReport, "42", "042", 1), strings.Replace(goodReport, "42", "9999999999", 1),
		strings.Replace(goodReport, "on=node2", "on=$(id)", 1), strings.Replace(goodReport, "on=node2", "on=node3", 1), strings.Replace(goodReport, "on=node2", "on=-x", 1),
		strings.Replace(goodReport, "seen=1763728000123456789", "seen=0001", 1), strings.Replace(goodReport, "seen=1763728000123456789", "seen=9999999999999999999", 1),
		strings.Replace(goodReport, "lost=", "lost=node1", 1), strings.Replace(goodReport, "lost=", "lost=,", 1), strings.Replace(goodReport, " fenced=node3", "", 1),
		goodReport + strings.Repeat(",x", maxReport), strings.Replace(goodReport, "lost=", "lost="+strings.Join(many, ","), 1),
		strings.Replace(goodReport, "node3", strings.Repeat("n", 254), 1), strings.Replace(goodReport, "report/1", "report/1\x00", 1),
	}
}

func TestNotAReport(t *testing.T) {
	for _, line := range notReports() {
		_, err := ParseReport(line)
		require.ErrorIs(t, err, ErrReport, line)
		assert.Less(t, len(err.Error()), 500, "a long line is not repeated")
	}
}

// heard is a Journal.
type heard []string

func (h *heard) Note(format string, args ...any)  { *h = append(*h, fmt.Sprintf(format, args...)) }
func (h *heard) Alarm(format string, args ...any) { h.Note("ALARM "+format, args...) }

// What a node's key can say: a report, in the one way to write it, a ping, or what is refused,
// is in the journal in one line, and has nothing made.
func FuzzForcedCommand(f *testing.F) {
	for _, line := range append(notReports(), goodReport, "report/1 vm=0 on= seen=0 alive= fenced= lost=", pingLine, "id", "/bin/sh", "bash -i", goodReport+"; id") {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		journal, made := &heard{}, false
		answer := Serve(t.Context(), line, journal, func() (*Receiver, error) { made = true; return nil, errors.New("no front-end here") })
		require.NotContains(t, answer.String(), "\n")
		truth, err := ParseReport(line)
		if line == pingLine {
			require.Equal(t, pong, answer)
			require.False(t, made)
			return
		}
		require.Equal(t, err == nil, made)
		require.Len(t, *journal, 1)
		if err != nil {
			require.ErrorIs(t, err, ErrReport)
			require.Equal(t, Refused, answer.Outcome)
			require.Regexp(t, `^ALARM refused: not a report`, (*journal)[0])
			require.Less(t, len((*journal)[0]), 1000)
			require.False(t, strings.ContainsFunc((*journal)[0], func(r rune) bool { return !unicode.IsPrint(r) }), (*journal)[0])
			return
		}
		again, err := truth.Line()
		require.NoError(t, err)
		other, err := ParseReport(again)
		require.NoError(t, err)
		require.Equal(t, truth, other)
		require.NotContains(t, line, "\n")
		require.LessOrEqual(t, len(line), maxReport)
	})
}
