package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/hook/spool"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// tools are external programs by name, with what they print; others are not installed.
type tools map[string]string

func (t tools) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	text, ok := t[c.Path]
	if !ok {
		return run.Result{Status: -1}, errors.New("not installed")
	}
	return run.Result{Stdout: []byte(text)}, nil
}

func TestAuditOfANode(t *testing.T) {
	n := newNode(t)
	n.server.Runner = tools{"virsh": "one-42\none-7\none-007\nother\n\n", "crm_mon": `<pacemaker-result><resources>
		<resource id="one-42" role="Started"><node name="node1"/></resource>
		<group id="g"><resource id="one-43" role="Stopped"/></group><resource id="fence" role="Started"/></resources></pacemaker-result>`}
	home := filepath.Join(n.base, "101", "42")
	require.NoError(t, os.MkdirAll(home, 0o755))
	require.NoError(t, os.Symlink("/dev/vg-one/lv-one-42-0", home+"/disk.0"))
	require.NoError(t, os.Symlink("/etc/passwd", home+"/disk.x"))
	require.NoError(t, os.WriteFile(home+"/deployment.0", nil, 0o600))
	require.NoError(t, os.WriteFile(n.base+"/101/43", nil, 0o600), "an image of an image datastore")
	require.NoError(t, os.MkdirAll(n.base+"/101/.isofiles", 0o700))
	require.NoError(t, os.Symlink("/", n.base+"/7"), "not followed")
	res, err := n.do(n.request(OpAudit), Transfer{})
	require.NoError(t, err)
	require.NotNil(t, res.Audit)
	require.Len(t, res.Audit.Homes, 1)
	h := res.Audit.Homes[0]
	assert.ElementsMatch(t, []string{"deployment.0", "disk.x"}, h.Files)
	h.Files = nil
	assert.Equal(t, Home{Path: home, DS: 101, VM: 42, Links: map[string]string{"disk.0": "/dev/vg-one/lv-one-42-0"}}, h)
	assert.Len(t, res.Audit.Boot, 36)
	assert.Equal(t, []Domain{{42}, {7}}, res.Audit.Domains)
	assert.Equal(t, []Service{{VM: 42, Node: "node1", Started: true}, {VM: 43}}, res.Audit.Services)

	n.server.Runner = tools{}
	res, err = n.do(n.request(OpAudit), Transfer{})
	require.NoError(t, err)
	assert.Nil(t, res.Audit.Domains, "nobody tells")
	assert.Nil(t, res.Audit.Services)
	n.server.Runner = tools{"virsh": "", "crm_mon": "<pacemaker-result/>"}
	res, err = n.do(n.request(OpAudit), Transfer{})
	require.NoError(t, err)
	assert.NotNil(t, res.Audit.Domains, "none run, which is known")
	assert.NotNil(t, res.Audit.Services)
}

func TestSpoolOfANode(t *testing.T) {
	none, err := readSpool(filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	assert.Nil(t, none)
	dir := t.TempDir()
	at := time.Unix(1_790_000_000, 0)
	for i := range 2 {
		s := spool.Spool{Dir: dir, Now: func() time.Time { return at.Add(time.Duration(i) * time.Hour) }}
		require.NoError(t, s.Append([]byte("{}")))
	}
	const link, away = "1790000000000000000-00000001.event", "1790000000000000000-00000002.event.rejected"
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(dir, link)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, away), nil, 0o600))
	found, err := readSpool(dir)
	require.NoError(t, err)
	assert.True(t, at.Equal(found.Oldest))
	assert.Equal(t, 2, found.Waiting)
	assert.ElementsMatch(t, []string{filepath.Join(dir, link), filepath.Join(dir, away)}, found.Unreadable)
}

func TestServicesOfRGManager(t *testing.T) {
	text := `Service states unavailable: Temporary failure; try again
<?xml version="1.0"?><clustat version="4.1.1"><groups>
    <group name="vm:one-41" state="112" state_str="started" owner="n1" last_owner="none"/>
    <group name="vm:one-42" state="120" state_str="migrating" owner="n2" last_owner="n1"/>
    <group name="vm:one-43" state="114" state_str="failed" owner="none" last_owner="n1"/>
    <group name="service:nfs" state="112" state_str="started" owner="n1"/>
  </groups></clustat>`
	assert.Equal(t, []Service{{41, "n1", true}, {42, "n2", true}, {VM: 43}}, readRGManager([]byte(text)))
	assert.Empty(t, readRGManager([]byte("<clustat><groups><group")))
}

// drop takes that volume, and only if it was never completed.
func TestDrop(t *testing.T) {
	n := newNode(t)
	_, err := n.do(n.create(ContentNone, ""), Transfer{})
	require.NoError(t, err)
	half, err := n.group.Create(t.Context(), lvm.CreateRequest{Name: "lv-onedel-00112233", Size: 4 << 20, Tags: lvm.DiskTags(42, 0, 101).With(lvm.TagBuilding)})
	require.NoError(t, err)
	q := n.request(OpDrop)
	for _, name := range []string{"lv-one-42-0", "lv-one-42-9", ""} {
		q.Volume = name
		_, err = n.do(q, Transfer{})
		require.Error(t, err, name)
	}
	q.Volume, q.VM, q.Home = half.Name, 43, filepath.Join(n.base, "101/43")
	_, err = n.do(q, Transfer{})
	require.ErrorContains(t, err, "no unfinished volume of VM 43")
	q.VM, q.Home = 42, filepath.Join(n.base, "101/42")
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.NotContains(t, n.group.volumes, half.Name)
	assert.Contains(t, n.group.volumes, "lv-one-42-0")
	assert.Len(t, n.group.volumes, 1)
}

// reap of one volume leaves the others in quarantine.
func TestReapOfOneVolume(t *testing.T) {
	n := newNode(t)
	for _, name := range []string{"lv-onedel-00112233", "lv-onedel-44556677"} {
		_, err := n.group.Create(t.Context(), lvm.CreateRequest{Name: name, Size: 4 << 20, Tags: lvm.NewTags(lvm.TagOurs, lvm.TagQuarantine)})
		require.NoError(t, err)
	}
	q := n.request(OpReap)
	q.Volume = "lv-onedel-44556677"
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Contains(t, n.group.volumes, "lv-onedel-00112233")
	assert.Len(t, n.group.volumes, 1)
}
