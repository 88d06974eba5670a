// Package spool keeps small records in a directory until somebody has dealt with them. A
// record that Append has accepted survives any crash, and is read whole or not at all.
//
// What a crash of Append leaves, by failpoint:
//
//	spool.written    nothing: the file has no name yet
//	spool.flushed    nothing, or a hidden file that Sweep removes
//	spool.published  the record, whose writer was not told
//
// Removing is one unlink: a crash leaves the record, which is dealt with again.
package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
)

// Limits of a spool.
const (
	MaxRecord  = 4 << 10 // bytes
	MaxRecords = 20_000
)

// Sentinels. Test with errors.Is.
var (
	// ErrFull: the spool has MaxRecords already.
	ErrFull = errors.New("the spool is full")
	// ErrTooLarge: a record has more than MaxRecord bytes.
	ErrTooLarge = errors.New("the record is too large")
	// ErrUntrusted: an entry is no plain file of acceptable size.
	ErrUntrusted = errors.New("not a record")
)

// Spool is a directory of records.
type Spool struct {
	Dir string
	Now func() time.Time // nil: time.Now
	Max int              // records; 0: MaxRecords
}

// Entry is a record in the spool.
type Entry struct {
	Name string    // its file
	Time time.Time // when it was appended, by this node's clock
	Data []byte
	Err  error // it cannot be read: see Reject
}

// A record's file: 19 digits of nanoseconds since 1970, which sort like the time, a random
// part of 8 hexadecimal digits, and this.
const entrySuffix = ".event"

// timeOf is when the record of that name was appended, zero if that is no time; false: it is
// no record's name.
func timeOf(name string) (time.Time, bool) {
	stem, ok := strings.CutSuffix(name, entrySuffix)
	if !ok || len(stem) != 19+1+8 || stem[19] != '-' || strings.Trim(stem[:19], "0123456789") != "" || strings.Trim(stem[20:], "0123456789abcdef") != "" {
		return time.Time{}, false
	}
	nanoseconds, err := strconv.ParseInt(stem[:19], 10, 64)
	if err != nil {
		return time.Time{}, true
	}
	return time.Unix(0, nanoseconds), true
}

func isEntry(name string) bool {
	_, ok := timeOf(name)
	return ok
}

const (
	leftoverSuffix = ".saving" // of publish
	leftoverAge    = time.Hour
	rejectedSuffix = ".rejected"
)

func (s Spool) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Append makes a record durable: when it returns nil, the record will be listed whatever
// happens. ErrFull, ErrTooLarge, or what the file system says.
func (s Spool) Append(data []byte) error {
	if len(data) > MaxRecord {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	if err := s.room(); err != nil {
		return err
	}
	file, err := publish.Create(filepath.Join(s.Dir, newName(s.now())))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err := file.Write(data); err != nil {
		return errors.Join(fmt.Errorf("spool: %w", err), file.Discard())
	}
	failpoint.Hit("spool.written")
	if err := file.Flush(); err != nil {
		return errors.Join(fmt.Errorf("spool: %w", err), file.Discard())
	}
	failpoint.Hit("spool.flushed")
	if err := file.Publish(); err != nil {
		return errors.Join(fmt.Errorf("spool: %w", err), file.Discard())
	}
	failpoint.Hit("spool.published")
	return nil
}

// newName cannot be that of another record: 32 random bits within one nanosecond.
func newName(at time.Time) string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Sprintf("%019d-%s.event", at.UnixNano(), hex.EncodeToString(random[:]))
}

func (s Spool) room() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	limit := s.Max
	if limit == 0 {
		limit = MaxRecords
	}
	if len(names) >= limit {
		return fmt.Errorf("%w: %d records wait in %s; see why they are not delivered", ErrFull, len(names), s.Dir)
	}
	return nil
}

// names of all records.
func (s Spool) names() ([]string, error) {
	dir, err := os.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !isEntry(name) }), nil
}

// List reads all records, in the order in which they were appended.
func (s Spool) List() ([]Entry, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var entries []Entry
	for _, name := range names {
		at, _ := timeOf(name)
		if at.IsZero() {
			entries = append(entries, Entry{Name: name, Err: fmt.Errorf("%s: %w: its name is no time", name, ErrUntrusted)})
			continue
		}
		data, err := read(filepath.Join(s.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // dealt with meanwhile
		}
		entries = append(entries, Entry{Name: name, Time: at, Data: data, Err: err})
	}
	return entries, nil
}

// read: those that may append are not trusted with what is read for them.
func read(path string) (_ []byte, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: %w: it is a symbolic link", path, ErrUntrusted)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxRecord {
		return nil, fmt.Errorf("%s: %w: %s of %d bytes", path, ErrUntrusted, info.Mode(), info.Size())
	}
	return io.ReadAll(io.LimitReader(file, MaxRecord))
}

// Remove drops a record that was dealt with.
func (s Spool) Remove(name string) error {
	if !isEntry(name) {
		return fmt.Errorf("spool: %q: %w", name, ErrUntrusted)
	}
	if err := os.Remove(filepath.Join(s.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Reject keeps an entry that cannot be read, out of the way, for a person to look at.
func (s Spool) Reject(name string) error {
	if !isEntry(name) {
		return fmt.Errorf("spool: %q: %w", name, ErrUntrusted)
	}
	path := filepath.Join(s.Dir, name)
	if err := os.Rename(path, path+rejectedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Rejected are the files of those that were put out of the way.
func (s Spool) Rejected() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.Dir, "*"+rejectedSuffix))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return found, nil
}

// Sweep removes what crashes of Append have left.
func (s Spool) Sweep() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		name, ours := strings.CutSuffix(strings.TrimPrefix(entry.Name(), "."), leftoverSuffix)
		if !ours || !isEntry(name) {
			continue
		}
		info, err := entry.Info()
		if err == nil && s.now().Sub(info.ModTime()) > leftoverAge {
			err = os.Remove(filepath.Join(s.Dir, entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("spool: %w", err))
		}
	}
	return errors.Join(errs...)
}
