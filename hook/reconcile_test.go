package hook

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

// deaf is an oned that gives no answer about one VM.
type deaf struct {
	API
	vm    int
	why   error
	asked []int
}

func (d *deaf) VM(ctx context.Context, id int) (*opennebula.VM, error) {
	d.asked = append(d.asked, id)
	if id == d.vm {
		return nil, d.why
	}
	return d.API.VM(ctx, id)
}

// One VM that oned cannot tell of leaves the others to be put right; an oned that is not there
// is not asked for each of them.
func TestReconcileGoesOn(t *testing.T) {
	w := newWorld(t, 3)
	for vm := range 3 {
		w.vms[vm] = "node2" // and nobody says so
	}
	r := w.front["fe1"]
	oned := &deaf{API: r.OneD, vm: 1, why: errors.New("its document is cut off")}
	r.OneD = oned
	all, err := w.cluster().All(t.Context())
	require.NoError(t, err)
	found, err := r.Reconcile(t.Context(), all.Truths, false)
	require.ErrorContains(t, err, "VM 1: its document is cut off")
	require.Len(t, found, 3)
	assert.Equal(t, []any{1, Retry}, []any{found[1].VM, found[1].Outcome})
	assert.Equal(t, []string{"one.vm.migrate", "one.vm.migrate"}, w.oned.Changes())

	oned.why, oned.vm, oned.asked = opennebula.ErrUnreachable, 0, nil
	_, err = r.Reconcile(t.Context(), all.Truths, false)
	require.ErrorIs(t, err, opennebula.ErrUnreachable)
	assert.Equal(t, []int{0}, oned.asked)
}
