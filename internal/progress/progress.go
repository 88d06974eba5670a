// Package progress shows how far a long job is: a bar with rate and remaining time on
// a terminal, else a line every few seconds for oned's log.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// interval between two lines where there is no terminal.
const interval = 5 * time.Second

// Meter counts the bytes of one transfer.
type Meter struct {
	what    string
	total   atomic.Int64 // 0: unknown
	done    atomic.Int64
	started time.Time
	bars    *mpb.Progress
	bar     *mpb.Bar
	stop    chan struct{}
}

// Start shows a job on out, if that is a terminal; otherwise line is called with a
// sentence every few seconds. total is in bytes, 0 where nobody knows.
func Start(out io.Writer, what string, total int64, line func(string)) *Meter {
	m := &Meter{what: what, started: time.Now(), stop: make(chan struct{})}
	m.total.Store(total)
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		m.bars = mpb.New(mpb.WithOutput(f))
		m.bar = m.bars.New(total, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
		return m
	}
	go m.lines(line)
	return m
}

func (m *Meter) lines(line func(string)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case now := <-tick.C:
			line(m.sentence(now))
		}
	}
}

func (m *Meter) sentence(now time.Time) string {
	done := m.done.Load()
	rate := uint64(float64(done) / max(now.Sub(m.started).Seconds(), 0.001))
	text := fmt.Sprintf("%s: %s", m.what, humanize.IBytes(uint64(done)))
	if total := m.total.Load(); total > 0 {
		text += " of " + humanize.IBytes(uint64(total))
	}
	return text + fmt.Sprintf(" at %s/s", humanize.IBytes(rate))
}

// Add counts n more bytes.
func (m *Meter) Add(n int) {
	m.done.Add(int64(n))
	if m.bar != nil {
		m.bar.IncrBy(n)
	}
}

// Set says how far the job is, and how large, where somebody else counts. A total of 0
// leaves what was known.
func (m *Meter) Set(done, total int64) {
	m.done.Store(done)
	if total > 0 {
		m.total.Store(total)
	}
	if m.bar != nil {
		m.bar.SetTotal(m.total.Load(), false)
		m.bar.SetCurrent(done)
	}
}

// Writer counts what goes through it.
func (m *Meter) Writer(w io.Writer) io.Writer { return &counter{w, m} }

// Stop takes the bar away, or ends the lines. It must be called once.
func (m *Meter) Stop() {
	close(m.stop)
	if m.bars != nil {
		m.bar.Abort(true)
		m.bars.Wait()
	}
}

type counter struct {
	w io.Writer
	m *Meter
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.m.Add(n)
	return n, err
}
