//go:build lab

package lab

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// typed is a command of a page, and what the page shows of its output.
type typed struct {
	hosts   []string
	root    bool // typed by root, else by oneadmin
	command string
	shown   []string
	// elsewhere says why it is not typed in the lab; "" it is.
	elsewhere string
}

var (
	console     = regexp.MustCompile("(?ms)^(?:<!-- not in the lab: ([^\n]*) -->\n)?```console\n(.*?)^```$")
	commandLine = regexp.MustCompile(`^([a-z0-9,]+)([#$]) (.+)$`)
)

// readPage gives the commands of a page in their order. A block of them that the lab has no use
// for is marked by a comment before it.
func readPage(t *testing.T, path string) []typed {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var all []typed
	for _, block := range console.FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[2]) {
			line = strings.TrimSuffix(line, "\n")
			if m := commandLine.FindStringSubmatch(line); m != nil {
				all = append(all, typed{hosts: strings.Split(m[1], ","), root: m[2] == "#", command: m[3], elsewhere: block[1]})
				continue
			}
			require.NotEmpty(t, all, "%s begins with an output", path)
			last := &all[len(all)-1]
			last.shown = append(last.shown, line)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// Of an output pages leave out what differs from machine to machine.
const leftOut = "…"

// pattern of the output that is shown: leftOut is any text of a line, alone any lines.
func (c typed) pattern() string {
	var p strings.Builder
	p.WriteString(`\A`)
	for _, line := range c.shown {
		if strings.TrimSpace(line) == leftOut {
			p.WriteString(`(?:.*\n)*?`)
			continue
		}
		words := strings.Split(strings.TrimRight(line, " "), leftOut)
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		p.WriteString(strings.Join(words, `.*`) + ` *\n`)
	}
	return p.String() + `\z`
}

// holds: what came is what the page shows.
func (c typed) holds(t *testing.T, came string) {
	t.Helper()
	if len(c.shown) == 0 {
		return
	}
	came = strings.TrimRight(strings.ReplaceAll(came, "\r", ""), "\n") + "\n"
	assert.Regexp(t, c.pattern(), came, "%s", c.command)
	shown := finding.FindAllString(strings.Join(c.shown, "\n"), -1)
	assert.Len(t, finding.FindAllString(came, -1), len(shown), "%s finds what is not shown: %s", c.command, came)
}

// finding is a line of a command that looks for what is wrong.
var finding = regexp.MustCompile(`(?m)^(?:warn|fail)  `)

// asks is what a command is seen to want from whoever types it, with the answer; "" nothing.
func (c typed) asks() (question, answer string) {
	for _, line := range c.shown {
		if _, is := strings.CutPrefix(line, "Type yes to go on: "); is {
			return "Type yes to go on: ", "yes\n"
		}
		if strings.HasPrefix(line, "Press Enter when it is done.") {
			return "Press Enter when it is done.", "\n"
		}
	}
	return "", ""
}

// finds says whether the command is seen to find something that is not as it must be, which its
// status says, too.
func (c typed) finds() bool { return finding.MatchString(strings.Join(c.shown, "\n")) }

// What a page shows is found in what came, and in nothing else.
func TestShownOutput(t *testing.T) {
	shown := typed{shown: []string{"ID: 0", "…", "HOST : … (…)", "done "}}
	for came, right := range map[string]bool{
		"ID: 0\nHOST : node1 (up)\ndone\n":               true,
		"ID: 0\nmore\nand more\nHOST : node1 ()\ndone\n": true,
		"ID: 1\nHOST : node1 (up)\ndone\n":               false,
		"ID: 0\nHOST : node1\ndone\n":                    false,
		"ID: 0\nHOST : node1 (up)\ndone\nmore\n":         false,
		"first\nID: 0\nHOST : node1 (up)\ndone\n":        false,
		"": false,
	} {
		assert.Equal(t, right, regexp.MustCompile(shown.pattern()).MatchString(came), came)
	}
	assert.Len(t, finding.FindAllString("ok    a\nwarn  b\n      fix\nfail  c\n", -1), 2)
}
