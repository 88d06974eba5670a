package hook

import (
	"context"
	"fmt"
	"time"

	"one-clvm/internal/run"
)

// SSH is the Transport between machines. The key can do nothing but start
// `one-migrate-hook receive`, by the forced command in the front-end's authorized_keys.
type SSH struct {
	Runner run.Runner
	User   string // on the front-ends
	Key    string // file with the private key
}

// sendLimit bounds one try with one front-end.
const sendLimit = time.Minute

// Send implements Transport.
func (s SSH) Send(ctx context.Context, frontEnd, line string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	r, err := s.Runner.Run(ctx, run.Cmd{Path: "ssh", Args: []string{
		"-T", "-i", s.Key, "-l", s.User, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
		"-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-o", "ControlPath=none", "--", frontEnd, line,
	}})
	if err != nil {
		return Answer{}, fmt.Errorf("report: %w; check the key %s, and that the front-end is known to ssh", err, s.Key)
	}
	return parseAnswer(string(r.Stdout))
}
