package image

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"one-clvm/test/build"
)

// Files of the node.
const (
	initramfsName = "initramfs"
	keyName       = "id_ed25519"
	hostKeyName   = "host_ed25519"
	nodeVersion   = "1"
)

// files are the nodes' configuration, in the trees of profile.Profile.Trees.
//
//go:embed files
var files embed.FS

func makeNode(ctx context.Context, system string, progress io.Writer) (string, error) {
	program, err := compileGuest(ctx)
	if err != nil {
		return "", err
	}
	parts := []string{nodeVersion, filepath.Base(system), string(program)}
	err = eachFile(func(name string, data []byte) error {
		parts = append(parts, name, string(data))
		return nil
	})
	if err != nil {
		return "", err
	}
	return Cached(ctx, "node-"+hash(parts...), progress, func(directory string) error {
		for _, key := range []string{keyName, hostKeyName} {
			if err := call(ctx, directory, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key); err != nil {
				return err
			}
		}
		return writeInitramfs(directory, filepath.Join(system, modulesName), program)
	})
}

// compileGuest returns the static program that nodes run.
func compileGuest(ctx context.Context) ([]byte, error) {
	directory, err := os.MkdirTemp("", "one-clvm-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory) // a temporary directory
	target := filepath.Join(directory, "guest")
	if err := build.Program(ctx, target, "./lab/guest", "-ldflags", "-s -w"); err != nil {
		return nil, err
	}
	return os.ReadFile(target)
}

func eachFile(do func(name string, data []byte) error) error {
	return fs.WalkDir(files, "files", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		return do(strings.TrimPrefix(name, "files/"), data)
	})
}

// writeInitramfs packs the program, the modules it loads, and the configuration.
func writeInitramfs(directory, modules string, program []byte) error {
	out, err := os.Create(filepath.Join(directory, initramfsName))
	if err != nil {
		return err
	}
	defer out.Close() // closed again below, with the error
	archive := newCpio(out)
	archive.add("init", program, 0o755)
	entries, err := os.ReadDir(modules)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(modules, entry.Name()))
		if err != nil {
			return err
		}
		archive.add(path.Join("modules", entry.Name()), data, 0o644)
	}
	err = eachFile(func(name string, data []byte) error {
		archive.add(path.Join("config", name), data, 0o644)
		return nil
	})
	if err != nil {
		return err
	}
	if err := addKeys(archive, directory); err != nil {
		return err
	}
	if err := archive.close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return out.Close()
}

// addKeys makes the key trusted by root and oneadmin, and gives it to them as well: a
// node reaches the others.
func addKeys(archive *cpio, directory string) error {
	read := map[string][]byte{}
	for _, name := range []string{keyName, keyName + ".pub", hostKeyName, hostKeyName + ".pub"} {
		data, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			return err
		}
		read[name] = data
	}
	known := []byte("node1,node2 " + string(read[hostKeyName+".pub"]))
	const common = "config/common"
	archive.add(common+"/etc/ssh/ssh_host_ed25519_key", read[hostKeyName], 0o600)
	archive.add(common+"/etc/ssh/ssh_known_hosts", known, 0o644)
	for _, home := range []string{"/root", "/var/lib/one"} {
		archive.add(common+home+"/.ssh/authorized_keys", read[keyName+".pub"], 0o600)
		archive.add(common+home+"/.ssh/id_ed25519", read[keyName], 0o600)
	}
	return nil
}
