package tarmode

// Compression of a stream, told by its first bytes.
type Compression int

// The compressions that are read and, the first three, written.
const (
	None Compression = iota
	Gzip
	Zstd
	Bzip2
	Xz
)
