package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/datastore"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tm"
)

// datastoreVerb begins the names of the datastore driver's verbs: some are also the transfer
// manager's.
const datastoreVerb = "datastore/"

// runVerb carries out a verb as oned calls it. Flags are ours alone, oned gives none.
func runVerb(ctx context.Context, verb string, argv []string, io command.Stdio) int {
	ofDatastore, isDatastore := strings.CutPrefix(verb, datastoreVerb)
	if len(argv) > 0 && command.IsHelp(argv[0]) {
		usage := opennebula.Usage(verb)
		if isDatastore {
			usage = datastoreVerb + datastore.Usage(ofDatastore)
		}
		fmt.Fprint(io.Out, "tm-clvm ", usage, "\n", manners(verb, isDatastore))
		return 0
	}
	dryRun := slices.Contains(argv, "--dry-run")
	argv = slices.DeleteFunc(argv, func(arg string) bool { return arg == "--dry-run" })
	remotes := opennebula.RemotesDir()
	release, versionErr := opennebula.DetectVersion(remotes)
	report := opennebula.NewReporter(io.Err, release)
	if versionErr != nil {
		report.Warn("%v", versionErr)
	}
	err := checkArguments(verb, isDatastore, argv)
	var driver *tm.Driver
	if err == nil {
		driver, _, err = newDriver(report, io)
	}
	if err == nil {
		driver.Version, driver.Remotes, driver.DryRun = release, remotes, dryRun
		if isDatastore {
			err = (&datastore.Driver{Driver: driver.Driver}).Do(ctx, ofDatastore, argv)
		} else {
			err = driver.Do(ctx, verb, argv)
		}
	}
	report.Error(err)
	report.Close()
	return opennebula.ExitStatus(err)
}

// manners of a verb, for people who call one by hand.
func manners(verb string, ofDatastore bool) string {
	if ofDatastore {
		return `DOCUMENT is DS_DRIVER_ACTION_DATA in base64 (oned's log has it), - has it read from standard input;
ID is that of the image, or of the datastore. --dry-run prints the plan of the call and changes nothing:

  tm-clvm ` + verb + ` --dry-run DOCUMENT 7

docs/datastore.md says what happens, and what a crash leaves.
`
	}
	return `HOME is DATASTORES/SYSTEM_DS_ID/VM_ID. SOURCE is FRONTEND:PATH of an image file, or FRONTEND:lv-oneimg-N of
one on the SAN. --dry-run prints the plan of the call and changes nothing; as oneadmin, of a VM that oned has:

  tm-clvm ` + verb + ` --dry-run ` + strings.Join(exampleWords(verb), " ") + `

docs/verbs.md says what happens, and what a crash leaves.
`
}

// exampleWords are arguments that a verb of the transfer manager takes, those that it may go
// without left out.
func exampleWords(verb string) []string {
	values := strings.NewReplacer("OLD_HOST", "node1", "NEW_HOST", "node2", "HOST", "node1", "HOME", "/var/lib/one/datastores/0/42",
		"[/disk.N]", "/disk.0", "disk.N", "disk.0", "SOURCE", "fe:/var/lib/one/datastores/1/8d2a0cf9", "FILE…", "/var/lib/one/vms/42/context.sh",
		"MIB", "1024", "FORMAT", "ext4", "SNAPSHOT", "0", "INCREMENT", "-1", "DISK[:DISK…]", "0", "DISK", "0",
		"DEPLOY_ID", "one-42", "VM_ID", "42", "IMAGE_ID", "7", "SYSTEM_DS_ID", "0", "DS_ID", "1")
	var words []string
	for _, word := range strings.Fields(verbArgs(verb)) {
		if !strings.HasPrefix(word, "[") {
			words = append(words, values.Replace(word))
		}
	}
	return words
}

// checkArguments, before anything is looked for that only a front-end has.
func checkArguments(verb string, ofDatastore bool, argv []string) error {
	switch {
	case !ofDatastore:
		_, err := opennebula.ParseTM(verb, argv)
		return err
	case len(argv) == 0:
		return fmt.Errorf("%w: none given; usage: %s", opennebula.ErrUsage, datastoreVerb+verb+" "+datastore.Arguments)
	}
	return nil
}

func newDriver(report *opennebula.Reporter, io command.Stdio) (*tm.Driver, *agent.Client, error) {
	cfg, err := cxmrc.LoadFound()
	if err != nil {
		return nil, nil, err
	}
	programs := run.Exec{}
	records, err := newRecords()
	if err != nil {
		return nil, nil, err
	}
	client := newClient(cfg, report)
	return &tm.Driver{Driver: plan.Driver{
		Config: cfg, FrontEnd: frontEnd(cfg), Records: records, Agents: plan.Connection{Client: client, Config: cfg},
		Runner: programs, Report: report, Stdin: io.In, Stdout: io.Out, Stderr: io.Err,
	}}, client, nil
}

func newClient(cfg *cxmrc.Config, report *opennebula.Reporter) *agent.Client {
	return &agent.Client{
		Runner: run.Exec{}, Version: version.String(), StallTimeout: time.Duration(cfg.Int("STALL_TIMEOUT")) * time.Second,
		OnLog: func(l agent.LogLine) {
			if l.Level == "warn" {
				report.Warn("%s", l.Text)
				return
			}
			report.Debug("%s", l.Text)
		},
	}
}

// newRecords asks oned as OpenNebula's own commands do.
func newRecords() (*opennebula.Client, error) {
	return opennebula.NewClient(opennebula.Config{Runner: run.Exec{}})
}

// frontEnd is the name that oned uses for this machine: HOSTNAME in oned.conf where
// that is set, and then FRONTEND in cxmrc must say the same; else the host name.
func frontEnd(cfg *cxmrc.Config) string {
	if name := cfg.String("FRONTEND"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
