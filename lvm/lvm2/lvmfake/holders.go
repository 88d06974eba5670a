package lvmfake

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/lvm"
)

// The lock managers' own programs, with the texts of dlm 4.2.0, corosync 3.1.7 and
// sanlock 3.8.5. A host's number is its place among the store's hosts.

// leaseArea is how far apart the volumes' leases are.
const leaseArea = 1 << 20

func (s *Store) number(h *Host) int { return slices.Index(s.hosts, h) + 1 }

// dlmTool knows lockdump -M: on the first host, the master of all resources, everybody's
// locks, elsewhere the host's own. A host that was refused a lock keeps it as NL.
func dlmTool(h *Host, out *reply, args arguments) {
	if strings.Join(args.rest, " ") == "status" {
		h.dlmStatus(out)
		return
	}
	if len(args.rest) != 2 || args.rest[0] != "lockdump" || !args.has("-M") {
		out.fail(1, "lvmfake: only dlm_tool lockdump -M LOCKSPACE is implemented")
		return
	}
	g := h.store.group(strings.TrimPrefix(args.rest[1], "lvm_"))
	if g == nil || g.LockType != LockDLM || h.locking != LockdStarted {
		fmt.Fprintf(&out.stderr, "can't open /sys/kernel/debug/dlm/%s_locks: No such file or directory\n", args.rest[1])
		return // with status 0
	}
	own := h.store.number(h)
	master := 1
	for i, v := range g.volumes {
		for number, host := range h.store.hosts {
			mode := map[lvm.Mode]string{lvm.Off: "NL", lvm.Shared: "PR", lvm.Exclusive: "EX"}[v.at(host).lock]
			switch number++; {
			case number == own && own == master:
				fmt.Fprintf(&out.stdout, "id %08x gr %s rq IV pid 177 master 0 %q\n", i, mode, v.uuid)
			case number == own:
				fmt.Fprintf(&out.stdout, "id %08x gr %s rq IV pid 177 master %d %q\n", i, mode, master, v.uuid)
			case own == master:
				fmt.Fprintf(&out.stdout, "id %08x gr %s rq IV pid 171 MSTCPY %d %q\n", i, mode, number, v.uuid)
			}
		}
	}
}

// dlmStatus: a node that is frozen is to be fenced.
func (h *Host) dlmStatus(out *reply) {
	fmt.Fprintf(&out.stdout, "cluster nodeid %d quorate 1 ring seq 13 13\ndaemon now 48 fence_pid 0 \n", h.store.number(h))
	for i, host := range h.store.hosts {
		if host.frozen {
			fmt.Fprintf(&out.stdout, "fence %d nodedown pid 216 actor 1 fail 1795257048 fence 0 now 1795257055\n", i+1)
		}
	}
}

func corosyncCmapctl(h *Host, out *reply, _ arguments) {
	for i, host := range h.store.hosts {
		fmt.Fprintf(&out.stdout, "nodelist.node.%d.name (str) = %s\nnodelist.node.%d.nodeid (u32) = %d\nnodelist.node.%d.ring0_addr (str) = 10.77.0.%d\n", i, host.name, i, i+1, i, i+1)
	}
}

// sanlock knows client gets -h 1 and direct dump PATH:OFFSET:SIZE.
func sanlock(h *Host, out *reply, args arguments) {
	switch words := strings.Join(args.rest, " "); {
	case h.locking != LockdStarted:
		out.status = 1
		out.stderr.WriteString("gets error -2\n")
	case words == "client gets":
		h.sanlockGets(out)
	case strings.HasPrefix(words, "direct dump "):
		h.sanlockDump(out, args.rest[2])
	default:
		out.fail(1, "lvmfake: sanlock %s is not implemented", words)
	}
}

func (h *Host) sanlockGets(out *reply) {
	for _, g := range h.store.groups {
		if g.LockType != LockSanlock {
			continue
		}
		fmt.Fprintf(&out.stdout, "s lvm_%s:%d:/dev/mapper/%s-lvmlock:0 \n", g.Name, h.store.number(h), strings.ReplaceAll(g.Name, "-", "--"))
		for i, host := range h.store.hosts {
			state := "LIVE"
			if host.frozen {
				state = "FAIL"
			}
			fmt.Fprintf(&out.stdout, "h %d gen 1 timestamp 55 %s\n", i+1, state)
		}
	}
}

func (h *Host) sanlockDump(out *reply, place string) {
	path, rest, _ := strings.Cut(place, ":")
	offset, _, _ := strings.Cut(rest, ":")
	at, err := strconv.ParseInt(offset, 10, 64)
	row := func(at int64, g *group, name string, stamp, owner int, more string) {
		fmt.Fprintf(&out.stdout, "%08d %36s %48s %010d %04d 0001%s\n", at, "lvm_"+g.Name, name, stamp, owner, more)
	}
	out.stdout.WriteString("  offset                            lockspace                                         resource  timestamp  own  gen lver\n")
	for _, g := range h.store.groups {
		if err != nil || path != "/dev/mapper/"+strings.ReplaceAll(g.Name, "-", "--")+"-lvmlock" {
			continue
		}
		if at == 0 {
			for i, host := range h.store.hosts {
				row(int64(i)*512, g, host.name, 55, i+1, "")
			}
		}
		for i, v := range g.volumes {
			if at == leaseOffset(i) {
				h.dumpLease(out, v, func(stamp, owner int) { row(at, g, v.uuid, stamp, owner, " 1") })
			}
		}
	}
}

func (h *Host) dumpLease(out *reply, v *volume, row func(stamp, owner int)) {
	var shared []int
	stamp, owner := 0, 1
	for i, host := range h.store.hosts {
		switch v.at(host).lock {
		case lvm.Exclusive:
			stamp, owner = 68, i+1
		case lvm.Shared:
			shared = append(shared, i+1)
		}
	}
	row(stamp, owner)
	for _, number := range shared {
		fmt.Fprintf(&out.stdout, "%110s %04d 0001 SH\n", "", number)
	}
}

// leaseOffset is where a volume's lease is; the first ones are the lockspace's and the
// group's own.
func leaseOffset(place int) int64 { return int64(place+66) * leaseArea }

// lockArgs is lv_lockargs.
func (g *group) lockArgs(v *volume) string {
	switch g.LockType {
	case LockSanlock:
		return fmt.Sprintf("1.0.0:%d", leaseOffset(slices.Index(g.volumes, v)))
	case LockDLM:
		return "dlm"
	}
	return ""
}
