package results

import (
	"fmt"
	"math"
	"strings"
)

// The picture's size and the frame of the plot in it, in pixels.
const (
	width, height            = 720, 400
	left, right, top, bottom = 70, 560, 40, 350
)

// colours that also people who confuse red and green tell apart (Okabe and Ito).
var colours = map[Way]string{TarMode: "#0072b2", ExtentMode: "#56b4e9", TarPipe: "#009e73", QemuImg: "#e69f00", FullCopy: "#d55e00"}

// SVG draws the time of a deploy against the size of the disk, both logarithmic.
func (r *Results) SVG() string {
	var p strings.Builder
	fmt.Fprintf(&p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img" aria-label="time of a deploy against the size of the disk">
<rect width="%d" height="%d" fill="white"/>
<text x="%d" y="22" font-size="15">Deploying one image: time against the size of the disk</text>
`, width, height, width, height, left)
	sizes := r.Sizes()
	across := scale{float64(sizes[0]), float64(sizes[len(sizes)-1]), left, right}
	up := r.seconds()
	for _, gib := range sizes {
		x := across.at(float64(gib))
		fmt.Fprintf(&p, `<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="#eee"/><text x="%.0f" y="%d" text-anchor="middle">%d GiB</text>`+"\n", x, top, x, bottom, x, bottom+20, gib)
	}
	for seconds := up.low; seconds <= up.high; seconds *= 10 {
		y := up.at(seconds)
		fmt.Fprintf(&p, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ccc"/><text x="%d" y="%.0f" text-anchor="end">%g s</text>`+"\n", left, y, right, y, left-8, y+4, seconds)
	}
	taken := []float64{}
	for _, way := range Ways {
		r.line(&p, way, across, up, &taken)
	}
	p.WriteString("</svg>\n")
	return p.String()
}

// seconds is the scale that has all of them, in whole powers of ten.
func (r *Results) seconds() scale {
	low, high := math.Inf(1), 0.0
	for _, d := range r.Deploys {
		low, high = math.Min(low, d.Seconds), math.Max(high, d.Seconds)
	}
	return scale{math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high))), bottom, top}
}

// scale maps numbers to pixels, logarithmically.
type scale struct{ low, high, from, to float64 }

func (s scale) at(value float64) float64 {
	if s.low == s.high {
		return (s.from + s.to) / 2
	}
	return s.from + (s.to-s.from)*math.Log(value/s.low)/math.Log(s.high/s.low)
}

// line draws one way, its name beside its last point, clear of the names in taken.
func (r *Results) line(p *strings.Builder, way Way, across, up scale, taken *[]float64) {
	var points, dots strings.Builder
	var x, y float64
	for _, gib := range r.Sizes() {
		if seconds := r.Seconds(way, gib); seconds > 0 {
			x, y = across.at(float64(gib)), up.at(seconds)
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%s, %d GiB: %.1f s</title></circle>`+"\n", x, y, colours[way], way, gib, seconds)
		}
	}
	if points.Len() == 0 {
		return
	}
	label := y + 4
	for i := 0; i < len(*taken); i++ {
		if math.Abs((*taken)[i]-label) < 15 {
			label, i = (*taken)[i]-15, -1
		}
	}
	*taken = append(*taken, label)
	fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n%s", strings.TrimSpace(points.String()), colours[way], dots.String())
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" fill="%s" stroke="white" stroke-width="3" paint-order="stroke">%s</text>`+"\n", x+9, label, colours[way], way)
}
