package archive

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxRecords bounds an extended header, and a long name of GNU tar, in bytes.
const maxRecords = 1 << 20

// eachRecord calls fn with the records of an extended header: "LENGTH KEY=VALUE\n",
// LENGTH counting the whole record in decimal (POSIX.1-2017 pax). The slices are valid
// during the call.
func eachRecord(buf []byte, fn func(key string, value []byte) error) error {
	for len(buf) > 0 {
		record, rest, err := cutRecord(buf)
		if err != nil {
			return err
		}
		key, value, found := bytes.Cut(record, []byte{'='})
		if !found || len(key) == 0 || bytes.IndexByte(key, 0) >= 0 {
			return fmt.Errorf("%w: extended header: record %.40q is not KEY=VALUE", ErrCorrupt, record)
		}
		if err := fn(string(key), value); err != nil {
			return err
		}
		buf = rest
	}
	return nil
}

func cutRecord(buf []byte) (record, rest []byte, err error) {
	space := bytes.IndexByte(buf[:min(len(buf), 12)], ' ')
	if space <= 0 {
		return nil, nil, fmt.Errorf("%w: extended header: no length at %.20q", ErrCorrupt, buf)
	}
	length, err := parseDecimal(buf[:space])
	if err != nil || length < int64(space)+4 || length > int64(len(buf)) || buf[length-1] != '\n' {
		return nil, nil, fmt.Errorf("%w: extended header: bad record length at %.20q", ErrCorrupt, buf)
	}
	return buf[space+1 : length-1], buf[length:], nil
}

// parseDecimal reads digits, nothing else; 0 to the largest int64.
func parseDecimal(digits []byte) (int64, error) {
	if len(digits) == 0 {
		return 0, fmt.Errorf("%w: empty number", ErrCorrupt)
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' || n > (math.MaxInt64-int64(c-'0'))/10 {
			return 0, fmt.Errorf("%w: bad number %.40q", ErrCorrupt, digits)
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// parseTime reads seconds since the epoch: [-]DIGITS[.DIGITS], cut at nanoseconds.
func parseTime(value []byte) (time.Time, error) {
	whole, fraction, _ := bytes.Cut(value, []byte{'.'})
	whole, negative := bytes.CutPrefix(whole, []byte{'-'})
	seconds, err := parseDecimal(whole)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: bad time %.40q", ErrCorrupt, value)
	}
	var nanoseconds int64
	for i := range 9 {
		nanoseconds *= 10
		if i < len(fraction) {
			nanoseconds += int64(fraction[i] - '0')
		}
	}
	if bytes.IndexFunc(fraction, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return time.Time{}, fmt.Errorf("%w: bad time %.40q", ErrCorrupt, value)
	}
	if negative {
		seconds, nanoseconds = -seconds, -nanoseconds
	}
	return time.Unix(seconds, nanoseconds), nil
}

// appendTime is the opposite of parseTime.
func appendTime(dst []byte, t time.Time) []byte {
	seconds, nanoseconds := t.Unix(), int64(t.Nanosecond())
	if seconds < 0 && nanoseconds > 0 { // -0.25 is kept as -1 s and 750 000 000 ns
		dst = append(dst, '-')
		seconds, nanoseconds = -(seconds + 1), 1e9-nanoseconds
	}
	dst = strconv.AppendInt(dst, seconds, 10)
	if nanoseconds == 0 {
		return dst
	}
	dst = append(dst, '.')
	for place := int64(1e8); nanoseconds > 0; place /= 10 {
		dst = append(dst, byte('0'+nanoseconds/place))
		nanoseconds %= place
	}
	return dst
}

// appendRecord adds one record. Its length counts its own digits.
func appendRecord[T string | []byte](dst []byte, key string, value T) []byte {
	size := len(key) + len(value) + 3 // space, =, newline
	length := size + digits(size)
	if digits(length) > digits(size) {
		length++
	}
	dst = strconv.AppendInt(dst, int64(length), 10)
	dst = append(dst, ' ')
	dst = append(dst, key...)
	dst = append(dst, '=')
	dst = append(dst, value...)
	return append(dst, '\n')
}

func digits(n int) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}
