package opennebula

import (
	"context"
	"errors"
	"fmt"
)

// Request is a call of oned's API that changes something, without the session.
type Request struct {
	Method string
	Args   []any
}

func (r Request) String() string {
	text := r.Method
	for _, arg := range r.Args {
		text += fmt.Sprintf(" %v", arg)
	}
	return text
}

// ErrVersion says that the version of OpenNebula has no such call, or that it is not known
// which one it has.
var ErrVersion = errors.New("this OpenNebula cannot do that")

// MigrateCall has oned migrate a VM, in the parameters of the version. live: while it runs,
// for a VM that is RUNNING; else in the way of its state. The capacity of the host is not
// looked at: 4.14 and newer keep the datastore, 5.8 and newer would save the memory.
func MigrateCall(v Version, vm, host int, live bool) (Request, error) {
	if v == (Version{}) {
		return Request{}, fmt.Errorf("one.vm.migrate: %w: its parameters differ between 3.x and 4.2, which have no VERSION file", ErrVersion)
	}
	args := []any{vm, host, live}
	if v.AtLeast(4, 0, 0) {
		args = append(args, false) // enforce
	}
	if v.AtLeast(4, 14, 0) {
		args = append(args, None) // datastore
	}
	if v.AtLeast(5, 8, 0) {
		args = append(args, 0) // by saving
	}
	return Request{"one.vm.migrate", args}, nil
}

// Recovery is how oned is to take what it waits for.
type Recovery int

// The recoveries, with the numbers of one.vm.recover since 4.14.
const (
	RecoverFailure Recovery = 0
	RecoverSuccess Recovery = 1
	RecoverRetry   Recovery = 2
)

// String is the word of onevm recover.
func (r Recovery) String() string { return [...]string{"failure", "success", "retry"}[r] }

// RecoverCall ends what oned waits for. ErrVersion: 3.x has no such call, and before 4.14
// there is no retry.
func RecoverCall(v Version, vm int, how Recovery) (Request, error) {
	switch {
	case v.AtLeast(4, 14, 0):
		return Request{"one.vm.recover", []any{vm, int(how)}}, nil
	case v.AtLeast(4, 0, 0) && how != RecoverRetry:
		return Request{"one.vm.recover", []any{vm, how == RecoverSuccess}}, nil
	}
	return Request{}, fmt.Errorf("one.vm.recover: %w", ErrVersion)
}

// Do makes a call. Its success means that oned has begun: see the VM's state for the rest.
func (c *Client) Do(ctx context.Context, request Request) error {
	_, err := c.call(ctx, request.Method, request.Args...)
	return err
}
