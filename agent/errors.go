package agent

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// RemoteError is an agent's error on its way to the caller.
type RemoteError struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
	Host string `json:"-"`
}

func (e *RemoteError) Error() string { return e.Host + ": " + e.Text }

// Unwrap gives the sentinel that the agent's error wrapped, if it is one of kinds.
func (e *RemoteError) Unwrap() error { return sentinelOf(e.Kind) }

// kinds are the sentinels that survive the way over the wire.
var kinds = []struct {
	name     string
	sentinel error
}{
	{"not-found", lvm.ErrNotFound},
	{"no-group", lvm.ErrNoGroup},
	{"exists", lvm.ErrExists},
	{"no-space", lvm.ErrNoSpace},
	{"in-use", lvm.ErrInUse},
	{"locked", lvm.ErrLocked},
	{"unlocked", lvm.ErrUnlocked},
	{"unknown-outcome", lvm.ErrUnknownOutcome},
	{"not-larger", lvm.ErrNotLarger},
	{"snapshots", lvm.ErrSnapshots},
	{"invalid", lvm.ErrInvalid},
	{"not-exclusive", lvm.ErrNotExclusive},
	{"stream", ErrStream},
	{"busy", ErrBusy},
	{"stalled", ErrStalled},
	{"stopped", ErrStopped},
	{"protocol", ErrProtocol},
	{"truncated", tarmode.ErrTruncated},
	{"corrupt", tarmode.ErrCorrupt},
	{"unsafe", tarmode.ErrUnsafe},
	{"too-large", tarmode.ErrTooLarge},
	{"format", tarmode.ErrFormat},
}

// kindOf is the first of kinds that an error wraps.
func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.sentinel) {
			return k.name
		}
	}
	return ""
}

// sentinelOf is the sentinel that a kind stands for, nil for an unknown one.
func sentinelOf(kind string) error {
	for _, k := range kinds {
		if k.name == kind {
			return k.sentinel
		}
	}
	return nil
}

// peakRSS is this process's largest resident set so far, in bytes; 0 if unknown.
func peakRSS() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
