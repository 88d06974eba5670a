package frontend

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"

	"one-clvm/cxmrc"
)

// Description are the variables of the small file that a cluster is rendered from.
var Description = cxmrc.Registry{
	{Name: "CLUSTER", Kind: cxmrc.KindName, Default: "opennebula",
		Doc: "Name of the cluster, at most 15 characters."},
	{Name: "NODES", Kind: cxmrc.KindHost, List: true, Required: true, Sample: "one-server1 one-server2",
		Doc: "The two front-ends, as they resolve on each other; the one that is preferred first."},
	{Name: "ADDRESS", Kind: cxmrc.KindHost, Required: true, Sample: "10.10.11.12",
		Doc: "Address of the front-end, which follows it from node to node."},
	{Name: "SCRIPTS", Kind: cxmrc.KindPath, List: true, Default: "/etc/init.d/opennebula /etc/init.d/opennebula-sunstone",
		Doc: "What is started there, in this order, with RHCS."},
	{Name: "UNITS", Kind: cxmrc.KindName, List: true, Default: "opennebula opennebula-sunstone",
		Doc: "The same with Pacemaker: units of systemd."},
	{Name: "DATABASE", Kind: cxmrc.KindHost, Required: true, Sample: "one-db",
		Doc: "Where the database is: neither of the nodes, highly available by itself."},
	{Name: "FENCE_PORTS", Kind: cxmrc.KindName, List: true, Required: true, Sample: "one1 one2",
		Doc: "What libvirt on the physical server calls the nodes, in the order of NODES."},
	{Name: "FENCE_KEY", Kind: cxmrc.KindPath, Default: defaultKey,
		Doc: "The key of fence_xvm, the same on the nodes and the physical server, mode 400."},
	{Name: "FENCE_INTERFACE", Kind: cxmrc.KindName, Default: "eth0",
		Doc: "Interface of the physical server towards the nodes."},
}

// Where fence_virtd listens.
const (
	fenceGroup = "225.0.0.12"
	fencePort  = "1229"
)

// Site is a described front-end.
type Site struct {
	Cluster, Address, Database, Key, Interface string
	Nodes, Ports, Scripts, Units               []string
}

// ReadSite reads a description; file is its name, for errors.
func ReadSite(r io.Reader, file string) (*Site, error) {
	cfg, err := cxmrc.Parse(r, file, Description)
	if err != nil {
		return nil, err
	}
	s := &Site{
		Cluster: cfg.String("CLUSTER"), Address: cfg.String("ADDRESS"), Database: cfg.String("DATABASE"), Key: cfg.String("FENCE_KEY"), Interface: cfg.String("FENCE_INTERFACE"),
		Nodes: cfg.List("NODES"), Ports: cfg.List("FENCE_PORTS"), Scripts: cfg.List("SCRIPTS"), Units: cfg.List("UNITS"),
	}
	switch {
	case len(s.Nodes) != 2:
		return nil, fmt.Errorf("%s: NODES: %d of them; a front-end has two", file, len(s.Nodes))
	case len(s.Ports) != len(s.Nodes):
		return nil, fmt.Errorf("%s: FENCE_PORTS: %d for %d nodes", file, len(s.Ports), len(s.Nodes))
	case s.Database == s.Nodes[0] || s.Database == s.Nodes[1]:
		return nil, fmt.Errorf("%s: DATABASE: %s is one of the nodes, and is gone with it", file, s.Database)
	}
	return s, nil
}

// Forms are the things that can be rendered.
var Forms = []string{"cluster.conf", "ccs", "pcs", "fence_virt.conf", "fence_xvm.key"}

// Render is a site in one of the Forms.
func (s *Site) Render(form string) (string, error) {
	for i, render := range []func() string{s.clusterConf, s.ccs, s.pcs, s.fenceVirt, s.fenceKey} {
		if Forms[i] == form {
			return render(), nil
		}
	}
	return "", fmt.Errorf("no form %q; there are %s", form, strings.Join(Forms, ", "))
}

// attributes are escaped values in pairs with their names.
func attributes(values ...string) string {
	var out strings.Builder
	for i := 0; i < len(values); i += 2 {
		fmt.Fprintf(&out, " %s=\"", values[i])
		_ = xml.EscapeText(&out, []byte(values[i+1])) // a Builder takes all
		out.WriteByte('"')
	}
	return out.String()
}

// scriptName of /etc/init.d/opennebula is opennebula.
func scriptName(file string) string { return file[strings.LastIndexByte(file, '/')+1:] }

func (s *Site) clusterConf() string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line(`<?xml version="1.0"?>`)
	line(`<cluster%s>`, attributes("name", s.Cluster, "config_version", "1"))
	line(`  <clusternodes>`)
	for i, node := range s.Nodes {
		line(`    <clusternode%s><fence><method name="libvirt"><device name="libvirt"%s/></method></fence></clusternode>`, attributes("name", node, "nodeid", fmt.Sprint(i+1)), attributes("port", s.Ports[i]))
	}
	line(`  </clusternodes>`)
	line(`  <cman two_node="1" expected_votes="1"/>`)
	line(`  <fencedevices><fencedevice name="libvirt" agent="fence_xvm"%s/></fencedevices>`, attributes("key_file", s.Key, "multicast_address", fenceGroup, "ipport", fencePort))
	line(`  <rm>`)
	line(`    <failoverdomains>`)
	line(`      <failoverdomain%s ordered="1" restricted="1" nofailback="1">`, attributes("name", s.Cluster))
	for i, node := range s.Nodes {
		line(`        <failoverdomainnode%s/>`, attributes("name", node, "priority", fmt.Sprint(i+1)))
	}
	line(`      </failoverdomain>`)
	line(`    </failoverdomains>`)
	line(`    <resources>`)
	line(`      <ip%s/>`, attributes("address", s.Address, "sleeptime", "10", "monitor_link", "1"))
	for _, file := range s.Scripts {
		line(`      <script%s/>`, attributes("name", scriptName(file), "file", file))
	}
	line(`    </resources>`)
	line(`    <service%s autostart="1" recovery="restart">`, attributes("name", s.Cluster, "domain", s.Cluster))
	line(`      <ip%s/>`, attributes("ref", s.Address))
	for _, file := range s.Scripts {
		line(`      <script%s/>`, attributes("ref", scriptName(file)))
	}
	line(`    </service>`)
	line(`  </rm>`)
	line(`</cluster>`)
	return out.String()
}

// ccs are the commands of RHEL 6 for the same, to be typed on any machine.
func (s *Site) ccs() string {
	host := "ccs -h " + s.Nodes[0] + " "
	lines := []string{"--createcluster " + s.Cluster, "--setcman two_node=1 expected_votes=1"}
	for i, node := range s.Nodes {
		lines = append(lines, fmt.Sprintf("--addnode %s --nodeid %d", node, i+1))
	}
	lines = append(lines, fmt.Sprintf("--addfencedev libvirt agent=fence_xvm key_file=%s multicast_address=%s ipport=%s", s.Key, fenceGroup, fencePort))
	for i, node := range s.Nodes {
		lines = append(lines, "--addmethod libvirt "+node, fmt.Sprintf("--addfenceinst libvirt %s libvirt port=%s", node, s.Ports[i]))
	}
	lines = append(lines, "--addfailoverdomain "+s.Cluster+" restricted ordered nofailback")
	for i, node := range s.Nodes {
		lines = append(lines, fmt.Sprintf("--addfailoverdomainnode %s %s %d", s.Cluster, node, i+1))
	}
	lines = append(lines, fmt.Sprintf("--addresource ip address=%s sleeptime=10 monitor_link=1", s.Address))
	for _, file := range s.Scripts {
		lines = append(lines, fmt.Sprintf("--addresource script name=%s file=%s", scriptName(file), file))
	}
	lines = append(lines, fmt.Sprintf("--addservice %s domain=%[1]s recovery=restart autostart=1", s.Cluster), fmt.Sprintf("--addsubservice %s ip ref=%s", s.Cluster, s.Address))
	for _, file := range s.Scripts {
		lines = append(lines, fmt.Sprintf("--addsubservice %s script ref=%s", s.Cluster, scriptName(file)))
	}
	lines = append(lines, "--sync --activate", "--startall")
	return host + strings.Join(lines, "\n"+host) + "\n"
}

// pcs are the commands for the same with Pacemaker.
func (s *Site) pcs() string {
	lines := []string{
		"host auth " + strings.Join(s.Nodes, " "),
		"cluster setup " + s.Cluster + " " + strings.Join(s.Nodes, " "),
		"cluster start --all --wait",
	}
	var hosts []string
	for i, node := range s.Nodes {
		hosts = append(hosts, node+":"+s.Ports[i])
	}
	lines = append(lines, fmt.Sprintf("stonith create libvirt fence_xvm key_file=%s multicast_address=%s ipport=%s pcmk_host_map='%s'", s.Key, fenceGroup, fencePort, strings.Join(hosts, ";")),
		"property set stonith-enabled=true",
		"resource defaults update resource-stickiness=1000",
		fmt.Sprintf("resource create %s-ip ocf:heartbeat:IPaddr2 ip=%s op monitor interval=10s --group %s", s.Cluster, s.Address, s.group()))
	for _, unit := range s.Units {
		lines = append(lines, fmt.Sprintf("resource create %s systemd:%[1]s op monitor interval=30s start timeout=120s stop timeout=120s --group %s", unit, s.group()))
	}
	lines = append(lines, fmt.Sprintf("constraint location %s prefers %s=100", s.group(), s.Nodes[0]))
	return "pcs " + strings.Join(lines, "\npcs ") + "\n"
}

// group of Pacemaker's resources; an id of its own: the unit may be called as the cluster is.
func (s *Site) group() string { return s.Cluster + "-frontend" }

// fenceVirt is the configuration of fence_virtd on the physical server.
func (s *Site) fenceVirt() string {
	return fmt.Sprintf(`backends {
	libvirt {
		uri = "qemu:///system";
	}
}

listeners {
	multicast {
		interface = "%s";
		port = "%s";
		family = "ipv4";
		address = "%s";
		key_file = "%s";
	}
}

fence_virtd {
	module_path = "/usr/lib64/fence-virt";
	backend = "libvirt";
	listener = "multicast";
}
`, s.Interface, fencePort, fenceGroup, s.Key)
}

// keySize of fence_xvm, bytes: as much as it reads.
const keySize = 4096

// fenceKey are the commands that make the key on the physical server, and copy it to the nodes.
// It is a secret from its first byte.
func (s *Site) fenceKey() string {
	directory := path.Dir(s.Key)
	lines := []string{
		"mkdir -p " + directory,
		"install -m 400 /dev/null " + s.Key,
		fmt.Sprintf("dd if=/dev/urandom of=%s bs=%d count=1", s.Key, keySize),
	}
	for _, node := range s.Nodes {
		lines = append(lines, fmt.Sprintf("ssh root@%s mkdir -p %s", node, directory), fmt.Sprintf("scp -p %s root@%s:%[1]s", s.Key, node))
	}
	return strings.Join(lines, "\n") + "\n"
}
