package tm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"one-clvm/agent"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// planPrebackup puts what the backup datastore's driver will fetch over ssh into the VM's
// home: a raw file of each disk, and the VM's document. A disk in use is read from a
// snapshot; PREBACKUP_LIVE is the same as PREBACKUP.
func (d *Driver) planPrebackup(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	vm, document, err := d.backedUpVM(call)
	if err != nil {
		return nil, err
	}
	if err := d.fullBackup(vm); err != nil {
		return nil, err
	}
	for _, number := range call.Disks {
		if _, err := vm.Disk(number); err != nil {
			return nil, err
		}
	}
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	q := d.request(agent.OpBackup, call, cfg)
	q.Disks, q.Space = call.Disks, cfg.Int("SNAPSHOT_SPACE")
	return []plan.Step{{
		What: fmt.Sprintf("copy %d disks of VM %d into %s/backup", len(q.Disks), q.VM, q.Home), Host: call.Dest.Host, Request: q,
		Transfer: func(context.Context) (agent.Transfer, error) {
			return agent.Transfer{Send: func(w io.Writer) error { _, err := w.Write(document); return err }}, nil
		},
	}}, nil
}

// planPostbackup removes it; oned calls it after a backup that failed, too.
func (d *Driver) planPostbackup(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	q := d.request(agent.OpUnbackup, call, cfg)
	return []plan.Step{{What: fmt.Sprintf("remove %s/backup", q.Home), Host: call.Dest.Host, Request: q}}, nil
}

// backedUpVM reads the VM's document, which comes as it is and not in base64.
func (d *Driver) backedUpVM(call opennebula.Call) (*opennebula.VM, []byte, error) {
	vm, document, err := d.vmOf(call)
	if err != nil {
		return nil, nil, err
	}
	if vm.ID != call.VM {
		return nil, nil, fmt.Errorf("the document on standard input is that of VM %d", vm.ID)
	}
	return vm, document, nil
}

// fullBackup refuses what a VM's backup asks for and does not get.
func (d *Driver) fullBackup(vm *opennebula.VM) error {
	if strings.EqualFold(vm.Backup["MODE"], "INCREMENT") {
		return fmt.Errorf("an incremental backup: nothing tells which blocks of a logical volume have changed since the last one: set MODE=FULL in the VM's backup configuration: %w", ErrNotYet)
	}
	if freeze := vm.Backup["FS_FREEZE"]; freeze != "" && !strings.EqualFold(freeze, "NONE") {
		return fmt.Errorf("FS_FREEZE=%s: the guest is not frozen; a backup is of one instant, as after a power cut: set FS_FREEZE=NONE: %w", freeze, ErrNotYet)
	}
	if base := d.backupBase(); base != "" {
		return fmt.Errorf("BACKUP_BASE_PATH=%s in etc/datastore/datastore.conf: backups are made in the VM's home: remove that line: %w", base, ErrNotYet)
	}
	return nil
}

// backupBasePath is where the backup drivers read that setting.
var backupBasePath = lazyregexp.New(`(?m)^(?:export[ \t]+)?BACKUP_BASE_PATH="?([^"\n]+)"?[ \t]*$`)

func (d *Driver) backupBase() string {
	conf, err := os.ReadFile(filepath.Join(d.Remotes, "etc/datastore/datastore.conf"))
	if err != nil {
		return "" // then the backup drivers read none, either
	}
	if m := backupBasePath.FindSubmatch(conf); m != nil {
		return string(m[1])
	}
	return ""
}

// planRestore gives disks the content that a backup image has. The image's own datastore
// driver says where its disks are, and oned's downloader fetches them. All of them are on
// the SAN before the first one takes the place of a disk.
func (d *Driver) planRestore(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	image, err := d.Records.Image(ctx, call.Image)
	if err != nil {
		return nil, err
	}
	if call.Increment > 0 || strings.EqualFold(image.Format, "rbd") {
		return nil, fmt.Errorf("increment %d of image %d (format %q): only full backups of raw disks can be restored: %w", call.Increment, call.Image, image.Format, ErrNotYet)
	}
	disks, err := d.backedUpDisks(ctx, call, image)
	if err != nil {
		return nil, err
	}
	at, err := d.whereDisksAre(ctx, call, call.Dest.Host)
	if err != nil {
		return nil, err
	}
	var fetch, replace []plan.Step
	for _, disk := range disks {
		of := call
		of.Home.Disk = disk.id
		q := d.requestAt(at, agent.OpRestore, of)
		q.Content, q.Mode = agent.ContentDisk, tarmode.RAW
		drop := d.requestAt(at, agent.OpReplace, of)
		drop.Remove = true
		fetch = append(fetch, plan.Step{
			Undo: &plan.Step{What: fmt.Sprintf("drop what was fetched of disk %d of VM %d", disk.id, call.VM), Host: at.host, Request: drop},
			What: fmt.Sprintf("fetch disk %d of VM %d from backup image %d", disk.id, call.VM, call.Image), Host: at.host, Request: q,
			Transfer: func(ctx context.Context) (agent.Transfer, error) {
				return agent.Transfer{Send: func(w io.Writer) error { return d.download(ctx, disk.url, w) }}, nil
			},
		})
		replace = append(replace, plan.Step{
			What: fmt.Sprintf("put it in the place of disk %d of VM %d", disk.id, call.VM), Host: at.host,
			Request: d.requestAt(at, agent.OpReplace, of),
		})
	}
	return append(fetch, replace...), nil
}

// backedUpDisk is a disk in a backup image.
type backedUpDisk struct {
	id  int
	url string
}

// backedUpDisks asks the backup datastore's driver: {"0": "rsync://…", …}.
func (d *Driver) backedUpDisks(ctx context.Context, call opennebula.Call, image *opennebula.Image) ([]backedUpDisk, error) {
	ds, err := d.Records.Datastore(ctx, image.DatastoreID)
	if err != nil {
		return nil, err
	}
	if !opennebula.IsDriverName(ds.DSMAD) {
		return nil, fmt.Errorf("datastore %d has the driver %q", ds.ID, ds.DSMAD)
	}
	documents, err := d.Records.Documents(ctx, call.VM, image.ID, ds.ID)
	if err != nil {
		return nil, err
	}
	script := filepath.Join(d.Remotes, "datastore", ds.DSMAD, "ls")
	stdin := strings.NewReader("<DS_DRIVER_ACTION_DATA>\n" + documents + "\n</DS_DRIVER_ACTION_DATA>\n")
	res, err := d.Runner.Run(ctx, run.Cmd{Path: script, Args: []string{"-i", strconv.Itoa(call.Increment)}, Stdin: stdin})
	if err != nil {
		return nil, fmt.Errorf("list backup image %d: %w", image.ID, err)
	}
	return chooseDisks(res.Stdout, call, image.ID)
}

func chooseDisks(list []byte, call opennebula.Call, image int) ([]backedUpDisk, error) {
	var urls map[string]string
	if err := json.Unmarshal(bytes.TrimSpace(list), &urls); err != nil {
		return nil, fmt.Errorf("list of backup image %d: %w", image, err)
	}
	var disks []backedUpDisk
	for text, url := range urls {
		id, err := strconv.Atoi(text)
		if err != nil || id < 0 || !strings.Contains(url, "://") {
			return nil, fmt.Errorf("list of backup image %d: disk %q at %q", image, text, url)
		}
		if call.Disk < 0 || call.Disk == id {
			disks = append(disks, backedUpDisk{id, url})
		}
	}
	if len(disks) == 0 {
		return nil, fmt.Errorf("backup image %d has no disk %d", image, call.Disk)
	}
	slices.SortFunc(disks, func(a, b backedUpDisk) int { return a.id - b.id })
	return disks, nil
}

// download writes what a URL leads to, by the program that oned itself uses for it. Its
// status counts: what it has written up to a failure is not a disk.
func (d *Driver) download(ctx context.Context, url string, w io.Writer) error {
	script := filepath.Join(d.Remotes, "datastore/downloader.sh")
	_, err := d.Runner.Run(ctx, run.Cmd{Path: script, Args: []string{"--nodecomp", url, "-"}, Stdout: w})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; it comes with OpenNebula", err)
	}
	return err
}
