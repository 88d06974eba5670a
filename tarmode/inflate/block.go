package inflate

// The kinds of blocks (RFC 1951, section 3.2.3).
const (
	storedBlock = iota
	fixedBlock
	dynamicBlock
)

// lengthOrder is how the lengths of the codes of the code lengths are stored (RFC 1951,
// section 3.2.7).
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// header reads the head of a block, or ends the stream behind the last one.
func (r *Reader) header() error {
	if r.last {
		r.bits, r.nbits = 0, 0 // the rest of the last byte
		r.state = atEnd
		return nil
	}
	head, err := r.take(3)
	if err != nil {
		return err
	}
	r.last = head&1 != 0
	switch head >> 1 {
	case storedBlock:
		return r.storedHeader()
	case fixedBlock:
		r.fixedCodes()
		return nil
	case dynamicBlock:
		return r.dynamicHeader()
	}
	return corrupt("reserved kind of block")
}

func (r *Reader) storedHeader() error {
	r.drop(r.nbits & 7)
	head, err := r.take(32)
	if err != nil {
		return err
	}
	if uint16(head) != ^uint16(head>>16) {
		return corrupt("length of a stored block")
	}
	r.stored = int(uint16(head))
	r.state = inStored
	return nil
}

// copyStored copies as much of a stored block as there is input and room for.
func (r *Reader) copyStored() error {
	if r.stored == 0 {
		r.state = atHeader
		return nil
	}
	if r.position == r.filled {
		if err := r.fill(); err != nil {
			return truncated(err)
		}
	}
	n := min(r.stored, r.filled-r.position)
	n = copy(r.output[r.written:outputSize-outputSlack], r.input[r.position:r.position+n])
	r.written += n
	r.position += n
	r.stored -= n
	return nil
}

// fixedCodes sets the codes of section 3.2.6.
func (r *Reader) fixedCodes() {
	r.state = inCodes
	if r.fixed {
		return
	}
	lengths := r.lengths[:maxLiterals+maxDistances]
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		case i < maxLiterals:
			lengths[i] = 8
		default:
			lengths[i] = 5
		}
	}
	build(r.literals[:], literalRoot, lengths[:maxLiterals], literalSymbols[:])
	build(r.distances[:], distanceRoot, lengths[maxLiterals:], distanceSymbols[:])
	r.fixed = true
}

// dynamicHeader reads the codes of a block (section 3.2.7).
func (r *Reader) dynamicHeader() error {
	counts, err := r.take(14)
	if err != nil {
		return err
	}
	literals, distances := int(counts&31)+257, int(counts>>5&31)+1
	if literals > 286 || distances > 30 {
		return corrupt("too many codes")
	}
	r.fixed = false
	if err := r.codeLengthCode(int(counts>>10) + 4); err != nil {
		return err
	}
	lengths := r.lengths[:literals+distances]
	if err := r.codeLengths(lengths); err != nil {
		return err
	}
	if lengths[endOfBlock] == 0 {
		return corrupt("block without an end")
	}
	if !build(r.literals[:], literalRoot, lengths[:literals], literalSymbols[:]) {
		return corrupt("codes of literals and lengths")
	}
	if !build(r.distances[:], distanceRoot, lengths[literals:], distanceSymbols[:]) {
		return corrupt("codes of distances")
	}
	r.state = inCodes
	return nil
}

// codeLengthCode reads the code in which the code lengths are written, into the table of
// the distances, which is not in use yet.
func (r *Reader) codeLengthCode(count int) error {
	var lengths [len(lengthOrder)]uint8
	for _, i := range lengthOrder[:count] {
		length, err := r.take(3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(length)
	}
	if !build(r.distances[:], lengthRoot, lengths[:], lengthSymbols[:]) {
		return corrupt("codes of code lengths")
	}
	return nil
}

// codeLengths reads the lengths of all codes of a block.
func (r *Reader) codeLengths(lengths []uint8) error {
	for i := 0; i < len(lengths); {
		entry, err := r.symbol(r.distances[:], lengthRoot)
		if err != nil {
			return err
		}
		value := entry >> 16
		if value < 16 {
			lengths[i] = uint8(value)
			i++
			continue
		}
		n, length, err := r.repeat(value, lengths[:i])
		if err != nil {
			return err
		}
		if n > len(lengths)-i {
			return corrupt("too many code lengths")
		}
		for range n {
			lengths[i] = length
			i++
		}
	}
	return nil
}

// repeat reads how often which code length follows.
func (r *Reader) repeat(symbol uint32, before []uint8) (int, uint8, error) {
	least, extra, length := uint32(3), uint(3), uint8(0)
	switch symbol {
	case 16:
		if len(before) == 0 {
			return 0, 0, corrupt("repeated code length without one in front")
		}
		extra, length = 2, before[len(before)-1]
	case 18:
		least, extra = 11, 7
	}
	more, err := r.take(extra)
	return int(least + more), length, err
}
