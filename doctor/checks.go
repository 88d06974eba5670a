package doctor

// Checks are all checks, in the order in which they are told: what others build on first.
func Checks() []Check {
	return []Check{
		{"oned", "oned answers.", onedAnswers, nobody},
		{"oned.conf", "oned knows the drivers, and how they work.", onedConf, oned},
		{"host hook", "The cluster alone recovers VMs: a hook of OpenNebula for lost hosts would start them a second time.", hostHooks, oned},
		{"ssh", "The front-end reaches every node's agent.", reachable, nobody},
		{"sudo", "oneadmin may start the agent, the VMM driver's end and the hook's question as root, and nothing else.", sudoRule, nodes},
		{"version", "Front-end and nodes have one version of the suite.", versions, nodes},
		{"clock", "Clocks agree.", clocks, nodes},
		{"agent.conf", "The nodes allow what the front-end asks for.", agentConfs, nodes},
		{"programs", "What the suite calls is installed.", programs, nodes},
		{"host name", "OpenNebula and the cluster call a node the same.", names, nodes},
		{"volume group", "Every node sees the volume groups, and they are shared by a lock manager.", groupsVisible, nodes},
		{"lock manager", "The lock manager and its lock space are up on every node.", lockManagers, nodes},
		{"quorum", "The cluster has a quorum, and all nodes are in it.", quorum, nodes},
		{"members", "corosync, dlm and the stack agree on who is in the cluster.", members, nodes},
		{"fencing", "A lost node is switched off before others take its disks.", fencing, nodes},
		{"metadata", "The metadata area of a volume group has room.", metadata, nodes},
		{"free space", "The volume groups have room for new disks.", freeSpace, nodes},
		{"guests", "No node looks for physical volumes inside guests' disks.", guests, nodes},
		{"active", "Disks are active only where their VM is.", stale, nodes},
		{"device owner", "Devices of disks belong to the user that VMs run as.", owners, nodes},
		{"udev", "The rules that give devices to that user are installed.", udevRules, nodes},
		{"disks", "All paths to the SAN run, and its devices write zeroes by themselves.", disks, nodes},
		{"time budget", "Paths to the SAN fail before a lock manager's leases do.", budget, nodes},
		{"home", "The system datastore is mounted on every node, and has space.", sharedHomes, onedAndNodes},
		{"GFS2", "Every mounted GFS2 is healthy, and fits the cluster.", sharedFileSystems, nodes},
		{"links", "A link in a VM's home leads to the VM's own volume.", links, nodes},
		{"libvirt", "libvirt runs VMs as that user, and leaves devices alone.", libvirt, nodes},
		{"memory", "All VMs have room with one node gone.", memory, onedAndNodes},
		{"hook ssh", "Nodes reach the front-end, to tell of failovers.", hookSSH, nodes},
	}
}
