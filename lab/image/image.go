// Package image makes what the lab's nodes boot from, out of Debian's packages, and keeps
// it in the user's cache.
//
// There are two layers, each in a directory named by the hash of all that it is made of.
// The system (file system, kernel, modules) takes a minute and changes with the list of
// packages. The node (an initramfs with the guest program, configuration and keys) takes
// a second and changes with this repository.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"one-clvm/lab/profile"
)

// Image is a complete set of files.
type Image struct {
	System, Node string // the directories of the layers
}

// RootFS is the ext4 that all nodes share, for reading only.
func (i Image) RootFS() string { return filepath.Join(i.System, rootName) }

// Kernel is uncompressed, to be loaded by QEMU.
func (i Image) Kernel() string { return filepath.Join(i.System, kernelName) }

// Initramfs with the program that the nodes run.
func (i Image) Initramfs() string { return filepath.Join(i.Node, initramfsName) }

// Key is the private ssh key that root and oneadmin of every node trust.
func (i Image) Key() string { return filepath.Join(i.Node, keyName) }

// HostKey is the line "ssh-ed25519 …" with which every node answers.
func (i Image) HostKey() (string, error) {
	data, err := os.ReadFile(filepath.Join(i.Node, hostKeyName+".pub"))
	return string(data), err
}

// Hash tells this image from all others.
func (i Image) Hash() string { return filepath.Base(i.System) + "-" + filepath.Base(i.Node) }

// Make returns the image of a profile for this checkout, from the cache or newly made. What
// takes long is told to progress. Needs root where the system has to be made.
func Make(ctx context.Context, p profile.Profile, progress io.Writer) (Image, error) {
	system, err := makeSystem(ctx, p, progress)
	if err != nil {
		return Image{}, fmt.Errorf("lab image: system: %w", err)
	}
	node, err := makeNode(ctx, system, progress)
	if err != nil {
		return Image{}, fmt.Errorf("lab image: node: %w", err)
	}
	return Image{System: system, Node: node}, nil
}

// hash of parts, in which no two lists of parts look the same.
func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
