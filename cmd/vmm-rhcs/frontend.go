package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/frontend"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// setupFrontend renders a front-end's cluster, and judges one that is there.
func setupFrontend(flags *pflag.FlagSet) command.Action {
	form := flags.String("form", "cluster.conf", "show: `cluster.conf|ccs|pcs|fence_virt.conf|fence_xvm.key`")
	fenceVirt := flags.String("fence-virt", "", "check: and `FILE`, the fence_virt.conf of the physical server")
	keys := flags.Bool("keys", false, "check: and the keys of fence_xvm on this machine")
	twin := flags.String("twin", "", "check: and compare oned.conf, cluster.conf, keys and remotes with those of front-end `HOST`, over ssh")
	asJSON := flags.Bool("json", false, "check: for programs")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		switch {
		case words[0] == "show" && len(words) == 1:
			return cxmrc.Example(io.Out, "A front-end that is to be a service of a cluster, for vmm-rhcs frontend-ha show.", frontend.Description)
		case words[0] == "show" && len(words) == 2:
			return showFrontend(words[1], *form, io)
		case words[0] == "check" && len(words) > 1:
			found, err := defects(words[1:], *fenceVirt, *keys)
			if err == nil && *twin != "" {
				found, err = differences(ctx, *twin, found)
			}
			return tellDefects(found, err, *asJSON, io)
		case words[0] == "hashes" && len(words) == 1:
			return printHashes(io)
		}
		return fmt.Errorf("%w: show [DESCRIPTION], or check CLUSTER.CONF…", command.ErrUsage)
	}
}

func showFrontend(file, form string, io command.Stdio) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	defer text.Close() // only read
	site, err := frontend.ReadSite(text, file)
	if err != nil {
		return err
	}
	out, err := site.Render(form)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	_, err = fmt.Fprint(io.Out, out)
	return err
}

// defect is a finding with the file that it is in.
type defect struct {
	File string `json:"file"`
	frontend.Finding
}

// printHashes answers the twin.
func printHashes(io command.Stdio) error {
	hashes, err := frontend.ReadHashes("/")
	if err != nil {
		return err
	}
	return json.NewEncoder(io.Out).Encode(hashes)
}

// differences adds what is not the same on the other front-end.
func differences(ctx context.Context, host string, all []defect) ([]defect, error) {
	if err := opennebula.CheckHost(host); err != nil {
		return all, err
	}
	ours, err := frontend.ReadHashes("/")
	if err != nil {
		return all, err
	}
	res, err := run.Exec{}.Run(ctx, run.Cmd{Path: "ssh", Args: []string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", host, installed + " frontend-ha hashes"}})
	if err != nil {
		return all, err
	}
	var theirs frontend.Hashes
	if err := json.Unmarshal(res.Stdout, &theirs); err != nil {
		return all, fmt.Errorf("front-end %s: %w", host, err)
	}
	found := frontend.CompareTwins(ours, theirs)
	for _, path := range slices.Sorted(maps.Keys(found)) {
		all = append(all, defect{path, found[path]})
	}
	return all, nil
}

func tellDefects(found []defect, err error, asJSON bool, io command.Stdio) error {
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	if asJSON {
		err = json.NewEncoder(io.Out).Encode(found)
	}
	for _, d := range found {
		if !asJSON && err == nil {
			_, err = fmt.Fprintf(io.Out, "%s:%d: %s\n    %s\n    do: %s\n", d.File, d.Line, d.What, d.Why, d.Do)
		}
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: %d defects", command.ErrFindings, len(found))
	}
	return err
}

// defects of all files: the first one is judged, the others have to be its copies.
func defects(files []string, fenceVirt string, keys bool) ([]defect, error) {
	texts := make([]string, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		texts[i] = string(text)
	}
	all := []defect{}
	add := func(file string, found []frontend.Finding) {
		for _, f := range found {
			all = append(all, defect{file, f})
		}
	}
	add(files[0], frontend.Check(texts[0]))
	for i, text := range texts[1:] {
		add(files[i+1], frontend.Compare(texts[0], text))
	}
	if fenceVirt != "" {
		text, err := os.ReadFile(fenceVirt)
		if err != nil {
			return nil, err
		}
		add(fenceVirt, frontend.CheckFenceVirt(string(text), texts[0]))
	}
	if keys {
		for _, key := range frontend.Keys(texts[0]) {
			add(key, checkKey(key))
		}
	}
	return all, nil
}

// leastKey is what a key of fence_xvm should have, bytes: as many as its guide makes.
const leastKey = 32

func checkKey(file string) []frontend.Finding {
	info, err := os.Stat(file)
	finding := func(what, why, do string) []frontend.Finding {
		return []frontend.Finding{{Line: 1, What: what, Why: why, Do: do}}
	}
	switch {
	case err != nil:
		return finding(strings.TrimPrefix(err.Error(), "stat "), "this node can neither fence nor be fenced", "make it with show --form fence_xvm.key, or copy it from the physical server, mode 400")
	case info.Mode().Perm()&0o077 != 0:
		return finding(fmt.Sprintf("mode %04o", info.Mode().Perm()), "who reads it may switch the nodes off", "chmod 400 "+file)
	case info.Size() < leastKey:
		return finding(fmt.Sprintf("%d bytes", info.Size()), "such a key can be guessed", "make one of 4096 random bytes, and copy it to all")
	}
	return nil
}
