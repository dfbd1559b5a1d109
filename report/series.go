package report

import (
	"math"
	"time"

	"lostbeat/model"
)

// maxBins is how many values a series has at most: an hour in steps of 2 s, a day in steps of 64 s.
const maxBins = 2048

// axis is the time line of a capture: whole seconds until there are too many, then steps of 2, 4, 8 s and so on.
type axis struct {
	first model.Time
	step  model.Time
	all   []*binned
}

// binned is a series under way.
type binned struct {
	*axis
	values []float32
}

func (a *axis) series() *binned {
	b := &binned{axis: a}
	a.all = append(a.all, b)
	return b
}

// bin returns the step in which t lies, after the steps were made long enough for it.
func (a *axis) bin(t model.Time) int {
	if a.step == 0 {
		a.first, a.step = t-t%model.Time(time.Second), model.Time(time.Second)
	}
	for (t-a.first)/a.step >= maxBins {
		a.widen()
	}
	return max(int((t-a.first)/a.step), 0)
}

// widen doubles the steps.
func (a *axis) widen() {
	a.step *= 2
	for _, b := range a.all {
		n := (len(b.values) + 1) / 2
		for i := range n {
			v := b.values[2*i]
			if 2*i+1 < len(b.values) {
				v = higher(v, b.values[2*i+1])
			}
			b.values[i] = v
		}
		b.values = b.values[:n]
	}
}

// higher is the higher of two values, of which either may not have been measured.
func higher(a, b float32) float32 {
	if a != a || b > a {
		return b
	}
	return a
}

// add takes the value of the second at t.
func (b *binned) add(t model.Time, v float32) {
	i := b.bin(t)
	for len(b.values) <= i {
		b.values = append(b.values, float32(math.NaN()))
	}
	b.values[i] = higher(b.values[i], v)
}

// sealed returns the series; where others have a value and it has none it is 0 if seen says that it was watched then.
func (b *binned) sealed(name, unit string, seen *binned) Series {
	s := Series{Name: name, Unit: unit, Values: b.values}
	if b.axis.step > 0 {
		s.First, s.Step = b.first, time.Duration(b.step)
	}
	if seen == nil {
		return s
	}
	for len(s.Values) < len(seen.values) {
		s.Values = append(s.Values, float32(math.NaN()))
	}
	for i, v := range seen.values {
		if s.Values[i] != s.Values[i] && v == v {
			s.Values[i] = 0
		}
	}
	return s
}
