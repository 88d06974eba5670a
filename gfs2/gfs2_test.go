package gfs2

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// device is a sparse file with the superblock that mkfs.gfs2 3.5.0 wrote on the lab.
func device(t *testing.T) string {
	t.Helper()
	block, err := os.ReadFile("testdata/superblock")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "device")
	require.NoError(t, os.WriteFile(path, append(make([]byte, superblockAt), block...), 0o600))
	return path
}

func TestSuperblock(t *testing.T) {
	s, err := Inspect(device(t))
	require.NoError(t, err)
	assert.Equal(t, Superblock{Protocol: "lock_dlm", Table: Table{"lab", "home"}, BlockSize: 4096, UUID: "33ef69ab-7c28-4f16-b81d-6718ea7ec43f"}, s)

	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, make([]byte, 1<<20), 0o600))
	_, err = Inspect(empty)
	require.ErrorIs(t, err, ErrNotGFS2)
	require.NoError(t, os.Truncate(empty, 4096))
	_, err = Inspect(empty)
	require.ErrorIs(t, err, ErrNotGFS2)
}

func TestTable(t *testing.T) {
	require.NoError(t, Table{"lab", "home-1"}.Validate())
	for _, bad := range []Table{{"", "home"}, {"lab", ""}, {"la:b", "home"}, {"lab", "ho me"}, {strings.Repeat("a", 33), "home"}, {"lab", strings.Repeat("a", 31)}} {
		require.ErrorIs(t, bad.Validate(), ErrBadTable, "%v", bad)
	}
	_, err := ParseTable("home")
	require.ErrorIs(t, err, ErrBadTable)
}

// kernel is a tree of sysfs as the lab's kernel 6.1 shows it.
func kernel(t *testing.T, withdraw string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, sysfs, "lab:home")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "lock_module"), 0o755))
	for name, text := range map[string]string{"withdraw": withdraw, "freeze": "0", "lock_module/proto_name": "lock_dlm"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600))
	}
	return root
}

func TestState(t *testing.T) {
	root := kernel(t, "0")
	tables, err := Mounted(root)
	require.NoError(t, err)
	require.Equal(t, []Table{{"lab", "home"}}, tables)
	s, err := ReadState(root, tables[0])
	require.NoError(t, err)
	assert.Equal(t, State{Table: tables[0], Protocol: LockDLM}, s)
	s, err = ReadState(kernel(t, "1"), tables[0])
	require.NoError(t, err)
	assert.True(t, s.Withdrawn)
	_, err = ReadState(t.TempDir(), tables[0])
	require.Error(t, err)
	tables, err = Mounted(t.TempDir())
	require.NoError(t, err)
	assert.Empty(t, tables)
}

func TestCheck(t *testing.T) {
	well := State{Table: Table{"lab", "home"}, Protocol: LockDLM, Journals: 2, Members: []int{1, 2}}
	peers := Peers{Cluster: "lab", Nodes: map[int]string{1: "node1", 2: "node2"}, Present: []int{1, 2}}
	assert.Empty(t, well.Check(peers))
	assert.Empty(t, well.Check(Peers{}), "what is not known is not judged")
	for kind, change := range map[Kind]func(*State){
		Withdrawn:   func(s *State) { s.Withdrawn, s.Members = true, nil },
		Frozen:      func(s *State) { s.Frozen = true },
		WrongLocks:  func(s *State) { s.Protocol, s.Members = "lock_nolock", nil },
		WrongTable:  func(s *State) { s.Table.Cluster = "other" },
		Waiting:     func(s *State) { s.Changing = true },
		NotMounted:  func(s *State) { s.Members = []int{1} },
		FewJournals: func(s *State) { s.Journals = 1 },
	} {
		s := well
		change(&s)
		found := s.Check(peers)
		require.Len(t, found, 1, "%s: %v", kind, found)
		assert.Equal(t, kind, found[0].Kind)
		assert.NotEmpty(t, found[0].Text)
	}
}

// tools answers as gfs2-utils 3.5.0 did on the lab.
type tools struct {
	calls   []string
	answers map[string]answer // by the program
}

type answer struct {
	stdout, stderr string
	status         int
}

func (r *tools) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	r.calls = append(r.calls, strings.Join(append([]string{c.Path}, c.Args...), " "))
	a := r.answers[c.Path]
	result := run.Result{Stdout: []byte(a.stdout), Stderr: []byte(a.stderr), Status: a.status}
	if a.status != 0 {
		return result, &run.Error{Argv: []string{c.Path}, Status: a.status, Stderr: a.stderr}
	}
	return result, nil
}

const twoJournals = `Block #Journal Status:       of 524288 (0x80000) 
-------------------- Journal List --------------------
journal0: 0x12    8MB dirty.
journal1: 0x81b   8MB clean.
------------------------------------------------------
`

func TestJournals(t *testing.T) {
	r := &tools{answers: map[string]answer{"gfs2_edit": {stdout: twoJournals}}}
	n, err := Journals(t.Context(), r, "/dev/sdb")
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, []string{"gfs2_edit -p journals /dev/sdb"}, r.calls)
	_, err = Journals(t.Context(), &tools{answers: map[string]answer{"gfs2_edit": {}}}, "/dev/sdb")
	require.ErrorIs(t, err, ErrNotGFS2)
}

func TestAddJournals(t *testing.T) {
	r := &tools{answers: map[string]answer{"gfs2_edit": {stdout: twoJournals}, "gfs2_jadd": {stdout: "Filesystem: /mnt/h\nOld journals: 2\nNew journals: 3\n"}}}
	_, err := AddJournals(t.Context(), r, "/mnt/h", "/dev/sdb", 1, 32)
	require.ErrorContains(t, err, "has 2 journals instead of 3", "it is counted, not believed")
	assert.Equal(t, "gfs2_jadd -j 1 -J 32 /mnt/h", r.calls[1])
	r.answers["gfs2_jadd"] = answer{stderr: "bad journal size\n", status: 1}
	_, err = AddJournals(t.Context(), r, "/mnt/h", "/dev/sdb", 1, 8)
	require.ErrorContains(t, err, "bad journal size")
}

func TestGrow(t *testing.T) {
	for _, c := range []struct {
		name string
		answer
		want error
		text string
	}{
		{"grows", answer{stdout: "Mount point: /mnt/h\nDevice: /dev/mapper/vg--one-home2\nSize: 102398 blocks\nLength: 153600 blocks\nThe file system will grow by 200MB.\ngfs2_grow complete.\n"}, nil, ""},
		{"nothing to do", answer{stdout: "The calculated resource group size is too small.\n/mnt/h has not grown.\ngfs2_grow complete.\n", status: 255}, ErrNotGrown, "too small"},
		{"success without one", answer{stdout: "gfs2_grow complete.\n", stderr: "/mnt: not a mounted gfs2 file system\n"}, ErrNotGFS2, ""},
		{"success without a word", answer{stdout: "gfs2_grow complete.\n"}, nil, "without saying"},
	} {
		err := Grow(t.Context(), &tools{answers: map[string]answer{"gfs2_grow": c.answer}}, "/mnt/h")
		switch {
		case c.want != nil:
			require.ErrorIs(t, err, c.want, c.name)
		case c.text == "":
			require.NoError(t, err, c.name)
		}
		if c.text != "" {
			require.ErrorContains(t, err, c.text, c.name)
		}
	}
}

func TestPlan(t *testing.T) {
	good := Plan{Device: "/dev/vg-one/home", Table: Table{"lab", "home"}, Journals: 3}
	require.NoError(t, good.Validate(2))
	assert.Equal(t, "-O -p lock_dlm -t lab:home -j 3 -b 4096 /dev/vg-one/home", strings.Join(good.Args(), " "))
	sized := good
	sized.JournalSize = 32
	assert.Contains(t, strings.Join(sized.Args(), " "), "-J 32 /dev/vg-one/home")
	for name, change := range map[string]func(*Plan){
		"too few journals": func(p *Plan) { p.Journals = 1 },
		"journal size":     func(p *Plan) { p.JournalSize = 4 },
		"device":           func(p *Plan) { p.Device = "-x" },
		"table":            func(p *Plan) { p.Table.Name = "a b" },
	} {
		bad := good
		change(&bad)
		require.Error(t, bad.Validate(2), name)
	}
}

// What mkfs.gfs2 made is read, not believed.
func TestFormat(t *testing.T) {
	plan := Plan{Device: device(t), Table: Table{"lab", "home"}, Journals: 2}
	r := &tools{answers: map[string]answer{"mkfs.gfs2": {}}}
	s, err := Format(t.Context(), r, plan)
	require.NoError(t, err)
	assert.Equal(t, plan.Table, s.Table)
	plan.Table.Name = "other"
	_, err = Format(t.Context(), r, plan)
	require.ErrorContains(t, err, "lab:home")
	r.answers["mkfs.gfs2"] = answer{stderr: "Device or resource busy\n", status: 1}
	_, err = Format(t.Context(), r, plan)
	require.ErrorContains(t, err, "busy")
}
