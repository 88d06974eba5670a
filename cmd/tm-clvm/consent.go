package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mattn/go-isatty"

	"one-clvm/internal/command"
)

var errNoConsent = errors.New("not done")

// consent shows what is going to be done and wants an answer, or --yes.
func consent(yes bool, io command.Stdio, what string) error {
	if _, err := fmt.Fprint(io.Err, what); err != nil {
		return err
	}
	if yes {
		return nil
	}
	file, ok := io.In.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) {
		return fmt.Errorf("%w: there is nobody to ask; repeat it with --yes", errNoConsent)
	}
	if _, err := fmt.Fprint(io.Err, "Type yes to go on: "); err != nil {
		return err
	}
	answer, err := bufio.NewReader(file).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errNoConsent, err)
	}
	return nil
}
