// Package datastore is the datastore driver: what each of OpenNebula's datastore verbs does
// with images that are volumes on the SAN. (Archives of a file system stay files on the
// front-end unless they are to be unpacked at once.)
package datastore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// ErrRefused means: whoever asked may not have that, or not in this way.
var ErrRefused = errors.New("refused")

// Driver carries out verbs.
type Driver struct{ plan.Driver }

// verb is one of the driver's.
type verb struct {
	name, sentence string
	plan           func(*Driver, context.Context, *call) ([]plan.Step, error)
}

// Arguments is what oned calls every verb with.
const Arguments = "[DOCUMENT|-] ID"

func verbs() []verb {
	return []verb{
		{"cp", "Makes an image of a file, an address, a VM's disk or another image.", (*Driver).planCopy},
		{"mkfs", "Makes an empty image.", (*Driver).planMkfs},
		{"rm", "Removes an image.", (*Driver).planRemove},
		{"clone", "Makes a copy of an image.", (*Driver).planClone},
		{"stat", "Prints the size of a file or an address that could become an image.", (*Driver).planStat},
		{"monitor", "Prints the capacity of the datastore.", (*Driver).planMonitor},
		{"export", "Writes an image into a file, for a marketplace.", (*Driver).planExport},
		{"snap_delete", "Removes a snapshot of an image.", (*Driver).planSnapshot},
		{"snap_revert", "Brings an image back to a snapshot.", (*Driver).planSnapshot},
		{"snap_flatten", "Brings an image back to a snapshot and removes all snapshots.", (*Driver).planSnapshot},
	}
}

// Verbs are the names of all verbs.
func Verbs() []string {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return names
}

// Sentence is what a verb does, in one sentence.
func Sentence(name string) string {
	for _, v := range verbs() {
		if v.name == name {
			return v.sentence
		}
	}
	return ""
}

// Usage is a verb's arguments in one line and what it does in another.
func Usage(name string) string {
	return name + " " + Arguments + "\n" + Sentence(name) + "\n"
}

// call is one call of a verb.
type call struct {
	*opennebula.DriverAction
	verb string
	cfg  *cxmrc.Config // with the datastore's overrides
}

// Do carries out a verb as oned calls it.
func (d *Driver) Do(ctx context.Context, name string, argv []string) error {
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if i < 0 {
		return fmt.Errorf("%w: no verb %q; the verbs are %s", opennebula.ErrUsage, name, strings.Join(Verbs(), ", "))
	}
	action, id, err := opennebula.ReadDriverAction(argv, d.Stdin)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c := &call{DriverAction: action, verb: name}
	subject := name
	if action.Image != nil && action.Image.ID >= 0 {
		subject += fmt.Sprintf(" of image %d", action.Image.ID)
	}
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", subject, err)
	}
	if err := c.check(id); err != nil {
		return fail(err)
	}
	if c.cfg, err = d.Config.WithDatastore(action.Datastore.Template, action.Datastore.Origin()); err != nil {
		return fail(err)
	}
	steps, err := all[i].plan(d, ctx, c)
	if err != nil {
		return fail(err)
	}
	return fail(d.Carry(ctx, steps))
}

// check: the document and the argument are about the same image.
func (c *call) check(id int) error {
	switch {
	case c.verb == "monitor":
		return nil
	case c.Image == nil:
		return fmt.Errorf("%w: IMAGE is missing", opennebula.ErrDocument)
	case c.verb == "stat":
		return nil // its image has no id, and the argument is the number of the request
	case c.Image.ID != id:
		return fmt.Errorf("%w: it is about image %d, the argument about %d", opennebula.ErrDocument, c.Image.ID, id)
	}
	return nil
}

// image is the call's own, as the agent knows it.
func (c *call) image() *agent.Image {
	return &agent.Image{Group: c.cfg.String("VG_NAME"), ID: c.Image.ID}
}

// source is what oned is told of the call's image.
func (c *call) source() string { return lvm.ImageName(c.cfg.String("LV_PREFIX"), c.Image.ID).String() }

// request starts a request about the call's image.
func (c *call) request(op agent.Op) agent.Request {
	return agent.Request{
		Op: op, Operation: plan.NewOperation(), Group: c.cfg.String("VG_NAME"), Image: c.image(), DS: c.Datastore.ID,
		Patience: c.cfg.Int("LOCK_TIMEOUT"), Wipe: agent.Wipe(c.cfg.String("WIPE")), SingleWriter: c.cfg.Bool("SINGLE_WRITER"),
	}
}

// node is where the call's image is made: on HOST of its template, if that is one of the
// datastore's nodes, else on the first that works.
func (d *Driver) node(ctx context.Context, c *call) (string, error) {
	wanted := c.Image.Template["HOST"]
	if wanted == "" {
		return d.NodeOfDatastore(ctx, c.cfg, &c.Datastore)
	}
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return "", err
	}
	bridges, clusters := c.cfg.List("BRIDGE_LIST"), c.Datastore.ClusterIDs
	host := plan.FindHost(hosts, wanted)
	switch {
	case host == nil || !host.Usable():
		return "", fmt.Errorf("HOST of the image: %w: %q is no host that is in service", ErrRefused, wanted)
	case len(bridges) > 0 && !slices.Contains(bridges, wanted), len(bridges) == 0 && len(clusters) > 0 && !slices.Contains(clusters, host.ClusterID):
		return "", fmt.Errorf("HOST of the image: %w: %s is none of the nodes of %s", ErrRefused, wanted, c.Datastore.Origin())
	}
	return wanted, opennebula.CheckHost(wanted)
}

// ownVolume is the volume that the call's image is.
func (c *call) ownVolume() (*agent.Image, error) {
	image, ok := c.parseVolume(c.Image.Source, c.Image.ID)
	if !ok {
		return nil, c.unknown(c.Image.Source)
	}
	if image.ID != c.Image.ID {
		return nil, fmt.Errorf("%w: its SOURCE is %s, which is image %d", ErrRefused, c.Image.Source, image.ID)
	}
	return image, nil
}

// parseVolume reads a SOURCE that is a volume of the image of that id (opennebula.None: of any).
// ok is false for anything else.
func (c *call) parseVolume(source string, id int) (image *agent.Image, ok bool) {
	at, err := opennebula.ParseSource(source)
	if err != nil {
		return nil, false
	}
	image, err = plan.ImageVolume(c.cfg, at.Path, func() (int, error) {
		if id == opennebula.None {
			return id, fmt.Errorf("%w: no record tells", opennebula.ErrDocument)
		}
		return id, nil
	})
	return image, err == nil
}

// tell prints the new image's SOURCE as oned wants it of cp.
func (d *Driver) tell(source string) func(agent.Result) error {
	return func(agent.Result) error {
		_, err := fmt.Fprint(d.Stdout, opennebula.FormatCopied(d.Version, source, "raw"))
		return err
	}
}

// tellSource prints it as oned wants it of mkfs and clone: nothing besides.
func (d *Driver) tellSource(source string) func(agent.Result) error {
	return func(agent.Result) error {
		_, err := fmt.Fprintln(d.Stdout, source)
		return err
	}
}

func (d *Driver) planMonitor(ctx context.Context, c *call) ([]plan.Step, error) {
	return d.Monitor(ctx, &c.Datastore)
}
