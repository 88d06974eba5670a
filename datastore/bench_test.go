package datastore

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// bench is a driver whose oned and nodes are in memory.
type bench struct {
	*testing.T
	*Driver
	plan.Records // what is not asked for

	vm         *opennebula.VM
	images     map[int]*opennebula.Image
	datastores map[int]*opennebula.Datastore
	hosts      []opennebula.Host
	updates    []string

	asked  []agent.Request
	on     []string // hosts
	stdout bytes.Buffer
	stderr bytes.Buffer
	disk   []byte // the volume that was made, as far as it was sent
	reply  []byte // what SendImage sends

	safe string // a directory of SAFE_DIRS
	base string // the datastore's
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, safe: t.TempDir(), base: t.TempDir(), images: map[int]*opennebula.Image{}, datastores: map[int]*opennebula.Datastore{
		101: {ID: 101, BasePath: "/var/lib/one/datastores/101", Template: map[string]string{"VG_NAME": "vg-one"}},
	}}
	b.hosts = []opennebula.Host{{ID: 0, Name: "node1", State: 2}, {ID: 1, Name: "node2", State: 2}}
	cfg, err := cxmrc.Parse(strings.NewReader("TMP_ROOT="+t.TempDir()+"\n"), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	version := opennebula.Version{Major: 7, Minor: 4}
	b.Driver = &Driver{plan.Driver{
		Config: cfg, Version: version, FrontEnd: "frontend", Records: b, Agents: b, Runner: run.Exec{},
		Report: opennebula.NewReporter(&b.stderr, version), Stdout: &b.stdout, Stderr: &b.stderr,
	}}
	return b
}

func (b *bench) VM(context.Context, int) (*opennebula.VM, error) { return b.vm, nil }

func (b *bench) Image(_ context.Context, id int) (*opennebula.Image, error) {
	if image := b.images[id]; image != nil {
		return image, nil
	}
	return nil, opennebula.ErrNoSuchObject
}

func (b *bench) ImageBySource(_ context.Context, source string) (*opennebula.Image, error) {
	for _, image := range b.images {
		if image.Source == source {
			return image, nil
		}
	}
	return nil, opennebula.ErrNoSuchObject
}

func (b *bench) Datastore(_ context.Context, id int) (*opennebula.Datastore, error) {
	if ds := b.datastores[id]; ds != nil {
		return ds, nil
	}
	return nil, opennebula.ErrNoSuchObject
}

func (b *bench) Hosts(context.Context) ([]opennebula.Host, error) { return b.hosts, nil }

func (b *bench) UpdateImage(_ context.Context, _ int, template string) error {
	b.updates = append(b.updates, template)
	return nil
}

// memory is a disk that grows.
type memory struct{ *bench }

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if need := off + int64(len(p)) - int64(len(m.disk)); need > 0 {
		m.disk = append(m.disk, make([]byte, need)...)
	}
	return copy(m.disk[off:], p), nil
}

// Do is the agent of every node.
func (b *bench) Do(ctx context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error) {
	b.asked, b.on, b.disk = append(b.asked, q), append(b.on, host), nil
	res := agent.Result{Info: &lvm.GroupInfo{Size: 100 << 30, Free: 40 << 30}}
	if t.Receive != nil {
		w, err := t.Receive(agent.Start{Mode: q.Mode})
		if err != nil {
			return res, err
		}
		_, err = w.Write(b.reply)
		return res, err
	}
	if t.Send == nil {
		return res, nil
	}
	var payload bytes.Buffer
	if err := t.Send(&payload); err != nil {
		return res, err
	}
	switch q.Content {
	case agent.ContentExtents:
		size, _, err := tarmode.ReceiveExtents(ctx, &payload, memory{b}, q.Size, nil)
		b.disk = append(b.disk, make([]byte, max(0, size-int64(len(b.disk))))...)
		return res, err
	case agent.ContentDisk, agent.ContentTar:
		plain, err := tarmode.Decompress(&payload, q.Mode)
		if err != nil {
			return res, err
		}
		b.disk, err = io.ReadAll(plain)
		return res, err
	}
	return res, nil
}

// image is the fields of an IMAGE element.
type image map[string]string

// document is what oned hands over: fields of the image and of its template (behind a
// slash), and of the datastore's template.
func (b *bench) document(fields image, datastore map[string]string) string {
	var out, template strings.Builder
	for name, value := range fields {
		if inner, ok := strings.CutPrefix(name, "TEMPLATE/"); ok {
			fmt.Fprintf(&template, "<%s><![CDATA[%s]]></%s>", inner, value, inner)
			continue
		}
		fmt.Fprintf(&out, "<%s><![CDATA[%s]]></%s>", name, value, name)
	}
	settings := ""
	for name, value := range datastore {
		settings += fmt.Sprintf("<%s><![CDATA[%s]]></%s>", name, value, name)
	}
	return fmt.Sprintf("<DS_DRIVER_ACTION_DATA><IMAGE>%s<TEMPLATE>%s</TEMPLATE></IMAGE><DATASTORE><ID>100</ID><NAME>san</NAME><BASE_PATH>%s</BASE_PATH>"+
		"<TEMPLATE><VG_NAME>vg-one</VG_NAME><SAFE_DIRS>%s</SAFE_DIRS>%s</TEMPLATE></DATASTORE></DS_DRIVER_ACTION_DATA>", out.String(), template.String(), b.base, b.safe, settings)
}

// do runs a verb as oned 7.4 does.
func (b *bench) do(verb string, fields image, datastore map[string]string) error {
	b.stdout.Reset()
	id := fields["ID"]
	if id == "" {
		id = "7"
		if verb != "stat" {
			fields["ID"] = id
		}
	}
	b.Stdin = strings.NewReader(base64.StdEncoding.EncodeToString([]byte(b.document(fields, datastore))))
	return b.Driver.Do(b.Context(), verb, []string{id})
}

// file makes a file in the safe directory.
func (b *bench) file(name string, content []byte) string {
	path := filepath.Join(b.safe, name)
	require.NoError(b, os.WriteFile(path, content, 0o600))
	return path
}

// packed compresses by the program of that name.
func (b *bench) packed(program string, content []byte) []byte {
	b.Helper()
	res, err := run.Exec{}.Run(b.Context(), run.Cmd{Path: program, Args: []string{"-c"}, Stdin: bytes.NewReader(content)})
	require.NoError(b, err)
	return res.Stdout
}
