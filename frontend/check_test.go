package frontend

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the findings")

const described = `NODES="one-server1 one-server2"
ADDRESS=10.10.11.12
DATABASE=one-db
FENCE_PORTS="one1 one2"
`

func site(t testing.TB) *Site {
	t.Helper()
	s, err := ReadSite(strings.NewReader(described), "site.conf")
	require.NoError(t, err)
	return s
}

func rendered(t testing.TB, form string) string {
	t.Helper()
	text, err := site(t).Render(form)
	require.NoError(t, err)
	return text
}

// The files that the guides print, with their defects.
func TestGuides(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	require.NoError(t, err)
	require.Len(t, files, 5)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := Check(string(text))
		if strings.HasSuffix(file, "fence_virt.conf") {
			found = CheckFenceVirt(string(text), rendered(t, "cluster.conf"))
		}
		var out strings.Builder
		for _, f := range found {
			out.WriteString(f.String() + "\n")
		}
		golden := strings.TrimSuffix(file, ".conf") + ".golden"
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), out.String(), "if this is what you want: go test ./frontend -run Guides -update")
	}
}

// What is rendered has no defects, in the forms that can be judged.
func TestRenderedIsRight(t *testing.T) {
	assert.Empty(t, Check(rendered(t, "cluster.conf")))
	assert.Empty(t, CheckFenceVirt(rendered(t, "fence_virt.conf"), rendered(t, "cluster.conf")))
	assert.Equal(t, []string{"/etc/cluster/fence_xvm.key"}, Keys(rendered(t, "cluster.conf")))
	for form, words := range map[string][]string{
		"ccs":           {"ccs -h one-server1 --addnode one-server2 --nodeid 2\n", "--addfenceinst libvirt one-server2 libvirt port=one2\n", "--sync --activate\n"},
		"pcs":           {"pcmk_host_map='one-server1:one1;one-server2:one2'", "resource create opennebula systemd:opennebula op", "--group opennebula-frontend\n", "systemd:opennebula-sunstone", "IPaddr2 ip=10.10.11.12"},
		"fence_xvm.key": {"install -m 400 /dev/null /etc/cluster/fence_xvm.key\ndd if=/dev/urandom of=/etc/cluster/fence_xvm.key bs=4096 count=1\n", "scp -p /etc/cluster/fence_xvm.key root@one-server2:/etc/cluster/fence_xvm.key\n"},
	} {
		for _, word := range words {
			assert.Contains(t, rendered(t, form), word)
		}
	}
	_, err := site(t).Render("poem")
	require.Error(t, err)
}

func TestDescriptionsAreJudged(t *testing.T) {
	for name, text := range map[string]string{
		"one node":         strings.Replace(described, "one-server1 one-server2", "one-server1", 1),
		"a port too few":   strings.Replace(described, "one1 one2", "one1", 1),
		"its own database": strings.Replace(described, "one-db", "one-server2", 1),
		"no address":       strings.Replace(described, "ADDRESS", "PLACE", 1),
		"no such word":     described + "COLOUR=red\n",
	} {
		_, err := ReadSite(strings.NewReader(text), "site.conf")
		assert.Error(t, err, name)
	}
}

// Each variant breaks one thing in a configuration that is right, and is told of in its line.
func TestBrokenVariants(t *testing.T) {
	good := rendered(t, "cluster.conf")
	for name, c := range map[string]struct{ old, broken, says string }{
		"no version":                {` config_version="1"`, ``, "config_version"},
		"a long name":               {`name="opennebula" config`, `name="opennebula-front-end" config`, "cluster name"},
		"a node twice":              {`<clusternode name="one-server2"`, `<clusternode name="one-server1"`, "one-server1 is there twice"},
		"no nodeid":                 {` nodeid="2"`, ``, `nodeid ""`},
		"expected votes":            {`expected_votes="1"`, `expected_votes="2"`, `two_node with expected_votes "2"`},
		"no two_node":               {`two_node="1" expected_votes="1"`, `expected_votes="2"`, "without two_node"},
		"quorum disk":               {`  <cman`, `  <quorumd label="q" interval="1" tko="5" votes="1"><heuristic program="ping -c1 gw"/></quorumd><cman`, "two_node and a quorum disk"},
		"a fence device is missing": {`<device name="libvirt" port="one2"/>`, `<device name="apc" port="2"/>`, "which is no fencedevice"},
		"no port":                   {`<device name="libvirt" port="one2"/>`, `<device name="libvirt"/>`, "neither port nor domain"},
		"no fencing":                {`<fence><method name="libvirt"><device name="libvirt" port="one2"/></method></fence>`, ``, "one-server2 cannot be fenced"},
		"a person fences":           {`agent="fence_xvm"`, `agent="fence_manual"`, "is fence_manual"},
		"clean start":               {`  <cman`, `  <fence_daemon clean_start="1"/><cman`, "clean_start"},
		"a stranger in the domain":  {`<failoverdomainnode name="one-server2"`, `<failoverdomainnode name="one-server3"`, "one-server3, which is no clusternode"},
		"no priority":               {` priority="2"`, ``, "priority"},
		"failback":                  {`nofailback="1"`, `nofailback="0"`, "goes back"},
		"not ordered":               {` ordered="1"`, ` ordered="0"`, "opennebula is not ordered"},
		"no order":                  {` ordered="1"`, ``, "opennebula is not ordered"},
		"no domain":                 {` domain="opennebula"`, ``, "bound to no failover domain"},
		"no such domain":            {`domain="opennebula"`, `domain="frontend"`, "bound to failover domain frontend"},
		"not started":               {`autostart="1"`, `autostart="0"`, "autostart 0"},
		"no such policy":            {`recovery="restart"`, `recovery="again"`, `recovery "again"`},
		"no such script":            {`<script ref="opennebula"/>`, `<script ref="one"/>`, "refers to one"},
		"a relative script":         {`file="/etc/init.d/opennebula"`, `file="opennebula"`, `has file "opennebula"`},
		"no address":                {`      <ip ref="10.10.11.12"/>` + "\n", ``, "has no ip"},
		"two slashes":               {`</resources>`, `</resources/>`, "</resources/>"},
		"an open tag":               {`priority="2"/>`, `priority="2">`, "<failoverdomainnode> is not closed"},
		"an end too many":           {`    </resources>`, `    </resources></resources>`, "</resources> ends nothing"},
		"a word":                    {`  <rm>`, `  <rm>rgmanager`, "text between tags: rgmanager"},
		"half an attribute":         {`two_node="1"`, `two_node=1`, "<cman> has an attribute that is none"},
		"an element elsewhere":      {`  <rm>`, `  <rm><quorumd/>`, "<quorumd> does not belong into <rm>"},
		"a VM's attribute":          {`  </rm>`, `    <vm name="one-42" memory="1"/></rm>`, "has attribute memory"},
		"a VM in the service":       {`    </service>`, `    <vm name="one-42"/></service>`, "VM one-42 is in service"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, c.old)
			text := strings.Replace(good, c.old, c.broken, 1)
			before, _, _ := strings.Cut(good, c.old)
			changed := 1 + strings.Count(before, "\n")
			found := Check(text)
			var lines []int
			for _, f := range found {
				assert.NotEmpty(t, f.Why)
				assert.NotEmpty(t, f.Do)
				if strings.Contains(f.What, c.says) {
					lines = append(lines, f.Line)
				}
			}
			require.NotEmpty(t, lines, "%v", found)
			if name == "no address" { // what is not there is told of at what it is not in
				changed--
			}
			assert.Equal(t, []int{changed}, lines, "%v", found)
			assert.LessOrEqual(t, len(found), 3, "no heap of findings for one mistake: %v", found)
		})
	}
}

func TestNothingToTakeOver(t *testing.T) {
	members, _, _ := strings.Cut(rendered(t, "cluster.conf"), "  <rm>")
	for services, c := range map[string]struct {
		line int
		says string
	}{"": {2, "there is no <rm>"}, "<rm/>": {1 + strings.Count(members, "\n"), "there is no service"}} {
		found := Check(members + services + "</cluster>\n")
		require.Len(t, found, 1)
		assert.Equal(t, c.line, found[0].Line)
		assert.Equal(t, c.says, found[0].What)
	}
}

func TestQuorumDisk(t *testing.T) {
	disk := `<quorumd label="q" interval="1" tko="5" votes="1" min_score="1"><heuristic program="ping -c1 gw"/></quorumd>`
	good := strings.Replace(rendered(t, "cluster.conf"), `<cman two_node="1" expected_votes="1"/>`, `<cman expected_votes="3"/>`+disk, 1)
	require.Empty(t, Check(good))
	for old, c := range map[string]struct{ broken, says string }{
		`label="q"`:      {``, "without label and device"},
		`votes="1" min`:  {`votes="3" min`, "3 votes with 2 nodes"},
		`tko="5"`:        {`tko="10"`, "gives a node up after 10000 ms"},
		`min_score="1"`:  {`min_score="2"`, "min_score is 2"},
		` program="ping`: {` programme="ping`, "without a program"},
	} {
		require.Contains(t, good, old)
		found := Check(strings.Replace(good, old, c.broken, 1))
		require.Len(t, found, 1, c.says)
		assert.Contains(t, found[0].What, c.says)
	}
}

func TestCompare(t *testing.T) {
	good := rendered(t, "cluster.conf")
	assert.Empty(t, Compare(good, good))
	found := Compare(good, strings.Replace(good, `config_version="1"`, `config_version="2"`, 1))
	require.Len(t, found, 1)
	assert.Equal(t, 2, found[0].Line)
	assert.Contains(t, found[0].What, "1 and 2")
	require.Len(t, Compare(good, "nothing"), 1)
}

func TestFenceVirt(t *testing.T) {
	conf, good := rendered(t, "cluster.conf"), rendered(t, "fence_virt.conf")
	for old, c := range map[string]struct{ broken, says string }{
		`listener = "multicast"`:                   {`listener = "serial"`, `listener "serial" is not configured`},
		`backend = "libvirt"`:                      {`backend = "xen"`, `backend "xen"`},
		`port = "1229"`:                            {`port = "1230"`, "port is 1230"},
		`address = "225.0.0.12"`:                   {`address = "225.0.0.13"`, "address is 225.0.0.13"},
		`key_file = "/etc/cluster/fence_xvm.key";`: {``, "no key_file"},
		`uri = "qemu:///system";`:                  {`uri = qemu`, "a line that is none"},
		"listener = \"multicast\";\n}":             {`listener = "multicast";`, "is not closed"},
	} {
		require.Contains(t, good, old)
		found := CheckFenceVirt(strings.Replace(good, old, c.broken, 1), conf)
		require.NotEmpty(t, found, c.says)
		assert.Contains(t, found[0].What, c.says)
	}
}

// Whatever is in a file: it ends, and lines are lines of it.
func FuzzCheck(f *testing.F) {
	f.Add(rendered(f, "cluster.conf"))
	f.Add("<cluster></resources/><vm name=\"a>")
	f.Add("<!-- <? ")
	f.Fuzz(func(t *testing.T, text string) {
		for _, found := range append(Check(text), CheckFenceVirt(text, text)...) {
			if found.Line < 1 || found.Line > 1+strings.Count(text, "\n") {
				t.Fatalf("%v", found)
			}
		}
	})
}
