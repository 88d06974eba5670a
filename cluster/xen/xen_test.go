package xen

import (
	"context"
	"errors"
	"strings"
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
	states := map[string]cluster.Domain{}
	for name, seen := range all {
		states[name] = seen.State
	}
	assert.Equal(t, map[string]cluster.Domain{"web.vm.home.net": cluster.Active, "web": cluster.Paused, "known": cluster.Absent, "idle": cluster.Active}, states)
	assert.Equal(t, &cluster.Figures{MemoryKiB: 512 << 10, CPUNanoseconds: 12.5e9}, all["web.vm.home.net"].Figures)
	assert.Nil(t, all["known"].Figures)
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

type list string

func (l list) Run(context.Context, run.Cmd) (run.Result, error) {
	return run.Result{Stdout: []byte("Name ID Mem VCPUs State Time(s)\n" + string(l))}, nil
}

// What is left of a migration is neither the VM nor proof that it is off.
func TestStateInAMigration(t *testing.T) {
	for row, want := range map[string]cluster.Domain{
		"web 7 512 1 -b---- 1.0\n": cluster.Active, "": cluster.Absent, "web--x 7 512 1 -b---- 1.0\n": cluster.Absent,
		"web--incoming 7 512 1 --p--- 0.0\n": cluster.Unknown, "web--migratedaway 7 512 1 --ps-- 0.0\n": cluster.Unknown,
	} {
		state, why := (&Client{Runner: list(row), Program: XL}).State(t.Context(), cluster.Service{Name: "web"})
		assert.Equal(t, want, state, row)
		assert.Equal(t, want == cluster.Unknown, strings.Contains(why, "has not ended"), row)
	}
}

func TestClientThatDoesNotAnswer(t *testing.T) {
	state, why := (&Client{Runner: answers{errors.New("xend is not running")}, Program: XM}).State(t.Context(), cluster.Service{Name: "web"})
	assert.Equal(t, cluster.Unknown, state)
	assert.Contains(t, why, "xend")
	state, _ = (&Client{Runner: answers{}, Program: XL}).State(t.Context(), cluster.Service{Name: "web"})
	assert.Equal(t, cluster.Unknown, state, "no list is not a list without the domain")
}

func TestNumbersOfDisks(t *testing.T) {
	for number, want := range map[int]string{
		51712: "xvda", 51728: "xvdb", 51713: "xvda1", 51952: "xvdp", 1<<28 | 16<<8: "xvdq", 1<<28 | 26<<8 | 3: "xvdaa3",
		768: "hda", 832: "hdb", 5632: "hdc", 5696: "hdd", 2048: "sda", 2065: "sdb1", 1: "", -1: "", 1 << 29: "",
	} {
		assert.Equal(t, want, diskName(number), number)
	}
}

// replies are what programs say, by their first words.
type replies map[string]string

func (r replies) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	text, found := r[strings.Join(append([]string{c.Path}, c.Args...), " ")]
	if !found {
		return run.Result{Status: 1}, errors.New("failed")
	}
	return run.Result{Stdout: []byte(text)}, nil
}

func TestInspect(t *testing.T) {
	const header = "Vdev  BE  handle state evt-ch ring-ref BE-path\n"
	client := func(r replies) *Client { return &Client{Runner: r, Program: XM} }
	got, err := client(replies{
		"xm block-list web":   header + "51712    0    0     4      6      8     /local/domain/0/backend/vbd/1/51712  \n5632 0 0 4 7 9 /local/domain/0/backend/qdisk/1/5632\n",
		"xm network-list web": "Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path\n0   0  02:00:C0:A8:00:01    0     4      9     768/769   /local/domain/0/backend/vif/1/0\n",
		"xenstore-read /local/domain/0/backend/vbd/1/51712/params /local/domain/0/backend/qdisk/1/5632/params": "/dev/vg-one/lv-one-42-0\naio:/var/lib/one/datastores/101/42/disk.2\n",
	}).Inspect(t.Context(), cluster.Service{Name: "web"})
	require.NoError(t, err)
	assert.Equal(t, cluster.Hardware{Disks: map[string]string{"xvda": "/dev/vg-one/lv-one-42-0", "hdc": "/var/lib/one/datastores/101/42/disk.2"}, NICs: []string{"02:00:c0:a8:00:01"}}, got)
	got, err = client(replies{"xm block-list web": "", "xm network-list web": ""}).Inspect(t.Context(), cluster.Service{Name: "web"})
	require.NoError(t, err)
	assert.Empty(t, got.Disks)
	for name, r := range map[string]replies{
		"no answer":          {},
		"half a row":         {"xm block-list web": header + "51712 0\n"},
		"no number":          {"xm block-list web": header + "x 0 0 4 6 8 /local\n"},
		"a store that fails": {"xm block-list web": header + "51712 0 0 4 6 8 /local\n"},
		"too few answers":    {"xm block-list web": header + "51712 0 0 4 6 8 /a\n51728 0 0 4 6 8 /b\n", "xenstore-read /a/params /b/params": "/dev/x\n"},
		"no interfaces":      {"xm block-list web": ""},
	} {
		_, err := client(r).Inspect(t.Context(), cluster.Service{Name: "web"})
		require.Error(t, err, name)
	}
}

func TestTraffic(t *testing.T) {
	all := map[string]cluster.Sighting{"web": {State: cluster.Active, Figures: &cluster.Figures{}}, "off": {}}
	addTraffic(all, "  NAME STATE CPU(sec) MAXMEM(k) NETTX(k) NETRX(k) VBD_RD VBD_WR SSID\n Domain-0 -----r 1 no limit 0 0 0 0 0\n web --b--- 1 100 3 4 5 6 0\n off --b--- 1 100 3 4 5 6 0\n web half\n")
	assert.Equal(t, &cluster.Figures{NetTX: 3 << 10, NetRX: 4 << 10, ReadOps: 5, WriteOps: 6}, all["web"].Figures, "an old xentop counts no sectors")
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
