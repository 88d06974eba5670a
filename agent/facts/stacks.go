package facts

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"one-clvm/internal/run"
)

// sanlock asks the lease manager for its lock spaces.
func (w *collecting) sanlock(ctx context.Context) error {
	if !w.Installed("sanlock") {
		return nil
	}
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "sanlock", Args: []string{"client", "status"}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status > 0 {
		return nil // it does not run: the checks know whether it must
	}
	if err != nil {
		return err
	}
	s := &Sanlock{Lockspaces: []string{}, Watchdog: w.read("sys/class/watchdog/watchdog0/identity")}
	for line := range strings.Lines(string(result.Stdout)) {
		if rest, ok := strings.CutPrefix(line, "s "); ok {
			name, _, _ := strings.Cut(rest, ":")
			s.Lockspaces = append(s.Lockspaces, strings.TrimSpace(name))
		}
	}
	w.set(func(f *Facts) { f.Sanlock = s })
	return nil
}

func (w *collecting) pacemaker(ctx context.Context) error {
	if !w.Installed("crm_mon") {
		return nil
	}
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "crm_mon", Args: []string{"-1", "-r", "--output-as=xml"}})
	var failed *run.Error
	const statusDisconnected = 102
	if errors.As(err, &failed) && failed.Status == statusDisconnected {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := parsePacemaker(result.Stdout)
	if err != nil {
		return err
	}
	w.set(func(f *Facts) { f.Pacemaker = p })
	if len(p.Fencing) == 0 || !w.Installed("stonith_admin") {
		return nil
	}
	result, err = w.Runner.Run(ctx, run.Cmd{Path: "stonith_admin", Args: []string{"--list-registered", "--output-as=xml"}})
	if err != nil {
		return err
	}
	registered, err := parseRegistered(result.Stdout)
	w.set(func(f *Facts) { f.Pacemaker.Registered = registered })
	return err
}

// parseRegistered reads stonith_admin --list-registered --output-as=xml: a list of items.
func parseRegistered(output []byte) ([]string, error) {
	var document struct {
		Devices []string `xml:"list>item"`
	}
	if err := xml.Unmarshal(output, &document); err != nil {
		return nil, fmt.Errorf("stonith_admin: %w", err)
	}
	return append([]string{}, document.Devices...), nil
}

// parsePacemaker reads crm_mon --output-as=xml. Resources of class stonith may be anywhere.
func parsePacemaker(output []byte) (*Pacemaker, error) {
	p := &Pacemaker{Nodes: map[string]bool{}, Fencing: []string{}, Failed: []string{}}
	decoder := xml.NewDecoder(bytes.NewReader(output))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, fmt.Errorf("crm_mon: %w", err)
		}
		if element, ok := token.(xml.StartElement); ok {
			p.read(element)
		}
	}
}

func (p *Pacemaker) read(element xml.StartElement) {
	a := map[string]string{}
	for _, attribute := range element.Attr {
		a[attribute.Name.Local] = attribute.Value
	}
	switch element.Name.Local {
	case "current_dc":
		p.Quorate = a["with_quorum"] == "true"
	case "cluster_options":
		p.Stonith = a["stonith-enabled"] == "true" || a["fencing-enabled"] == "true"
		p.NoQuorumPolicy = a["no-quorum-policy"]
	case "node":
		if online, told := a["online"]; told { // of <nodes>; a resource's has none
			p.Nodes[a["name"]] = online == "true"
		}
	case "resource":
		if strings.HasPrefix(a["resource_agent"], "stonith:") {
			p.Fencing = append(p.Fencing, a["id"])
			if a["role"] != "Started" || a["failed"] == "true" {
				p.Failed = append(p.Failed, a["id"])
			}
		}
	}
}

func (w *collecting) rgmanager(ctx context.Context) error {
	if !w.Installed("clustat") {
		return nil
	}
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "clustat", Args: []string{"-x"}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status == 1 {
		return nil // cman does not run
	}
	r, err := parseRGManager(result.Stdout)
	w.set(func(f *Facts) { f.RGManager = r })
	return err
}

// parseRGManager reads clustat -x. Error lines may stand before the XML.
func parseRGManager(output []byte) (*RGManager, error) {
	at := bytes.Index(output, []byte("<?xml"))
	if at < 0 {
		return nil, errors.New("clustat -x printed no XML")
	}
	var document struct {
		Quorum struct {
			Quorate string `xml:"quorate,attr"`
		} `xml:"quorum"`
		Nodes []struct {
			Name      string `xml:"name,attr"`
			RGManager string `xml:"rgmanager,attr"`
		} `xml:"nodes>node"`
	}
	if err := xml.Unmarshal(output[at:], &document); err != nil {
		return nil, fmt.Errorf("clustat -x: %w", err)
	}
	r := &RGManager{Quorate: document.Quorum.Quorate == "1", Nodes: map[string]bool{}}
	for _, n := range document.Nodes {
		r.Nodes[n.Name] = n.RGManager == "1"
	}
	return r, nil
}
