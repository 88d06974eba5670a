package cluster

import "context"

// Survey is what a cluster says at one moment of all VMs that it runs for OpenNebula.
type Survey struct {
	Self    string // this node, by the cluster's name
	Quorate bool
	Nodes   []Node
	VMs     []Surveyed
	// Maintenance: the cluster looks on and does nothing.
	Maintenance bool
	Manager     Manager
}

// Of is the state of one VM, with what the hypervisor of this node says of it.
func (s Survey) Of(service Condition, domain Domain) State {
	return State{Clustered: true, Self: s.Self, Quorate: s.Quorate, Nodes: s.Nodes, Maintenance: s.Maintenance, Manager: s.Manager, Service: service, Domain: domain}
}

// Surveyed is the service of one VM.
type Surveyed struct {
	Name       string // of the service and of the domain
	Definition string // file with the domain, in the VM's home: whose VM it is
	Condition  Condition
}

// Surveyor is a cluster manager that can be asked for all VMs at once.
type Surveyor interface {
	// Survey sees the VMs that the drivers gave to the cluster, known by what they wrote
	// into the service, not by its name. ErrDown where the manager does not answer.
	Survey(ctx context.Context) (Survey, error)
}
