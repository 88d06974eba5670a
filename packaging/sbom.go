package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"
)

// component of an SBOM, in CycloneDX 1.5.
type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

type bill struct {
	Format   string `json:"bomFormat"`
	Spec     string `json:"specVersion"`
	Version  int    `json:"version"`
	Metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	} `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

// bill writes which modules are in which program, as the linker has put it down there.
func (r Release) bill(path string) error {
	programs, err := filepath.Glob(filepath.Join(r.Programs, "*"))
	if err != nil {
		return err
	}
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1}
	b.Metadata.Timestamp = r.Time.UTC().Format(time.RFC3339)
	b.Metadata.Component = component{Type: "application", Ref: "one-clvm", Name: "one-clvm", Version: r.Version}
	modules := map[string]component{}
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return fmt.Errorf("SBOM: %w", err)
		}
		name := filepath.Base(program)
		b.Components = append(b.Components, component{Type: "application", Ref: name, Name: name, Version: r.Version})
		d := dependency{Ref: name}
		for _, m := range linked(info) {
			modules[m.Ref] = m
			d.DependsOn = append(d.DependsOn, m.Ref)
		}
		b.Dependencies = append(b.Dependencies, d)
	}
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		b.Components = append(b.Components, modules[ref])
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("SBOM: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// linked are the modules of a program, and Go's own library.
func linked(info *debug.BuildInfo) []component {
	all := []component{module("stdlib", info.GoVersion, "")}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, module(m.Path, m.Version, m.Sum))
	}
	return all
}

func module(path, version, sum string) component {
	purl := "pkg:golang/" + path + "@" + version
	c := component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
	if sum != "" {
		c.Properties = []property{{"go.sum", sum}}
	}
	return c
}
