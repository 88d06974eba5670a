// Packaging makes the packages of the suite, and installs it without them, from one list of
// contents (contents.go).
//
//	packaging package   deb and rpm of every architecture into a directory, with an SBOM
//	packaging install   the same files below DESTDIR
//
// make package and make install call it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	if err := packaging(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// options of both commands.
type options struct {
	described, date               string
	host, programs, nfpm, out     string
	destination, location, layout string
	architectures, formats        []string
}

func packaging(ctx context.Context, argv []string, out io.Writer) error {
	var o options
	flags := pflag.NewFlagSet("packaging", pflag.ContinueOnError)
	flags.StringVar(&o.described, "version", "devel", "what git describe says")
	flags.StringVar(&o.date, "date", "", "of the commit, RFC 3339")
	flags.StringVar(&o.host, "host-programs", "bin", "directory of the programs for this machine")
	flags.StringVar(&o.programs, "programs", "", "directory of the programs, a directory for each architecture")
	flags.StringSliceVar(&o.architectures, "arch", []string{"amd64", "arm64"}, "architectures")
	flags.StringSliceVar(&o.formats, "format", []string{"deb", "rpm"}, "formats of packages")
	flags.StringVar(&o.nfpm, "nfpm", "nfpm", "the program nfpm")
	flags.StringVar(&o.out, "out", "dist", "directory of the packages")
	flags.StringVar(&o.destination, "destdir", "", "root of the installation")
	flags.StringVar(&o.location, "one-location", "", "ONE_LOCATION of an OpenNebula that is not packaged")
	flags.StringVar(&o.layout, "layout", "", "deb or rpm: where that family has its files; that of this machine")
	if err := flags.Parse(argv); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("which command: package or install?")
	}
	r, err := o.release()
	if err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "package":
		return o.packages(ctx, r, out)
	case "install":
		return o.install(ctx, r, flags.Args()[1:], out)
	}
	return fmt.Errorf("no command %q: package or install", flags.Arg(0))
}

func (o options) release() (Release, error) {
	repository, err := os.Getwd()
	if err != nil {
		return Release{}, err
	}
	if _, err := os.Stat("packaging/contents.go"); err != nil {
		return Release{}, errors.New("start it in the root of the repository")
	}
	commit, err := time.Parse(time.RFC3339, o.date)
	if err != nil {
		return Release{}, fmt.Errorf("--date: %w", err)
	}
	return Release{
		Version: packageVersion(o.described, commit), Time: commit,
		Repository: repository, Host: absolute(repository, o.host), Programs: absolute(repository, o.programs),
	}, nil
}

func absolute(directory, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(directory, path)
}

func (o options) packages(ctx context.Context, r Release, out io.Writer) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	for i, arch := range o.architectures {
		of := r
		of.Programs = filepath.Join(r.Programs, arch)
		which := Packages
		if i > 0 {
			which = []Package{Common} // the others are those of all architectures
		}
		if err := o.packagesOf(ctx, of, arch, which, out); err != nil {
			return err
		}
	}
	made, err := filepath.Glob(filepath.Join(o.out, "*"+r.Version+"*"))
	for _, file := range made {
		fmt.Fprintln(out, file)
	}
	return err
}

func (o options) packagesOf(ctx context.Context, r Release, arch string, which []Package, out io.Writer) error {
	directory, err := os.MkdirTemp("", "one-clvm-packaging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	t, err := r.stage(ctx, directory, o.formats...)
	if err != nil {
		return err
	}
	files, err := t.expand(o.formats[0], Packages...)
	if err == nil {
		err = check(ctx, files, filepath.Join(directory, "root"), func(program string) error {
			return fmt.Errorf("%s is not installed: make deps", program)
		}, out)
	}
	if err != nil {
		return fmt.Errorf("not packed: %w", err)
	}
	for _, format := range o.formats {
		for _, p := range which {
			if err := r.pack(ctx, o.nfpm, p, format, arch, t, o.out); err != nil {
				return err
			}
		}
	}
	return r.bill(filepath.Join(o.out, fmt.Sprintf("one-clvm_%s_%s.cdx.json", r.Version, arch)))
}

// install puts a front-end, a node or both (no words) below the destination.
func (o options) install(ctx context.Context, r Release, words []string, out io.Writer) error {
	which := Packages
	if len(words) > 0 {
		which = []Package{Common}
	}
	for _, word := range words {
		p, known := map[string]Package{"frontend": FrontEnd, "node": Node}[word]
		if !known {
			return fmt.Errorf("install what: frontend or node, not %q", word)
		}
		which = append(which, p)
	}
	if o.layout == "" {
		o.layout = "rpm"
		if exists("/etc/debian_version") {
			o.layout = "deb"
		}
	}
	remotes := Remotes
	if o.location != "" {
		remotes = filepath.Join(o.location, "var/remotes")
	}
	r.Programs = r.Host
	directory, err := os.MkdirTemp("", "one-clvm-packaging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	t, err := r.stage(ctx, directory, o.layout)
	if err != nil {
		return err
	}
	files, err := t.expand(o.layout, which...)
	if err == nil {
		err = check(ctx, files, filepath.Join(directory, "root"), func(program string) error {
			_, err := fmt.Fprintf(out, "%s is not there: what it reads is not checked\n", program)
			return err
		}, out)
	}
	if err != nil {
		return fmt.Errorf("not installed: %w", err)
	}
	return install(files, o.destination, remotes, out)
}
