package results

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// what is compared in each ratio.
var what = map[string]string{
	"overhead":                       "`ssh NODE true`, against CLONE of a raw disk of 1 MiB, caches warm: what is not copying",
	"overhead-tgz":                   "the same of an archive, with a file system",
	"deploy-tgz":                     "the archive through `ssh`, `gzip` and `tar` into a file system that is there, against CLONE of it, which makes volume and file system, too",
	"clone-8-over-80-gib":            "CLONE onto 8 GiB against CLONE onto 80 GiB",
	"clone-8-over-800-gib":           "CLONE onto 8 GiB against CLONE onto 800 GiB",
	"save-tgz":                       "`tar`, `gzip -1` and `ssh` back into a file, against CPDS",
	"save-tgz-size":                  "the size of the archive of each",
	"deploy-vs-full-8":               "the full copy of 8 GiB as `fs_lvm_ssh` makes it, against CLONE of the archive",
	"deploy-vs-full":                 "the same of 40 GiB",
	"deploy-vs-qemu-img-8":           "`qemu-img convert` of 8 GiB from a local file as `fs_lvm` does it, against CLONE of the archive over ssh",
	"deploy-vs-qemu-img":             "the same of 40 GiB",
	"extent-vs-full":                 "the full copy of 40 GiB against CLONE of the same raw disk by its extents",
	"deploy-vs-full-without-offload": "the same against CLONE of the archive where the device does not write zeroes by itself",
	"san-clone":                      "`dd` from volume to volume, 8 GiB, against CLONE of an image on the SAN",
	"poll":                           "time of processors to ask libvirt for each VM, against one question for all",
	"poll-budget":                    "one second of a processor, against that question",
	"memory-front-end":               "96 MiB against the largest process on the front-end",
	"memory-node":                    "96 MiB against the largest process on the node",
}

// Markdown is the page; plot is the name of the picture's file.
func (r *Results) Markdown(plot string) string {
	var p strings.Builder
	fmt.Fprintf(&p, `<!-- Written by make bench. -->
# Benchmarks

`+"`make bench`"+` measures both sides of each comparison in turn, on the same data and the same device,
from cold caches, and takes the median. Front-end and node are one machine, between them a real
sshd on loopback: a slower link favours whoever sends less. **Ratios travel to other machines, seconds do not.**

The data: a Debian of %s in %s files, %s as TGZ.

## Deploying it

%s

![time of a deploy against the size of the disk](%s)

`, humanize.IBytes(uint64(r.Content)), humanize.Comma(int64(r.Members)), humanize.IBytes(uint64(r.Archive)), r.prose(), plot)
	r.deploys(&p)
	r.ratios(&p)
	fmt.Fprintf(&p, "\n## The machine\n\n%s, %d processors, %s of memory%s; Linux %s; the volume group in sparse files on its disk. %s, %s.\n",
		r.Machine.Processor, r.Machine.Cores, humanize.IBytes(uint64(r.Machine.Memory)), virtual(r.Machine.Emulated), r.Machine.Kernel, r.Date, r.Version)
	return p.String()
}

func virtual(emulated bool) string {
	if emulated {
		return ", a virtual machine"
	}
	return ""
}

// prose has the ratios that the picture shows.
func (r *Results) prose() string {
	sentences := []string{"Tar mode does not feel the disk's size, which is all that a full copy feels:"}
	for _, c := range []struct {
		way Way
		gib int
	}{{FullCopy, 8}, {FullCopy, 40}, {QemuImg, 8}, {QemuImg, 40}, {TarPipe, 8}} {
		if times := r.times(c.way, c.gib); times > 0 {
			sentences = append(sentences, fmt.Sprintf("- onto %d GiB the %s takes %s times as long;", c.gib, c.way, short(times)))
		}
	}
	sizes := r.Sizes()
	smallest, largest := r.Seconds(TarMode, sizes[0]), r.Seconds(TarMode, sizes[len(sizes)-1])
	sentences = append(sentences, fmt.Sprintf("- onto %d GiB tar mode itself takes %s times as long as onto %d.", sizes[len(sizes)-1], short(largest/smallest), sizes[0]))
	return strings.Join(sentences, "\n")
}

// times as long as tar mode a way takes; 0: not measured.
func (r *Results) times(way Way, gib int) float64 {
	ours := r.Seconds(TarMode, gib)
	if ours == 0 {
		return 0
	}
	return r.Seconds(way, gib) / ours
}

func short(times float64) string {
	if times >= 10 {
		return fmt.Sprintf("%.0f", times)
	}
	return fmt.Sprintf("%.1f", times)
}

func (r *Results) deploys(p *strings.Builder) {
	sizes := r.Sizes()
	p.WriteString("| seconds (times as long as tar mode) |")
	for _, gib := range sizes {
		fmt.Fprintf(p, " %d GiB |", gib)
	}
	p.WriteString("\n|---|" + strings.Repeat("---|", len(sizes)) + "\n")
	for _, way := range Ways {
		fmt.Fprintf(p, "| %s |", way)
		for _, gib := range sizes {
			switch seconds := r.Seconds(way, gib); {
			case seconds == 0:
				p.WriteString(" – |")
			case way == TarMode:
				fmt.Fprintf(p, " %.1f |", seconds)
			default:
				fmt.Fprintf(p, " %.1f (%s) |", seconds, short(r.times(way, gib)))
			}
		}
		p.WriteString("\n")
	}
	p.WriteString("\nA dash was not measured. The tar pipe's time includes neither the volume nor the file system, and the\n" +
		"copies' none of what OpenNebula does around them.\n")
}

func (r *Results) ratios(p *strings.Builder) {
	p.WriteString("\n## All ratios\n\nHow many times as long, or as large, the other way is; a bound is what a change must not fall below. Each compares runs\nof its own, made in turn; the table above divides others.\n\n| | ratio | bound | |\n|---|---|---|---|\n")
	for _, ratio := range r.Ratios {
		bound, verdict := "–", ""
		if ratio.Bound > 0 {
			bound = fmt.Sprintf("%g", ratio.Bound)
			if !ratio.Met() {
				verdict = " **missed**"
			}
		}
		remark := what[ratio.Name]
		if ratio.Remark != "" {
			remark += "; " + ratio.Remark
		}
		fmt.Fprintf(p, "| `%s` | %.2f%s | %s | %s |\n", ratio.Name, ratio.Value, verdict, bound, remark)
	}
}
