package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"one-clvm/internal/run"
)

const maintainer = "The contributors to one-clvm <one-clvm@localhost.localdomain>"

// description of a package: what it is in a line, and in more.
type description struct {
	line, more string
	depends    map[string][]string // by format, besides the packages of the suite
	suggests   map[string][]string
}

var descriptions = map[Package]description{
	Common: {
		line: "OpenNebula on a SAN: programs",
		more: "The programs of one-clvm, which front-ends and nodes share, their manuals and\nthe configuration of the hook.",
		depends: map[string][]string{
			"deb": {"openssh-client"},
			"rpm": {"openssh-clients"},
		},
	},
	FrontEnd: {
		line: "OpenNebula on a SAN: drivers of a front-end",
		more: "The transfer manager and datastore driver clvm, the driver rhcs of VMs that are\nservices of a cluster, and their monitoring probes.",
		suggests: map[string][]string{
			"deb": {"opennebula"},
			"rpm": {"opennebula"},
		},
	},
	Node: {
		line: "OpenNebula on a SAN: what a node needs",
		more: "The rules by which oneadmin may start the agent and use libvirt, those of udev,\nthe resource agent ocf:one-clvm:VirtualDomain, and the hook's units.",
		depends: map[string][]string{
			"deb": {"lvm2", "openssh-server", "sudo"},
			"rpm": {"lvm2", "openssh-server", "sudo"},
		},
	},
}

// The configuration of nfpm. JSON is YAML, too.
type (
	configuration struct {
		Name          string            `json:"name"`
		Arch          string            `json:"arch"`
		Platform      string            `json:"platform"`
		Version       string            `json:"version"`
		VersionSchema string            `json:"version_schema"`
		Section       string            `json:"section"`
		Priority      string            `json:"priority"`
		Maintainer    string            `json:"maintainer"`
		Description   string            `json:"description"`
		License       string            `json:"license,omitempty"`
		MTime         string            `json:"mtime"`
		Depends       []string          `json:"depends,omitempty"`
		Suggests      []string          `json:"suggests,omitempty"`
		Contents      []content         `json:"contents"`
		Scripts       map[string]string `json:"scripts,omitempty"`
		RPM           map[string]string `json:"rpm"`
		Deb           map[string]any    `json:"deb"`
	}
	content struct {
		Source string `json:"src,omitempty"`
		Target string `json:"dst"`
		Type   Kind   `json:"type,omitempty"`
		Info   info   `json:"file_info"`
	}
	info struct {
		Mode  uint32 `json:"mode,omitempty"`
		Owner string `json:"owner"`
		Group string `json:"group"`
	}
)

// scripts are those that a package manager calls, by nfpm's names of the moments.
var scripts = []string{"postinstall", "preremove", "postremove"}

// configure renders a package for nfpm.
func (r Release) configure(p Package, format, arch string, files []Entry) (configuration, error) {
	d := descriptions[p]
	if p != Common {
		arch = "all" // scripts, rules and units are those of all machines
	}
	c := configuration{
		Name: string(p), Arch: arch, Platform: "linux", Version: r.Version, VersionSchema: "none", Section: "admin", Priority: "optional",
		Maintainer: maintainer, Description: d.line + "\n" + d.more, License: license[format],
		MTime:   r.Time.UTC().Format(time.RFC3339),
		Depends: d.depends[format], Suggests: d.suggests[format], Scripts: map[string]string{},
		RPM: map[string]string{"buildhost": "localhost", "group": "System/Base", "summary": d.line, "compression": "gzip"},
		Deb: map[string]any{"compression": "gzip"},
	}
	if p != Common {
		own := map[string]string{"deb": "one-clvm-common (= %s)", "rpm": "one-clvm-common = %s"}[format]
		c.Depends = append([]string{fmt.Sprintf(own, r.Version)}, c.Depends...)
	}
	for _, f := range files {
		c.Contents = append(c.Contents, content{f.Source, f.Target, kind(f, format), info{uint32(f.Mode), "root", "root"}})
	}
	for _, moment := range scripts {
		path := filepath.Join(r.Repository, "packaging/scripts", string(p)+"."+moment)
		_, err := os.Stat(path)
		switch {
		case err == nil:
			c.Scripts[moment] = path
		case !os.IsNotExist(err):
			return c, err
		}
	}
	return c, nil
}

// license is a field of rpm only; Debian has it in the file copyright.
var license = map[string]string{"rpm": "Apache-2.0"}

// kind of a file: rpm knows which ones are documents, too.
func kind(f Entry, format string) Kind {
	switch {
	case f.Kind != Plain || format != "rpm":
		return f.Kind
	case strings.HasPrefix(f.Target, "/usr/share/licenses/"):
		return "license"
	case strings.HasPrefix(f.Target, "/usr/share/doc/"), strings.HasPrefix(f.Target, "/usr/share/man/"):
		return "doc"
	}
	return Plain
}

// pack makes a package in a directory.
func (r Release) pack(ctx context.Context, nfpm string, p Package, format, arch string, t tree, into string) error {
	files, err := t.expand(format, p)
	if err != nil {
		return err
	}
	c, err := r.configure(p, format, arch, files)
	if err != nil {
		return fmt.Errorf("package %s: %w", p, err)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("package %s: %w", p, err)
	}
	file := filepath.Join(t.made, string(p)+".nfpm")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("package %s: %w", p, err)
	}
	_, err = run.Exec{}.Run(ctx, run.Cmd{Path: nfpm, Args: []string{"package", "--config", file, "--packager", format, "--target", into}})
	return err
}
