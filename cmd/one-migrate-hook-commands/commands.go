package main

import (
	"one-clvm/cxmrc"
	"one-clvm/hook/entrance"
	"one-clvm/internal/command"
)

// program is all that one-migrate-hook can do, and all that is said about it.
func program() *command.Program {
	return &command.Program{
		Name: "one-migrate-hook", Title: "tells OpenNebula what the cluster did to its VMs by itself",
		About: "On a node, the cluster's managers call it, it puts what happened into a spool, and a timer delivers that to a front-end. " +
			"On a front-end, it brings the record of OpenNebula to the truth.",
		Commands: commands(),
		Examples: `After a VM was moved by hand, on a node:
  one-migrate-hook report 42
  one-migrate-hook status
`,
		Files: []command.File{{Path: cxmrc.HookPath, What: "configuration; only root writes it"}},
	}
}

func commands() []command.Command {
	return []command.Command{
		{
			Name: "cxm", Args: "VM SOURCE TARGET", Least: 0, Most: anyWords, Setup: accept(entrance.CXM),
			Sentence: "Is the POST_MIGRATION_HOOK of cxm.",
		},
		{
			Name: "alert", Least: 0, Most: anyWords, Setup: accept(entrance.Pacemaker),
			Sentence: "Is an alert agent of Pacemaker: it reads CRM_alert_* from the environment.",
		},
		{
			Name: "rgmanager", Args: "SERVICE STATE FLAGS OWNER LAST-OWNER", Least: 0, Most: anyWords, Setup: accept(entrance.Rgmanager),
			Sentence: "Takes a change of a service's state from rgmanager, in its own words.",
		},
		{
			Name: "libvirt", Args: "GUEST OPERATION SUB-OPERATION EXTRA", Least: 0, Most: anyWords, Setup: accept(entrance.Libvirt),
			Sentence: "Is a hook of libvirt for QEMU, with the domain's document on standard input; always ends with status 0.",
		},
		{
			Name: "report", Args: "VM", Least: 1, Most: 1, Setup: accept(entrance.Hand),
			Sentence: "Has a VM looked for and told, by hand.",
		},
		{
			Name: "deliver", Setup: setupDeliver,
			Sentence: "Tells a front-end where the VMs of the spool are; a timer starts it.",
		},
		{
			Name: "where", Setup: setupWhere,
			Sentence: "Says, on a node, where the VMs of its cluster are, for programs; reconcile asks for it over ssh.",
		},
		{
			Name: "receive", Setup: setupReceive,
			Sentence: "Takes a report, on a front-end; sshd starts it, by the forced command of the nodes' key.",
			More:     []string{"In authorized_keys: command=\"/usr/libexec/one-clvm/one-migrate-hook receive\",restrict KEY"},
		},
		{
			Name: "reconcile", Setup: setupReconcile,
			Sentence: "Compares the records of OpenNebula with where all VMs are, and brings them there.",
			More:     []string{command.StatusOfLooking},
		},
		{
			Name: "ping", Setup: setupPing,
			Sentence: "Tries the connection to the front-ends, on a node; tells nothing.",
			More:     []string{command.StatusOfLooking},
		},
		{
			Name: "status", Setup: setupStatus,
			Sentence: "Shows what waits in the spool of this node, and how the last deliveries ended.",
			More:     []string{"On a front-end it shows what the last reconcile found. --json is the same for programs.", command.StatusOfLooking},
		},
	}
}

// anyWords: an entrance judges its arguments itself, and says so in the journal.
const anyWords = 1 << 20
