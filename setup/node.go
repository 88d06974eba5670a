package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/cxmrc"
	"one-clvm/doctor"
	"one-clvm/internal/assignment"
	"one-clvm/internal/run"
	"one-clvm/polkit"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

// Node is a node of the cluster, this one.
type Node struct {
	Root   string // "/"
	Runner run.Runner
	Groups []string // volume groups that its agent must allow
}

// cxmConf is the configuration of cxm, and hookProgram what it is to call.
const (
	cxmConf     = "/etc/xen/cxm.conf"
	hookProgram = "/usr/libexec/one-clvm/one-migrate-hook"
)

// Changes are those that its files need; none where nothing is missing.
func (n Node) Changes() ([]Change, error) {
	looks := []func() (Change, error){n.agentConf}
	for _, r := range rules {
		looks = append(looks, func() (Change, error) { return n.sudoRule(r) })
	}
	return changes(append(looks, n.udevRules, n.qemu, n.polkit, n.cxm)...)
}

func (n Node) read(path string) (Change, error) { return read(filepath.Join(n.Root, path)) }

// agentConf: what the agent may do. Its rest is for the administrator.
func (n Node) agentConf() (Change, error) {
	c, err := n.read(facts.AgentFile)
	if err != nil {
		return c, err
	}
	if c.Missing {
		if len(n.Groups) == 0 {
			return c, fmt.Errorf("%s is missing, and says which volume groups the agent may touch: name them with --vg", facts.AgentFile)
		}
		var text strings.Builder
		if err := cxmrc.Example(&text, "What the agent of one-clvm may do on this node.", cxmrc.Agent); err != nil {
			return c, err
		}
		c.After = assignment.Set(text.String(), "ALLOWED_VGS", `"`+strings.Join(n.Groups, " ")+`"`, assignment.Tight)
		c.Why, c.Mode = []string{facts.AgentFile + " is missing: the agent does nothing"}, 0o644
		return c, nil
	}
	var missing []string
	c.After, missing = assignment.AddWords(c.Before, "ALLOWED_VGS", n.Groups...)
	allowed, _ := assignment.Find(c.After, "ALLOWED_VGS")
	switch {
	case len(missing) > 0:
		c.Why = []string{fmt.Sprintf("ALLOWED_VGS lacks %s: the agent refuses it", strings.Join(missing, " "))}
	case strings.TrimSpace(allowed.Text) == "":
		c.Why = []string{"ALLOWED_VGS is empty: the agent refuses every volume group; name them with --vg"}
		c.verify = func(context.Context, string) error { return fmt.Errorf("%s: %s", facts.AgentFile, c.Why[0]) }
	}
	return c, nil
}

// shipped is a file of the suite that must be as it was shipped.
func (n Node) shipped(path, content string, mode fs.FileMode) (Change, error) {
	c, err := n.read(path)
	if err != nil {
		return c, err
	}
	c.After, c.Mode = content, mode
	switch st, err := os.Stat(c.Path); {
	case c.Missing:
		c.Why = []string{path + " is missing"}
	case err != nil:
		return c, err
	case c.Before != content:
		c.Why = []string{path + " is not as it was shipped"}
	case st.Mode().Perm()&^mode != 0:
		c.Why = []string{fmt.Sprintf("%s has the mode %04o instead of %04o", path, st.Mode().Perm(), mode)}
	}
	return c, nil
}

// rule is what lets oneadmin start one program as root, and nothing else.
type rule struct{ path, content, program string }

// rules of sudo. A node without a program needs no rule for it; the agent's is always needed.
var rules = []rule{
	{facts.SudoersFile, sudoers.Rule, ""},
	{facts.SudoersVMM, sudoers.VMMRule, "/usr/libexec/one-clvm/vmm-rhcs"},
	{facts.SudoersHook, sudoers.HookRule, hookProgram},
}

func (n Node) sudoRule(r rule) (Change, error) {
	c, err := n.shipped(r.path, r.content, 0o440)
	if _, gone := os.Stat(filepath.Join(n.Root, r.program)); c.Missing && gone != nil {
		return Change{}, err
	}
	c.verify = func(ctx context.Context, content string) error { return n.visudo(ctx, r.path, content) }
	return c, err
}

// visudo has sudo's own program judge a rule: a wrong one locks everybody out.
func (n Node) visudo(ctx context.Context, path, content string) error {
	dir, err := os.MkdirTemp("", "one-clvm-sudoers-")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "rule")
	err = os.WriteFile(file, []byte(content), 0o440)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, runErr := n.Runner.Run(ctx, run.Cmd{Path: "visudo", Args: []string{"-c", "-q", "-f", file}}); runErr != nil {
			err = fmt.Errorf("visudo does not take %s, which is left as it is: %w", path, runErr)
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// packaged says whether a package has brought a file that the administrator does not have.
func (n Node) packaged(path string) bool {
	st, err := os.Stat(filepath.Join(n.Root, facts.Packaged[path]))
	return err == nil && st.Mode().IsRegular()
}

// udevRules: one that was written for another prefix of volumes stays.
func (n Node) udevRules() (Change, error) {
	c, err := n.shipped(facts.UdevFile, udev.Rules, 0o644)
	if c.Missing && n.packaged(facts.UdevFile) {
		return Change{}, err
	}
	c.Then = "udevadm control --reload && udevadm trigger --subsystem-match=block"
	return c, err
}

// qemu: libvirt runs VMs as oneadmin, and leaves devices alone. Without libvirt nothing is
// needed.
func (n Node) qemu() (Change, error) {
	c, err := n.read(facts.QemuFile)
	if err != nil || c.Missing {
		return Change{}, err
	}
	for _, s := range doctor.QemuSettings {
		if got, _ := assignment.Find(c.After, s.Name); got.Written == s.Value {
			continue
		}
		c.Why = append(c.Why, fmt.Sprintf("%s in %s is not %s", s.Name, facts.QemuFile, s.Value))
		c.After = assignment.Set(c.After, s.Name, s.Value, assignment.Spaced)
	}
	c.Then = "systemctl restart libvirtd"
	return c, nil
}

// polkit: oneadmin may use libvirt's socket, by whichever way.
func (n Node) polkit() (Change, error) {
	there := map[string]Change{}
	for _, path := range []string{facts.QemuFile, facts.LibvirtFile, facts.PolkitOld, facts.PolkitFile} {
		c, err := n.read(path)
		if err != nil {
			return c, err
		}
		there[path] = c
	}
	group, _ := assignment.Find(there[facts.LibvirtFile].Before, "unix_sock_group")
	if n.packaged(facts.PolkitFile) || n.packaged(facts.PolkitOld) {
		return Change{}, nil
	}
	if there[facts.QemuFile].Missing || !there[facts.PolkitOld].Missing || !there[facts.PolkitFile].Missing || group.Text != "" {
		return Change{}, nil
	}
	if !n.isDir(filepath.Dir(facts.PolkitFile)) && n.isDir(filepath.Dir(filepath.Dir(facts.PolkitOld))) { // 0.105 and older
		return n.shipped(facts.PolkitOld, polkit.Authority, 0o644)
	}
	return n.shipped(facts.PolkitFile, polkit.Rules, 0o644)
}

func (n Node) isDir(path string) bool {
	st, err := os.Stat(filepath.Join(n.Root, path))
	return err == nil && st.IsDir()
}

// cxm: it calls the hook after a migration.
func (n Node) cxm() (Change, error) {
	c, err := n.read(cxmConf)
	if err != nil || c.Missing {
		return Change{}, err
	}
	hook, _ := assignment.Find(c.Before, "POST_MIGRATION_HOOK")
	if hook.Text == hookProgram || filepath.Base(hook.Text) == "cxm" { // or the file of hook/entrances
		return Change{}, nil
	}
	c.After = assignment.Set(c.Before, "POST_MIGRATION_HOOK", `"`+hookProgram+`"`, assignment.Tight)
	c.Why = []string{"POST_MIGRATION_HOOK in " + cxmConf + " does not call the hook: OpenNebula is not told of migrations"}
	c.Then = "service cxmd restart"
	return c, nil
}
