package entrance

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Journal is where goes what a person has to see, also when nothing else works.
type Journal interface {
	Note(format string, args ...any)
	Alarm(format string, args ...any)
}

// Syslog is the Journal of the programs: the system's own log through its socket, which
// journald reads as well, and standard error. Callers of the entrances drop what these say;
// and no other program has to be started.
type Syslog struct {
	Program string // who writes
	Stderr  io.Writer
	Socket  string // of the log
}

// LogSocket is where the system's log listens.
const LogSocket = "/dev/log"

// System is the log of this machine, for one-migrate-hook.
func System(stderr io.Writer) *Syslog {
	return &Syslog{Program: "one-migrate-hook", Stderr: stderr, Socket: LogSocket}
}

// Severities of syslog, in the facility of daemons.
const (
	daemon = 3 << 3
	severe = daemon | 3 // error
	notice = daemon | 5
)

// Note writes a line.
func (s *Syslog) Note(format string, args ...any) { s.write(notice, fmt.Sprintf(format, args...)) }

// Alarm writes a line as an error.
func (s *Syslog) Alarm(format string, args ...any) { s.write(severe, fmt.Sprintf(format, args...)) }

func (s *Syslog) write(priority int, line string) {
	fmt.Fprintf(s.Stderr, "%s: %s\n", s.Program, line)
	if err := s.send(fmt.Sprintf("<%d>%s[%d]: %s", priority, s.Program, os.Getpid(), line)); err != nil {
		fmt.Fprintf(s.Stderr, "%s: system log: %v\n", s.Program, err)
	}
}

// logPatience is how long a log may take no messages.
var logPatience = unix.Timeval{Usec: 200_000}

// send hands one message to the log, as syslog(3) does: the log puts its own time to it.
func (s *Syslog) send(message string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &logPatience); err == nil {
		err = unix.Sendto(fd, []byte(message), 0, &unix.SockaddrUnix{Name: s.Socket})
	}
	return errors.Join(err, unix.Close(fd))
}
