package lvm2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

const lockText = `VG vg-other lock_type=sanlock 6zJsen-6QjO
LS sanlock lvm_vg-other
LK GL un ver 3
LK VG un ver 12
LK LV ex uuid-0

VG vg-one lock_type=dlm 1zJsen-6QjO
LS dlm lvm_vg-one
OP lock pid 7 (lvs)
LW VG ex ver 0 pid 8 (lvcreate)
LK VG sh ver 41 pid 7 (lvs)
LK LV ex uuid-1
LK LV sh uuid-2
LK LV un uuid-3
LW LV ex uuid-3
LK LV sh uuid-4
LK LV ex uuid-4
LK LV xx uuid-5

VG vg-last lock_type=dlm 2zJsen-6QjO
LK LV sh uuid-1
`

func TestParseLocks(t *testing.T) {
	held, err := parseLocks([]byte(lockText), "vg-one")
	require.NoError(t, err)
	assert.Equal(t, lockTable{
		"uuid-1": lvm.Exclusive, "uuid-2": lvm.Shared, "uuid-3": lvm.Off, "uuid-4": lvm.Exclusive, "uuid-5": lvm.Off,
	}, held)
	held, err = parseLocks([]byte("VG vg-one lock_type=dlm x\n"), "vg-one")
	require.NoError(t, err, "a lockspace without locks is a lockspace")
	assert.Empty(t, held)
}

func TestParseLocksWithoutLockspace(t *testing.T) {
	for _, text := range []string{"", "Cannot connect to lvmlockd.\n", lockText, "VG\nLK LV ex uuid-1\n"} {
		_, err := parseLocks([]byte(text), "vg-on")
		require.ErrorIs(t, err, ErrNoLockManager)
	}
}

func FuzzParseLocks(f *testing.F) {
	f.Add([]byte(lockText))
	f.Add([]byte("VG vg-one\nLK LV"))
	f.Fuzz(func(t *testing.T, output []byte) {
		held, err := parseLocks(output, "vg-one")
		if err != nil {
			require.ErrorIs(t, err, ErrNoLockManager)
			return
		}
		for uuid, mode := range held {
			assert.NotEmpty(t, uuid)
			assert.Contains(t, []lvm.Mode{lvm.Off, lvm.Exclusive, lvm.Shared}, mode)
		}
	})
}

func TestLockManager(t *testing.T) {
	for _, c := range []struct{ attr, lockType, want string }{
		{"wz--n-", "", "none"}, {"wz--n-", "none", "none"},
		{"wz--ns", "dlm", "dlm"}, {"wz--ns", "sanlock", "sanlock"},
		{"wz--nc", "", "clvmd"}, {"wz--nc", "clvm", "clvmd"},
	} {
		got, err := lockManager(c.attr, c.lockType)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	for _, c := range [][2]string{{"wz--ns", ""}, {"wz--ns", "idm"}, {"wz--n-", "new"}, {"wz", ""}} {
		_, err := lockManager(c[0], c[1])
		assert.Error(t, err, c)
	}
}

func TestModeOf(t *testing.T) {
	for _, c := range []struct {
		active            bool
		manager, lvActive string
		held, want        lvm.Mode
	}{
		{false, "none", "", lvm.Off, lvm.Off},
		{true, "none", "active", lvm.Off, lvm.Exclusive},
		{true, "dlm", "active", lvm.Exclusive, lvm.Exclusive},
		{true, "dlm", "active", lvm.Shared, lvm.Shared},
		{true, "sanlock", "active", lvm.Off, lvm.Shared},
		{false, "dlm", "", lvm.Exclusive, lvm.Off},
		{true, "clvmd", "local exclusive", lvm.Off, lvm.Exclusive},
		{true, "clvmd", "locally", lvm.Off, lvm.Shared},
		{true, "clvmd", "active", lvm.Off, lvm.Shared},
		{false, "clvmd", "remotely", lvm.Off, lvm.Off},
		{false, "clvmd", "remote exclusive", lvm.Off, lvm.Off},
		{false, "clvmd", "", lvm.Off, lvm.Off},
	} {
		got, err := modeOf(c.active, c.manager, c.lvActive, c.held)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, fmt.Sprint(c))
	}
}

func TestActivation(t *testing.T) {
	for _, c := range []struct {
		manager string
		mode    lvm.Mode
		want    string
	}{
		{"none", lvm.Off, "-an"}, {"none", lvm.Exclusive, "-ay"}, {"none", lvm.Shared, "-ay"},
		{"dlm", lvm.Off, "-an"}, {"dlm", lvm.Exclusive, "-aey"}, {"dlm", lvm.Shared, "-asy"},
		{"sanlock", lvm.Off, "-an"}, {"sanlock", lvm.Exclusive, "-aey"}, {"sanlock", lvm.Shared, "-asy"},
		{"clvmd", lvm.Off, "-aln"}, {"clvmd", lvm.Exclusive, "-aey"}, {"clvmd", lvm.Shared, "-aly"},
	} {
		assert.Equal(t, c.want, activation(c.manager, c.mode))
	}
}

func TestTagArgs(t *testing.T) {
	have := lvm.NewTags("one", "building")
	for _, c := range []struct {
		add, del lvm.Tags
		want     []string
	}{
		{nil, nil, nil},
		{lvm.Tags{"one"}, lvm.Tags{"absent"}, nil},
		{lvm.Tags{"vm=1", "a", "vm=1"}, lvm.Tags{"building", "building"}, []string{"--addtag", "a", "--addtag", "vm=1", "--deltag", "building"}},
		{lvm.Tags{"one", "x"}, lvm.Tags{"one", "x"}, []string{"--deltag", "one"}},
	} {
		assert.Equal(t, c.want, tagArgs(have, c.add, c.del))
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185 (2022-05-18)\n": {2, 3, 16},
		"  WARNING: x\n  LVM version:     2.02.187(2)-RHEL7 (2020-03-24)\n":                      {2, 2, 187},
		"LVM version: 2.03.12": {2, 3, 12},
	} {
		got, err := parseVersion([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, want != version{2, 2, 187}, got.atLeast(autoactivationSince))
	}
	assert.True(t, version{3, 0, 0}.atLeast(autoactivationSince))
	assert.False(t, version{2, 3, 11}.atLeast(autoactivationSince))
	for _, text := range []string{"", "  Library version: 1.02.185", "LVM version: 2.03", "LVM version: 99999.1.1"} {
		_, err := parseVersion([]byte(text))
		require.Error(t, err, text)
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add([]byte("  LVM version:     2.03.16(2) (2022-05-18)\n"))
	f.Fuzz(func(t *testing.T, output []byte) {
		v, err := parseVersion(output)
		if err == nil {
			assert.True(t, v.atLeast(version{}))
			assert.Less(t, max(v[0], v[1], v[2]), 10000)
		}
	})
}

// TestMessages are texts of LVM 2.02, 2.03, lvmlockd and clvmd; next is a part of the
// advice that must be given.
func TestMessages(t *testing.T) {
	for text, want := range map[string]struct {
		hint error
		next string
	}{
		`  Logical Volume "a" already exists in volume group "vg"`:                                 {lvm.ErrExists, ""},
		`  Logical volume "a" already exists in volume group "vg"`:                                 {lvm.ErrExists, ""},
		`  Volume group "vg" has insufficient free space (24 extents): 25600 required.`:            {lvm.ErrNoSpace, ""},
		`  Insufficient free space: 221 extents needed, but only 60 available`:                     {lvm.ErrNoSpace, ""},
		`  Insufficient suitable allocatable extents for logical volume a: 5 more required`:        {lvm.ErrNoSpace, ""},
		`  Logical volume vg/a contains a filesystem in use.`:                                      {lvm.ErrInUse, ""},
		`  Logical volume vg/a in use.`:                                                            {lvm.ErrInUse, ""},
		`  Failed to find logical volume "vg/a"`:                                                   {lvm.ErrNotFound, ""},
		`  Existing logical volume "a" not found in volume group "vg"`:                             {lvm.ErrNotFound, ""},
		`  Logical volume a not found in volume group vg.`:                                         {lvm.ErrNotFound, ""},
		"  WARNING: lvmlockd process is not running.\n  Volume group \"x\" not found":              {lvm.ErrNoGroup, ""},
		"  Volume group \"x\" not found\n  Cannot process volume group x":                          {lvm.ErrNoGroup, ""},
		`  LV locked by other host: vg/a`:                                                          {lvm.ErrLocked, ""},
		`  LV locked by other host: vg/a (owner 2)`:                                                {lvm.ErrLocked, ""},
		`  LV is already locked with incompatible mode: vg/a`:                                      {lvm.ErrLocked, "POSTMIGRATE or FAILMIGRATE"},
		`  LV vg/a lock failed: lockspace is inactive`:                                             {ErrNoLockManager, "vgchange --lockstart vg-x on this node"},
		`  LV vg/a lock failed: storage failed for sanlock leases`:                                 {ErrNoLockManager, "multipath -ll"},
		`  LV vg/a lock failed: storage errors for sanlock leases`:                                 {ErrNoLockManager, "multipath -ll"},
		`  LV vg/a lock failed: error -221`:                                                        {ErrNoLockManager, "journalctl -u lvmlockd"},
		"  VG vg lock failed: held by other host.\n  Cannot access VG vg due to failed lock.":      {ErrGroupBusy, "lvmlockctl -i on the other nodes"},
		"  VG vg lock failed: lock start in progress\n  Cannot access VG vg due to failed lock.":   {ErrNoLockManager, "vgchange --lockstart vg-x"},
		"  VG vg lock failed: removed\n  Cannot access VG vg due to failed lock.":                  {lvm.ErrNoGroup, "removed or renamed vg-x"},
		"  Global lock failed: check that lvmlockd is running.":                                    {ErrNoLockManager, "start lvmlockd"},
		`  Global lock failed: check that global lockspace is started`:                             {ErrNoLockManager, "first shared volume group"},
		`  Global lock failed: held by other host.`:                                                {ErrGroupBusy, "lvmlockctl -i on the other nodes"},
		`  Cannot access VG vg due to failed lock.`:                                                {ErrNoLockManager, "vgchange --lockstart vg-x"},
		"  WARNING: lvmlockd process is not running.\n  Cannot access VG vg due to failed lock.":   {ErrNoLockManager, "start lvmlockd"},
		"  WARNING: lvmlockd process is not running.\n  Reading without shared global lock.":       {ErrNoLockManager, "start lvmlockd"},
		"  WARNING: lvmlockd process is not running.\n  Reading VG vg without a lock.":             {ErrNoLockManager, "start lvmlockd"},
		`  Cannot access VG vg with lock type dlm that requires lvmlockd.`:                         {ErrNoLockManager, "use_lvmlockd=1"},
		`  VG vg stop failed: LVs must first be deactivated`:                                       {lvm.ErrInUse, "lvs vg-x"},
		`  Using a shared lock type requires lvmlockd (lvm.conf use_lvmlockd.)`:                    {ErrNoLockManager, "use_lvmlockd=1"},
		`  Failed to detect a running lock manager to select lock type.`:                           {ErrNoLockManager, "start lvmlockd"},
		`  Using lock start and lock stop requires lvmlockd.`:                                      {ErrNoLockManager, "use_lvmlockd=1"},
		`  The clustered option is deprecated, see --shared.`:                                      {nil, "vgcreate --shared"},
		`  VG vg start failed: lock manager dlm is not running`:                                    {ErrNoLockManager, "dlm_controld"},
		`  VG vg start failed: invalid sanlock host_id, set in lvmlocal.conf`:                      {ErrNoLockManager, "host_id"},
		`  VG vg start failed: lvmlockd is not enabled`:                                            {ErrNoLockManager, "use_lvmlockd=1"},
		`  Shared activation not compatible with LV type snapshot of vg/a`:                         {lvm.ErrSnapshots, "remove its snapshots"},
		`  Shared activation not compatible with LV type thin: vg/a`:                               {ErrNotShareable, "cold"},
		`  LV vg/a must be inactive on all hosts.`:                                                 {lvm.ErrLocked, ""},
		`  Error locking on node b: Volume is busy on another node`:                                {lvm.ErrLocked, ""},
		`  Error locking on node b: Command timed out`:                                             {ErrNoLockManager, "log of clvmd"},
		`  clvmd not running on node b`:                                                            {ErrNoLockManager, "start clvmd on that node"},
		"  connect() failed on local socket: x\n  Internal cluster locking initialisation failed.": {ErrNoLockManager, "clvmd on this node"},
		`  Skipping clustered volume group vg`:                                                     {ErrNoLockManager, "clvmd on this node"},
		`  Input/output error`:                                                                     {nil, ""},
		``:                                                                                         {nil, ""},
	} {
		failed := &run.Error{Argv: []string{"lvs"}, Status: 5, Stderr: text + "\n"}
		err := fmt.Errorf("wrapped: %w", failed)
		assert.Equal(t, want.hint, hintOf(err), text)
		said := New("vg-x", nil, Options{}).failed("read", "", err)
		require.ErrorIs(t, said, failed)
		assert.ErrorContains(t, said, want.next, text)
		assert.Equal(t, want.next != "", strings.Contains(said.Error(), "; "), said)
	}
	assert.NoError(t, hintOf(fmt.Errorf("not from a program: Logical volume vg/a in use")))
}

func TestTransient(t *testing.T) {
	busy := "  VG vg lock failed: held by other host.\n"
	assert.True(t, transient(&run.Error{Status: 5, Stderr: busy}))
	assert.False(t, transient(&run.Error{Status: -1, Stderr: busy}), "it did not end by itself")
	assert.False(t, transient(&run.Error{Status: 5, Stderr: "  LV locked by other host: vg/a\n"}))
	assert.False(t, transient(fmt.Errorf("%s", busy)))
}
