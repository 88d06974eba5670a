// Package double has doubles of a cluster's tools: programs that share a state, which every
// call reads, changes and leaves. They run in the test's own process, or as programs of
// their own.
package double

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tools is the state behind the programs.
type Tools interface {
	// Call is one call of a program on a node. Reply.Took is for the caller to wait.
	Call(node, program string, args []string, stdin string, now time.Time) Reply
	// Reads says that a call only looks.
	Reads(program string, args []string) bool
	// Summary is the state in a few lines.
	Summary() string
}

// Reply of a program.
type Reply struct {
	Stdout, Stderr string
	Status         int
	Took           time.Duration
	Hangs          bool // until the caller gives up
}

// Fault makes a call go wrong, or has something happen before it.
type Fault struct {
	Call   string // beginning of the call, with the program; " * " stands for anything
	Times  int
	Status int
	Text   string
	Event  string // instead of a failure: what happens before the call
	Silent bool   // status 0, and nothing is done
	Hangs  bool   // nothing is done, and the program does not end
}

// Take is the fault of this call, nil for none.
func Take(faults []*Fault, call string) *Fault {
	for _, f := range faults {
		if f.Times > 0 && f.matches(call) {
			f.Times--
			return f
		}
	}
	return nil
}

func (f *Fault) matches(call string) bool {
	for i, part := range strings.Split(f.Call, " * ") {
		at := strings.Index(call, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		call = call[at+len(part):]
	}
	return true
}

// ParseFault reads a line of a scenario's state, after its first word:
//
//	fault TIMES CALL => STATUS TEXT
//	silent CALL           once
//	hang TIMES CALL
//	before CALL => EVENT  once
func ParseFault(kind, text string) (*Fault, error) {
	call, outcome, _ := strings.Cut(text, " => ")
	f := &Fault{Call: call, Times: 1, Silent: kind == "silent", Hangs: kind == "hang"}
	var err error
	switch kind {
	case "before":
		f.Event = outcome
	case "hang", "fault":
		times, rest, _ := strings.Cut(call, " ")
		if f.Times, err = strconv.Atoi(times); err != nil {
			return nil, err
		}
		f.Call = rest
	}
	if kind == "fault" {
		status, message, _ := strings.Cut(outcome, " ")
		f.Status, err = strconv.Atoi(status)
		f.Text = message
	}
	return f, err
}

const stateFile, lockFile = "state.json", "lock"

// Install makes programs of tools: links to this test's binary in DIR/bin/NODE, which
// Called recognises, and the state in DIR.
func Install(dir string, tools Tools, nodes, programs []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := os.MkdirAll(filepath.Join(dir, "bin", node), 0o755); err != nil {
			return err
		}
		for _, program := range programs {
			if err := os.Symlink(self, Program(dir, node, program)); err != nil {
				return err
			}
		}
	}
	if err := save(dir, tools); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600)
}

// Program is the path of an installed program.
func Program(dir, node, program string) string { return filepath.Join(dir, "bin", node, program) }

// Called says whether this process was started as an installed program.
func Called() bool {
	_, err := os.Stat(filepath.Join(directory(), stateFile))
	return filepath.IsAbs(os.Args[0]) && err == nil
}

func directory() string { return filepath.Join(filepath.Dir(os.Args[0]), "../..") }

// Main is an installed program. tools is empty and gets the state.
func Main(tools Tools) int {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	var reply Reply
	node, program := filepath.Base(filepath.Dir(os.Args[0])), filepath.Base(os.Args[0])
	err = With(directory(), tools, func() { reply = tools.Call(node, program, os.Args[1:], string(stdin), time.Now()) })
	if err != nil {
		panic(err)
	}
	if reply.Hangs {
		reply.Took = math.MaxInt64
	}
	time.Sleep(reply.Took) // nothing to await: the tool that this stands for blocks until its work is done
	fmt.Print(reply.Stdout)
	fmt.Fprint(os.Stderr, reply.Stderr)
	return reply.Status
}

// With reads the state of a directory, calls do, and writes it, while no program has it.
func With(dir string, tools Tools, do func()) (err error) {
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, tools); err != nil {
		return err
	}
	do()
	return save(dir, tools)
}

func save(dir string, tools Tools) error {
	text, err := json.Marshal(tools)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, stateFile)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
