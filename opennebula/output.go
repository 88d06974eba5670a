package opennebula

import "fmt"

// FormatMonitor is what monitor prints: the capacity of a datastore, in MiB.
func FormatMonitor(total, free, used int64) string {
	return fmt.Sprintf("USED_MB=%d\nTOTAL_MB=%d\nFREE_MB=%d\n", used, total, free)
}

// FormatStat is what the datastore action stat prints: MiB, rounded up.
func FormatStat(bytes int64) string {
	return fmt.Sprintf("%d\n", mebibytesUp(bytes))
}

// FormatCopied is what the datastore action cp prints: the new image's SOURCE, and
// since 6.0 its format. (mkfs prints the source alone in every version.)
func FormatCopied(v Version, source, format string) string {
	if !v.AtLeast(6, 0, 0) {
		return source + "\n"
	}
	return source + " " + format + "\n"
}

func mebibytesUp(bytes int64) int64 {
	n := bytes >> 20
	if bytes&(1<<20-1) != 0 {
		n++
	}
	return n
}
