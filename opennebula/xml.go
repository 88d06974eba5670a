package opennebula

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	// MaxDocument is the largest document that is read, in bytes.
	MaxDocument = 64 << 20

	maxDepth = 64        // oned nests a handful of levels
	maxID    = 1<<31 - 1 // oned's ids are C ints
	maxMiB   = 1<<43 - 1 // in bytes it still fits an int64
)

// ReadDocument reads what oned hands over in an argument or on standard input: a
// document in base64 (line breaks are fine), or, for the verbs that get it so, the
// document itself. The two cannot be mistaken: a document begins with <, which
// base64 does not have.
func ReadDocument(r io.Reader) ([]byte, error) {
	data, err := readBounded(r, MaxDocument/3*4)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDocument)
	}
	if text[0] == '<' {
		return text, nil
	}
	return decodeBase64(text)
}

// ReadDeployment reads the file that a deploy has on standard input: a document as
// ReadDocument takes it, or, where oned writes for Xen, text that is neither.
func ReadDeployment(r io.Reader) ([]byte, error) {
	data, err := readBounded(r, MaxDocument/3*4)
	if err != nil {
		return nil, err
	}
	document, err := ReadDocument(bytes.NewReader(data))
	if err != nil && len(bytes.TrimSpace(data)) > 0 {
		return data, nil // whoever gets it judges it
	}
	return document, err
}

// EncodeDocument is the form in which a document is handed over, see ReadDocument.
func EncodeDocument(document []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(nil, document), '\n')
}

func decodeBase64(text []byte) ([]byte, error) {
	packed := bytes.Join(bytes.Fields(text), nil)
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
	n, err := base64.StdEncoding.Decode(decoded, packed)
	if err != nil {
		return nil, fmt.Errorf("%w: it is neither XML nor base64: %w", ErrDocument, err)
	}
	return decoded[:n], nil
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: reading it: %w", ErrDocument, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: it is larger than %d MiB", ErrDocument, limit>>20)
	}
	return data, nil
}

// parseRoot reads a document whose root element must be name.
func parseRoot(r io.Reader, name string) (*etree.Element, error) {
	data, err := readBounded(r, MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if err := doc.ReadFromBytes(data); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrDocument, err)
	}
	root := doc.Root()
	if root == nil {
		return nil, fmt.Errorf("%s: %w: it has no element", name, ErrDocument)
	}
	if root.Tag != name {
		return nil, fmt.Errorf("%s: %w: its root is %q", name, ErrDocument, root.Tag)
	}
	return root, nil
}

// fields reads the children of one element and keeps the first error, so that a
// struct can be filled in one expression.
type fields struct {
	element *etree.Element
	object  string // for messages: "VM 42", "VM 42 DISK 0"
	err     error
}

// text is the first non-empty text among the names, which are one field's names over
// the versions, newest first.
func (f *fields) text(names ...string) string {
	for _, name := range names {
		for _, child := range f.element.SelectElements(name) {
			if text := strings.TrimSpace(child.Text()); text != "" {
				return text
			}
		}
	}
	return ""
}

// yes is an attribute of the YES/NO kind, or 1/0.
func (f *fields) yes(name string) bool {
	switch strings.ToUpper(f.text(name)) {
	case "YES", "1", "TRUE":
		return true
	}
	return false
}

// id is an id that must be there.
func (f *fields) id(name string) int {
	text := f.text(name)
	if text == "" {
		f.fail(name, "is missing")
		return None
	}
	id, err := ParseID(text)
	if err != nil {
		f.fail(name, err.Error())
		return None
	}
	return id
}

// number is an integer that may be missing: then it is missing. Negative numbers are
// oned's way of saying none, and given as they are.
func (f *fields) number(missing int, names ...string) int {
	text := f.text(names...)
	if text == "" {
		return missing
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		f.fail(names[0], fmt.Sprintf("%q is not a number", text))
		return missing
	}
	return int(n)
}

// time is one in seconds since 1970; zero when it is missing, or 0.
func (f *fields) time(name string) time.Time {
	text := f.text(name)
	if text == "" || text == "0" {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		f.fail(name, fmt.Sprintf("%q is not a time", text))
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// mebibytes is a size in MiB; 0 when it is missing or oned does not know it.
func (f *fields) mebibytes(name string) int64 {
	text := f.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxMiB {
		f.fail(name, fmt.Sprintf("%q is not a size in MiB", text))
		return 0
	}
	return n
}

func (f *fields) fail(name, problem string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w: %s %s", f.object, ErrDocument, name, problem)
	}
}

// ids reads the list PARENT/ID.
func (f *fields) ids(parent string) []int {
	list := f.element.SelectElement(parent)
	if list == nil {
		return nil
	}
	var out []int
	for _, child := range list.SelectElements("ID") {
		id, err := ParseID(strings.TrimSpace(child.Text()))
		if err != nil {
			f.fail(parent+"/ID", err.Error())
			return nil
		}
		out = append(out, id)
	}
	return out
}

// attributes are the simple attributes of an element; of several with one name the
// first counts, as in oned.
func attributes(element *etree.Element) map[string]string {
	out := map[string]string{}
	if element == nil {
		return out
	}
	for _, child := range element.ChildElements() {
		if _, double := out[child.Tag]; double || len(child.ChildElements()) > 0 {
			continue
		}
		out[child.Tag] = strings.TrimSpace(child.Text())
	}
	return out
}

// ParseID reads an id the way oned writes it: decimal, no sign, no leading zero.
func ParseID(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxID || strconv.FormatUint(n, 10) != text {
		return None, fmt.Errorf("%q is not an id", text)
	}
	return int(n), nil
}
