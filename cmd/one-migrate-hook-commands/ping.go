package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
)

func setupPing(*pflag.FlagSet) command.Action {
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		cfg, err := cxmrc.LoadHook(configFile)
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		frontEnds := cfg.List("FRONTENDS")
		if len(frontEnds) == 0 {
			return errors.Join(command.ErrFindings, fmt.Errorf("%s names no FRONTENDS: nobody is told", configFile))
		}
		if err := hook.Ping(ctx, way(cfg), frontEnds); err != nil {
			return fmt.Errorf("%w: %w", command.ErrFindings, err)
		}
		_, err = fmt.Fprintf(io.Out, "all of %v answer\n", frontEnds)
		return err
	}
}

// way is how a node reaches its front-ends.
func way(cfg *cxmrc.Config) hook.SSH {
	return hook.SSH{Runner: run.Exec{}, User: cfg.String("FRONTEND_USER"), Key: cfg.String("SSH_KEY")}
}
