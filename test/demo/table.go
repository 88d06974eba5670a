package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// row is a step of the table.
type row struct {
	name   string
	moved  int64 // bytes between front-end and node; 0: next to none
	disk   int64 // bytes of the disk, where a full copy is the alternative
	time   time.Duration
	hidden bool // not worth a line
}

const fullCopyName = "full copy, as fs_lvm_ssh"

func printTable(w io.Writer, rows []row) {
	full := row{}
	for _, r := range rows {
		if r.name == fullCopyName {
			full = r
		}
	}
	const format = "%-28s %12s %10s %14s   %s\n"
	fmt.Fprintf(w, "\n"+format, "step", "data moved", "time", "rate", "a full copy of the disk")
	fmt.Fprintln(w, strings.Repeat("-", 100))
	for _, r := range rows {
		if r.hidden {
			continue
		}
		fmt.Fprintf(w, format, r.name, r.data(), fmt.Sprintf("%.2f s", r.time.Seconds()), r.rate(), r.against(full))
	}
	fmt.Fprintln(w)
}

func (r row) data() string {
	if r.moved == 0 {
		return "-"
	}
	return bytesOf(r.moved)
}

func (r row) rate() string {
	if r.moved == 0 {
		return "-"
	}
	return bytesOf(int64(float64(r.moved)/r.time.Seconds())) + "/s"
}

// against compares a step with the full copy of a disk of that size.
func (r row) against(full row) string {
	if r.disk == 0 || r.disk != full.disk || r.name == full.name {
		return ""
	}
	return fmt.Sprintf("%s in %.2f s: %.1f times as long", bytesOf(full.moved), full.time.Seconds(), full.time.Seconds()/r.time.Seconds())
}
