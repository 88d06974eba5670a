package opennebula

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// VMSight is what a host tells of one VM.
type VMSight struct {
	VM    int
	State string // RUNNING, SUSPENDED, FAILURE, POWEROFF, UNKNOWN

	CPU       float64 // percent of one processor; below 0 unknown
	MemoryKiB int64
	// NetRX, NetTX and what follows are counters since the start; only with Figures.
	Figures               bool
	NetRX, NetTX          int64 // bytes
	ReadBytes, WriteBytes int64
	ReadOps, WriteOps     int64
}

// letters of the states, up to 5.10. A dash means that nothing is concluded.
var letters = map[string]string{"RUNNING": "a", "SUSPENDED": "p", "FAILURE": "e", "POWEROFF": "d", "UNKNOWN": "-"}

// PollLine is the answer of poll up to 5.10, in one line; the names of two figures have
// changed with 4.14.
func PollLine(v Version, s VMSight) string {
	cpu, memory := "CPU", "MEMORY"
	if !v.AtLeast(4, 14, 0) {
		cpu, memory = "USEDCPU", "USEDMEMORY"
	}
	words := []string{"STATE=" + letters[s.State]}
	for _, f := range s.figures() {
		switch f[0] {
		case "CPU":
			f[0] = cpu
		case "MEMORY":
			f[0] = memory
		}
		words = append(words, f[0]+"="+f[1])
	}
	return strings.Join(words, " ")
}

// figures are name and value, in oned's order.
func (s VMSight) figures() (out [][2]string) {
	if s.CPU >= 0 && s.Figures {
		out = append(out, [2]string{"CPU", strconv.FormatFloat(s.CPU, 'f', 1, 64)})
	}
	if !s.Figures {
		return out
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MEMORY", s.MemoryKiB}, {"NETRX", s.NetRX}, {"NETTX", s.NetTX}, {"DISKRDBYTES", s.ReadBytes}, {"DISKWRBYTES", s.WriteBytes},
		{"DISKRDIOPS", s.ReadOps}, {"DISKWRIOPS", s.WriteOps},
	} {
		out = append(out, [2]string{f.name, strconv.FormatInt(f.value, 10)})
	}
	return out
}

// PollAll is the answer of poll -t, 4.0 to 5.10: what a host probe passes on.
func PollAll(v Version, sights []VMSight) string {
	var out strings.Builder
	out.WriteString("VM_POLL=YES\n")
	for _, s := range sights {
		fmt.Fprintf(&out, "VM=[\n  ID=%d,\n  DEPLOY_ID=%s,\n  POLL=\"%s\" ]\n", s.VM, ServiceName(s.VM), PollLine(v, s))
	}
	return out.String()
}

// StatusProbe is the answer of the probe vm/status since 5.12. It tells of all VMs each
// time, and what those are that it does not name: POWEROFF or UNKNOWN.
func StatusProbe(sights []VMSight, missing string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "SYNC_STATE=yes\nMISSING_STATE=%s\n", missing)
	for _, s := range sights {
		fmt.Fprintf(&out, "VM = [ ID=\"%d\", DEPLOY_ID=\"%s\", STATE=\"%s\" ]\n", s.VM, ServiceName(s.VM), s.State)
	}
	return out.String()
}

// MonitorProbe is the answer of the probe vm/monitor since 5.12.
func MonitorProbe(sights []VMSight) string {
	var out strings.Builder
	for _, s := range sights {
		var figures strings.Builder
		for _, f := range s.figures() {
			fmt.Fprintf(&figures, "%s=\"%s\"\n", f[0], f[1])
		}
		if figures.Len() > 0 {
			fmt.Fprintf(&out, "VM = [ ID=\"%d\", DEPLOY_ID=\"%s\", MONITOR=\"%s\" ]\n", s.VM, ServiceName(s.VM), base64.StdEncoding.EncodeToString([]byte(figures.String())))
		}
	}
	return out.String()
}
