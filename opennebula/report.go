package opennebula

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/mattn/go-isatty"
)

const (
	blockBegin = "ERROR MESSAGE --8<------"
	blockEnd   = "ERROR MESSAGE ------>8--"

	maxLine = 8 << 10 // of one line, bytes
	// Up to 5.4 oned reads standard error only after standard output ended: what does
	// not fit the pipe (64 KiB) would stop the driver for ever.
	maxStderr = 60 << 10
	reserve   = maxLine + 256 // of maxStderr, for the error at the end
	maxHeld   = 1000          // lines, see Close
)

// form is how a version of oned reads a driver's standard error.
type form int

const (
	terminal form = iota // a person reads it
	block                // up to 6.0.2: the message is between two marker lines
	whole                // 6.0.3 to 6.10: everything is the message
	levels               // 7.x: lines with a level are log lines, the others the message
)

// Reporter tells oned, or the person at the terminal, what a verb does and how it
// ended, on standard error. Every line ends in a newline: without the last one the
// stream from a host hangs. It is safe for concurrent use.
type Reporter struct {
	mu      sync.Mutex
	w       io.Writer
	form    form
	limited bool
	written int
	cut     bool
	held    []string
}

// NewReporter writes to w in the form of the version, or plain sentences when w is a
// terminal.
func NewReporter(w io.Writer, v Version) *Reporter {
	return &Reporter{w: w, form: formOf(w, v), limited: !v.AtLeast(5, 6, 0)}
}

func formOf(w io.Writer, v Version) form {
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return terminal
	}
	switch {
	case v.AtLeast(6, 99, 0):
		return levels
	case v.AtLeast(6, 0, 3):
		return whole
	}
	return block
}

// Error reports why the verb failed: the message that users see. It is the last thing
// to be reported; nil reports nothing.
func (r *Reporter) Error(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = nil
	text := shorten(Sanitize(err.Error()), maxLine)
	if text == "" {
		text = "failed without a message"
	}
	if r.form == block {
		text = blockBegin + "\n" + text + "\n" + blockEnd
	}
	r.write(text)
}

// Debug reports a detail to the log.
func (r *Reporter) Debug(format string, args ...any) { r.log("DEBUG", "", format, args) }

// Info reports a step to the log.
func (r *Reporter) Info(format string, args ...any) { r.log("INFO", "", format, args) }

// Warn reports something to the log that a person should look at.
func (r *Reporter) Warn(format string, args ...any) {
	if r.form == levels {
		r.log("WARN", "", format, args)
		return
	}
	r.log("INFO", "warning: ", format, args) // before 7.x there is no level WARN
}

func (r *Reporter) log(level, mark, format string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := mark + shorten(Sanitize(fmt.Sprintf(format, args...)), maxLine-64)
	switch r.form {
	case terminal:
		r.write(text)
	case whole:
		r.hold(level + ": " + text)
	case levels:
		r.writeLog(level + ": " + wordFirst(text))
	case block:
		r.writeLog(level + ": " + text)
	}
}

// wordFirst: 7.x takes a number at the beginning for the id of a VM.
func wordFirst(text string) string {
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		return "(" + text + ")"
	}
	return text
}

// hold keeps a log line until the verb's end is known: from 6.0.3 to 6.10 all that a
// failing verb writes is shown to the user as its message.
func (r *Reporter) hold(line string) {
	if len(r.held) < maxHeld {
		r.held = append(r.held, line)
	}
}

// Close writes what was held back. Call it when the verb has ended; after Error it
// writes nothing.
func (r *Reporter) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.held {
		r.write(line)
	}
	r.held = nil
}

// writeLog writes a log line while there is room for it and the error.
func (r *Reporter) writeLog(line string) {
	switch {
	case r.cut:
	case r.limited && r.written+len(line)+1 > maxStderr-reserve-64:
		r.cut = true
		r.write("INFO: further log lines are left out")
	default:
		r.write(line)
	}
}

// write has nobody to report an error to: standard error is where it would go.
func (r *Reporter) write(text string) {
	n, _ := io.WriteString(r.w, text+"\n")
	r.written += n
}

// ExitStatus of a verb that ended with err: 0, 1, or 2 for arguments that oned never
// gives. Never 42, which makes oned copy all its scripts to the host.
func ExitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUsage):
		return 2
	}
	return 1
}
