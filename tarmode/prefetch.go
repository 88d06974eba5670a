package tarmode

import "io"

// chunk is a piece of a stream or a disk, read ahead. A last one may carry an error
// next to data: the data comes first.
type chunk struct {
	offset int64
	data   []byte
	err    error
}

// chunkSource fills buf with the next piece: where it belongs and how long it is. Data
// can come together with an error; io.EOF ends the source.
type chunkSource func(buf []byte) (offset int64, n int, err error)

// prefetcher calls a source in a goroutine of its own, some buffers ahead of the reader.
type prefetcher struct {
	full chan chunk
	free chan []byte
	stop chan struct{}
	last []byte // lent to the reader until the next call
}

func startPrefetch(source chunkSource, buffers, size int) *prefetcher {
	p := &prefetcher{
		full: make(chan chunk, buffers),
		free: make(chan []byte, buffers),
		stop: make(chan struct{}),
	}
	for range buffers {
		p.free <- make([]byte, size)
	}
	go p.run(source)
	return p
}

func (p *prefetcher) run(source chunkSource) {
	defer close(p.full)
	for {
		select {
		case <-p.stop:
			return
		case buf := <-p.free:
			offset, n, err := source(buf)
			p.full <- chunk{offset, buf[:n], err} // there is room for every buffer
			if err != nil {
				return
			}
		}
	}
}

// next waits for a chunk, whose data is valid until the following call. Behind the
// source's error it gives io.EOF.
func (p *prefetcher) next() chunk {
	if p.last != nil {
		p.free <- p.last[:cap(p.last)]
		p.last = nil
	}
	c, ok := <-p.full
	if !ok {
		return chunk{err: io.EOF}
	}
	p.last = c.data
	return c
}

// close ends the goroutine and waits until the call of the source that is under way
// has returned: nobody reads the source behind the owner's back.
func (p *prefetcher) close() {
	close(p.stop)
	for range p.full { // run closes it
	}
}

// readChunks makes a source of a stream: every chunk but the last is full.
func readChunks(r io.Reader) chunkSource {
	var at int64
	return func(buf []byte) (offset int64, n int, err error) {
		for n < len(buf) && err == nil {
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		at += int64(n)
		return at - int64(n), n, err
	}
}

// readAhead is a stream that is read ahead.
type readAhead struct {
	ahead *prefetcher
	rest  chunk
}

func (r *readAhead) Read(p []byte) (int, error) {
	for len(r.rest.data) == 0 {
		if r.rest.err != nil {
			return 0, r.rest.err
		}
		r.rest = r.ahead.next()
	}
	n := copy(p, r.rest.data)
	r.rest.data = r.rest.data[n:]
	return n, nil
}
