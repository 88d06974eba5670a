package pacemaker

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/beevik/etree"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Survey implements cluster.Surveyor: the configuration says which services are VMs of
// OpenNebula, one report where they are. The configuration is read first: what is not in
// the report was removed in between.
func (p *Stack) Survey(ctx context.Context) (cluster.Survey, error) {
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "cibadmin", Args: []string{"-Q", "-o", "resources"}})
	if err != nil {
		return cluster.Survey{}, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	definitions, err := parseDefinitions(bytes.NewReader(res.Stdout))
	if err != nil {
		return cluster.Survey{}, err
	}
	report, err := p.report(ctx)
	if err != nil {
		return cluster.Survey{}, err
	}
	survey, err := parseSurvey(bytes.NewReader(report), definitions)
	if err != nil {
		return cluster.Survey{}, err
	}
	survey.Self, err = p.self(ctx)
	return survey, err
}

// parseDefinitions finds the VMs' services in the configuration's section of resources, and
// the definition of each.
func parseDefinitions(r io.Reader) (map[string]string, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if _, err := doc.ReadFrom(io.LimitReader(r, maxReport)); err != nil {
		return nil, fmt.Errorf("%w: resources of the configuration: %w", cluster.ErrDown, err)
	}
	if root := doc.Root(); root == nil || root.Tag != "resources" {
		return nil, fmt.Errorf("%w: cibadmin gave no resources", cluster.ErrDown)
	}
	definitions := map[string]string{}
	for _, e := range doc.FindElements("//primitive") {
		if e.SelectAttrValue("class", "") != "ocf" || e.SelectAttrValue("provider", "") != provider || e.SelectAttrValue("type", "") != agentType {
			continue
		}
		for _, pair := range e.FindElements("./instance_attributes/nvpair") {
			if pair.SelectAttrValue("name", "") == "definition" {
				definitions[e.SelectAttrValue("id", "")] = pair.SelectAttrValue("value", "")
			}
		}
	}
	return definitions, nil
}

func parseSurvey(r io.Reader, definitions map[string]string) (cluster.Survey, error) {
	root, err := parseReport(r)
	if err != nil {
		return cluster.Survey{}, err
	}
	var whole cluster.State
	readSummary(&whole, root.SelectElement("summary"))
	survey := cluster.Survey{Quorate: whole.Quorate, Nodes: readNodes(root, whole.Fencing), Maintenance: whole.Maintenance}
	for _, e := range root.FindElements("./resources//resource") {
		name := e.SelectAttrValue("id", "")
		definition, ours := definitions[name]
		if !ours {
			continue
		}
		one := whole
		readService(&one.Service, e)
		readFailures(&one, root.SelectElement("failures"), name)
		if one.Service.Pending == "" && recovering(one) {
			one.Service.Pending = "recovering"
		}
		survey.VMs = append(survey.VMs, cluster.Surveyed{Name: name, Definition: definition, Condition: one.Service})
	}
	return survey, nil
}
