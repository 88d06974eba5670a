package qcow2

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
)

// What qemu-img may use, beside what the size of the disk allows it.
const (
	maxMemory   = 1 << 30 // of address space, bytes
	leastTime   = time.Minute
	leastPerSec = 4 << 20 // bytes of the disk; slower is not working
)

// source is how qemu-img is told what to read: the format by name and, whatever the header
// says by now, no backing file. The descriptors are those of Convert's run.
const (
	source = `json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/proc/self/fd/3"}}`
	target = "/proc/self/fd/4"
	// rawSource is a raw disk, whatever it begins with.
	rawSource = `json:{"driver":"raw","file":{"driver":"file","filename":"/proc/self/fd/3"}}`
)

// tables is what a QCOW2 file may have beside the disk and an eighth of it, bytes.
const tables = 64 << 20

// Convert writes the disk that a QCOW2 file holds into a raw one: a new, empty file, in
// which what is zero stays a hole. Its header has been read and checked, and the disk is
// not larger than limit bytes. qemu-img runs with bounded memory, processor time and time;
// progress is told the bytes of the disk that are done. Flushing the file is the caller's,
// and removing it after an error. ErrFormat, ErrRefused.
func Convert(ctx context.Context, r run.Runner, from, to *os.File, limit int64, progress func(int64)) (Header, error) {
	h, err := ReadHeader(from)
	if err == nil {
		err = h.Check()
	}
	if err == nil && h.Size > limit {
		err = fmt.Errorf("%w: the disk has %d bytes, %d are allowed", ErrRefused, h.Size, limit)
	}
	if err == nil {
		err = to.Truncate(h.Size)
	}
	if err != nil {
		return h, fmt.Errorf("convert %s: %w", from.Name(), err)
	}
	return h, job{from, to, h.Size, h.Size, progress}.run(ctx, r, "-n", "-O", "raw", source, target)
}

// Make writes a raw disk of size bytes into a new, empty QCOW2 file, under the same bounds as
// Convert. Flushing the file is the caller's.
func Make(ctx context.Context, r run.Runner, from, to *os.File, size int64, progress func(int64)) error {
	return job{from, to, size, size + size/8 + tables, progress}.run(ctx, r, "-O", "qcow2", rawSource, target)
}

// job is one run of qemu-img convert.
type job struct {
	from, to *os.File
	size     int64 // of the disk, bytes
	most     int64 // of the file that is written
	progress func(int64)
}

func (j job) run(ctx context.Context, r run.Runner, args ...string) error {
	took := leastTime + time.Duration(j.size/leastPerSec)*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, took, fmt.Errorf("qemu-img was not done in %s", took))
	defer cancel()
	bounds := []string{"--as=" + strconv.Itoa(maxMemory), "--cpu=" + strconv.Itoa(int(took.Seconds())), "--core=0", "--fsize=" + strconv.FormatInt(j.most, 10)}
	_, err := r.Run(ctx, run.Cmd{
		Path: "prlimit", Args: slices.Concat(bounds, []string{"qemu-img", "convert", "-p"}, args),
		Files: []*os.File{j.from, j.to}, Stdout: &meter{size: j.size, told: j.progress}, DiesWithCaller: true,
	})
	failpoint.Hit("qcow2.converted")
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("convert %s: %w", j.from.Name(), err)
}

// meter reads what qemu-img prints of its progress: "    (12.34/100%)\r".
type meter struct {
	size int64
	told func(int64)
	rest []byte
}

func (m *meter) Write(p []byte) (int, error) {
	const most = 64 // longer than any of them
	m.rest = append(m.rest, p...)
	for {
		line, rest, complete := bytes.Cut(m.rest, []byte("/100%)"))
		if !complete {
			m.rest = m.rest[max(0, len(m.rest)-most):]
			return len(p), nil
		}
		m.rest = rest
		text := line[bytes.LastIndexByte(line, '(')+1:]
		if percent, err := strconv.ParseFloat(string(text), 64); err == nil && percent >= 0 && percent <= 100 {
			m.told(int64(percent / 100 * float64(m.size)))
		}
	}
}
