package frontend

import (
	"fmt"
	"html"
	"regexp"
	"strings"
)

// element is a tag of a cluster.conf with its line. A file that is being checked may be
// broken in several places, and every one is to be told with its line: no XML reader goes on
// behind the first.
type element struct {
	tag      string
	line     int
	attrs    map[string]string
	children []*element
}

// attr is the value of an attribute, or what counts without it.
func (e *element) attr(name, otherwise string) string {
	if value, ok := e.attrs[name]; ok {
		return value
	}
	return otherwise
}

// all are the elements below e by a path of tags.
func (e *element) all(tags ...string) []*element {
	found := []*element{e}
	for _, tag := range tags {
		var next []*element
		for _, parent := range found {
			for _, child := range parent.children {
				if child.tag == tag {
					next = append(next, child)
				}
			}
		}
		found = next
	}
	return found
}

// first of all; nil without one.
func (e *element) first(tags ...string) *element {
	if found := e.all(tags...); len(found) > 0 {
		return found[0]
	}
	return nil
}

var (
	tagPattern  = regexp.MustCompile(`(?s)^<(/?)([A-Za-z_][A-Za-z0-9_.-]*)((?:[^"'<>]|"[^"<]*"|'[^'<]*')*?)(/?)>`)
	attrPattern = regexp.MustCompile(`^\s+([A-Za-z_][A-Za-z0-9_.:-]*)\s*=\s*("[^"]*"|'[^']*')`)
)

// maxConf bounds a cluster.conf, bytes.
const maxConf = 4 << 20

// reader builds the tree, and keeps what is broken.
type reader struct {
	text  string
	at    int
	open  []*element // open[0] holds the root
	found []Finding
}

// readTags reads a cluster.conf as far as one can be made out. The root is nil where there is
// none.
func readTags(text string) (*element, []Finding) {
	if len(text) > maxConf {
		return nil, []Finding{{Line: 1, What: fmt.Sprintf("%d bytes are no cluster.conf", len(text)), Do: "give another file"}}
	}
	r := &reader{text: text, open: []*element{{}}}
	for r.at < len(r.text) {
		r.step()
	}
	for _, e := range r.open[1:] {
		r.report(e.line, fmt.Sprintf("<%s> is not closed", e.tag), fmt.Sprintf("end it with </%s>", e.tag))
	}
	for _, root := range r.open[0].children {
		if root.tag == "cluster" {
			return root, r.found
		}
	}
	r.report(1, "there is no <cluster>", "it is the root of every cluster.conf")
	return nil, r.found
}

func (r *reader) line() int { return 1 + strings.Count(r.text[:r.at], "\n") }

func (r *reader) report(line int, what, do string) {
	r.found = append(r.found, Finding{Line: line, What: what, Why: "no tool of the cluster reads the file", Do: do})
}

// step reads one text, comment, declaration or tag.
func (r *reader) step() {
	rest := r.text[r.at:]
	for begin, end := range map[string]string{"<!--": "-->", "<?": "?>"} {
		if strings.HasPrefix(rest, begin) {
			i := strings.Index(rest, end)
			if i < 0 {
				r.report(r.line(), begin+" is not closed", "end it with "+end)
				i = len(rest) - len(end)
			}
			r.at += i + len(end)
			return
		}
	}
	if rest[0] != '<' {
		end := strings.IndexByte(rest, '<')
		if end < 0 {
			end = len(rest)
		}
		r.stray(rest[:end])
		r.at += end
		return
	}
	m := tagPattern.FindStringSubmatch(rest)
	if m == nil {
		r.report(r.line(), "a tag that is none: "+firstLine(rest), "write <name attribute=\"value\"/>")
		r.at++
		return
	}
	r.tag(m[1] != "", m[2], m[3], m[4] != "")
	r.at += len(m[0])
}

// stray text does not belong anywhere in a cluster.conf.
func (r *reader) stray(text string) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return
	}
	before, _, _ := strings.Cut(text, trimmed)
	line := r.line() + strings.Count(before, "\n")
	r.report(line, "text between tags: "+firstLine(trimmed), "attributes stand before the >; close the tag above behind them")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > 60 {
		line = line[:60] + "…"
	}
	return line
}

func (r *reader) tag(closing bool, name, attributes string, empty bool) {
	switch {
	case closing && empty: // </resources/>: both
		r.report(r.line(), fmt.Sprintf("</%s/> is neither an end nor an empty element", name), fmt.Sprintf("write <%s/>, or </%[1]s>", name))
		r.close(name, true)
	case closing:
		r.close(name, false)
	default:
		e := &element{tag: name, line: r.line(), attrs: r.attributes(name, attributes)}
		parent := r.open[len(r.open)-1]
		parent.children = append(parent.children, e)
		if !empty {
			r.open = append(r.open, e)
		}
	}
}

// close ends the innermost element of that name, and those in it, which were left open. One
// that ends nothing is told of, unless it was already.
func (r *reader) close(name string, told bool) {
	for i := len(r.open) - 1; i > 0; i-- {
		if r.open[i].tag != name {
			continue
		}
		for _, left := range r.open[i+1:] {
			r.report(left.line, fmt.Sprintf("<%s> is not closed before </%s> in line %d", left.tag, name, r.line()), fmt.Sprintf("end it with </%s>, or with />", left.tag))
		}
		r.open = r.open[:i]
		return
	}
	if !told {
		r.report(r.line(), fmt.Sprintf("</%s> ends nothing", name), "remove it, or open it before")
	}
}

func (r *reader) attributes(tag, text string) map[string]string {
	all := map[string]string{}
	line := r.line()
	for strings.TrimSpace(text) != "" {
		m := attrPattern.FindStringSubmatch(text)
		if m == nil {
			r.report(line, fmt.Sprintf("<%s> has an attribute that is none: %s", tag, firstLine(strings.TrimSpace(text))), "write name=\"value\"")
			break
		}
		if _, twice := all[m[1]]; twice {
			r.report(line, fmt.Sprintf("<%s> has %s twice", tag, m[1]), "remove one")
		}
		all[m[1]] = html.UnescapeString(strings.Trim(m[2], `"'`))
		text = text[len(m[0]):]
	}
	return all
}
