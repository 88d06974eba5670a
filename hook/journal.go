package hook

import (
	"fmt"
	"io"
	"log/syslog"
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
	log *syslog.Writer // nil: there is none
	err io.Writer
}

// OpenSyslog connects to the log. Without one, standard error is all there is.
func OpenSyslog(stderr io.Writer) *Syslog {
	log, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "one-migrate-hook")
	if err != nil {
		fmt.Fprintf(stderr, "one-migrate-hook: system log: %v\n", err)
	}
	return &Syslog{log, stderr}
}

// Note writes a line.
func (s *Syslog) Note(format string, args ...any) {
	s.write((*syslog.Writer).Notice, fmt.Sprintf(format, args...))
}

// Alarm writes a line as an error.
func (s *Syslog) Alarm(format string, args ...any) {
	s.write((*syslog.Writer).Err, fmt.Sprintf(format, args...))
}

func (s *Syslog) write(to func(*syslog.Writer, string) error, line string) {
	fmt.Fprintf(s.err, "one-migrate-hook: %s\n", line)
	if s.log == nil {
		return
	}
	if err := to(s.log, line); err != nil {
		fmt.Fprintf(s.err, "one-migrate-hook: system log: %v\n", err)
	}
}
