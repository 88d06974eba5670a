package entrance

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// deployed is what oned 7.4 has libvirt start.
func deployed(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/domain.xml")
	require.NoError(t, err)
	return string(text)
}

func called(env, stdin string, args ...string) Called {
	values := map[string]string{}
	for _, line := range strings.Split(env, "\n") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	return Called{Args: args, Env: func(name string) string { return values[name] }, Stdin: strings.NewReader(stdin), Now: noon}
}

const alertStart = `CRM_alert_kind=resource
	CRM_alert_rsc=one-42
	CRM_alert_node=node2
	CRM_alert_task=start
	CRM_alert_rc=0
	CRM_alert_node_sequence=17
	CRM_alert_timestamp_epoch=1763728000
	CRM_alert_timestamp_usec=250000`

func TestEntrances(t *testing.T) {
	domain := deployed(t)
	none := NoVM
	for name, c := range map[string]struct {
		entrance Kind
		called   Called
		want     Event // zero: nothing to report
	}{
		"cxm": {CXM, called("", "", "web-7.vm.home.net", "node1", "node2"),
			Event{VM: none, Name: "web-7.vm.home.net", What: "migrated", From: "node1", To: "node2"}},
		"alert: start": {Pacemaker, called(alertStart, ""),
			Event{VM: none, Name: "one-42", What: "start rc=0", To: "node2", Sequence: 17, At: time.Unix(1763728000, 250_000_000).UTC()}},
		"alert: before 1.1.18": {Pacemaker, called("CRM_alert_kind=resource\nCRM_alert_rsc=one-42\nCRM_alert_node=node2\nCRM_alert_task=monitor\nCRM_alert_rc=7", ""),
			Event{VM: none, Name: "one-42", What: "monitor rc=7", To: "node2"}},
		"alert: half a migration": {Pacemaker, called(strings.Replace(alertStart, "task=start", "task=migrate_to", 1), ""), Event{}},
		"alert: a node":           {Pacemaker, called("CRM_alert_kind=node\nCRM_alert_node=node1", ""), Event{}},
		"alert: fencing":          {Pacemaker, called("CRM_alert_kind=fencing", ""), Event{}},
		"rgmanager: started": {Rgmanager, called("", "", "vm:one-42", "started", "(none)", "node2", "node1"),
			Event{VM: none, Name: "one-42", What: "started", From: "node1", To: "node2"}},
		"rgmanager: stopped": {Rgmanager, called("", "", "vm:one-42", "stopped", "(none)", "(none)", "node1"),
			Event{VM: none, Name: "one-42", What: "stopped", From: "node1"}},
		"rgmanager: on its way": {Rgmanager, called("", "", "vm:one-42", "migrating", "(none)", "node2", "node1"), Event{}},
		"rgmanager: no VM":      {Rgmanager, called("", "", "service:frontend", "started", "(none)", "node2", "node1"), Event{}},
		"libvirt: started": {Libvirt, called("", domain, "one-0", "started", "begin", "-"),
			Event{VM: 0, Name: "one-0", What: "started"}},
		"libvirt: another name": {Libvirt, called("", domain, "web", "stopped", "end", "-"),
			Event{VM: 0, Name: "web", What: "stopped"}},
		"libvirt: before it starts": {Libvirt, called("", domain, "one-0", "prepare", "begin", "-"), Event{}},
		"libvirt: after a restart":  {Libvirt, called("", domain, "one-0", "reconnect", "begin", "-"), Event{}},
		"libvirt: only its name": {Libvirt, called("", "<domain><name>one-42</name></domain>", "one-42", "started", "begin", "-"),
			Event{}},
		"by hand": {Hand, called("", "", "42"), Event{VM: 42, What: "asked"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, matters, err := Parse(c.entrance, c.called)
			require.NoError(t, err)
			if c.want == (Event{}) {
				assert.False(t, matters)
				return
			}
			require.True(t, matters)
			if c.want.Entrance = c.entrance; c.want.At.IsZero() {
				c.want.At = noon
			}
			assert.Equal(t, c.want, got)
			record, err := got.record()
			require.NoError(t, err)
			again, err := Read(record)
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestEntrancesRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		entrance Kind
		called   Called
	}{
		"cxm: too few":             {CXM, called("", "", "web", "node1")},
		"cxm: empty":               {CXM, called("", "", "web", "", "node2")},
		"cxm: no node":             {CXM, called("", "", "web", "node1", "-oProxyCommand=x")},
		"cxm: no name":             {CXM, called("", "", "../web", "node1", "node2")},
		"alert: unknown kind":      {Pacemaker, called("CRM_alert_kind=weather", "")},
		"alert: nothing":           {Pacemaker, called("", "")},
		"alert: task":              {Pacemaker, called(strings.Replace(alertStart, "=start", "=dance", 1), "")},
		"alert: rc":                {Pacemaker, called(strings.Replace(alertStart, "rc=0", "rc=-1", 1), "")},
		"alert: sequence":          {Pacemaker, called(strings.Replace(alertStart, "=17", "=x", 1), "")},
		"alert: epoch":             {Pacemaker, called(strings.Replace(alertStart, "=1763728000", "=x", 1), "")},
		"alert: microseconds":      {Pacemaker, called(strings.Replace(alertStart, "=250000", "=x", 1), "")},
		"alert: no resource":       {Pacemaker, called(strings.Replace(alertStart, "=one-42", "=", 1), "")},
		"rgmanager: state":         {Rgmanager, called("", "", "vm:one-42", "happy", "(none)", "node2", "node1")},
		"rgmanager: no kind":       {Rgmanager, called("", "", "one-42", "started", "(none)", "node2", "node1")},
		"rgmanager: too many":      {Rgmanager, called("", "", "vm:one-42", "started", "(none)", "node2", "node1", "x")},
		"libvirt: too few":         {Libvirt, called("", "", "one-42")},
		"libvirt: no document":     {Libvirt, called("", "", "one-42", "started", "begin", "-")},
		"libvirt: a broken one":    {Libvirt, called("", "<domain>", "one-42", "started", "begin", "-")},
		"libvirt: no id in it":     {Libvirt, called("", strings.ReplaceAll(deployed(t), "datastores/101/0", "datastores/101/x"), "one-42", "started", "begin", "-")},
		"by hand: no id":           {Hand, called("", "", "one-42")},
		"by hand: 042":             {Hand, called("", "", "042")},
		"by hand: two":             {Hand, called("", "", "1", "2")},
		"no entrance":              {"window", called("", "")},
		"cxm: a name with a break": {CXM, called("", "", "web\nreport", "node1", "node2")},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse(c.entrance, c.called)
			assert.ErrorIs(t, err, ErrEvent)
		})
	}
}

func TestRecordsOfOthersAreJudged(t *testing.T) {
	for _, record := range []string{
		"", "{}", `{"entrance":"cxm","vm":-1,"name":"","what":"x"}`, `{"entrance":"cxm","vm":-2,"name":"a","what":"x"}`,
		`{"entrance":"cxm","vm":1,"what":"; rm"}`, `{"entrance":"window","vm":1,"what":"x"}`, `{"entrance":"cxm","vm":1,"what":"x","run":"sh"}`,
	} {
		_, err := Read([]byte(record))
		assert.ErrorIs(t, err, ErrEvent, record)
	}
}

// Whatever a caller gives: an error or an event that can be stored and read again.
func FuzzEntrances(f *testing.F) {
	f.Add("cxm", "web node1 node2", "", "")
	f.Add("alert", "", alertStart, "")
	f.Add("rgmanager", "vm:one-42 started (none) node2 (none)", "", "")
	f.Add("libvirt", "one-0 started begin -", "", deployed(f))
	f.Add("report", "42", "", "")
	f.Fuzz(func(t *testing.T, entrance, args, env, stdin string) {
		event, matters, err := Parse(Kind(entrance), called(env, stdin, strings.Split(args, " ")...))
		if err != nil {
			require.ErrorIs(t, err, ErrEvent)
			return
		}
		if !matters {
			return
		}
		record, err := event.record()
		require.NoError(t, err)
		again, err := Read(record)
		require.NoError(t, err)
		require.True(t, event.At.Equal(again.At))
		again.At = event.At
		require.Equal(t, event, again)
	})
}
