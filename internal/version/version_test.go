package version

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestString(t *testing.T) {
	old := [3]string{Version, Commit, Date}
	defer func() { Version, Commit, Date = old[0], old[1], old[2] }()
	Version, Commit, Date = "v1.2.3", "0123abc", "2026-01-02T03:04:05Z"
	assert.Equal(t, "v1.2.3 (commit 0123abc, 2026-01-02T03:04:05Z)", String())
}
