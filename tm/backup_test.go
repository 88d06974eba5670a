package tm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

func TestBackup(t *testing.T) {
	for line, op := range map[string]agent.Op{
		"prebackup node1:" + home + " 0:1 one-0 0 101":         agent.OpBackup, // 6.6
		"prebackup node1:" + home + " 0:1 one-0 - 0 101":       agent.OpBackup,
		"prebackup_live node1:" + home + " 0:1 one-0 7 0 101":  agent.OpBackup,
		"postbackup node1:" + home + " 0:1 one-0 - 0 101":      agent.OpUnbackup,
		"postbackup_live node1:" + home + " 0:1 one-0 - 0 101": agent.OpUnbackup,
	} {
		b := newBench(t)
		b.Stdin = strings.NewReader(string(b.document()))
		require.NoError(t, b.call(line), line)
		require.Len(t, b.nodes.reqs, 1)
		q := b.nodes.reqs[0]
		assert.Equal(t, op, q.Op)
		if op == agent.OpBackup {
			assert.Equal(t, []int{0, 1}, q.Disks)
			assert.True(t, strings.TrimSpace(string(b.document())) == string(b.nodes.sent["backup"]), "as it came")
		}
	}
}

func TestBackupRefuses(t *testing.T) {
	for _, c := range []struct {
		name, config, conf, want string
	}{
		{"increment", "<MODE>INCREMENT</MODE>", "", "which blocks of a logical volume have changed"},
		{"freeze", "<FS_FREEZE>AGENT</FS_FREEZE>", "", "FS_FREEZE=NONE"},
		{"other place", "", "# BACKUP_BASE_PATH=/no\nBACKUP_BASE_PATH=\"/backup\"\n", "/backup"},
	} {
		b := newBench(t)
		b.Remotes = t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(b.Remotes, "etc/datastore"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(b.Remotes, "etc/datastore/datastore.conf"), []byte(c.conf), 0o600))
		document := string(b.document())
		at := strings.Index(document, "<TEMPLATE>")
		b.Stdin = strings.NewReader(document[:at] + "<BACKUPS><BACKUP_CONFIG>" + c.config + "</BACKUP_CONFIG></BACKUPS>" + document[at:])
		err := b.call("prebackup node1:" + home + " 0 one-0 - 0 101")
		require.ErrorIs(t, err, ErrNotYet, c.name)
		assert.ErrorContains(t, err, c.want)
		assert.Empty(t, b.nodes.asked)
	}
	b := newBench(t)
	b.Stdin = strings.NewReader(string(b.document()))
	assert.ErrorContains(t, b.call("prebackup node1:"+home+" 77 one-0 - 0 101"), "no disk 77")
}

// restoring has backup image 5 with two disks, behind a datastore driver and a downloader.
func restoring(t *testing.T) (b *bench, listed *run.Cmd, document *string) {
	b = newBench(t)
	b.oned.images[5] = &opennebula.Image{ID: 5, DatastoreID: 110, Format: "raw"}
	b.oned.datastores[110] = &opennebula.Datastore{ID: 110, DSMAD: "rsync"}
	listed, document = &run.Cmd{}, new(string)
	b.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		if filepath.Base(c.Path) == "ls" {
			*listed = c
			text, err := io.ReadAll(c.Stdin)
			*document = string(text)
			return run.Result{Stdout: []byte(`{"1":"rsync://110//0:ab/disk.1.0","0":"rsync://110//0:ab/disk.0.0"}` + "\n")}, err
		}
		_, err := io.WriteString(c.Stdout, strings.Join(c.Args, " "))
		return run.Result{}, err
	})
	return b, listed, document
}

func TestRestore(t *testing.T) {
	b, listed, document := restoring(t)
	require.NoError(t, b.call("restore node1:"+home+" 0 5 -1 -1"))
	assert.Equal(t, []string{"node1 restore disk 0", "node1 restore disk 1", "node1 replace disk 0", "node1 replace disk 1"}, b.nodes.asked, "all are there before one takes a disk's place")
	assert.Equal(t, "--nodecomp rsync://110//0:ab/disk.1.0 -", string(b.nodes.sent["restore"]))
	assert.Equal(t, filepath.Join(b.Remotes, "datastore/rsync/ls"), listed.Path)
	assert.Equal(t, []string{"-i", "-1"}, listed.Args)
	assert.Contains(t, *document, "<DS_DRIVER_ACTION_DATA>\n<DATASTORE><ID>110</ID>")

	b, _, _ = restoring(t)
	require.NoError(t, b.call("restore node1:"+home+" 0 5 0 1"))
	assert.Equal(t, []string{"node1 restore disk 1", "node1 replace disk 1"}, b.nodes.asked)

	b, _, _ = restoring(t)
	b.nodes.fail["node1 restore"] = agent.ErrStream
	require.ErrorIs(t, b.call("restore node1:"+home+" 0 5 -1 -1"), agent.ErrStream)
	require.Equal(t, []string{"node1 restore disk 0", "node1 replace disk 0"}, b.nodes.asked)
	assert.True(t, b.nodes.reqs[1].Remove, "what was fetched nobody knows of: it may be whole")

	b, _, _ = restoring(t)
	download := b.Runner
	b.Runner = runnerFunc(func(ctx context.Context, c run.Cmd) (run.Result, error) {
		if strings.Contains(strings.Join(c.Args, " "), "disk.1") {
			return run.Result{}, errors.New("connection refused")
		}
		return download.Run(ctx, c)
	})
	require.ErrorContains(t, b.call("restore node1:"+home+" 0 5 -1 -1"), "connection refused")
	require.Equal(t, []string{"node1 restore disk 0", "node1 restore disk 1", "node1 replace disk 1", "node1 replace disk 0"}, b.nodes.asked)
	assert.True(t, b.nodes.reqs[2].Remove && b.nodes.reqs[3].Remove, "what was fetched is dropped")
}

func TestRestoreRefuses(t *testing.T) {
	for _, c := range []struct {
		name, line string
		edit       func(*bench)
		want       string
	}{
		{"increment", "restore node1:" + home + " 0 5 2 -1", nil, "only full backups"},
		{"rbd", "restore node1:" + home + " 0 5 -1 -1", func(b *bench) { b.oned.images[5].Format = "rbd" }, "only full backups"},
		{"no such disk", "restore node1:" + home + " 0 5 -1 9", nil, "no disk 9"},
		{"driver", "restore node1:" + home + " 0 5 -1 -1", func(b *bench) { b.oned.datastores[110].DSMAD = "../x" }, "driver"},
		{"list fails", "restore node1:" + home + " 0 5 -1 -1", func(b *bench) {
			b.Runner = runnerFunc(func(context.Context, run.Cmd) (run.Result, error) {
				return run.Result{}, errors.New("no route to host")
			})
		}, "no route to host"},
		{"list is none", "restore node1:" + home + " 0 5 -1 -1", func(b *bench) {
			b.Runner = runnerFunc(func(context.Context, run.Cmd) (run.Result, error) {
				return run.Result{Stdout: []byte(`{"0":"/etc/passwd"}`)}, nil
			})
		}, "/etc/passwd"},
	} {
		b, _, _ := restoring(t)
		if c.edit != nil {
			c.edit(b)
		}
		assert.ErrorContains(t, b.call(c.line), c.want, c.name)
		assert.Empty(t, b.nodes.asked, c.name)
	}
}
