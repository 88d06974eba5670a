package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"one-clvm/lab/profile"
)

// startLibvirt starts libvirtd and waits until it has asked the emulator what it can do,
// which takes seconds; it keeps the answer.
func startLibvirt(ctx context.Context) error {
	if err := call(ctx, "libvirtd", "--daemon"); err != nil {
		return err
	}
	var last error
	err := until(ctx, "libvirt answers", func() bool {
		last = call(ctx, "virsh", "-c", "qemu:///system", "domcapabilities", "--virttype", "qemu")
		return last == nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// Of Pacemaker.
const (
	informationBase = "/var/lib/pacemaker/cib/cib.xml"
	pacemakerLog    = "/var/log/pacemaker/pacemaker.log"
	pacemakerOutput = "/var/log/pacemaker/pacemakerd.out"
)

// startPacemaker starts it, with the configuration of the image unless the others have a
// newer one, and waits until it has all nodes and its fencer knows the configuration.
func startPacemaker(ctx context.Context, p profile.Profile) error {
	if err := ownLikeDirectory(informationBase); err != nil {
		return err
	}
	if err := background(pacemakerOutput, "/usr/sbin/pacemakerd"); err != nil {
		return err
	}
	err := until(ctx, "Pacemaker has all nodes", func() bool {
		out, err := output(ctx, "crm_mon", "-1", "--output-as=xml")
		return err == nil && strings.Count(out, ` online="true"`) >= p.Nodes
	})
	if err != nil {
		return fmt.Errorf("%w; its last words: %s", err, lastWords(pacemakerLog, pacemakerOutput))
	}
	return awaitFencer(ctx)
}

// fencerSays is what the fencer's log has of its connection to the configuration.
var fencerSays = regexp.MustCompile(`pacemaker-fenced +\[(\d+)\] \(setup_cib\)\s+(\w+): (.*)`)

// awaitFencer waits until the fencer follows the cluster's configuration. It gives up after
// ten seconds, which a node without a processor of its own can take, and then knows only
// the devices that run on this node: pacemakerd starts one that was killed again.
func awaitFencer(ctx context.Context) error {
	killed := ""
	return until(ctx, "Pacemaker's fencer follows the configuration", func() bool {
		log, err := os.ReadFile(pacemakerLog)
		said := fencerSays.FindAllStringSubmatch(string(log), -1)
		if err != nil || len(said) == 0 {
			return false
		}
		pid, level := said[len(said)-1][1], said[len(said)-1][2]
		if level == "error" && pid != killed {
			if number, err := strconv.Atoi(pid); err == nil && syscall.Kill(number, syscall.SIGKILL) == nil {
				killed = pid
			}
		}
		return level == "info"
	})
}

// lastWords are the ends of some files.
func lastWords(paths ...string) string {
	words := ""
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			words += err.Error() + "\n"
		}
		words += string(text[max(0, len(text)-4000):])
	}
	return words
}

// ownLikeDirectory gives a file of the image, which is root's, to whom its directory belongs.
func ownLikeDirectory(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner", path)
	}
	return errors.Join(os.Chown(path, int(owner.Uid), int(owner.Gid)), os.Chmod(path, 0o600))
}

// background starts a daemon that stays in the foreground, with a file for what it says.
func background(said string, argv ...string) error {
	file, err := os.OpenFile(said, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close() // the daemon has its own
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close() // only read
	process, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Env: environment, Files: []*os.File{null, file, file}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() { _, _ = process.Wait() }() // its end shows in what it serves
	return nil
}
