package inflate

import "encoding/binary"

// codes decodes literals and matches: fast where there is enough of input and room,
// one by one at the edges.
func (r *Reader) codes() error {
	if r.filled-r.position >= inputSlack+8 { // the first filling comes before the first round
		return r.fast()
	}
	return r.careful()
}

// careful decodes one literal or match, and takes no byte of input it does not need.
func (r *Reader) careful() error {
	entry, err := r.symbol(r.literals[:], literalRoot)
	switch {
	case err != nil:
		return err
	case entry&literal != 0:
		r.output[r.written] = byte(entry >> 16)
		r.written++
		return nil
	case entry&blockEnd != 0:
		r.state = atHeader
		return nil
	}
	length, err := r.extra(entry)
	if err != nil {
		return err
	}
	if entry, err = r.symbol(r.distances[:], distanceRoot); err != nil {
		return err
	}
	distance, err := r.extra(entry)
	if err != nil {
		return err
	}
	return r.match(length, distance)
}

// symbol decodes the next code. Bits without a meaning are an error.
func (r *Reader) symbol(table []uint32, root uint) (uint32, error) {
	for {
		entry, used := table[r.bits&(1<<root-1)], uint(0)
		if entry&continued != 0 {
			used = root
			entry = table[uint64(entry>>16)+r.bits>>root&(1<<(entry>>8&15)-1)]
		}
		used += uint(entry >> 8 & 15)
		if used <= r.nbits {
			r.drop(used)
			if entry&(exceptional|blockEnd) == exceptional {
				return 0, corrupt("bits that are not a code")
			}
			return entry, nil
		}
		if err := r.more(); err != nil {
			return 0, err
		}
	}
}

// extra completes a length or distance, whose code was read already.
func (r *Reader) extra(entry uint32) (int, error) {
	more, err := r.take(uint(entry&63 - entry>>8&15))
	return int(entry>>16 + more), err
}

func (r *Reader) match(length, distance int) error {
	if distance > r.written {
		return errDistance
	}
	for range length {
		r.output[r.written] = r.output[r.written-distance]
		r.written++
	}
	return nil
}

var (
	errDistance = corrupt("distance too far back")
	errCode     = corrupt("bits that are not a code")
)

// inputSlack is what a round of the fast loop needs of input: it is refilled three times,
// by up to 7 bytes each, out of words of 8.
const inputSlack = 32

// patternStep is by how much a pattern repeated in a word moves on: the largest multiple
// of its length.
var patternStep = [8]int{0, 8, 8, 6, 8, 5, 6, 7}

// fast decodes as long as there are inputSlack bytes of input and outputSlack of room.
//
// The bit buffer is filled to 56 bits or more, by a word of which whole bytes count: the
// bits above are those which the next filling adds again. Two literals from the first
// table and a length take at most 42 of them, a distance 28. The next entry is looked up
// before a match is copied, for the processor to do both at once.
//
//nolint:gocognit,funlen // one loop on purpose: calls in it would cost the speed that it is for
func (r *Reader) fast() (err error) {
	literals, distances, input, output := &r.literals, &r.distances, &r.input, &r.output
	position, written := r.position, r.written
	buffer, nbits := r.bits, uint64(r.nbits)
	limit := r.filled - inputSlack

	buffer |= binary.LittleEndian.Uint64(input[position:position+8]) << (nbits & 63)
	position += int((63 - nbits) >> 3)
	nbits |= 56
	entry := literals[buffer&(1<<literalRoot-1)]

	for position <= limit && written < outputSize-outputSlack {
		if int32(entry) < 0 {
			buffer >>= entry & 63
			nbits -= uint64(entry & 63)
			output[written] = byte(entry >> 16)
			written++
			entry = literals[buffer&(1<<literalRoot-1)]
			if int32(entry) < 0 {
				buffer >>= entry & 63
				nbits -= uint64(entry & 63)
				output[written] = byte(entry >> 16)
				written++
				entry = literals[buffer&(1<<literalRoot-1)]
				if int32(entry) < 0 {
					buffer >>= entry & 63
					nbits -= uint64(entry & 63)
					output[written] = byte(entry >> 16)
					written++
					buffer |= binary.LittleEndian.Uint64(input[position:position+8]) << (nbits & 63)
					position += int((63 - nbits) >> 3)
					nbits |= 56
					entry = literals[buffer&(1<<literalRoot-1)]
					continue
				}
			}
		}
		if entry&exceptional != 0 {
			if entry&continued != 0 {
				buffer >>= literalRoot
				nbits -= literalRoot
				entry = literals[(uint64(entry>>16)+buffer&(1<<(entry>>8&15)-1))&(literalTable-1)]
				if int32(entry) < 0 {
					buffer >>= entry & 63
					nbits -= uint64(entry & 63)
					output[written] = byte(entry >> 16)
					written++
					buffer |= binary.LittleEndian.Uint64(input[position:position+8]) << (nbits & 63)
					position += int((63 - nbits) >> 3)
					nbits |= 56
					entry = literals[buffer&(1<<literalRoot-1)]
					continue
				}
			}
			if entry&blockEnd != 0 {
				buffer >>= entry & 63
				nbits -= uint64(entry & 63)
				r.state = atHeader
				break
			}
			if entry&exceptional != 0 {
				err = errCode
				break
			}
		}
		length := int(entry>>16) + int(buffer&(1<<(entry&63)-1)>>(entry>>8&15))
		buffer >>= entry & 63
		nbits -= uint64(entry & 63)
		if nbits < maxCode+13 {
			buffer |= binary.LittleEndian.Uint64(input[position:position+8]) << (nbits & 63)
			position += int((63 - nbits) >> 3)
			nbits |= 56
		}

		entry = distances[buffer&(1<<distanceRoot-1)]
		if entry&exceptional != 0 {
			if entry&continued != 0 {
				buffer >>= distanceRoot
				nbits -= distanceRoot
				entry = distances[(uint64(entry>>16)+buffer&(1<<(entry>>8&15)-1))&(distanceTable-1)]
			}
			if entry&exceptional != 0 {
				err = errCode
				break
			}
		}
		distance := int(entry>>16) + int(buffer&(1<<(entry&63)-1)>>(entry>>8&15))
		buffer >>= entry & 63
		nbits -= uint64(entry & 63)
		from := written - distance
		if from < 0 {
			err = errDistance
			break
		}
		buffer |= binary.LittleEndian.Uint64(input[position:position+8]) << (nbits & 63)
		position += int((63 - nbits) >> 3)
		nbits |= 56
		entry = literals[buffer&(1<<literalRoot-1)]

		to := written
		written += length
		if distance >= 8 {
			for {
				binary.LittleEndian.PutUint64(output[to:to+8], binary.LittleEndian.Uint64(output[from:from+8]))
				binary.LittleEndian.PutUint64(output[to+8:to+16], binary.LittleEndian.Uint64(output[from+8:from+16]))
				to += 16
				from += 16
				if to >= written {
					break
				}
			}
			continue
		}
		pattern := binary.LittleEndian.Uint64(output[from : from+8])
		pattern &= 1<<(8*distance) - 1
		pattern |= pattern << (8 * distance)
		pattern |= pattern << (16 * distance)
		pattern |= pattern << (32 * distance)
		for step := patternStep[distance&7]; to < written; to += step {
			binary.LittleEndian.PutUint64(output[to:to+8], pattern)
		}
	}

	r.position = position - int(nbits>>3)
	r.nbits = uint(nbits & 7)
	r.bits = buffer & (1<<r.nbits - 1)
	r.written = written
	return err
}
