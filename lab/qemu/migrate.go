package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// ignoreShared leaves the memory out of the state: it is in its file already.
var ignoreShared = Command{"migrate-set-capabilities", map[string]any{
	"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": true}},
}}

// unlimited: there is no network in between.
var unlimited = Command{"migrate-set-parameters", map[string]any{"max-bandwidth": 10 << 30}}

// Stop stops the machine's clock and processors.
func (s Spec) Stop(ctx context.Context) error {
	_, err := s.Do(ctx, Command{Name: "stop"})
	return err
}

// Continue lets a stopped machine run.
func (s Spec) Continue(ctx context.Context) error {
	_, err := s.Do(ctx, Command{Name: "cont"})
	return err
}

// Save writes the state of the devices of a stopped machine with shared memory to a file.
func (s Spec) Save(ctx context.Context, target string) error {
	socket := s.file(".state")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("save %s: %w", s.Name, err)
	}
	defer listener.Close() // and its file is removed
	received := make(chan error, 1)
	go func() { received <- receive(listener, target) }()
	_, err = s.Do(ctx, ignoreShared, unlimited, Command{"migrate", map[string]any{"uri": "unix:" + socket}})
	if err != nil {
		return err
	}
	select {
	case err := <-received:
		if err != nil {
			return fmt.Errorf("save %s: %w", s.Name, err)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.migrated(ctx, "query-migrate")
}

func receive(listener net.Listener, target string) error {
	connection, err := listener.Accept()
	if err != nil {
		return err
	}
	defer connection.Close() // only read
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, connection)
	return errors.Join(err, file.Close())
}

// Load gives a machine started with Incoming the state that Save wrote. It is stopped
// then.
func (s Spec) Load(ctx context.Context, source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close() // only read
	socket := s.file(".state")
	_, err = s.Do(ctx, ignoreShared, Command{"migrate-incoming", map[string]any{"uri": "unix:" + socket}})
	if err != nil {
		return err
	}
	connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("load %s: %w", s.Name, err)
	}
	defer os.Remove(socket) // used up
	_, err = io.Copy(connection, file)
	if err := errors.Join(err, connection.Close()); err != nil {
		return fmt.Errorf("load %s: %w", s.Name, err)
	}
	return s.migrated(ctx, "query-migrate")
}

// migrated waits for the end of the migration.
func (s Spec) migrated(ctx context.Context, query string) error {
	for {
		answer, err := s.Do(ctx, Command{Name: query})
		if err != nil {
			return err
		}
		var state struct {
			Status string `json:"status"`
			Error  string `json:"error-desc"`
		}
		if err := json.Unmarshal(answer, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("state of %s: %s %s", s.Name, state.Status, state.Error)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
