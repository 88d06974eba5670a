package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"one-clvm/internal/run"
)

// Release is what packages are made of.
type Release struct {
	Version    string // of the packages
	Time       time.Time
	Repository string
	// Programs is the directory of the programs to be packed; Host has the same for this
	// machine, to ask them for their manuals.
	Programs, Host string
}

// people call these; the other programs are started by them.
var people = []string{"tm-clvm", "vmm-rhcs", "one-migrate-hook"}

// stage makes in a directory what packages have and the repository does not.
func (r Release) stage(ctx context.Context, into string, formats ...string) (tree, error) {
	steps := []func() error{
		func() error { return r.programs(into) },
		func() error { return r.spoken(ctx, into) },
		func() error { return r.agentConf(into) },
		func() error { return r.manual(into) },
		func() error { return r.bill(filepath.Join(into, "sbom.cdx.json")) },
		func() error { return write(into, "copyright", fmt.Appendf(nil, copyright, r.Time.Year())) },
		func() error { return writeCompressed(into, "changelog.gz", []byte(r.changelog())) },
	}
	if slices.Contains(formats, "rpm") {
		steps = append(steps, func() error { return r.policy(ctx, into) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return tree{}, fmt.Errorf("make the contents of packages: %w", err)
		}
	}
	return tree{repository: r.Repository, made: into}, nil
}

func (r Release) programs(into string) error {
	sources, err := filepath.Glob(filepath.Join(r.Programs, "*"))
	if err != nil {
		return err
	}
	for _, name := range people {
		if !slices.Contains(sources, filepath.Join(r.Programs, name)) {
			return fmt.Errorf("%s is not in %s: run make build", name, r.Programs)
		}
	}
	for _, source := range sources {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := write(into, "programs/"+filepath.Base(source), content); err != nil {
			return err
		}
	}
	return nil
}

// agentConf is the example, but for the volume groups that the agent may touch: those of the
// example nobody has chosen, and without any it refuses everything.
func (r Release) agentConf(into string) error {
	text, err := os.ReadFile(filepath.Join(r.Repository, "cxmrc/agent.conf.example"))
	if err != nil {
		return err
	}
	return write(into, "agent.conf", chosen.ReplaceAll(text, []byte("#$0")))
}

// chosen is a setting that is not a comment.
var chosen = regexp.MustCompile(`(?m)^[A-Z_]+=`)

// spoken is what the programs say about themselves: manuals, and completion for shells.
func (r Release) spoken(ctx context.Context, into string) error {
	for _, name := range people {
		ask := func(words ...string) ([]byte, error) {
			result, err := run.Exec{}.Run(ctx, run.Cmd{Path: filepath.Join(r.Host, name), Args: words})
			return result.Stdout, err
		}
		manual, err := ask("man")
		if err == nil {
			err = writeCompressed(into, "man/"+name+".1.gz", manual)
		}
		if err != nil {
			return err
		}
		for shell, file := range map[string]string{"bash": name, "zsh": "_" + name, "fish": name + ".fish"} {
			text, err := ask("completion", shell)
			if err == nil {
				err = write(into, "completion/"+shell+"/"+file, text)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// link in a page to another file, with its text.
var link = regexp.MustCompile(`(\[[^\]]*\])\(([^):#]+)(#[^)]*)?\)`)

// manual is that of the repository, without the links to what no package brings.
func (r Release) manual(into string) error {
	pages, err := filepath.Glob(filepath.Join(r.Repository, "docs/*.md"))
	for _, page := range append(pages, filepath.Join(r.Repository, "README.md")) {
		var text []byte
		if err == nil {
			text, err = os.ReadFile(page)
		}
		if err != nil {
			return err
		}
		text = link.ReplaceAllFunc(text, func(found []byte) []byte {
			parts := link.FindSubmatch(found)
			target, below := strings.CutPrefix(filepath.Join(filepath.Dir(page), string(parts[2])), r.Repository+"/")
			if below && (target == "README.md" || filepath.Dir(target) == "docs") {
				return found
			}
			return bytes.Trim(parts[1], "[]")
		})
		if err := write(into, "manual/"+strings.TrimPrefix(page, r.Repository+"/"), text); err != nil {
			return err
		}
	}
	return nil
}

// policy compiles the SELinux module. Version 17 is what RHEL 8 and all newer ones read.
func (r Release) policy(ctx context.Context, into string) error {
	source := filepath.Join(r.Repository, "packaging/selinux/one_clvm")
	module := filepath.Join(into, "one_clvm.mod")
	for _, c := range []run.Cmd{
		{Path: "checkmodule", Args: []string{"-M", "-m", "-c", "17", "-o", module, source + ".te"}},
		{Path: "semodule_package", Args: []string{"-o", filepath.Join(into, "one_clvm.pp"), "-m", module, "-f", source + ".fc"}},
	} {
		if _, err := (run.Exec{}).Run(ctx, c); err != nil {
			return fmt.Errorf("SELinux policy: %w (checkpolicy and semodule-utils, on Debian; make deps)", err)
		}
	}
	return os.Remove(module)
}

const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: one-clvm

Files: *
Copyright: %d the contributors to one-clvm
License: Apache-2.0
 On Debian systems, the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`

// changelog is that of a Debian package; ours is a document beside it.
func (r Release) changelog() string {
	return fmt.Sprintf("one-clvm (%s) stable; urgency=medium\n\n  * What changed: CHANGELOG.md in the sources.\n\n -- %s  %s\n",
		r.Version, maintainer, r.Time.Format(time.RFC1123Z))
}

func write(directory, name string, content []byte) error {
	path := filepath.Join(directory, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// writeCompressed writes the same bytes for the same content, as gzip -9n.
func writeCompressed(directory, name string, content []byte) error {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return write(directory, name, out.Bytes())
}

// packageVersion is a version that dpkg and rpm order as the commits: of a release's tag
// (v1.2.0), of a commit after one (v1.2.0-5-gabcdef0), or of one before any (abcdef0), with
// the time of the commit.
func packageVersion(described string, commit time.Time) string {
	tag, tagged := strings.CutPrefix(described, "v")
	if !tagged {
		return fmt.Sprintf("0~%s.g%s", commit.UTC().Format("20060102.150405"), described)
	}
	version, rest, after := strings.Cut(tag, "-")
	if !after {
		return version
	}
	return version + "+" + strings.ReplaceAll(rest, "-", ".")
}
