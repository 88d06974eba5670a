package datastore

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

func TestSnapshotsOfImages(t *testing.T) {
	for verb, want := range map[string]agent.Request{
		"snap_delete": {Op: agent.OpDropImage}, "snap_revert": {Op: agent.OpRevertImage}, "snap_flatten": {Op: agent.OpRevertImage, Remove: true},
	} {
		b := newBench(t)
		document := base64.StdEncoding.EncodeToString([]byte(b.document(image{"ID": "7", "SOURCE": "lv-oneimg-7", "TARGET_SNAPSHOT": "3"}, nil)))
		for form, argv := range map[string][]string{"since 4.14": {document, "7"}, "-i": {"-", "7"}, "since 6.8": {"7"}} {
			b.asked = nil
			b.Stdin = strings.NewReader(document)
			require.NoError(t, b.Driver.Do(t.Context(), verb, argv), "%s %s", verb, form)
			require.Len(t, b.asked, 1)
			q := b.asked[0]
			assert.Equal(t, want.Op, q.Op, verb)
			assert.Equal(t, want.Remove, q.Remove, verb)
			assert.Equal(t, 3, *q.Snapshot)
			assert.Equal(t, &agent.Image{Group: "vg-one", ID: 7}, q.Image)
			assert.Empty(t, b.stdout.String(), "oned expects nothing")
		}
	}
}

func TestSnapshotsOfImagesRefuse(t *testing.T) {
	for _, verb := range []string{"snap_delete", "snap_revert", "snap_flatten"} {
		b := newBench(t)
		for _, c := range []struct {
			fields image
			want   error
		}{
			{image{"SOURCE": "lv-oneimg-7"}, opennebula.ErrDocument},
			{image{"SOURCE": "lv-oneimg-7", "TARGET_SNAPSHOT": "-1"}, opennebula.ErrDocument},
			{image{"SOURCE": "lv-oneimg-8", "TARGET_SNAPSHOT": "0"}, ErrRefused},
			{image{"SOURCE": b.base + "/archive", "TARGET_SNAPSHOT": "0"}, ErrRefused},
			{image{"SOURCE": "other", "TARGET_SNAPSHOT": "0"}, plan.ErrNotYet},
		} {
			assert.ErrorIs(t, b.do(verb, c.fields, nil), c.want, "%s %v", verb, c.fields)
		}
		assert.Empty(t, b.asked)
	}
}
