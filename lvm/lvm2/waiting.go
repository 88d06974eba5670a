package lvm2

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// A cluster that has lost a node, or its quorum, makes LVM wait, for seconds or until
// somebody comes. That is right; but whoever waits is to know what for.

const (
	slowAfter  = 10 * time.Second // a command that runs longer is told about
	reasonTime = 5 * time.Second  // for finding the reason
)

// lookYourself is said when no reason was found.
const lookYourself = "in a shared group lvmlockctl -i shows the lock that it waits for"

// OnWait implements lvm.Waiter.
func (g *Group) OnWait(told func(reason string)) { g.told = told }

// attend runs a command; one that takes long is told about while it runs, one that was
// given up carries the reason in its error.
func (g *Group) attend(ctx context.Context, c run.Cmd) (run.Result, error) {
	slow := time.AfterFunc(g.slow, func() {
		if g.told != nil {
			g.told(fmt.Sprintf("%s has been running for %s; %s", c.Path, g.slow, g.reason(ctx)))
		}
	})
	defer slow.Stop()
	result, err := g.runner.Run(ctx, c)
	if err != nil && ctx.Err() != nil {
		err = &advisedError{err, g.reason(ctx)}
	}
	return result, err
}

// reason is what LVM seems to wait for.
func (g *Group) reason(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reasonTime)
	defer cancel()
	status, err := g.runner.Run(ctx, run.Cmd{Path: "dlm_tool", Args: []string{"status"}})
	if err != nil {
		return lookYourself
	}
	quorate, dead := parseDLMStatus(string(status.Stdout))
	switch {
	case !quorate:
		return "this node's cluster has no quorum, so no locks are given: bring the other nodes back (corosync-quorumtool -s)"
	case len(dead) > 0:
		list, _ := g.runner.Run(ctx, run.Cmd{Path: "corosync-cmapctl", Args: []string{"-b", "nodelist"}}) // without it, ids must do
		names := parseNodelist(string(list.Stdout))
		var who []string
		for _, id := range dead {
			who = append(who, names.name(id))
		}
		return fmt.Sprintf("the lock manager waits until %s is fenced: see why that does not succeed (dlm_tool status, the log of dlm_controld)", strings.Join(who, " and "))
	}
	return lookYourself
}

var (
	quorateWord = lazyregexp.New(`(?m)^cluster nodeid \d+ quorate (\d)`)
	fenceLine   = lazyregexp.New(`(?m)^fence (\d{1,9}) `)
)

// parseDLMStatus reads the output of dlm_tool status; dead are the ids of nodes that are
// to be fenced:
//
//	cluster nodeid 1 quorate 1 ring seq 13 13
//	daemon now 48 fence_pid 216
//	fence 2 nodedown pid 216 actor 1 fail 1795257048 fence 0 now 1795257055
//	node 1 M add 15 rem 0 fail 0 fence 0 at 0 0
//	node 2 X add 16 rem 41 fail 41 fence 0 at 0 0
func parseDLMStatus(output string) (quorate bool, dead []int) {
	m := quorateWord.FindStringSubmatch(output)
	for _, fence := range fenceLine.FindAllStringSubmatch(output, -1) {
		id, _ := strconv.Atoi(fence[1]) // up to nine digits cannot fail
		dead = append(dead, id)
	}
	return m == nil || m[1] != "0", dead
}
