package filevg

// byteRange is a part of pv.
type byteRange struct{ Offset, Length int64 }

// gap is a run of free extents.
type gap struct{ start, count int64 }

// gaps are the runs of free extents from the lowest on.
func (m metadata) gaps() []gap {
	var gaps []gap
	var end int64
	for _, v := range m.byStart() {
		if v.Start > end {
			gaps = append(gaps, gap{end, v.Start - end})
		}
		end = v.Start + v.Count
	}
	if end < m.ExtentCount {
		gaps = append(gaps, gap{end, m.ExtentCount - end})
	}
	return gaps
}

// free is the number of extents that no volume has.
func (m metadata) free() int64 {
	var n int64
	for _, g := range m.gaps() {
		n += g.count
	}
	return n
}

// largest is the longest run of free extents: the most a new volume can have.
func (m metadata) largest() int64 {
	var n int64
	for _, g := range m.gaps() {
		n = max(n, g.count)
	}
	return n
}

// firstFit is the lowest free run of count extents: freed extents go to the next
// volume, as on a real SAN.
func (m metadata) firstFit(count int64) (start int64, ok bool) {
	for _, g := range m.gaps() {
		if g.count >= count {
			return g.start, true
		}
	}
	return 0, false
}

// roomBehind says whether the volume can grow to count extents where it lies.
func (m metadata) roomBehind(v volumeRecord, count int64) bool {
	more := count - v.Count
	for _, g := range m.gaps() {
		if g.start == v.Start+v.Count {
			return g.count >= more
		}
	}
	return more == 0
}
