package fold

import (
	"time"

	"lostbeat/internal/stats"
	"lostbeat/model/state"
)

// Level is a number that rises and falls, such as the ports that a process
// holds, by its floors: the lowest value within each second. Use moves the
// number; what is kept moves the floor.
type Level struct {
	// Low is the floor of the second that is being filled.
	Low int
	// Seconds and Coarse are the floors of the seconds and of spans of CoarseSeconds that were recorded.
	Seconds, Coarse floors
	// Ticks is how many seconds have been recorded.
	Ticks int
	// coarseLow is the floor of the coarse span under way.
	coarseLow int
}

// endSecond records the floor of the second that was filled and opens the next
// at the present value.
func (l *Level) endSecond(value int) {
	l.Seconds.add(l.Ticks, l.Low, SecondFloors)
	if l.Ticks%CoarseSeconds == 0 {
		l.coarseLow = l.Low
	}
	l.coarseLow = min(l.coarseLow, l.Low)
	l.Ticks++
	if l.Ticks%CoarseSeconds == 0 {
		l.Coarse.add(l.Ticks/CoarseSeconds-1, l.coarseLow, CoarseFloors)
	}
	l.Low = value
}

// Floor returns the floor of the second that ended ago seconds
// before the last tick; 0 before the first second.
func (l *Level) Floor(ago int) int {
	if ago >= l.Ticks || ago >= SecondFloors {
		return 0
	}
	return l.Seconds.lowest(l.Ticks-1-ago, l.Ticks-1-ago)
}

// FloorOver returns the lowest floor of n seconds, the last of which ended ago
// seconds before the last tick. Long spans are read from the coarse floors.
func (l *Level) FloorOver(ago, n int) int {
	if ago+n <= SecondFloors {
		return l.Seconds.lowest(l.Ticks-ago-n, l.Ticks-1-ago)
	}
	last := l.Ticks/CoarseSeconds - 1 - ago/CoarseSeconds
	first := last - max(n/CoarseSeconds, 1) + 1
	if first < l.Ticks/CoarseSeconds-CoarseFloors {
		return min(l.Coarse.lowest(max(first, 0), last), 0)
	}
	return l.Coarse.lowest(first, last)
}

// Scale is a span over which growth is judged: Steps steps of Seconds seconds each.
type Scale struct{ Steps, Seconds int }

// Span is the time that the scale looks back on.
func (s Scale) Span() time.Duration { return time.Duration(s.Steps*s.Seconds) * time.Second }

// FloorsOf returns the floors at the ends of the scale's steps, oldest first.
// The oldest is the floor of the step before.
func (l *Level) FloorsOf(s Scale) []int {
	list := make([]int, s.Steps+1)
	for i := range list {
		list[i] = l.FloorOver((s.Steps-i)*s.Seconds, s.Seconds)
	}
	return list
}

// Rate is by how much a level rises a second: the median of the slopes between
// all pairs of floors (Theil and Sen), with their quartiles.
type Rate struct{ PerSecond, Low, High float64 }

// RateOver returns the rate on a scale.
func (l *Level) RateOver(s Scale) Rate {
	list := l.FloorsOf(s)
	xs := make([]float64, len(list))
	for i, floor := range list {
		xs[i] = float64(floor)
	}
	low, mid, high := stats.Slopes(xs, float64(s.Seconds))
	return Rate{mid, low, high}
}

// forecastScales are the scales on which a pool is seen to fill, from the longest.
var forecastScales = [...]Scale{{5, 60}, {5, 12}, {5, 4}, {6, 2}, {7, 1}}

// shortForecast is the span below which a pool must be fuller than it was within
// the last minutes to be called filling: what rises and falls rises for some
// seconds, too. leastGain is by how many ports it must have risen.
const (
	shortForecast = 20 * time.Second
	leastGain     = 5
)

// filling returns how fast the level rises, on the longest scale on which it
// rises in each step; ok is false when it does not rise, or no longer does.
func (l *Level) filling() (r Rate, ok bool) {
	for _, s := range forecastScales {
		span := s.Steps * s.Seconds
		if span > l.Ticks || !l.rises(s) {
			continue
		}
		last := l.Ticks - 1
		if s.Span() < shortForecast &&
			l.Seconds.highest(max(l.Ticks-SecondFloors, 0), last-span) >= l.Seconds.lowest(last, last) {
			return Rate{}, false
		}
		r = l.RateOver(s)
		// It goes on rising at its own pace, or it has stopped.
		pause := max(s.Seconds, int(3/max(r.PerSecond, 1e-3))+1)
		if r.PerSecond <= 0 || l.Floor(0) <= l.Floor(min(pause, l.Ticks-1)) {
			return Rate{}, false
		}
		return r, true
	}
	return Rate{}, false
}

// rises says that the floor rose in each step of a scale, from the first on, and
// by enough.
func (l *Level) rises(s Scale) bool {
	list := l.FloorsOf(s)
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	gain := list[s.Steps] - list[0]
	return gain >= leastGain && 2*s.Steps*(list[1]-list[0]) >= gain
}

// Forecast says when a pool of ports will be exhausted. It is the one forecast
// that screen and findings show.
type Forecast struct {
	// Rate is how many ports a second it loses.
	Rate
	// Left is the time until it is exhausted, Earliest and Latest bound it by the quartiles of the rate.
	Left, Earliest, Latest time.Duration
}

// longestForecast bounds forecasts.
const longestForecast = 365 * 24 * time.Hour

// Forecast says when a pool will be exhausted at its present rate; ok is false
// unless it fills steadily.
func (w *Fold) Forecast(key state.PoolKey) (f Forecast, ok bool) {
	level, pool := w.Ports.levels[key], w.State.Pools[key]
	if level == nil || pool == nil || pool.Size == 0 {
		return f, false
	}
	if f.Rate, ok = level.filling(); !ok {
		return f, false
	}
	free := max(float64(pool.Size)-float64(pool.Used+pool.Resting), 0)
	after := func(rate float64) time.Duration {
		if rate <= 0 {
			rate = f.PerSecond / 4
		}
		return time.Duration(min(free/rate*float64(time.Second), float64(longestForecast)))
	}
	f.Left, f.Earliest, f.Latest = after(f.PerSecond), after(f.High), after(f.Low)
	return f, true
}

// endSecond records how many ports of the pools are in use at the end of so many seconds.
func (p *Ports) endSecond(st *state.State, seconds int) {
	for k := range p.levels {
		if st.Pools[k] == nil {
			delete(p.levels, k)
			p.room.Give(levelBytes)
		}
	}
	for k, pool := range st.Pools {
		l := p.levels[k]
		if l == nil {
			if !p.room.Take("forecasts of pools", levelBytes) {
				continue
			}
			l = &Level{}
			p.levels[k] = l
		}
		for range min(seconds, SecondFloors) {
			l.Low = pool.Used // ports at rest come back by themselves
			l.endSecond(l.Low)
		}
	}
}
