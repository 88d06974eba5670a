package lvm2

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// Recorded on two nodes with dlm 4.2.0, corosync 3.1.7 and sanlock 3.8.5 (Debian 12).
const (
	dlmVolume     = "pfMFZ0-IrGb-G7qz-uG5k-6lDi-K1Hg-87cznt"
	sanlockVolume = "dhm3XL-ijYX-FIs8-jBrs-gf7P-Guct-o3mO6A"
)

func recorded(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("testdata/holders", name))
	require.NoError(t, err)
	return string(text)
}

func TestParseLockdump(t *testing.T) {
	for file, want := range map[string]dlmLocks{
		"dlm-lockdump-master-holds.txt":    {0, map[int]lvm.Mode{}},
		"dlm-lockdump-other-is-master.txt": {1, map[int]lvm.Mode{}},
		"dlm-lockdump-shared.txt":          {0, map[int]lvm.Mode{2: lvm.Shared}},
		"dlm-lockdump-other-holds.txt":     {0, map[int]lvm.Mode{2: lvm.Exclusive}},
	} {
		assert.Equal(t, want, parseLockdump(recorded(t, file), dlmVolume), file)
		assert.Empty(t, parseLockdump(recorded(t, file), "another").others)
	}
}

func TestParseNodelist(t *testing.T) {
	assert.Equal(t, nodelist{1: "node1", 2: "node2"}, parseNodelist(recorded(t, "corosync-nodelist.txt")))
	assert.Equal(t, nodelist{7: "10.0.0.7"}, parseNodelist("nodelist.node.0.nodeid (u32) = 7\nnodelist.node.0.ring0_addr (str) = 10.0.0.7\n"))
	assert.Equal(t, "node id 3", nodelist{1: "node1"}.name(3))
}

func TestParseLease(t *testing.T) {
	for file, want := range map[string]map[int]lvm.Mode{
		"sanlock-dump-exclusive.txt": {1: lvm.Exclusive},
		"sanlock-dump-shared.txt":    {1: lvm.Shared, 2: lvm.Shared},
		"sanlock-dump-free.txt":      {},
	} {
		assert.Equal(t, want, parseLease(recorded(t, file), sanlockVolume), file)
		assert.Empty(t, parseLease(recorded(t, file), "another"), file)
	}
}

func TestParseHostLeases(t *testing.T) {
	assert.Equal(t, nodelist{1: "node1", 2: "node2"}, parseHostLeases(recorded(t, "sanlock-dump-hosts.txt")))
	unnamed := "00000000 lvm_vg 6b3c0a34-1d2e-4f4c-8c6e-0d1f2a3b4c5d.node9 0000000055 0009 0001\n"
	assert.Equal(t, nodelist{9: "node9"}, parseHostLeases(unnamed))
}

func TestParseLockspace(t *testing.T) {
	space, err := parseLockspace(recorded(t, "sanlock-gets.txt"), "lvm_vg-one")
	require.NoError(t, err)
	assert.Equal(t, lockspace{2, "/dev/mapper/vg--one-lvmlock", 0, map[int]string{}}, space)
	text := "s lvm_other:1:/dev/x:0\nh 2 gen 1 timestamp 5 DEAD\ns lvm_vg-one:1:/dev/y:512\nh 2 gen 1 timestamp 5 FAIL\nh 3 gen 1 timestamp 0 DEAD\n"
	space, err = parseLockspace(text, "lvm_vg-one")
	require.NoError(t, err)
	assert.Equal(t, int64(512), space.offset)
	assert.Contains(t, space.notes[2], "does not renew")
	assert.Contains(t, space.notes[3], "dead")
	_, err = parseLockspace(text, "lvm_vg")
	require.ErrorContains(t, err, "no lockspace lvm_vg on this node")
}

func TestParseDLMStatus(t *testing.T) {
	for text, want := range map[string]struct {
		quorate bool
		dead    []int
	}{
		recorded(t, "dlm-status-fencing.txt"):         {true, []int{2}},
		recorded(t, "dlm-status-fenced.txt"):          {true, nil},
		"cluster nodeid 1 quorate 0 ring seq 13 13\n": {false, nil},
		"cannot connect to dlm_controld\n":            {true, nil},
	} {
		quorate, dead := parseDLMStatus(text)
		assert.Equal(t, want.quorate, quorate, text)
		assert.Equal(t, want.dead, dead, text)
	}
}

func TestDescribe(t *testing.T) {
	for want, c := range map[string]struct {
		found []holder
		err   error
	}{
		"active exclusively on node2":                            {[]holder{{Node: "node2", Mode: lvm.Exclusive}}, nil},
		"active shared on node1 and node2":                       {[]holder{{Node: "node2", Mode: lvm.Shared}, {Node: "node1", Mode: lvm.Shared}}, nil},
		"active on node1":                                        {[]holder{{Node: "node1"}}, nil},
		"active exclusively on node1 (dead), active shared on b": {[]holder{{"b", lvm.Shared, ""}, {"node1", lvm.Exclusive, "dead"}}, nil},
		"no node has it any more, try again":                     {nil, nil},
		"which node has it is not known (no answer)":             {nil, errors.New("no answer")},
	} {
		assert.Equal(t, want, describe(c.found, c.err))
	}
}

func FuzzParseHolders(f *testing.F) {
	files, err := filepath.Glob("testdata/holders/*.txt")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, output string) {
		for _, mode := range parseLockdump(output, dlmVolume).others {
			assert.NotEqual(t, lvm.Off, mode)
		}
		for _, mode := range parseLease(output, sanlockVolume) {
			assert.NotEqual(t, lvm.Off, mode)
		}
		for id, name := range parseNodelist(output) {
			assert.Equal(t, name, parseNodelist(output).name(id))
		}
		parseHostLeases(output)
		parseDLMStatus(output)
		if space, err := parseLockspace(output, "lvm_vg-one"); err == nil {
			assert.NotEmpty(t, space.path)
		}
	})
}
