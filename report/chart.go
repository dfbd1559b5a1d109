package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
)

// columns is how many columns the picture of a series has at most.
const columns = 240

// window is the time that all pictures of a report show.
type window struct {
	start, end model.Time
	zone       *time.Location
}

// share is where in the window t lies, from 0 to 1.
func (w window) share(t model.Time) float64 {
	if w.end <= w.start {
		return 0
	}
	return min(max(float64(t-w.start)/float64(w.end-w.start), 0), 1)
}

// columns returns the highest value of each column, not a number where nothing was measured.
func (w window) columns(s *Series) []float32 {
	n := columns
	if s.Step > 0 {
		n = min(n, max(int(math.Ceil(float64(w.end-w.start)/float64(s.Step))), 1))
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	for i, v := range s.Values {
		if v != v {
			continue
		}
		from := s.First.Add(time.Duration(i) * s.Step)
		first := min(int(math.Floor(w.share(from)*float64(n)+1e-6)), n-1)
		last := int(math.Ceil(w.share(from.Add(s.Step))*float64(n) - 1e-6))
		for c := first; c < max(last, first+1) && c < n; c++ {
			out[c] = higher(out[c], v)
		}
	}
	return out
}

// shadeBounds are where the steps of the heat map begin, as shares of a CPU.
var shadeBounds = [...]float32{0.01, 0.05, 0.2, 0.4, 0.6, 0.8}

// shade returns the step of a share: 0 for hardly anything.
func shade(v float32) int {
	n := 0
	for n < len(shadeBounds) && v >= shadeBounds[n] {
		n++
	}
	return n
}

// svgHead begins a picture as wide as its place, which is n units wide and high units high inside.
func svgHead(label string, n, high int) string {
	return fmt.Sprintf(`<svg class="plot" role="img" aria-label="%s" viewBox="0 0 %d %d" preserveAspectRatio="none">`,
		html.EscapeString(plain.Text(label)), n, high)
}

// heat draws shares of a CPU as shades.
func (w window) heat(s *Series) markup {
	cols := w.columns(s)
	var paths [len(shadeBounds) + 1]strings.Builder
	for i := 0; i < len(cols); {
		if cols[i] != cols[i] {
			i++
			continue
		}
		level, from := shade(cols[i]), i
		for i < len(cols) && cols[i] == cols[i] && shade(cols[i]) == level {
			i++
		}
		fmt.Fprintf(&paths[level], "M%d 0h%dv1h-%dz", from, i-from, i-from)
	}
	var b strings.Builder
	b.WriteString(svgHead(s.describe(), len(cols), 1))
	for level := range paths {
		if d := paths[level].String(); d != "" {
			fmt.Fprintf(&b, `<path class="h%d" d="%s"/>`, level, d)
		}
	}
	b.WriteString("</svg>")
	return markup(b.String())
}

// bars draws values as bars, full as high as the highest that there can be.
func (w window) bars(s *Series, full float64, class string) markup {
	cols := w.columns(s)
	var seen, path strings.Builder
	for i := 0; i < len(cols); {
		v := cols[i]
		if v != v {
			i++
			continue
		}
		from := i
		for i < len(cols) && cols[i] == v {
			i++
		}
		fmt.Fprintf(&seen, "M%d 0h%dv100h-%dz", from, i-from, i-from)
		if v > 0 && full > 0 {
			high := max(int(math.Round(float64(v)/full*100)), 4)
			fmt.Fprintf(&path, "M%d 100v-%dh%dv%dz", from, high, i-from, high)
		}
	}
	return markup(svgHead(s.describe(), len(cols), 100) + `<path class="h0" d="` + seen.String() +
		`"/><path class="` + class + `" d="` + path.String() + `"/></svg>`)
}

// describe says in one sentence what a picture of the series shows.
func (s *Series) describe() string {
	most, ok := s.Max()
	if !ok {
		return s.Name + ": not measured"
	}
	return fmt.Sprintf("%s over time: at most %s", s.Name, quantity(float64(most), s.Unit))
}

// quantity writes a value of a series.
func quantity(v float64, unit string) string {
	switch unit {
	case "", "%":
		return strings.TrimSpace(plain.Quantity(rounded(float32(v)), "") + " " + unit)
	case "ratio", "ns":
		return plain.Quantity(v, unit)
	}
	return plain.Quantity(rounded(float32(v)), unit)
}

// percent writes a share for an attribute of SVG.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e4)/100, 'f', -1, 64) + "%"
}

// leastWidth is how wide a bar is at least, as a share of its picture.
const leastWidth = 0.004

// span draws from when to when something was.
func (w window) span(from, to model.Time, class, label string) markup {
	a, b := w.share(from), w.share(to)
	if b-a < leastWidth {
		a = min(a, 1-leastWidth)
		b = a + leastWidth
	}
	return markup(fmt.Sprintf(`<svg class="plot" role="img" aria-label="%s"><rect class="track" y="45%%" `+
		`width="100%%" height="10%%"/><rect class="%s" x="%s" y="18%%" width="%s" height="64%%" rx="2"/></svg>`,
		html.EscapeString(plain.Text(label)), class, percent(a), percent(b-a)))
}

// part draws a part of a whole behind what came before it.
func part(before, own float64, label string) markup {
	if own > 0 && own < leastWidth {
		own = leastWidth
	}
	return markup(fmt.Sprintf(`<svg class="plot" role="img" aria-label="%s"><rect class="track" y="45%%" `+
		`width="100%%" height="10%%"/><rect class="bar" x="%s" y="12%%" width="%s" height="76%%"/></svg>`,
		html.EscapeString(plain.Text(label)), percent(min(before, 1-own)), percent(own)))
}

// tickSteps are the distances between the marks of a time axis.
var tickSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute,
	2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
	28 * 24 * time.Hour,
}

// axis draws the marks of the time axis.
func (w window) axis() markup {
	length := w.end.Sub(w.start)
	if length <= 0 {
		return ""
	}
	step := tickSteps[len(tickSteps)-1]
	for _, s := range tickSteps {
		if length/s <= 5 {
			step = s
			break
		}
	}
	layout := "15:04:05"
	if step >= time.Minute {
		layout = "15:04"
	}
	if length > 24*time.Hour {
		layout = "01-02 15:04"
	}
	if step >= 24*time.Hour {
		layout = time.DateOnly
	}
	_, offset := w.start.Std().In(w.zone).Zone()
	shift := model.Time(offset) * model.Time(time.Second)
	var b strings.Builder
	b.WriteString(`<svg class="axis" aria-hidden="true">`)
	first := w.start + shift
	first += model.Time(step) - first%model.Time(step)
	for at := first - shift; at <= w.end; at = at.Add(step) {
		x := w.share(at)
		if x > 0.97 || x < 0.03 {
			continue
		}
		fmt.Fprintf(&b, `<line x1="%s" x2="%s" y1="0" y2="4"/><text x="%s" y="15">%s</text>`, percent(x), percent(x),
			percent(x), at.Std().In(w.zone).Format(layout))
	}
	b.WriteString("</svg>")
	return markup(b.String())
}
