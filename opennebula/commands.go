package opennebula

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"one-clvm/internal/run"
)

// commands asks OpenNebula's own commands. Each starts a Ruby interpreter, so they
// are only asked when the API cannot be reached: they know transports (gRPC, TLS with
// an own authority) that the client does not.
type commands struct {
	runner run.Runner
	onevm  string
}

func showCommand(name string, id int) []string { return []string{name, "show", "-x", strconv.Itoa(id)} }

func listCommand(name string) []string { return []string{name, "list", "-x"} }

// ask gives a command's document; cause is why it is asked.
func (c commands) ask(ctx context.Context, timeout time.Duration, command []string, cause error) (string, error) {
	if c.runner == nil {
		return "", cause
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err := c.runner.Run(ctx, run.Cmd{Path: c.path(command[0]), Args: command[1:], Env: commandEnv()})
	if err != nil {
		return "", fmt.Errorf("%w; nor does the command help: %w", cause, err)
	}
	return string(result.Stdout), nil
}

// path finds the command beside onevm.
func (c commands) path(name string) string {
	switch {
	case c.onevm == "":
		return name
	case name == "onevm":
		return c.onevm
	}
	return filepath.Join(filepath.Dir(c.onevm), name)
}

// commandEnv passes on what tells the commands where oned is and who asks.
func commandEnv() []string {
	var env []string
	for _, name := range []string{
		"ONE_XMLRPC", "ONE_XMLRPC_TIMEOUT", "ONE_AUTH", "ONE_LOCATION", "ONE_CERT_DIR", "ONE_DISABLE_SSL_VERIFY",
		"ONE_GRPC", "ONEAPI_PROTOCOL",
	} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}
