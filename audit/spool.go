package audit

import (
	"fmt"
	"strings"
	"time"
)

// spoolPatience is how long an event may wait: tries are five minutes apart at most.
const spoolPatience = 15 * time.Minute

// spools are those in which something has been waiting for too long, or cannot be told.
func (s *State) spools() []Finding {
	var all []Finding
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Report.Audit == nil || n.Report.Audit.Spool == nil {
			continue
		}
		spool := n.Report.Audit.Spool
		f := Finding{Kind: Spooled, Object: n.name() + ":" + spool.Dir}
		if age := s.Now.Sub(spool.Oldest); spool.Waiting > 0 && age > spoolPatience {
			f.Why = fmt.Sprintf("%d events wait, the first of them for %s: oned may have VMs where they are not", spool.Waiting, age.Round(time.Second))
			f.Repair = fmt.Sprintf("on %s: one-migrate-hook status, which says why; then one-migrate-hook deliver", n.name())
			all = append(all, f)
		}
		if len(spool.Unreadable) > 0 {
			f.Why = fmt.Sprintf("%d files in it are no events, or cannot be read: what they were to tell is lost", len(spool.Unreadable))
			f.Repair = fmt.Sprintf("on %s: look at them, then: one-migrate-hook reconcile on the front-end, and rm %s", n.name(), strings.Join(spool.Unreadable, " "))
			all = append(all, f)
		}
	}
	return all
}
