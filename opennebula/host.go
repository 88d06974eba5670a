package opennebula

import (
	"fmt"
	"io"

	"github.com/beevik/etree"
)

// HostState is HOST/STATE.
type HostState int

// The states in which oned itself does not use a host.
const (
	HostError              HostState = 3
	HostDisabled           HostState = 4
	HostMonitoringError    HostState = 5
	HostMonitoringDisabled HostState = 7
	HostOffline            HostState = 8
)

// Host is what drivers need of a host.
type Host struct {
	ID        int
	Name      string // any text: see CheckHost before it goes into a command
	State     HostState
	ClusterID int // None outside of clusters
	VMs       []int
	VMMAD     string // the driver of its VMs
	MemUsage  int64  // MiB that oned counts for its VMs
}

// Usable says that oned neither found the host dead nor was told to leave it alone.
func (h *Host) Usable() bool {
	switch h.State {
	case HostError, HostDisabled, HostMonitoringError, HostMonitoringDisabled, HostOffline:
		return false
	}
	return true
}

// SetAside says whether the administrator has taken the host out of service.
func (h *Host) SetAside() bool {
	switch h.State {
	case HostDisabled, HostMonitoringDisabled, HostOffline:
		return true
	}
	return false
}

// ParseHost reads a host document.
func ParseHost(r io.Reader) (*Host, error) {
	root, err := parseRoot(r, "HOST")
	if err != nil {
		return nil, err
	}
	return readHost(root)
}

// ParseHostPool reads the list of all hosts (one.hostpool.info, `onehost list -x`).
func ParseHostPool(r io.Reader) ([]Host, error) {
	root, err := parseRoot(r, "HOST_POOL")
	if err != nil {
		return nil, err
	}
	var hosts []Host
	for _, element := range root.SelectElements("HOST") {
		host, err := readHost(element)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, *host)
	}
	return hosts, nil
}

func readHost(root *etree.Element) (*Host, error) {
	f := &fields{element: root, object: "HOST"}
	h := &Host{ID: f.id("ID")}
	f.object = fmt.Sprintf("host %d", h.ID)
	h.Name = f.text("NAME")
	h.State = HostState(f.number(None, "STATE"))
	h.ClusterID = f.number(None, "CLUSTER_ID")
	h.VMs = f.ids("VMS")
	h.VMMAD = f.text("VM_MAD")
	if share := root.SelectElement("HOST_SHARE"); share != nil {
		used := &fields{element: share, object: f.object}
		h.MemUsage = used.mebibytes("MEM_USAGE") >> 10 // it is in KiB
		if f.err == nil {
			f.err = used.err
		}
	}
	return h, f.err
}
