// Package debian makes real root file systems for the demo and the measurements: a
// Debian from the mirrors that this machine's apt is configured with, kept as a tar
// between runs, and on request with everything in it that a file system can hold.
package debian

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/internal/run"
)

// System is a choice of packages.
type System struct {
	Name     string
	Packages []string // besides those of the variant
	Variant  string   // mmdebstrap's; "" is those of priority "important" and above
	Options  []string // more of mmdebstrap's
}

var (
	// Small is a server with an editor and two script languages: some 350 MB.
	Small = System{Name: "small", Packages: []string{"perl", "vim", "python3", "locales", "iputils-ping", "curl", "openssh-server"}}
	// Large can also compile: some 750 MB.
	Large = System{Name: "large", Packages: append([]string{"build-essential", "git", "gdb"}, Small.Packages...)}
)

// Archive returns the path of a tar of the system, in the cache directory; the first
// time, and after the sources or the packages have changed, mmdebstrap makes it, which
// takes a minute and the network.
func Archive(ctx context.Context, cache string, system System) (string, error) {
	sources, err := aptSources(ctx)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(sources + strings.Join(system.Packages, " ")))
	path := filepath.Join(cache, fmt.Sprintf("debian-%s-%x.tar", system.Name, key[:6]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	work, err := os.MkdirTemp(cache, "debian-")
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	fmt.Fprintf(os.Stderr, "making a Debian root file system (%s), once, about a minute\n", system.Name)
	err = bootstrap(ctx, work, "root.tar", sources, system)
	if err == nil {
		err = os.Rename(filepath.Join(work, "root.tar"), path)
	}
	return path, errors.Join(err, os.RemoveAll(work))
}

// Tree makes the system in work/root: a tree of files that belong to their owners. Other
// files in the directory are its own.
func Tree(ctx context.Context, work string, system System) (string, error) {
	sources, err := aptSources(ctx)
	if err != nil {
		return "", err
	}
	return filepath.Join(work, "root"), bootstrap(ctx, work, "root", sources, system)
}

// bootstrap makes the target in the directory: a tar, by its suffix, or a tree.
func bootstrap(ctx context.Context, directory, target, sources string, system System) error {
	list, options := filepath.Join(directory, "sources.list"), filepath.Join(directory, "apt.conf")
	proxies, err := aptProxies(ctx)
	if err != nil {
		return err
	}
	for path, text := range map[string]string{list: sources, options: proxies} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("configure mmdebstrap: %w", err)
		}
	}
	arguments := append([]string{
		"--mode=root", "--variant=" + cmp.Or(system.Variant, "important"), "--include=" + strings.Join(system.Packages, ","),
		"--aptopt=" + options, "--quiet",
	}, system.Options...)
	_, err = run.Exec{}.Run(ctx, run.Cmd{
		Path: "mmdebstrap", Dir: directory, Env: append(proxyEnvironment(), "TMPDIR="+directory),
		Args: append(arguments, "", filepath.Join(directory, target), list),
	})
	if err != nil {
		return fmt.Errorf("make a Debian root file system: %w", err)
	}
	return nil
}

// aptSources are the machine's own sources of packages from Debian, one a line. Package
// lists that were never fetched name none: then they are fetched.
func aptSources(ctx context.Context) (string, error) {
	for _, update := range []bool{false, true} {
		if update {
			if _, err := (run.Exec{}).Run(ctx, run.Cmd{Path: "apt-get", Args: []string{"update", "-qq"}}); err != nil {
				return "", fmt.Errorf("fetch package lists: %w", err)
			}
		}
		result, err := run.Exec{}.Run(ctx, run.Cmd{Path: "apt-get", Args: []string{
			"indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian",
		}})
		if err != nil {
			return "", fmt.Errorf("look for the sources of packages: %w", err)
		}
		if len(result.Stdout) > 0 {
			return string(result.Stdout), nil
		}
	}
	return "", errors.New("apt knows no source of Debian packages; add one to /etc/apt/sources.list")
}

// aptProxies are the machine's settings of proxies, as an apt.conf.
func aptProxies(ctx context.Context) (string, error) {
	result, err := run.Exec{}.Run(ctx, run.Cmd{Path: "apt-config", Args: []string{"dump"}})
	if err != nil {
		return "", fmt.Errorf("look for proxies: %w", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(result.Stdout)) {
		if name, _, _ := strings.Cut(strings.ToLower(line), " "); strings.HasPrefix(name, "acquire::") && strings.Contains(name, "proxy") {
			kept.WriteString(line)
		}
	}
	return kept.String(), nil
}

func proxyEnvironment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Unpack unpacks a tar into a new directory with GNU tar, all attributes included.
func Unpack(ctx context.Context, archive, directory string) error {
	if err := os.Mkdir(directory, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	_, err := run.Exec{}.Run(ctx, run.Cmd{Path: "tar", Args: []string{
		"-x", "-p", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "-f", archive, "-C", directory,
	}})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", archive, err)
	}
	return nil
}

// Differences compares two trees with rsync: contents, owners and groups by number,
// modes, times to the nanosecond, hard links, ACLs and extended attributes. "" if there
// are none. (XFS shows ACLs a second time, as attributes of its own.)
func Differences(ctx context.Context, want, have string) (string, error) {
	result, err := run.Exec{}.Run(ctx, run.Cmd{Path: "rsync", Args: []string{
		"-aHAXn", "--numeric-ids", "--checksum", "--delete", "--modify-window=-1", "--itemize-changes",
		"--exclude=/lost+found", "--filter=-x trusted.SGI_ACL_*", want + "/", have + "/",
	}})
	if err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	return string(result.Stdout), nil
}
