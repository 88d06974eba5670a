package agent

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// Op is what a request asks for.
type Op string

// The operations.
const (
	OpCreate    Op = "create"    // make a VM's disk, with a content
	OpSave      Op = "save"      // send a disk's content back
	OpRemove    Op = "remove"    // remove a disk, one of its snapshots, or all disks and the home of a VM
	OpActivate  Op = "activate"  // bring disks into a mode, link them in the home
	OpPark      Op = "park"      // deactivate the disks of a VM that goes to rest
	OpExtend    Op = "extend"    // grow a disk
	OpSnapshot  Op = "snapshot"  // take a snapshot of a disk
	OpRevert    Op = "revert"    // bring a disk back to a snapshot
	OpLink      Op = "link"      // make an image on the SAN a VM's disk, in place
	OpUnlink    Op = "unlink"    // give it back
	OpStore     Op = "store"     // make an image on the SAN of a disk, or of one of its snapshots
	OpDigest    Op = "digest"    // the checksum of a disk's content
	OpPublish   Op = "publish"   // make the disk that OpCreate held back the VM's
	OpBackup    Op = "backup"    // put the content of disks into files in the home
	OpUnbackup  Op = "unbackup"  // remove what OpBackup made
	OpRestore   Op = "restore"   // make another content for a disk
	OpReplace   Op = "replace"   // put it in the disk's place
	OpMoveHome  Op = "movehome"  // move a VM's home here from another system datastore
	OpFile      Op = "file"      // put a file into a VM's home
	OpLinkFile  Op = "linkfile"  // make a shared file a VM's disk
	OpStatFile  Op = "statfile"  // the size of a shared file
	OpMakeImage Op = "makeimage" // make an image on the SAN, with a content
	OpDropImage Op = "dropimage" // remove an image on the SAN, or one of its snapshots
	OpSendImage Op = "sendimage" // send an image's content back
	// OpRevertImage brings an image on the SAN back to a snapshot, and removes all of its
	// snapshots where Remove is set.
	OpRevertImage Op = "revertimage"
	OpMonitor     Op = "monitor"  // the volume group in numbers
	OpVolumes     Op = "volumes"  // the volume group's volumes, and the group as LVM has it
	OpDisks       Op = "disks"    // the physical volumes that this node sees
	OpAudit       Op = "audit"    // the volumes, and what belongs to them on this node
	OpReap        Op = "reap"     // wipe and remove what is in quarantine
	OpWipeFree    Op = "wipefree" // wipe the volume group's free space
	OpFacts       Op = "facts"    // what the node says of itself
	OpDrop        Op = "drop"     // remove a volume of the VM that was never completed
	OpAdopt       Op = "adopt"    // make a volume that fs_lvm has made the VM's disk
	OpRelease     Op = "release"  // take the suite's tags off it
)

// ofGroup: the operation is about a volume group, not about a VM.
func (o Op) ofGroup() bool {
	return slices.Contains([]Op{OpMonitor, OpVolumes, OpDisks, OpAudit, OpReap, OpWipeFree, OpFacts, OpStatFile}, o)
}

// ofImage: the operation is about an image on the SAN, and about no VM.
func (o Op) ofImage() bool {
	return slices.Contains([]Op{OpMakeImage, OpDropImage, OpSendImage, OpRevertImage}, o)
}

// makes: the operation makes a new volume of the size and with the content that it asks for.
func (o Op) makes() bool { return o == OpCreate || o == OpMakeImage }

// Content is what a new volume is filled with.
type Content string

// The contents.
const (
	ContentNone    Content = "none"    // zeros
	ContentFS      Content = "fs"      // an empty file system, or swap space
	ContentTar     Content = "tar"     // a file system with the files of a tar
	ContentDisk    Content = "disk"    // a disk, byte by byte, perhaps compressed
	ContentExtents Content = "extents" // a disk, only its data
	ContentImage   Content = "image"   // a copy of an image on the SAN; there is no payload
	// ContentSnapshot: the disk is an LVM snapshot of an image in its volume group, or a copy
	// where it is to be larger than that.
	ContentSnapshot Content = "snapshot"
)

// ofImage: the content comes from an image on the SAN.
func (c Content) ofImage() bool { return c == ContentImage || c == ContentSnapshot }

// AllDisks in Request.Disk means every disk of the VM.
const AllDisks = -1

// Request is one operation on one VM's volumes on one node. The agent trusts none
// of it: see validate.
type Request struct {
	Op        Op     `json:"op"`
	Operation string `json:"operation"` // id that ties the log lines of both ends together
	Group     string `json:"group"`
	VM        int    `json:"vm"`
	Disk      int    `json:"disk"` // DISK_ID, or AllDisks
	DS        int    `json:"ds"`   // system datastore
	Home      string `json:"home,omitempty"`
	Patience  int    `json:"patience"` // seconds to wait for another operation on the VM

	// TakeOver is the node that has the disks and cannot be reached: whether it still uses
	// them is only known where a lock manager knows it.
	TakeOver string `json:"take_over,omitempty"`

	// Local are the physical volumes of this node that no other node sees; SingleWriter says
	// that the asking front-end is the only one that changes the group, by one request at a
	// time. One of them is needed where the group has no lock manager.
	Local        []string `json:"local,omitempty"`
	SingleWriter bool     `json:"single_writer,omitempty"`

	// Snapshot is the number of a snapshot of the disk or image: of OpSnapshot, OpRevert and
	// OpRevertImage, and of OpSave, OpStore, OpRemove and OpDropImage where the disk or image
	// itself is not meant.
	Snapshot *int `json:"snapshot,omitempty"`
	Parent   *int `json:"parent,omitempty"` // of OpSnapshot: the snapshot that the disk came from
	// Space is that of snapshots for what changes, in percent of the disk: of OpSnapshot, OpBackup
	// and ContentSnapshot, and of OpSave and OpStore, for a disk in use; 0 is none there, and the
	// disk is read while it changes.
	Space int `json:"space,omitempty"`

	Disks []int `json:"disks,omitempty"` // of OpBackup

	Volume string `json:"volume,omitempty"` // its name, of OpDrop, and of OpReap where not all is meant

	// Hold: OpCreate leaves the disk as one that is being built, for OpDigest to look at
	// and OpPublish to finish.
	Hold    bool   `json:"hold,omitempty"`
	OldHome string `json:"old_home,omitempty"` // of OpMoveHome
	OldDS   int    `json:"old_ds,omitempty"`

	// Image is that of OpLink, OpUnlink and OpStore, of OpCreate with a content of images, and of
	// the operations on images, whose volume group is also Group. Source is the one that
	// OpMakeImage with ContentImage copies.
	Image  *Image `json:"image,omitempty"`
	Source *Image `json:"source,omitempty"`

	Size     int64        `json:"size,omitempty"` // bytes
	Content  Content      `json:"content,omitempty"`
	FSType   string       `json:"fstype,omitempty"`
	FSUUID   string       `json:"fsuuid,omitempty"`
	FSLabel  string       `json:"fslabel,omitempty"`
	File     string       `json:"file,omitempty"` // of OpFile: the name in the home
	Mode     tarmode.Mode `json:"mode,omitempty"` // of OpSave and OpSendImage: what is wanted
	Level    int          `json:"level,omitempty"`
	Activate lvm.Mode     `json:"activate,omitempty"`
	Window   *Window      `json:"window,omitempty"`    // of OpActivate shared: which migration, and for how long
	Path     string       `json:"path,omitempty"`      // of OpLinkFile and OpStatFile: a shared file
	Link     bool         `json:"link,omitempty"`      // of OpActivate: also (re)make disk.N in the home
	Wipe     Wipe         `json:"wipe,omitempty"`      // against old data; "" is WipeDelete
	FrontEnd string       `json:"front_end,omitempty"` // of OpFacts: the machine to reach from there
	Force    bool         `json:"force,omitempty"`     // of OpReap: also what another node was wiping, which is down
	// Rests: of OpAdopt, the VM is stopped or undeployed.
	Rests bool `json:"rests,omitempty"`
	// Remove: OpSave and OpStore remove the volume once its content is elsewhere, OpReplace what
	// OpRestore made instead of using it, OpRevertImage and OpUnlink all snapshots.
	Remove bool `json:"remove,omitempty"`
}

// Result is what a finished operation reports.
type Result struct {
	Volume    string         `json:"volume,omitempty"`
	Path      string         `json:"path,omitempty"`
	Size      int64          `json:"size,omitempty"` // of the volume, bytes
	Content   int64          `json:"content,omitempty"`
	Members   int64          `json:"members,omitempty"`
	Digest    string         `json:"digest,omitempty"`    // of OpDigest: SHA-256 in hexadecimal
	Offloaded bool           `json:"offloaded,omitempty"` // zeroing was done by the device
	Clean     bool           `json:"clean,omitempty"`     // no zeroing was needed
	Zeroing   time.Duration  `json:"zeroing,omitempty"`
	Wiped     int64          `json:"wiped,omitempty"`    // of OpReap and OpWipeFree, bytes
	PeakRSS   int64          `json:"peak_rss,omitempty"` // bytes, of the agent and its child together
	Info      *lvm.GroupInfo `json:"info,omitempty"`
	Volumes   []lvm.Volume   `json:"volumes,omitempty"`

	Disks []lvm.PhysicalVolume `json:"disks,omitempty"` // of OpDisks
	Audit *Audit               `json:"audit,omitempty"` // of OpAudit
	Facts *facts.Facts         `json:"facts,omitempty"` // of OpFacts
}

// Start tells the receiver of a save what comes.
type Start struct {
	Mode    tarmode.Mode `json:"mode"`
	Extents bool         `json:"extents"` // RAW content as extents
	Size    int64        `json:"size"`    // of the volume, bytes
	FSType  string       `json:"fstype,omitempty"`
}

// Progress of the running step.
type Progress struct {
	Step  string `json:"step"`
	Bytes int64  `json:"bytes"`
	Total int64  `json:"total,omitempty"`
}

// LogLine is one line of the agent's log, passed to the caller.
type LogLine struct {
	Level string `json:"level"` // info or warn
	Text  string `json:"text"`
}

// Config is the node's own, root-owned word on what an agent may do.
type Config struct {
	Groups       []string // allowed volume groups
	Prefix       string   // of volume names, lv-one
	HomeBases    []string // directories below which the homes are
	SharedDirs   []string // directories with files that VMs' disks may be links to
	FSTypes      []string // file systems that may be made
	ReadGuestFS  bool     // mount what a guest has written, to save it as a tar
	Wipe         Wipe     // the least that is done, whatever the request says
	Zeroing      lvm.ZeroMode
	WipeRate     int64  // bytes a second, 0 without a limit
	WipeJobs     int    // wipes at a time
	RunDir       string // for mount points
	LockDir      string
	SingleWriter bool          // a front-end may say that it is the only writer
	Owner        string        // who owns links and files in a home
	StallTimeout time.Duration // no sign of life from the other end
	SpoolDir     string        // of the cluster's hook
}

var (
	operationPattern = lazyregexp.New(`^[0-9a-f]{8,32}$`)
	uuidPattern      = lazyregexp.New(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	labelPattern     = lazyregexp.New(`^[A-Za-z0-9_.+/:][A-Za-z0-9_.+/:-]{0,15}$`)
	hostPattern      = lazyregexp.New(`^[A-Za-z0-9_.:-]{1,255}$`)
	homeTailPattern  = lazyregexp.New(`^([0-9]{1,9})/([0-9]{1,9})$`)
	homeFilePattern  = lazyregexp.New(`^(disk\.[0-9]{1,9}|kernel|initrd)$`)
)

const (
	maxID       = 1<<31 - 1
	maxPatience = 24 * 60 * 60
)

// StallTimeout is how long an agent waits for a sign of life of the front-end.
const StallTimeout = 2 * time.Minute

// validate checks every field against the node's configuration; the error names the
// bad value. What passes is safe to use in an argument vector and below a home base.
func (q *Request) validate(c *Config) error {
	checks := []func(*Config) error{q.validateIDs, q.validateSnapshot, q.validateGroup, q.validateImage, q.validateHome, q.validateContent, q.validateSave, q.validateShared, q.validateLocal, q.validateBackup}
	for _, check := range checks {
		if err := check(c); err != nil {
			return fmt.Errorf("request %s: %w", q.Op, err)
		}
	}
	return nil
}

func (q *Request) validateIDs(*Config) error {
	known := []Op{OpCreate, OpSave, OpRemove, OpActivate, OpPark, OpExtend, OpSnapshot, OpRevert, OpDigest, OpPublish,
		OpBackup, OpUnbackup, OpRestore, OpReplace, OpMoveHome, OpLink, OpUnlink, OpStore, OpFile, OpMonitor, OpVolumes, OpDisks, OpAudit, OpDrop, OpReap, OpWipeFree, OpFacts, OpMakeImage, OpDropImage, OpSendImage, OpRevertImage, OpLinkFile, OpStatFile, OpAdopt, OpRelease}
	switch {
	case !slices.Contains(known, q.Op):
		return fmt.Errorf("operation %q is not known to this agent", q.Op)
	case !operationPattern.MatchString(q.Operation):
		return fmt.Errorf("operation id %q is not 8 to 32 hexadecimal digits", q.Operation)
	case q.VM < 0 || q.VM > maxID:
		return fmt.Errorf("VM id %d", q.VM)
	case q.DS < 0 || q.DS > maxID:
		return fmt.Errorf("datastore id %d", q.DS)
	case q.Disk < AllDisks || q.Disk > maxID:
		return fmt.Errorf("disk id %d", q.Disk)
	case q.Disk == AllDisks && slices.Contains([]Op{OpCreate, OpSave, OpExtend, OpSnapshot, OpRevert, OpDigest, OpPublish, OpRestore, OpReplace, OpLink, OpUnlink, OpStore, OpLinkFile, OpAdopt, OpRelease}, q.Op):
		return fmt.Errorf("needs one disk")
	case q.TakeOver != "" && !hostPattern.MatchString(q.TakeOver):
		return fmt.Errorf("host name %q", q.TakeOver)
	case q.FrontEnd != "" && (!hostPattern.MatchString(q.FrontEnd) || q.Op != OpFacts):
		return fmt.Errorf("front-end %q", q.FrontEnd)
	case q.Patience < 0 || q.Patience > maxPatience:
		return fmt.Errorf("patience of %d seconds", q.Patience)
	case q.Activate < lvm.Off || q.Activate > lvm.Shared:
		return fmt.Errorf("activation mode %d", q.Activate)
	case q.Volume == "" && q.Op == OpDrop, q.Volume != "" && q.Op != OpDrop && q.Op != OpReap:
		return fmt.Errorf("volume name %q", q.Volume)
	case q.Wipe != "" && !slices.Contains(policies, q.Wipe):
		return fmt.Errorf("policy against old data %q", q.Wipe)
	}
	return q.validateWindow()
}

// validateSnapshot: a number exactly where one is needed.
func (q *Request) validateSnapshot(*Config) error {
	needed := slices.Contains([]Op{OpSnapshot, OpRevert, OpRevertImage}, q.Op)
	allowed := needed || q.Op == OpDropImage || slices.Contains([]Op{OpSave, OpStore, OpRemove}, q.Op) && q.Disk != AllDisks && !q.Remove
	for _, number := range []*int{q.Snapshot, q.Parent} {
		if number != nil && (*number < 0 || *number > maxID) {
			return fmt.Errorf("snapshot id %d", *number)
		}
	}
	switch {
	case q.Snapshot == nil && needed:
		return fmt.Errorf("needs a snapshot id")
	case q.Snapshot != nil && !allowed:
		return fmt.Errorf("takes no snapshot id")
	case q.Space < 0 || q.Space > wholeSpace, q.Space == 0 && (q.Op == OpSnapshot || q.Op == OpBackup || q.Op == OpCreate && q.Content == ContentSnapshot):
		return fmt.Errorf("space of %d percent for a snapshot", q.Space)
	}
	return nil
}

func (q *Request) validateGroup(c *Config) error {
	if q.Group == "" && slices.Contains([]Op{OpFile, OpMoveHome, OpDisks, OpFacts, OpStatFile}, q.Op) {
		return nil
	}
	return validateGroupName(q.Group, c)
}

func validateGroupName(group string, c *Config) error {
	if !slices.Contains(c.Groups, group) {
		return fmt.Errorf("volume group %q is not allowed on this node (ALLOWED_VGS is %q): add it to /etc/one-clvm/agent.conf, or correct VG_NAME on the front-end", group, strings.Join(c.Groups, " "))
	}
	return nil
}

// validateImage: an image exactly where one is needed.
func (q *Request) validateImage(c *Config) error {
	if err := q.validateSource(c); err != nil {
		return err
	}
	needed := q.Op.ofImage() || slices.Contains([]Op{OpLink, OpUnlink, OpStore}, q.Op) || q.Op == OpCreate && q.Content.ofImage()
	switch {
	case needed && q.Image == nil:
		return errors.New("needs an image")
	case !needed && q.Image != nil:
		return errors.New("takes no image")
	case !needed:
		return nil
	}
	return q.Image.validate(q, c)
}

// validateSource: a source exactly where one is needed, and another image than the new one.
func (q *Request) validateSource(c *Config) error {
	needed := q.Op == OpMakeImage && q.Content == ContentImage
	switch {
	case needed && q.Source == nil:
		return errors.New("needs an image to copy")
	case !needed && q.Source != nil:
		return errors.New("takes no image to copy")
	case !needed:
		return nil
	case q.Image != nil && *q.Source == *q.Image:
		return fmt.Errorf("image %d is not copied onto itself", q.Image.ID)
	}
	return q.Source.validate(q, c)
}

// validateHome holds Home to BASE/DATASTORE/VM, and to the ids of the request.
func (q *Request) validateHome(c *Config) error {
	if q.Op.ofGroup() || q.Op.ofImage() {
		return nil
	}
	if _, _, err := q.splitHome(c); err != nil {
		return err
	}
	if q.Op == OpMoveHome {
		old := Request{Home: q.OldHome, DS: q.OldDS, VM: q.VM}
		if _, _, err := old.splitHome(c); err != nil {
			return err
		}
		if path.Clean(q.OldHome) == path.Clean(q.Home) {
			return fmt.Errorf("home %q is not moved onto itself", q.Home)
		}
	}
	if q.Op == OpFile && !homeFilePattern.MatchString(q.File) {
		return fmt.Errorf("file name %q is not disk.N, kernel or initrd", q.File)
	}
	return nil
}

// splitHome finds the allowed base that Home is below and the rest, DATASTORE/VM.
func (q *Request) splitHome(c *Config) (base, tail string, err error) {
	home := path.Clean(q.Home)
	for _, b := range c.HomeBases {
		rest, ok := strings.CutPrefix(home, path.Clean(b)+"/")
		if !ok {
			continue
		}
		m := homeTailPattern.FindStringSubmatch(rest)
		if m == nil || m[1] != strconv.Itoa(q.DS) || m[2] != strconv.Itoa(q.VM) {
			return "", "", fmt.Errorf("home %q is not %s/%d/%d", q.Home, b, q.DS, q.VM)
		}
		return path.Clean(b), rest, nil
	}
	return "", "", fmt.Errorf("home %q is below none of HOME_BASE (%s)", q.Home, strings.Join(c.HomeBases, " "))
}

func (q *Request) validateContent(c *Config) error {
	if !q.Op.makes() && q.Op != OpExtend && q.Op != OpDigest && q.Op != OpAdopt {
		return nil
	}
	if q.Size <= 0 {
		return fmt.Errorf("size of %d bytes", q.Size)
	}
	if !q.Op.makes() {
		return nil
	}
	switch q.Content {
	case ContentNone, ContentDisk, ContentExtents, ContentImage:
		if q.FSType == "" {
			return nil
		}
	case ContentSnapshot:
		if q.FSType == "" && q.Op == OpCreate && !q.Hold {
			return nil
		}
		return fmt.Errorf("content %q of %q", q.Content, q.FSType)
	case ContentFS, ContentTar:
	default:
		return fmt.Errorf("content %q", q.Content)
	}
	if !slices.Contains(c.FSTypes, q.FSType) {
		return fmt.Errorf("file system type %q is not one of FSTYPES (%s)", q.FSType, strings.Join(c.FSTypes, " "))
	}
	maker, ok := makers[q.FSType]
	if !ok {
		return fmt.Errorf("file system type %q is unknown: one of %s", q.FSType, strings.Join(makerNames(), " "))
	}
	if q.Content == ContentTar && !maker.posix {
		return fmt.Errorf("file system type %q cannot hold a root file system's owners and modes: use ext4, xfs or btrfs", q.FSType)
	}
	if q.FSUUID != "" && !uuidPattern.MatchString(q.FSUUID) {
		return fmt.Errorf("file system UUID %q", q.FSUUID)
	}
	if q.FSLabel != "" && (!labelPattern.MatchString(q.FSLabel) || !LabelFits(q.FSType, q.FSLabel)) {
		return fmt.Errorf("file system label %q is not 1 to %d of A-Z a-z 0-9 _ . + / : -", q.FSLabel, maker.label)
	}
	return nil
}

func (q *Request) validateBackup(*Config) error {
	switch {
	case q.Op == OpBackup && (q.Disk != AllDisks || len(q.Disks) == 0):
		return fmt.Errorf("needs a list of disks")
	case q.Op == OpRestore && (q.Content != ContentDisk || q.Mode != tarmode.RAW):
		return fmt.Errorf("content %q of mode %q; only raw disks are restored", q.Content, q.Mode)
	}
	seen := map[int]bool{}
	for _, disk := range q.Disks {
		if disk < 0 || disk > maxID || seen[disk] {
			return fmt.Errorf("disk id %d in the list of disks", disk)
		}
		seen[disk] = true
	}
	return nil
}

func (q *Request) validateSave(*Config) error {
	if q.Op != OpSave && q.Op != OpSendImage {
		return nil
	}
	if _, err := tarmode.ParseMode(string(q.Mode)); err != nil {
		return err
	}
	if q.Level < 0 || q.Level > 9 {
		return fmt.Errorf("compression level %d is not 0 to 9", q.Level)
	}
	return nil
}
