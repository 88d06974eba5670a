// Package terminal says whether a person looks at what is written, and in colour.
package terminal

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// Is says whether w is a terminal.
func Is(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// Colour is a colour of text.
type Colour string

// The colours, by what they mean.
const (
	Good Colour = "32" // green
	Warn Colour = "33" // yellow
	Bad  Colour = "31" // red
	Head Colour = "1"  // bold
)

// Painter colours text, or does not.
type Painter bool

// For is the painter for w: colours are for terminals only, and not where NO_COLOR is set
// (no-color.org).
func For(w io.Writer) Painter {
	return Painter(Is(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// Paint colours a text.
func (p Painter) Paint(c Colour, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
