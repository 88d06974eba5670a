package lvm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestErrorNamesOperationAndObject(t *testing.T) {
	cause := fmt.Errorf("lvremove: %w", ErrInUse)
	err := error(&Error{Op: "remove", Group: "vg-one", Volume: "lv-one-42-0", Err: cause})
	require.EqualError(t, err, "remove vg-one/lv-one-42-0: lvremove: volume is in use")
	require.ErrorIs(t, err, ErrInUse)
	var typed *Error
	require.True(t, errors.As(fmt.Errorf("delete: %w", err), &typed))
	assert.Equal(t, "lv-one-42-0", typed.Volume)
	assert.EqualError(t, &Error{Op: "read", Group: "vg-one", Err: ErrNoGroup}, "read vg-one: volume group not found")
}

func TestModeString(t *testing.T) {
	for mode, want := range map[Mode]string{Off: "off", Exclusive: "exclusive", Shared: "shared", 7: "mode(7)"} {
		assert.Equal(t, want, mode.String())
	}
	assert.Zero(t, Off, "the zero value touches nothing")
}
