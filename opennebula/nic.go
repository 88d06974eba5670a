package opennebula

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// NIC is a network interface of a VM.
type NIC struct {
	ID         int    // None in 3.x, which gives it no number
	MAC        string // lower case
	Bridge     string
	BridgeType string // linux, openvswitch, …; since 5.6
	Model      string
	Driver     string // of the network: VN_MAD since 5.0; "" before
	Target     string // its end on the node: one-42-0
	Attrs      map[string]string
}

func (vm *VM) readNICs(root *etree.Element) error {
	for _, element := range root.FindElements("TEMPLATE/NIC") {
		f := &fields{element: element, object: fmt.Sprintf("VM %d NIC", vm.ID)}
		vm.NICs = append(vm.NICs, NIC{
			ID: f.number(None, "NIC_ID"), MAC: strings.ToLower(f.text("MAC")), Bridge: f.text("BRIDGE"), BridgeType: f.text("BRIDGE_TYPE"),
			Model: f.text("MODEL"), Driver: f.text("VN_MAD"), Target: f.text("TARGET"), Attrs: attributes(element),
		})
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// NIC finds a network interface by its MAC address; nil for none.
func (vm *VM) NIC(mac string) *NIC {
	for i := range vm.NICs {
		if vm.NICs[i].MAC == mac {
			return &vm.NICs[i]
		}
	}
	return nil
}

// NetworkDocument is the VM's document as network drivers get it for all of its interfaces,
// once attach_nic or detach_nic is done: none is being attached, and the one with the MAC
// address gone is not there ("" for all). "" where the call had no document.
func (a *VMMAction) NetworkDocument(gone string) (string, error) {
	if a.vm == nil {
		return "", nil
	}
	vm := a.vm.Copy()
	for _, nic := range vm.FindElements("TEMPLATE/NIC") {
		if mac := nic.SelectElement("MAC"); gone != "" && mac != nil && strings.EqualFold(strings.TrimSpace(mac.Text()), gone) {
			nic.Parent().RemoveChild(nic)
		} else if attach := nic.SelectElement("ATTACH"); attach != nil {
			nic.RemoveChild(attach)
		}
	}
	doc := etree.NewDocument()
	doc.SetRoot(vm)
	return doc.WriteToString()
}

// WithoutDeployID is a VM's document for network drivers that must not ask the hypervisor: they ask
// it of a VM that has a DEPLOY_ID.
func WithoutDeployID(document string) (string, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if err := doc.ReadFromString(document); err != nil {
		return "", fmt.Errorf("document of the VM: %w", err)
	}
	if root := doc.Root(); root != nil {
		for _, id := range root.SelectElements("DEPLOY_ID") {
			root.RemoveChild(id)
		}
	}
	return doc.WriteToString()
}
