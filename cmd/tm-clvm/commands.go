package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/agent"
	"one-clvm/datastore"
	"one-clvm/internal/command"
	"one-clvm/opennebula"
)

// program is all that is said about tm-clvm, by --help, the manual and the completion of
// shells, and all that it can do.
func program() *command.Program {
	p := &command.Program{
		Name: "tm-clvm", Title: "OpenNebula's disks as logical volumes on a SAN",
		About:      "The transfer manager of OpenNebula for clustered LVM, the agent on the nodes, and the administrator's tool for both.",
		Commands:   commands(),
		VerbsTitle: "Verbs of the transfer manager and of the datastore driver", RunVerb: runVerb,
		Examples: `Try, as root on a node without a SAN:
  tm-clvm vg create vg-one --size 1T
  tm-clvm volumes
`,
		Files: []command.File{
			{Path: "/var/lib/one/remotes/etc/tm/clvm/cxmrc", What: "configuration of the front-end; tm-clvm config prints it with all defaults"},
			{Path: "/etc/one-clvm/agent.conf", What: "what a node's agent may do; only root writes it"},
		},
	}
	for _, verb := range opennebula.Verbs {
		p.Verbs = append(p.Verbs, command.Verb{Name: verb, Args: verbArgs(verb), Sentence: verbSentence(verb)})
	}
	for _, verb := range datastore.Verbs() {
		p.Verbs = append(p.Verbs, command.Verb{Name: datastoreVerb + verb, Args: datastore.Arguments, Sentence: datastore.Sentence(verb)})
	}
	return p
}

// commands of the administrator.
func commands() []command.Command {
	return slices.Concat(looks(), installs(), works())
}

// looks are about what there is.
func looks() []command.Command {
	return []command.Command{
		{
			Name: "config", Args: "[FILE]", Most: 1, Setup: setupConfig,
			Sentence: "Prints the effective configuration and where each value comes from.",
		},
		{
			Name: "vg", Args: "create NAME | destroy NAME | list", Least: 1, Most: 2, Setup: setupVG,
			Sentence: "Makes, removes and lists file-backed volume groups on this node.",
		},
		{
			Name: "volumes", Setup: setupVolumes,
			Sentence: "Lists the volumes of volume groups, as this node or all nodes see them.",
			More: []string{
				"As this node sees them it lists all groups of agent.conf; with --cluster it asks the nodes that oned knows for one.",
				"Exit status: 0 none of those listed needs a person, 1 some do (foreign, lost, wipe-failed), 2 it could not look. With --prometheus 1 says that the file could not be written.",
			},
		},
		{
			Name: "audit", Setup: setupAudit,
			Sentence: "Shows orphans and contradictions on all nodes, and what repairs them.",
			More:     []string{command.StatusOfLooking},
		},
	}
}

// installs are about what an installation needs, and comes from.
func installs() []command.Command {
	return []command.Command{
		{
			Name: "doctor", Args: "[drill [NAME NODE] | print sudoers|sudoers-vmm|sudoers-hook|udev|polkit|pkla]", Most: 3, Setup: setupDoctor,
			Sentence: "Checks everything that a working installation needs, on all nodes at once, and names what mends it; changes nothing.",
			More: []string{command.StatusOfLooking, "doctor drill lists what should have been tried before an installation is relied on; with a name it says what to do, and looks what comes of it.",
				"doctor print FILE prints what the suite ships: sudoers (the agent), sudoers-vmm, sudoers-hook, udev, polkit (pkla for 0.105 and older)."},
		},
		{
			Name: "setup", Args: "frontend | node | check [frontend|node]", Least: 1, Most: 2, Setup: setupSetup,
			Sentence: "Shows what must be changed in the files of OpenNebula, sudo, udev and libvirt, and changes it.",
			More: []string{"frontend makes the drivers known in oned.conf, for the version that is installed, and has image datastores count space where it is used; node prepares this node. Every other byte stays, the old file is kept beside the new one, and a second run finds nothing to do.",
				"check changes nothing; without a role it is that of this machine. " + command.StatusOfLooking},
		},
		{
			Name: "trial", Args: "VG", Least: 1, Most: 1, Setup: setupTrial,
			Sentence: "Looks what an adoption of a volume group of fs_lvm would meet, and save; changes nothing.",
			More:     []string{"With --vm the disks of one VM are adopted and given back. " + command.StatusOfLooking},
		},
		{
			Name: "adopt", Args: "VG", Least: 1, Most: 1, Setup: setupAdopt,
			Sentence: "Takes over the volumes that fs_lvm has made, by tags alone: no data moves, no VM stops.",
			More:     []string{"Each is compared with oned's record, its place and its link first. Done again, it finishes what was cut off. " + command.StatusOfLooking},
		},
		{
			Name: "release", Args: "VG", Least: 1, Most: 1, Setup: setupRelease,
			Sentence: "Takes the suite's tags off VMs' disks again, so that they are fs_lvm's.",
		},
	}
}

// works change what is on disks.
func works() []command.Command {
	return []command.Command{
		{
			Name: "gfs2", Args: "format DEVICE|VG/VOLUME | check DIR | journals DIR | grow DIR", Least: 2, Most: 2, Setup: setupGFS2,
			Sentence: "Makes, checks and grows the shared file system of VMs' homes, on a node that has it.",
			More:     []string{"What cannot be taken back is shown first, and wants an answer, or --yes."},
		},
		{
			Name: "mkimage", Setup: setupMkimage,
			Sentence: "Makes an image of a directory, an archive or a disk; with oned's arguments, a volatile disk.",
			More:     []string{"The image appears whole or not at all: interrupted, nothing is left. Sizes are in LVM's syntax; --json gives bytes."},
		},
		{
			Name: "reap", Args: "VG", Least: 1, Most: 1, Setup: setupReap,
			Sentence: "Wipes and removes what is in quarantine: deleted volumes whose wipe failed or was cut off.",
		},
		{
			Name: "wipe-free", Args: "VG", Least: 1, Most: 1, Setup: setupWipeFree,
			Sentence: "Wipes all free space of a volume group once; from then on new disks need no zeroing.",
		},
		{
			Name: "agent", Setup: setupAgent, Silent: true, // it tells the other end
			Sentence: "Serves one request on standard input; oned's driver starts it over ssh.",
		},
	}
}

// tmclvm is the whole program but for the process around it.
func tmclvm(argv []string, io command.Stdio) int {
	if len(argv) == 2 && argv[0] == "confined" {
		return agent.Confined(argv[1])
	}
	p := program()
	argv = command.HelpOf(argv)
	if isForPeople(argv) {
		if command.IsHelp(argv[1]) {
			fmt.Fprint(io.Out, "tm-clvm ", opennebula.Usage("mkimage"), "\n", manners("mkimage", false), "\nFor people:\n")
		}
		p.Verbs = slices.DeleteFunc(p.Verbs, func(v command.Verb) bool { return v.Name == "mkimage" })
	}
	if len(argv) > 0 {
		argv = append([]string{verbName(argv[0])}, argv[1:]...)
	}
	return p.Run(argv, io)
}

// verbName: as the interpreter of a driver script, tm-clvm gets the script's path,
// REMOTES/tm/DRIVER/VERB or REMOTES/datastore/DRIVER/VERB.
func verbName(arg string) string {
	switch {
	case filepath.Base(filepath.Dir(filepath.Dir(arg))) == "datastore":
		return datastoreVerb + filepath.Base(arg)
	case strings.HasPrefix(arg, datastoreVerb):
		return arg
	case strings.Contains(arg, "/"):
		return filepath.Base(arg)
	}
	return strings.ToLower(arg)
}

// verbArgs and verbSentence take a verb's usage apart.
func verbArgs(verb string) string {
	line, _, _ := strings.Cut(opennebula.Usage(verb), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, verb))
}

func verbSentence(verb string) string {
	_, sentence, _ := strings.Cut(strings.TrimSpace(opennebula.Usage(verb)), "\n")
	return sentence
}
