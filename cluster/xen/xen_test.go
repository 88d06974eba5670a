package xen

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

func TestList(t *testing.T) {
	all, err := parseList(`Warning: something that xl has to say first
Name                                        ID   Mem VCPUs	State	Time(s)
Domain-0                                     0  1024     2     r-----     512.3
web.vm.home.net                              7   512     1     -b----      12.5
web                                          8   512     1     --p---       0.1
known                                            512     1     ------       0.0
idle                                         9   512     1     ------       0.0
`)
	require.NoError(t, err)
	assert.Equal(t, map[string]cluster.Domain{"web.vm.home.net": cluster.Active, "web": cluster.Paused, "known": cluster.Absent, "idle": cluster.Active}, all)
	for _, text := range []string{"", "xend is not running", "Name ID Mem VCPUs State Time(s)\nweb 8\n"} {
		_, err := parseList(text)
		require.Error(t, err, text)
	}
}

func TestStateLetters(t *testing.T) {
	for letters, want := range map[string]cluster.Domain{
		"r-----": cluster.Active, "-b----": cluster.Active, "------": cluster.Active, "--p---": cluster.Paused, "---s--": cluster.Dying, "-----d": cluster.Dying,
		"--ps--": cluster.Dying, "----c-": cluster.Crashed, "r----": cluster.Unknown, "x-----": cluster.Unknown,
	} {
		assert.Equal(t, want, parseState(letters), letters)
	}
}

type answers struct{ err error }

func (a answers) Run(context.Context, run.Cmd) (run.Result, error) { return run.Result{}, a.err }

func TestClientThatDoesNotAnswer(t *testing.T) {
	state, why := (&Client{Runner: answers{errors.New("xend is not running")}, Program: XM}).State(t.Context(), cluster.Service{Name: "web"})
	assert.Equal(t, cluster.Unknown, state)
	assert.Contains(t, why, "xend")
	state, _ = (&Client{Runner: answers{}, Program: XL}).State(t.Context(), cluster.Service{Name: "web"})
	assert.Equal(t, cluster.Unknown, state, "no list is not a list without the domain")
}

func FuzzParseList(f *testing.F) {
	f.Add("Name ID Mem VCPUs State Time(s)\nDomain-0 0 1024 2 r----- 512.3\nweb 8 512 1 --p--- 0.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseList(text)
		if err == nil {
			require.NotContains(t, all, "")
		}
	})
}
