package virsh

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(text)
}

// answers are those of virsh, by its verb.
type answers map[string]string

func (a answers) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	text, found := a[c.Args[2]]
	if !found {
		return run.Result{Status: 1}, &run.Error{Argv: c.Args, Status: 1, Stderr: "error: unknown command: '" + c.Args[2] + "'", Err: errors.New("exit status 1")}
	}
	return run.Result{Stdout: []byte(text)}, nil
}

func TestInspect(t *testing.T) {
	h, err := (&Client{Runner: answers{"dumpxml": testdata(t, "dumpxml.xml")}}).Inspect(t.Context(), cluster.Service{Name: "one-42"})
	require.NoError(t, err)
	assert.Equal(t, cluster.Hardware{
		Disks: map[string]string{"vda": "/dev/vg-one/lv-one-42-0", "hdc": "/var/lib/one/datastores/101/42/disk.2", "hdd": ""},
		NICs:  []string{"02:00:c0:a8:00:01"}, CPUs: 4, CPUsNow: 2, MemoryMiB: 2048, MemoryMiBNow: 1024,
	}, h)
	for _, text := range []string{"", "<domainsnapshot/>", "<domain>", "error: x"} {
		_, err := (&Client{Runner: answers{"dumpxml": text}}).Inspect(t.Context(), cluster.Service{Name: "one-42"})
		require.Error(t, err, text)
	}
}

func TestCommandsOfHardware(t *testing.T) {
	v := &Client{}
	disk := cluster.Device{Target: "vdb", Path: "/dev/vg-one/lv-one-42-1", Document: "<disk/>"}
	nic := cluster.Device{MAC: "02:00:c0:a8:00:01", Type: "bridge", Document: "<interface/>"}
	for _, c := range []struct {
		action cluster.Action
		order  cluster.Order
		want   string
	}{
		{cluster.Attach, cluster.Order{Device: disk}, "attach-device one-42 /dev/stdin <<< <disk/>"},
		{cluster.Attach, cluster.Order{Device: nic}, "attach-device one-42 /dev/stdin <<< <interface/>"},
		{cluster.Detach, cluster.Order{Device: disk}, "detach-disk one-42 vdb"},
		{cluster.Detach, cluster.Order{Device: nic}, "detach-interface one-42 bridge --mac 02:00:c0:a8:00:01"},
		{cluster.Eject, cluster.Order{Device: disk}, "change-media one-42 vdb --eject --force"},
		{cluster.Insert, cluster.Order{Device: disk}, "change-media one-42 vdb /dev/vg-one/lv-one-42-1 --insert --block"},
		{cluster.Insert, cluster.Order{Device: cluster.Device{Target: "hdc", Path: "/home/disk.2"}}, "change-media one-42 hdc /home/disk.2 --insert"},
		{cluster.Grow, cluster.Order{Device: disk, SizeMiB: 2048}, "blockresize one-42 /dev/vg-one/lv-one-42-1 2097152"},
		{cluster.Resize, cluster.Order{CPUs: 4, MemoryMiB: 1024}, "setmem one-42 1048576; setvcpus one-42 4 --live"},
		{cluster.Resize, cluster.Order{CPUs: 4}, "setvcpus one-42 4 --live"},
	} {
		c.order.Service = cluster.Service{Name: "one-42", Hypervisor: "qemu:///system"}
		commands, err := v.Commands(c.order, cluster.Step{Action: c.action, CPUs: c.order.CPUs, MemoryMiB: c.order.MemoryMiB}, nil)
		require.NoError(t, err)
		var texts []string
		for _, command := range commands {
			texts = append(texts, strings.TrimPrefix(command.String(), "virsh -c qemu:///system "))
		}
		assert.Equal(t, c.want, strings.Join(texts, "; "))
	}
}

func TestSurvey(t *testing.T) {
	domains, err := (&Client{Runner: answers{"domstats": testdata(t, "domstats")}}).Survey(t.Context(), "qemu:///system")
	require.NoError(t, err)
	assert.Equal(t, map[string]cluster.Sighting{
		"one-42": {State: cluster.Active, Figures: &cluster.Figures{CPUNanoseconds: 27610303490, MemoryKiB: 612344, NetRX: 1001, NetTX: 2002, ReadBytes: 4608, WriteBytes: 8192, ReadOps: 8, WriteOps: 8}},
		"one-43": {State: cluster.Paused, Figures: &cluster.Figures{MemoryKiB: 524288}},
		"wild":   {State: cluster.Absent, Figures: &cluster.Figures{}},
	}, domains)
}

// TestSurveyOfAnOldLibvirt: RHEL 6 has no domstats.
func TestSurveyOfAnOldLibvirt(t *testing.T) {
	list := " Id    Name                           State\n----------------------------------------------------\n 3     one-42                         running\n -     one-43                         shut off\n 4     one-44                         in shutdown\n\n"
	domains, err := (&Client{Runner: answers{"list": list}}).Survey(t.Context(), "qemu:///system")
	require.NoError(t, err)
	assert.Equal(t, map[string]cluster.Sighting{"one-42": {State: cluster.Active}, "one-43": {State: cluster.Absent}, "one-44": {State: cluster.Dying}}, domains)
	_, err = (&Client{Runner: answers{}}).Survey(t.Context(), "qemu:///system")
	require.ErrorIs(t, err, cluster.ErrHypervisor)
}

func TestStatesByNumber(t *testing.T) {
	for _, c := range []struct {
		state, reason int64
		want          cluster.Domain
	}{
		{0, 0, cluster.Active}, {1, 1, cluster.Active}, {2, 0, cluster.Active}, {4, 1, cluster.Dying}, {5, 0, cluster.Absent}, {6, 1, cluster.Crashed}, {7, 0, cluster.Asleep},
		{3, 1, cluster.Paused}, {3, 2, cluster.Active}, {3, 3, cluster.Active}, {3, 11, cluster.Active}, {3, 5, cluster.Crashed}, {3, 6, cluster.Crashed}, {3, 0, cluster.Crashed},
		{99, 0, cluster.Unknown},
	} {
		assert.Equal(t, c.want, numbered(c.state, c.reason), "%d %d", c.state, c.reason)
	}
}

func FuzzParseHardware(f *testing.F) {
	f.Add(testdata(f, "dumpxml.xml"))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHardware(strings.NewReader(text))
		if err == nil {
			require.NotNil(t, h.Disks)
		}
	})
}

func FuzzParseStats(f *testing.F) {
	f.Add(testdata(f, "domstats"))
	f.Fuzz(func(t *testing.T, text string) {
		domains, err := parseStats(strings.NewReader(text))
		if err != nil {
			return
		}
		for name, d := range domains {
			require.NotEmpty(t, name)
			require.NotNil(t, d.Figures)
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add(" Id    Name   State\n---\n 3     one-42   running\n")
	f.Fuzz(func(t *testing.T, text string) {
		domains, err := parseList(strings.NewReader(text))
		if err != nil {
			return
		}
		for name := range domains {
			require.NotEmpty(t, name)
		}
	})
}
