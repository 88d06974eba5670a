package vmm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// fqdn is a VM's name under Xen, by VM_FQDN_TEMPLATE.
func (d *Driver) fqdn(ctx context.Context, home string, id int) (string, error) {
	template := d.Config.String("VM_FQDN_TEMPLATE")
	vm := &opennebula.VM{ID: id}
	if strings.Contains(template, "%U") || strings.Contains(template, "%V") {
		var err error
		if vm, err = d.vm(ctx, home, id); err != nil {
			return "", fmt.Errorf("VM_FQDN_TEMPLATE=%s needs the VM's document: %w; with %%I alone it needs none", template, err)
		}
	}
	name := expand(template, vm)
	if !hostPattern.MatchString(name) {
		return "", fmt.Errorf("VM_FQDN_TEMPLATE=%s makes %q of VM %d, which is no name of a domain: put %%I into it", template, name, id)
	}
	return name, nil
}

// expand puts the user, the VM's name and its id into a template. Of names only letters and
// digits are left.
func expand(template string, vm *opennebula.VM) string {
	reduce := func(name string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, name)
	}
	return strings.NewReplacer("%U", reduce(vm.UserName), "%V", reduce(vm.Name), "%I", strconv.Itoa(vm.ID)).Replace(template)
}

// vm is the VM's document: oned writes it into the home since 6.0; before, the front-end is
// asked.
func (d *Driver) vm(ctx context.Context, home string, id int) (*opennebula.VM, error) {
	text, err := os.ReadFile(path.Join(home, vmName))
	if errors.Is(err, os.ErrNotExist) {
		text, err = d.askFrontEnd(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	vm, err := opennebula.ParseVM(bytes.NewReader(text))
	if err == nil && vm.ID != id {
		err = fmt.Errorf("the document is of VM %d", vm.ID)
	}
	return vm, err
}

func (d *Driver) askFrontEnd(ctx context.Context, id int) ([]byte, error) {
	host := first(d.Config.String("FRONTEND"), d.FrontEnd)
	if !hostPattern.MatchString(host) {
		return nil, fmt.Errorf("the front-end is not known (%q): set FRONTEND in cxmrc", host)
	}
	args := []string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=" + strconv.Itoa(d.Config.Int("CONNECT_TIMEOUT"))}
	args = slices.Concat(args, d.Config.List("SSH_OPTIONS"), []string{"--", host, "onevm", "show", "-x", strconv.Itoa(id)})
	res, err := d.Runner.Run(ctx, run.Cmd{Path: d.Config.String("SSH"), Args: args, Reads: true})
	if err != nil {
		return nil, fmt.Errorf("the front-end, which oneadmin of this node must reach by ssh: %w", err)
	}
	return res.Stdout, nil
}
