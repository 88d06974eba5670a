package inflate

import "math/bits"

// A table decodes a Huffman code: the next root bits of the stream are the index of an
// entry, which for a longer code leads to a table of its own further behind. An entry
// says all there is to know about a symbol, for one look-up and one shift:
//
//	bit  31     a literal
//	bits 16-30  the literal; the length or distance without its extra bits; or the
//	            index of the table for the rest of the code
//	bit  15     exceptional: one of the next two, or not a code
//	bit  14     the code goes on in another table
//	bit  13     the end of the block
//	bits 8-12   the bits of the code; or the bits by which the other table is indexed
//	bits 0-7    the bits of the code and its extra bits together
const (
	literal     = 1 << 31
	exceptional = 1 << 15
	continued   = 1 << 14
	blockEnd    = 1 << 13
	// codeBit adds one bit to the length of a code.
	codeBit = 1<<8 | 1
	// invalid stands for bits which no code begins with.
	invalid = exceptional | codeBit
)

const (
	maxLiterals  = 288 // literals and lengths, the two that are never used included
	maxDistances = 32
	maxCode      = 15 // bits
	endOfBlock   = 256

	// The bits of the first look-up; longer ones make building the table slow.
	literalRoot  = 11
	distanceRoot = 9
	lengthRoot   = 7

	// The worst complete codes take 2342 and 594 entries (zlib's examples/enough.c).
	// Powers of two need no bounds checks.
	literalTable  = 4096
	distanceTable = 1024
)

// The entries of all symbols, without the length of their code.
var (
	literalSymbols  = makeLiterals()
	distanceSymbols = makeDistances()
	lengthSymbols   = makeLengths()
)

func makeLiterals() (symbols [maxLiterals]uint32) {
	for i := range endOfBlock {
		symbols[i] = literal | uint32(i)<<16
	}
	symbols[endOfBlock] = exceptional | blockEnd
	base := uint32(3)
	for i := range uint32(28) {
		extra := uint32(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		symbols[endOfBlock+1+i] = base<<16 | extra
		base += 1 << extra
	}
	symbols[285] = 258 << 16
	symbols[286], symbols[287] = exceptional, exceptional
	return symbols
}

func makeDistances() (symbols [maxDistances]uint32) {
	base := uint32(1)
	for i := range uint32(30) {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		symbols[i] = base<<16 | extra
		base += 1 << extra
	}
	symbols[30], symbols[31] = exceptional, exceptional
	return symbols
}

func makeLengths() (symbols [len(lengthOrder)]uint32) {
	for i := range symbols {
		symbols[i] = uint32(i) << 16
	}
	return symbols
}

// build makes the table of a canonical code (RFC 1951, section 3.2.2). It refuses what
// zlib refuses: a code with too many words, or with too few, unless it is empty or has
// a single word of one bit.
func build(table []uint32, root int, lengths []uint8, symbols []uint32) bool {
	var count [maxCode + 1]int
	for _, length := range lengths {
		count[length]++
	}
	count[0] = 0
	if !complete(&count) {
		return false
	}
	var sorted [maxLiterals]uint32
	sortSymbols(&sorted, &count, lengths, symbols)
	code, done := short(table, root, &count, sorted[:])
	long(table, root, &count, sorted[done:], code)
	return true
}

func complete(count *[maxCode + 1]int) bool {
	left, longest := 1, 0
	for length := 1; length <= maxCode; length++ {
		left = left<<1 - count[length]
		if left < 0 {
			return false
		}
		if count[length] > 0 {
			longest = length
		}
	}
	return left == 0 || longest == 0 || longest == 1
}

// sortSymbols orders the symbols by the length of their code.
func sortSymbols(sorted *[maxLiterals]uint32, count *[maxCode + 1]int, lengths []uint8, symbols []uint32) {
	var next [maxCode + 1]int
	for length := 1; length < maxCode; length++ {
		next[length+1] = next[length] + count[length]
	}
	for i, length := range lengths {
		if length != 0 {
			sorted[next[length]] = symbols[i]
			next[length]++
		}
	}
}

// short fills the first table, which is doubled for every bit. It returns the first code
// that is too long for it, and how many were not.
func short(table []uint32, root int, count *[maxCode + 1]int, sorted []uint32) (code uint16, done int) {
	table[0] = invalid
	for length := 1; length <= root; length++ {
		size := 1 << (length - 1)
		copy(table[size:2*size], table[:size])
		for range count[length] {
			table[reverse(code, length)] = sorted[done] + uint32(length)*codeBit
			code++
			done++
		}
		code <<= 1
	}
	return code, done
}

// long fills the tables of the codes longer than root.
func long(table []uint32, root int, count *[maxCode + 1]int, sorted []uint32, code uint16) {
	prefix, start, end, width := -1, 0, 1<<root, 0
	for length := root + 1; length <= maxCode; length++ {
		for left := count[length]; left > 0; left-- {
			reversed := reverse(code, length)
			if first := reversed & (1<<root - 1); first != prefix {
				prefix, start = first, end
				width = tableWidth(count, root, length, left)
				end += 1 << width
				table[prefix] = uint32(start)<<16 | exceptional | continued | uint32(width)<<8 | uint32(root)
			}
			for i := reversed >> root; i < 1<<width; i += 1 << (length - root) {
				table[start+i] = sorted[0] + uint32(length-root)*codeBit
			}
			sorted = sorted[1:]
			code++
		}
		code <<= 1
	}
}

// tableWidth is the index width of the table which begins with a code of this length,
// of which there are still left: the smallest one that the codes fill.
func tableWidth(count *[maxCode + 1]int, root, length, left int) int {
	width := length - root
	for used := left; used < 1<<width; {
		width++
		used = used<<1 + count[root+width]
	}
	return width
}

// reverse turns a code around: it is stored with its first bit lowest.
func reverse(code uint16, length int) int {
	return int(bits.Reverse16(code) >> (16 - length))
}
