package plan

import (
	"context"
	"os"
	"time"

	"one-clvm/agent"
	"one-clvm/cxmrc"
)

// Connection reaches agents as the configuration says: over ssh, or, where the node
// is this machine itself, directly.
type Connection struct {
	Client *agent.Client
	Config *cxmrc.Config
}

// Do implements Agents.
func (c Connection) Do(ctx context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error) {
	return c.Client.Do(ctx, c.host(host), q, t)
}

func (c Connection) host(name string) agent.Host {
	program := c.Config.String("AGENT")
	if self, err := os.Hostname(); name == "localhost" || err == nil && name == self {
		return agent.Local(name, program)
	}
	timeout := time.Duration(c.Config.Int("CONNECT_TIMEOUT")) * time.Second
	return agent.Remote(name, c.Config.String("SSH"), c.Config.List("SSH_OPTIONS"), timeout, program)
}
