package agent

import (
	"context"
	"strings"

	"one-clvm/internal/run"
)

// identify reads a file system's UUID and label; what blkid cannot tell stays empty,
// and the image simply has no identity.
func identify(ctx context.Context, r run.Runner, device string) (uuid, label string) {
	res, err := r.Run(ctx, run.Cmd{Path: "blkid", Args: []string{"-p", "-s", "UUID", "-s", "LABEL", "-o", "export", device}})
	if err != nil {
		return "", ""
	}
	for _, line := range strings.Split(string(res.Stdout), "\n") {
		if value, ok := strings.CutPrefix(line, "UUID="); ok {
			uuid = value
		}
		if value, ok := strings.CutPrefix(line, "LABEL="); ok {
			label = value
		}
	}
	return uuid, label
}
