package lvmfake

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// sh runs a line without quoting, for tests that read like a session.
func (h *Host) sh(line string) (run.Result, error) {
	words := strings.Fields(line)
	return h.Run(context.Background(), run.Cmd{Path: words[0], Args: words[1:]})
}

func session(t *testing.T, h *Host, lines ...string) {
	t.Helper()
	for _, line := range lines {
		_, err := h.sh(line)
		require.NoError(t, err, line)
	}
}

func twoHosts(lockType string) (*Store, *Host, *Host) {
	store := NewStore(GroupSpec{Name: "vg", LockType: lockType, Extents: 63})
	return store, store.Host("a"), store.Host("b")
}

// TestTextsAndStatuses: what LVM 2.03.16 printed for the same command lines.
func TestTextsAndStatuses(t *testing.T) {
	for _, c := range []struct {
		line, out, err string
		status         int
	}{
		{"lvcreate -y -Wn -Zn -an --setautoactivation n --addtag one -L 5000192b -n b vg",
			"  Rounding up size to full physical extent 8.00 MiB\n  Logical volume \"b\" created.\n", "  WARNING: Logical volume vg/b not zeroed.\n", 0},
		{"lvcreate -L100M -n a vg", "", "  Logical Volume \"a\" already exists in volume group \"vg\"\n", 5},
		{"lvcreate -L100M -n b x", "", "  Volume group \"x\" not found\n  Cannot process volume group x\n", 5},
		{"lvcreate -L100G -n b vg", "", "  Volume group \"vg\" has insufficient free space (38 extents): 25600 required.\n", 5},
		{"lvcreate -L0 -n b vg", "", "  --size may not be zero.\n", 3},
		{"lvcreate -L abc -n b vg", "", "  Can't parse size argument.\n  Invalid argument for --size: abc\n  Error during parsing of command line.\n", 3},
		{"lvcreate -L -5M -n b vg", "", "  Size may not be negative.\n  Invalid argument for --size: -5M\n  Error during parsing of command line.\n", 3},
		{"lvcreate -n b vg", "", "  Size requires number argument.\n  Invalid argument for --size: \n  Error during parsing of command line.\n", 3},
		{"lvcreate -L 9388608b -n b vg", "", "  Size is not a multiple of 512. Try using 9388544 or 9389056.\n  Invalid argument for --size: 9388608b\n  Error during parsing of command line.\n", 3},
		{"lvcreate -L1M -n a/b vg", "", "  Logical volume name \"a/b\" is invalid.\n", 3},
		{"lvcreate -L1M -n snapshot1 vg", "", "  Names starting \"snapshot\" are reserved. Please choose a different LV name.\n", 3},
		{"lvcreate -L1M -n b", "", "  Please specify one volume group or logical volume path.\n", 3},
		{"lvcreate -an -Zy -L1M -n b vg", "", "  Cannot zero inactive logical volume with option -Zy or -Wy.\n", 0},
		{"lvcreate -an -Wy -L1M -n b vg", "", "  Cannot zero inactive logical volume with option -Zy or -Wy.\n", 0},
		{"lvremove vg/a", "", "  Logical volume vg/a not removed.\n", 5},
		{"lvremove -y vg/a", "  Logical volume \"a\" successfully removed.\n", "", 0},
		{"lvremove -y vg/x", "", "  Failed to find logical volume \"vg/x\"\n", 5},
		{"lvremove -y x/a", "", "  Volume group \"x\" not found\n  Cannot process volume group x\n", 5},
		{"lvremove -y", "", "  Please specify one volume group or logical volume path.\n", 3},
		{"lvextend -L 10M vg/a", "  Rounding size to boundary between physical extents: 12.00 MiB.\n", "  New size given (3 extents) not larger than existing size (25 extents)\n", 5},
		{"lvextend -L 100M vg/a", "", "  New size (25 extents) matches existing size (25 extents).\n", 5},
		{"lvextend -L 900M vg/a", "", "  Insufficient free space: 200 extents needed, but only 38 available\n", 5},
		{"lvextend -L 104M vg/a", "  Logical volume vg/a successfully resized.\n", "", 0},
		{"lvextend -L 104M vg/x", "", "  Logical volume x not found in volume group vg.\n", 5},
		{"lvextend -L 104M x/x", "", "  Volume group \"x\" not found\n  Cannot process volume group x\n", 5},
		{"lvextend -L 104M", "", "  Please specify one volume group or logical volume path.\n", 3},
		{"lvrename vg a b", "  Renamed \"a\" to \"b\" in volume group \"vg\"\n", "", 0},
		{"lvrename vg x b", "", "  Existing logical volume \"x\" not found in volume group \"vg\"\n", 5},
		{"lvrename vg a a", "", "  Logical Volume \"a\" already exists in volume group \"vg\"\n", 5},
		{"lvrename vg a -- -b", "", "  unrecognized option '--'\n  Error during parsing of command line.\n", 3},
		{"lvrename vg a pvmove0", "", "  Names starting \"pvmove\" are reserved. Please choose a different LV name.\n", 3},
		{"lvrename x a b", "", "  Volume group \"x\" not found\n  Cannot process volume group x\n", 5},
		{"lvrename vg a", "", "  Old and new logical volume names required\n", 3},
		{"lvchange --addtag x --deltag absent vg/a", "  Logical volume vg/a changed.\n", "", 0},
		{"lvchange -ay vg/a", "", "", 0},
		{"lvchange -aq vg/a", "", "  Invalid argument for --activate: q\n", 3},
		{"lvchange -ay", "", "  Please specify one volume group or logical volume path.\n", 3},
		{"lvs --x", "", "  unrecognized option '--x'\n  Error during parsing of command line.\n", 3},
		{"lvchange --addtag", "", "  option '--addtag' requires an argument\n  Error during parsing of command line.\n", 3},
		{"lvs vg", "", "  lvmfake: only --reportformat json with --nosuffix and explicit fields is implemented\n", 3},
		{"pvck", "", "  pvck: no such command\n", 2},
		{"lvm help", "", "  No such command.  Try 'help'.\n", 2},
		{"lvm version", "  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185 (2022-05-18)\n  Driver version:  4.48.0\n", "", 0},
		{"/sbin/lvchange -an vg/a", "", "", 0},
	} {
		_, host, _ := twoHosts(LockNone)
		session(t, host, "lvcreate -L100M -n a vg")
		result, err := host.sh(c.line)
		assert.Equal(t, c.out, string(result.Stdout), c.line)
		assert.Equal(t, c.err, string(result.Stderr), c.line)
		assert.Equal(t, c.status, result.Status, c.line)
		var failed *run.Error
		assert.Equal(t, c.status != 0, errors.As(err, &failed), c.line)
	}
}

const jsonReport = " --reportformat json --units b --nosuffix -o "

func TestReportShape(t *testing.T) {
	store, host, _ := twoHosts(LockNone)
	session(t, host, "lvcreate -L1M -n b --addtag one --addtag vm=1 vg", "lvcreate -L5M -an -Zn -n a vg")
	for line, want := range map[string]string{
		"lvs" + jsonReport + "lv_name,lv_size,lv_attr,lv_tags,vg_free vg": `  {
      "report": [
          {
              "lv": [
                  {"lv_name":"a", "lv_size":"8388608", "lv_attr":"-wi-------", "lv_tags":"", "vg_free":"251658240"},
                  {"lv_name":"b", "lv_size":"4194304", "lv_attr":"-wi-a-----", "lv_tags":"one,vm=1", "vg_free":"251658240"}
              ]
          }
      ]
  }
`,
		"lvs" + jsonReport + "lv_name vg/b": `  {
      "report": [
          {
              "lv": [
                  {"lv_name":"b"}
              ]
          }
      ]
  }
`,
		"vgs" + jsonReport + "vg_name,vg_attr,lv_count": `  {
      "report": [
          {
              "vg": [
                  {"vg_name":"vg", "vg_attr":"wz--n-", "lv_count":"2"}
              ]
          }
      ]
  }
`,
	} {
		result, err := host.sh(line)
		require.NoError(t, err)
		assert.Equal(t, want, string(result.Stdout))
	}
	assert.Equal(t, []string{"b", "a"}, store.Names("vg"))
	assert.Equal(t, int64(2), store.Extents("vg", "a"))
	assert.Zero(t, store.Extents("vg", "x"))
	assert.Panics(t, func() { store.SetTags("vg", "x") })
}

func TestNotFoundIsAnEmptyListWithStatusFive(t *testing.T) {
	_, host, _ := twoHosts(LockNone)
	for line, complaint := range map[string]string{
		"lvs" + jsonReport + "lv_name vg/a": "  Failed to find logical volume \"vg/a\"\n",
		"lvs" + jsonReport + "lv_name x":    "  Volume group \"x\" not found\n  Cannot process volume group x\n",
	} {
		result, err := host.sh(line)
		require.Error(t, err)
		assert.Equal(t, 5, result.Status)
		assert.Contains(t, string(result.Stdout), "\"lv\": [\n              ]")
		assert.Equal(t, complaint, string(result.Stderr))
	}
	result, err := host.sh("lvs" + jsonReport + "lv_bogus vg")
	require.Error(t, err)
	assert.Equal(t, "  {\n      \"report\": [\n      ]\n  }\n", string(result.Stdout))
	assert.Equal(t, "  Unrecognised field: lv_bogus\n", string(result.Stderr))
}

// TestLockMatrix: what one host may do with a volume that another holds.
func TestLockMatrix(t *testing.T) {
	changes := []string{"lvremove -y vg/a", "lvrename vg a b", "lvextend -L 1G vg/a"}
	for _, c := range []struct {
		mode             string // of host b
		ex, sh, off, tag bool   // may host a?
		change           bool
	}{
		{"-an", true, true, true, true, true},
		{"-asy", false, true, true, true, false},
		{"-aey", false, false, true, true, false},
	} {
		for line, allowed := range map[string]bool{
			"lvchange -aey vg/a": c.ex, "lvchange -ay vg/a": c.ex, "lvchange -asy vg/a": c.sh, "lvchange -an vg/a": c.off,
			"lvchange --addtag x vg/a": c.tag, changes[0]: c.change, changes[1]: c.change, changes[2]: c.change,
		} {
			store := NewStore(GroupSpec{Name: "vg", LockType: LockDLM, Extents: 1000})
			a, b := store.Host("a"), store.Host("b")
			session(t, a, "lvcreate -L100M -n a vg", "lvchange -an vg/a")
			session(t, b, "lvchange "+c.mode+" vg/a")
			result, err := a.sh(line)
			assert.Equal(t, allowed, err == nil, "%s while b has %s", line, c.mode)
			if !allowed {
				assert.Contains(t, string(result.Stderr), "  LV locked by other host: vg/a\n")
				assert.Equal(t, 5, result.Status)
			}
		}
	}
}

func TestConversionOfOnesOwnLock(t *testing.T) {
	_, a, _ := twoHosts(LockSanlock)
	session(t, a, "lvcreate -L100M -n a vg", "lvchange -asy vg/a")
	result, err := a.sh("lvrename vg a b")
	require.Error(t, err)
	assert.Equal(t, "  LV is already locked with incompatible mode: vg/a\n", string(result.Stderr))
	session(t, a, "lvchange -aey vg/a", "lvrename vg a b")
}

func TestLocksAreListedByLvmlockctl(t *testing.T) {
	_, a, b := twoHosts(LockDLM)
	session(t, a, "lvcreate -L100M -n a vg")
	for host, want := range map[*Host]string{
		a: "VG vg lock_type=dlm fAkeVG-0000-1111-2222-3333-4444-000000\nLS dlm lvm_vg\nLK VG un ver 2\nLK LV ex fAke01-0000-1111-2222-3333-4444-000001\n\n",
		b: "VG vg lock_type=dlm fAkeVG-0000-1111-2222-3333-4444-000000\nLS dlm lvm_vg\nLK VG un ver 2\n\n",
	} {
		result, err := host.sh("lvmlockctl -i")
		require.NoError(t, err)
		assert.Equal(t, want, string(result.Stdout))
	}
}

func TestCrashFreesLocks(t *testing.T) {
	_, a, b := twoHosts(LockDLM)
	session(t, a, "lvcreate -L100M -n a vg")
	_, err := b.sh("lvchange -aey vg/a")
	require.Error(t, err)
	a.Crash()
	session(t, b, "lvchange -aey vg/a")
}

func TestStatesOfLVMLockd(t *testing.T) {
	for state, c := range map[Locking]struct{ read, write, lockctl string }{
		LockdNotStarted:    {"  Reading VG vg without a lock.\n", "  Cannot access VG vg due to failed lock.\n", ""},
		LockdDown:          {"  WARNING: lvmlockd process is not running.\n  Reading VG vg without a lock.\n", "  WARNING: lvmlockd process is not running.\n  Cannot access VG vg due to failed lock.\n", "Cannot connect to lvmlockd.\n"},
		LockdNotConfigured: {"  Cannot access VG vg with lock type dlm that requires lvmlockd.\n", "  Cannot access VG vg with lock type dlm that requires lvmlockd.\n", "Cannot connect to lvmlockd.\n"},
	} {
		_, a, _ := twoHosts(LockDLM)
		session(t, a, "lvcreate -L100M -n a vg")
		a.SetLocking(state)
		result, err := a.sh("lvs" + jsonReport + "lv_name vg")
		assert.Equal(t, state == LockdNotConfigured, err != nil)
		assert.Equal(t, c.read, string(result.Stderr))
		result, err = a.sh("lvremove -y vg/a")
		require.Error(t, err)
		assert.Equal(t, c.write, string(result.Stderr))
		result, _ = a.sh("lvmlockctl -i")
		assert.Equal(t, c.lockctl, string(result.Stdout))
		result, err = a.sh("vgs" + jsonReport + "vg_name")
		require.NoError(t, err, "all groups: a hidden one is no error")
		assert.Equal(t, state != LockdNotConfigured, bytes.Contains(result.Stdout, []byte(`"vg"}`)))
	}
}

func TestOpenVolume(t *testing.T) {
	_, a, _ := twoHosts(LockDLM)
	session(t, a, "lvcreate -L100M -n a vg")
	release := a.Open("vg", "a")
	for _, line := range []string{"lvremove -y vg/a", "lvchange -an vg/a"} {
		result, err := a.sh(line)
		require.Error(t, err)
		assert.Equal(t, "  Logical volume vg/a in use.\n", string(result.Stderr))
	}
	session(t, a, "lvrename vg a b")
	release()
	session(t, a, "lvremove -y vg/b")
}

func TestCLVMDActivatesEverywhere(t *testing.T) {
	_, a, b := twoHosts(LockCLVMD)
	session(t, a, "lvcreate -L100M -n a vg")
	active := func(h *Host) string {
		result, err := h.sh("lvs" + jsonReport + "lv_active vg")
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(result.Stdout), `"lv_active":"`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	wantActive := func(onA, onB string) {
		t.Helper()
		assert.Equal(t, []string{onA, onB}, []string{active(a), active(b)})
	}
	wantActive("locally", "locally")
	session(t, a, "lvchange -an vg/a")
	wantActive("", "")
	session(t, b, "lvchange -aey vg/a")
	wantActive("remote exclusive", "local exclusive")
	session(t, a, "lvchange -aey vg/a") // it is active exclusively, on some node
	wantActive("remote exclusive", "local exclusive")
	session(t, b, "lvchange -asy vg/a") // no lock is weakened
	wantActive("remote exclusive", "local exclusive")
	for _, line := range []string{"lvchange -aly vg/a", "lvremove -y vg/a"} {
		result, err := a.sh(line)
		require.Error(t, err)
		assert.Equal(t, "  Error locking on node a: Volume is busy on another node\n", string(result.Stderr))
	}
	release := b.Open("vg", "a")
	result, err := a.sh("lvchange -an vg/a")
	require.Error(t, err)
	assert.Equal(t, "  Error locking on node b: LV vg/a in use: not deactivating\n", string(result.Stderr))
	release()
	session(t, b, "lvchange -aln vg/a", "lvchange -aly vg/a")
	wantActive("remotely", "locally")
}

func TestFaults(t *testing.T) {
	store, a, _ := twoHosts(LockNone)
	a.Inject(Fault{Program: "lvcreate", Skip: 1, Calls: 2, Status: 4, Stderr: "  no\n"})
	session(t, a, "lvcreate -L1M -n a vg")
	for range 2 {
		result, err := a.sh("lvcreate -L1M -n b vg")
		require.EqualError(t, err, "lvcreate -L1M -n b vg: exit status 4: no")
		assert.Equal(t, 4, result.Status)
	}
	session(t, a, "lvcreate -L1M -n b vg")
	a.Inject(Fault{NoEffect: true})
	session(t, a, "lvremove -y vg/a")
	assert.Equal(t, []string{"a", "b"}, store.Names("vg"))
	a.Inject(Fault{Status: 5, Effect: true, Calls: -1})
	_, err := a.sh("lvremove -y vg/a")
	require.Error(t, err)
	assert.Equal(t, []string{"b"}, store.Names("vg"))
	a.Heal()
	a.Inject(Fault{Stderr: "  WARNING: odd\n"})
	result, err := a.sh("lvremove -y vg/b")
	require.NoError(t, err)
	assert.Equal(t, "  WARNING: odd\n", string(result.Stderr))
	a.Inject(Fault{CutShort: true})
	result, err = a.sh("vgs" + jsonReport + "vg_name")
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(result.Stdout, []byte("  {\n")))
	assert.False(t, bytes.HasSuffix(result.Stdout, []byte("}\n")))
}

func TestHangEndsWithTheContext(t *testing.T) {
	store, a, _ := twoHosts(LockNone)
	for _, writer := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		a.Inject(Fault{Hang: true, Hanging: cancel, Effect: writer})
		_, err := a.Run(ctx, run.Cmd{Path: "lvcreate", Args: []string{"-L1M", "-n", "a", "vg"}, Writer: writer})
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, writer, errors.Is(err, run.ErrStillRunning))
		_, err = a.Run(ctx, run.Cmd{Path: "lvremove", Writer: writer})
		require.ErrorIs(t, err, context.Canceled, "nothing starts any more")
	}
	assert.Equal(t, []string{"a"}, store.Names("vg"))
	assert.Equal(t, []string{"lvcreate"}, a.Writers())
}

func TestCallsAreRecorded(t *testing.T) {
	_, a, b := twoHosts(LockNone)
	session(t, a, "lvm version", "lvcreate -L1M -n a vg")
	assert.Equal(t, []string{"lvm version", "lvcreate -L1M -n a vg"}, a.Calls())
	assert.Empty(t, b.Calls())
	a.ForgetCalls()
	assert.Empty(t, a.Calls())
}

func TestOldVersionDoesNotKnowAutoactivation(t *testing.T) {
	_, a, _ := twoHosts(LockNone)
	a.SetVersion("2.03.11(2) (2021-01-08)")
	_, err := a.sh("lvcreate --setautoactivation n -L1M -n a vg")
	require.ErrorContains(t, err, "unrecognized option '--setautoactivation'")
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestOutputGoesToTheCallersWriters(t *testing.T) {
	_, a, _ := twoHosts(LockNone)
	var stdout, stderr bytes.Buffer
	_, err := a.Run(t.Context(), run.Cmd{Path: "lvcreate", Args: []string{"-an", "-L4M", "-n", "a", "vg"}, Stdout: &stdout, Stderr: &stderr})
	require.NoError(t, err)
	assert.Equal(t, "  Logical volume \"a\" created.\n", stdout.String())
	assert.Contains(t, stderr.String(), "not zeroed")
	_, err = a.Run(t.Context(), run.Cmd{Path: "lvm", Args: []string{"version"}, Stdout: refusing{}})
	require.ErrorContains(t, err, "full")
	_, err = a.Run(t.Context(), run.Cmd{Path: "lvm", Stderr: refusing{}})
	require.ErrorContains(t, err, "full")
}

func TestNoiseBeforeReports(t *testing.T) {
	_, a, _ := twoHosts(LockNone)
	a.SetNoise("  WARNING: x\n")
	result, err := a.sh("vgs" + jsonReport + "vg_name --select=x vg")
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(result.Stdout, []byte("  WARNING: x\n  {\n")))
}
