// Package results is what a run of the benchmarks found, and the page that is written of it.
package results

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Results of one run.
type Results struct {
	Version string // of the programs
	Date    string // YYYY-MM-DD
	Machine Machine
	Content int64 // bytes of data in the image's files
	Archive int64 // bytes of the archive
	Members int
	Ratios  []Ratio
	Deploys []Deploy
}

// Machine that it ran on.
type Machine struct {
	Processor string
	Cores     int
	Memory    int64 // bytes
	Kernel    string
	Emulated  bool // it is a virtual machine itself
}

// Ratio is one comparison: how many times as long, or as large, the other way is.
type Ratio struct {
	Name        string
	Value       float64
	Bound       float64 `json:",omitempty"` // 0: none
	Plain, Ours float64 `json:",omitempty"` // seconds; 0: no times
	Remark      string  `json:",omitempty"`
}

// Met says that the ratio is not below its bound.
func (r Ratio) Met() bool { return r.Value >= r.Bound }

// Deploy is how long one way took to deploy the image onto a disk.
type Deploy struct {
	Way     Way
	GiB     int
	Seconds float64
}

// Way to deploy an image.
type Way string

// The ways, as the page calls them.
const (
	TarMode    Way = "clvm, tar mode"
	ExtentMode Way = "clvm, extent mode"
	TarPipe    Way = "tar pipe"
	QemuImg    Way = "qemu-img"
	FullCopy   Way = "full copy"
)

// Ways in the order of the page.
var Ways = []Way{TarMode, ExtentMode, TarPipe, QemuImg, FullCopy}

// Deployed adds a measurement.
func (r *Results) Deployed(way Way, gib int, seconds float64) {
	r.Deploys = append(r.Deploys, Deploy{way, gib, seconds})
}

// Seconds that a way took; 0: not measured.
func (r *Results) Seconds(way Way, gib int) float64 {
	i := slices.IndexFunc(r.Deploys, func(d Deploy) bool { return d.Way == way && d.GiB == gib })
	if i < 0 {
		return 0
	}
	return r.Deploys[i].Seconds
}

// Sizes that were deployed, in GiB, the smallest first.
func (r *Results) Sizes() (sizes []int) {
	for _, d := range r.Deploys {
		if !slices.Contains(sizes, d.GiB) {
			sizes = append(sizes, d.GiB)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// ErrNone means: the log is not that of a whole run.
var ErrNone = errors.New("the log has no results of a whole run")

const mark = "results "

// Print writes the line that Read finds in a log.
func (r *Results) Print(w io.Writer) error {
	text, err := json.Marshal(r)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", mark, text)
	}
	return err
}

// Read finds the results of a whole run in its log; else ErrNone.
func Read(log io.Reader) (*Results, error) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, found := strings.CutPrefix(lines.Text(), mark)
		if !found {
			continue
		}
		r := &Results{}
		if err := json.Unmarshal([]byte(text), r); err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
		return r, nil
	}
	return nil, errors.Join(ErrNone, lines.Err())
}
