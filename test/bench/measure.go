package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"one-clvm/test/bench/results"
)

// measured is one run of one side: it sets up, measures what counts, and clears away.
type measured func(ctx context.Context) (time.Duration, error)

// alternate runs both sides in turn, so that what changes slowly hits both, and returns
// their medians.
func (b *bench) alternate(ctx context.Context, runs int, plain, ours measured) (plainTime, ourTime time.Duration, err error) {
	var plainTimes, ourTimes []time.Duration
	for range runs {
		t, err := plain(ctx)
		if err != nil {
			return 0, 0, err
		}
		plainTimes = append(plainTimes, t)
		if t, err = ours(ctx); err != nil {
			return 0, 0, err
		}
		ourTimes = append(ourTimes, t)
	}
	return middle(plainTimes), middle(ourTimes), nil
}

func median(ctx context.Context, runs int, m measured) (time.Duration, error) {
	var times []time.Duration
	for range runs {
		t, err := m(ctx)
		if err != nil {
			return 0, err
		}
		times = append(times, t)
	}
	return middle(times), nil
}

func middle(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// report prints the results, keeps them, and counts the missed bounds.
type report struct {
	out    io.Writer
	found  results.Results
	missed int
}

// ratio reports how many times as long the plain way takes. bound 0: it has none.
func (r *report) ratio(name string, plain, ours time.Duration, bound float64, remark string) {
	r.line(name, plain.Seconds()/ours.Seconds(), bound, fmt.Sprintf("%.3f s against %.3f s, %s", plain.Seconds(), ours.Seconds(), remark))
	last := &r.found.Ratios[len(r.found.Ratios)-1]
	last.Plain, last.Ours, last.Remark = plain.Seconds(), ours.Seconds(), remark
}

// sizes reports how many times as large the plain way's result is.
func (r *report) sizes(name string, plain, ours int64, bound float64) {
	r.line(name, float64(plain)/float64(ours), bound, fmt.Sprintf("%s against %s", size(plain), size(ours)))
}

func (r *report) line(name string, value, bound float64, remark string) {
	verdict := ""
	if bound > 0 {
		verdict = fmt.Sprintf(" (bound %g: met)", bound)
		if value < bound {
			verdict = fmt.Sprintf(" (bound %g: MISSED)", bound)
			r.missed++
		}
	}
	r.found.Ratios = append(r.found.Ratios, results.Ratio{Name: name, Value: value, Bound: bound, Remark: remark})
	fmt.Fprintf(r.out, "ratio %s %.2f%s  # %s\n", name, value, verdict, remark)
}
