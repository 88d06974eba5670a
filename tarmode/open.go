package tarmode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"one-clvm/internal/lazyregexp"
	"one-clvm/tarmode/archive"
)

// magicSize is how many bytes Sniff wants to see.
const magicSize = 16

// Decompress opens an image's stream as what its record says it is: RAW is passed on
// as it comes, whatever its first bytes are; every other mode is decompressed by its
// magic. ErrFormat when the magic is not one that the mode can have: a tar may be
// compressed in any way or not at all, a GZIP or ZSTD disk must be compressed.
func Decompress(r io.Reader, mode Mode) (io.ReadCloser, error) {
	if mode == RAW {
		return io.NopCloser(r), nil
	}
	buffered := bufio.NewReaderSize(r, 256<<10)
	head, err := buffered.Peek(magicSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("%w: the image is empty", ErrTruncated)
	}
	c := Sniff(head)
	if c == None && !mode.Tar() {
		return nil, fmt.Errorf("%w: a %s image starts with % x", ErrFormat, mode, head)
	}
	return NewDecompressor(buffered, c)
}

// The keys of the PAX global records in which a file system's identity travels.
const (
	keyUUID  = "ONECLVM.fs.uuid"
	keyLabel = "ONECLVM.fs.label"
)

// Identity makes the global records of a file system's UUID and label.
func Identity(uuid, label string) map[string]string {
	records := map[string]string{}
	if uuid != "" {
		records[keyUUID] = uuid
	}
	if label != "" {
		records[keyLabel] = label
	}
	return records
}

var (
	uuidForm  = lazyregexp.New(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	labelForm = lazyregexp.New(`^[A-Za-z0-9_.+/:][A-Za-z0-9_.+/:-]{0,15}$`)
)

// ReadIdentity reads the file system's UUID and label from the beginning of a tar
// image; both are empty where the image has none, or none of the usual form. It fails
// like Decompress, and with ErrTruncated or ErrCorrupt where even the first member
// cannot be read: such an image is not worth sending.
func ReadIdentity(image *os.File, mode Mode) (uuid, label string, err error) {
	defer func() {
		if _, seekErr := image.Seek(0, io.SeekStart); seekErr != nil {
			err = errors.Join(err, seekErr)
		}
	}()
	plain, err := Decompress(image, mode)
	if err != nil {
		return "", "", err
	}
	defer plain.Close() // its beginning is all that was wanted
	members := archive.NewReader(plain)
	if _, err := members.Next(); err != nil && !errors.Is(err, io.EOF) {
		return "", "", err
	}
	uuid, label = members.Global()[keyUUID], members.Global()[keyLabel]
	if !uuidForm.MatchString(uuid) {
		uuid = ""
	}
	if !labelForm.MatchString(label) {
		label = ""
	}
	return uuid, label, nil
}
