package vmm

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
)

// released is one call of one_vmm_exec as releases from since on, before until, make it.
// {message} is the document in an argument, HOME the VM's.
type released struct {
	since, until string
	call         string
	stdin        string // the recorded document; "" is what a script must not read
}

// lifeOfReleases is that of VM 0 (OpenNebula's src/vmm_mad of each release). Up to 4.14 standard input
// is the stream of the commands that follow, but for deploy.
var lifeOfReleases = []released{
	{"", "", "deploy HOME/deployment.0 node1 0 node1", "run1-0030-vmm-rhcs-deploy"},
	{"", "5.0", "poll one-0 node1 0 node1", ""},
	{"5.0", "5.12", "poll one-0 node1 0 node1", "run1-0036-vmm-rhcs-migrate"},
	{"", "5.0", "reboot one-0 node1 0 node1", ""},
	{"5.0", "", "reboot one-0 node1 0 node1", "run1-0132-vmm-rhcs-reboot"},
	{"", "5.0", "reset one-0 node1 0 node1", ""},
	{"5.0", "", "reset one-0 node1 0 node1", "run1-0136-vmm-rhcs-reset"},
	{"", "5.0", "migrate one-0 node2 node1 0 node1", ""},
	{"5.0", "", "migrate one-0 node2 node1 0 node1", "run1-0036-vmm-rhcs-migrate"},
	{"3.8", "5.0", "attach_disk one-0 HOME/disk.5 sde 4 0 node2", ""},
	{"5.0", "", "attach_disk one-0 HOME/disk.5 sde 4 {message} 0 node2", "run1-0061-vmm-rhcs-attach_disk"},
	{"5.4", "", "resize_disk one-0 0 3072 {message} node2 0 node2", "run1-0056-vmm-rhcs-resize_disk"},
	{"3.8", "5.0", "detach_disk one-0 HOME/disk.5 sde 4 0 node2", ""},
	{"5.0", "", "detach_disk one-0 HOME/disk.5 sde 4 0 node2", "run1-0065-vmm-rhcs-detach_disk"},
	{"4.0", "5.0", "attach_nic one-0 02:00:c0:a8:00:09 br0 virtio 0 node2", ""},
	{"5.0", "", "attach_nic one-0 02:00:c0:a8:00:09 br0 - dummy one-0-9 0 node2", "run1-0036-vmm-rhcs-migrate"},
	{"4.0", "5.0", "detach_nic one-0 02:00:c0:a8:00:09 0 node2", ""},
	{"5.0", "", "detach_nic one-0 02:00:c0:a8:00:09 0 node2", "run1-0036-vmm-rhcs-migrate"},
	{"", "5.0", "save one-0 HOME/checkpoint node2 0 node2", ""},
	{"5.0", "", "save one-0 HOME/checkpoint node2 0 node2", "run1-0074-vmm-rhcs-save"},
	{"", "4.4", "restore HOME/checkpoint node2 0 node2", ""},
	{"4.4", "5.0", "restore HOME/checkpoint node2 one-0 0 node2", ""},
	{"5.0", "", "restore HOME/checkpoint node2 one-0 0 node2", "run1-0079-vmm-rhcs-restore"},
	{"", "5.0", "shutdown one-0 node2 0 node2", ""},
	{"5.0", "", "shutdown one-0 node2 0 node2", "run1-0103-vmm-rhcs-shutdown"},
	{"", "5.0", "cancel one-0 node2 0 node2", ""},
	{"5.0", "", "cancel one-0 node2 0 node2", "run1-0170-vmm-rhcs-cancel"},
}

// stream is standard input that nobody may read.
type stream struct{ read bool }

func (s *stream) Read([]byte) (int, error) {
	s.read = true
	return 0, errors.New("the commands that follow")
}

// TestEveryReleaseOfOneVMMExec lives that life as each release calls it, on two nodes without
// a cluster.
func TestEveryReleaseOfOneVMMExec(t *testing.T) {
	for _, text := range []string{"3.6.3", "3.8.5", "4.4.1", "4.14.2", "5.4.13", "5.12.12", "6.0.2", "6.4.7", "6.10.5", "7.0.1", "7.4.0"} {
		t.Run(text, func(t *testing.T) {
			r := newReplay(t)
			r.nodes["node1"].stats = "Domain: 'one-0'\n  state.state=1\n  state.reason=1\n\n"
			release, err := opennebula.ParseVersion(text)
			require.NoError(t, err)
			for _, line := range lifeOfReleases {
				if reached(t, release, line.since, true) && !reached(t, release, line.until, false) {
					r.released(release, line)
				}
			}
			assert.Equal(t, []string{"", ""}, []string{r.nodes["node1"].state, r.nodes["node2"].state})
		})
	}
}

func reached(t *testing.T, release opennebula.Version, text string, without bool) bool {
	if text == "" {
		return without
	}
	v, err := opennebula.ParseVersion(text)
	require.NoError(t, err)
	return release.AtLeast(v.Major, v.Minor, v.Patch)
}

// released makes one call, and looks at what comes of it.
func (r *replay) released(release opennebula.Version, line released) {
	var document string
	var stdin io.Reader = &stream{}
	if line.stdin != "" {
		document = fakeoned.Aged(r.recording("calls/"+line.stdin+".stdin.xml"), release)
		stdin = strings.NewReader(document)
	}
	words := strings.Fields(strings.NewReplacer(
		"HOME", filepath.Join(r.base, "101", "0"), "{message}", base64.StdEncoding.EncodeToString([]byte(document)),
	).Replace(line.call))
	verb, argv := words[0], words[1:]
	known := opennebula.Version{}
	if release.AtLeast(4, 4, 0) { // older ones have no file that names them
		known = release
	}
	var out, log bytes.Buffer
	d := &Driver{
		Config: cxmrc.Defaults(cxmrc.Driver), Release: known, Agent: []string{"agent"}, Runner: link{r.nodes[argv[len(argv)-1]]},
		Report: opennebula.NewReporter(&log, known), Stdin: stdin, Stdout: &out,
	}
	require.NoError(r, d.Do(r.Context(), verb, argv), line.call)
	if s, ok := stdin.(*stream); ok {
		assert.False(r, s.read, line.call)
	}
	switch verb {
	case "poll":
		assert.Contains(r, out.String(), "STATE=a ", line.call)
	case "deploy":
		assert.Equal(r, "one-0\n", out.String())
	default:
		assert.Empty(r, out.String(), line.call)
	}
	r.look(verb, argv, out.String())
}
