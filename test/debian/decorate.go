package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

// SparseSize is the apparent size of the sparse file that Decorate makes.
const SparseSize = 256 << 20

// SparseFile is its name below the root.
const SparseFile = "srv/decoration/sparse"

// Decorate puts one of everything into srv/decoration that a minimal Debian does not
// have and that is easily lost on the way: capabilities, ACLs, attributes, hard links,
// holes, devices, long and odd names, times before 1970 and between seconds.
func Decorate(ctx context.Context, root string) error {
	d := decorator{at: filepath.Join(root, filepath.Dir(SparseFile))}
	d.do(os.MkdirAll(d.at, 0o755))
	d.file("plain", "text\n", 0o640)
	d.do(os.Lchown(d.path("plain"), 4321, 1234))
	d.file("setuid", "x", 0o755)
	d.do(unix.Chmod(d.path("setuid"), 0o6755))
	d.do(os.Link(d.path("plain"), d.path("hardlink-1")), os.Link(d.path("plain"), d.path("hardlink-2")))
	d.do(os.Symlink("../../etc/passwd", d.path("symlink")), os.Symlink("/nowhere", d.path("dangling")))
	d.do(unix.Mkfifo(d.path("fifo"), 0o600), unix.Mknod(d.path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	d.file("odd \n\t\"'$(x) ünïcödé", "", 0o600)
	d.file(strings.Repeat("long", 60), "", 0o600)
	d.do(os.MkdirAll(d.path(strings.Repeat("deep-directory/", 20)), 0o700))
	d.do(unix.Setxattr(d.path("plain"), "user.comment", []byte("a\x00b"), 0))
	d.file("capable", "x", 0o755)
	d.run(ctx, "setcap", "cap_net_raw,cap_net_bind_service+ep", d.path("capable"))
	d.do(os.Mkdir(d.path("shared"), 0o2775))
	d.run(ctx, "setfacl", "-m", "u:4321:rw,g:1234:r", d.path("plain"))
	d.run(ctx, "setfacl", "-d", "-m", "u:4321:rwx", d.path("shared"))
	d.sparse()
	d.do(os.Chtimes(d.path("setuid"), time.Now(), time.Unix(-86400, 123456789)))
	d.do(os.Chtimes(d.at, time.Now(), time.Unix(1700000000, 987654321)))
	if err := errors.Join(d.errs...); err != nil {
		return fmt.Errorf("decorate %s: %w", root, err)
	}
	return nil
}

type decorator struct {
	at   string
	errs []error
}

func (d *decorator) path(name string) string { return filepath.Join(d.at, name) }

func (d *decorator) do(errs ...error) { d.errs = append(d.errs, errs...) }

func (d *decorator) file(name, text string, mode os.FileMode) {
	d.do(os.WriteFile(d.path(name), []byte(text), mode))
}

func (d *decorator) run(ctx context.Context, argv ...string) {
	_, err := run.Exec{}.Run(ctx, run.Cmd{Path: argv[0], Args: argv[1:]})
	d.do(err)
}

// sparse makes a large file with three islands of data.
func (d *decorator) sparse() {
	file, err := os.Create(d.path(filepath.Base(SparseFile)))
	if err != nil {
		d.do(err)
		return
	}
	for _, offset := range []int64{0, 100 << 20, SparseSize - 4096} {
		_, err := file.WriteAt([]byte(strings.Repeat("data", 1024)), offset)
		d.do(err)
	}
	d.do(file.Close())
}
