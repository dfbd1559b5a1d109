package tui

import (
	"time"

	"lostbeat/model"
)

// window is how many frames the tables look back: a series that was seen in it
// keeps its row, so that rows do not come and go.
const window = 60

// collect returns a row for every series that occurs in the last n frames, with
// its value in the frame that is shown, by series.
func collect[K comparable, V any](v *view, n int, rows func(*Frame) []row[K, V]) []row[K, V] {
	current := rows(v.frame)
	out := current
	for i := max(0, v.index-n+1); i < v.index; i++ {
		f := v.snap.Frame(i)
		if f == nil {
			continue
		}
		out = union(out, rows(f))
	}
	if len(out) == len(current) {
		return out
	}
	c := 0
	for i := range out { // values of the frame that is shown only
		for c < len(current) && current[c].ID < out[i].ID {
			c++
		}
		if c < len(current) && current[c].ID == out[i].ID {
			out[i].Value = current[c].Value
			continue
		}
		var zero V
		out[i].Value = zero
	}
	return out
}

// union returns the rows of a and those of b whose series a does not have, both
// being by series. It returns a itself when it has them all.
func union[K comparable, V any](a, b []row[K, V]) []row[K, V] {
	missing := 0
	for i, j := 0, 0; j < len(b); j++ {
		for i < len(a) && a[i].ID < b[j].ID {
			i++
		}
		if i >= len(a) || a[i].ID != b[j].ID {
			missing++
		}
	}
	if missing == 0 {
		return a
	}
	out := make([]row[K, V], 0, len(a)+missing)
	i := 0
	for j := range b {
		for i < len(a) && a[i].ID < b[j].ID {
			out = append(out, a[i])
			i++
		}
		if i >= len(a) || a[i].ID != b[j].ID {
			out = append(out, b[j])
		}
	}
	return append(out, a[i:]...)
}

// extremes returns the largest value of each series, by its place in series,
// over the last n frames.
func extremes[K comparable, V any](
	v *view,
	n int,
	series []row[K, V],
	rows func(*Frame) []row[K, V],
	value func(*V) float32,
) []float32 {
	out := make([]float32, len(series))
	for i := max(0, v.index-n+1); i <= v.index; i++ {
		f := v.snap.Frame(i)
		if f == nil {
			continue
		}
		at := rows(f)
		s := 0
		for j := range at {
			for s < len(series) && series[s].ID < at[j].ID {
				s++
			}
			if s < len(series) && series[s].ID == at[j].ID {
				out[s] = max(out[s], value(&at[j].Value))
			}
		}
	}
	return out
}

// trace returns the last n values of one series up to the frame that is shown.
func trace[K comparable, V any](
	v *view,
	n int,
	id int,
	rows func(*Frame) []row[K, V],
	value func(*V) float32,
) []float32 {
	return v.snap.history(v.index, n, func(f *Frame) float32 {
		if x, ok := find(rows(f), id); ok {
			return value(&x)
		}
		return 0
	})
}

func deferredRows(f *Frame) []row[WorkKey, Work]      { return f.Deferred }
func interruptRows(f *Frame) []row[WorkKey, Work]     { return f.Interrupts }
func cpuRows(f *Frame) []row[CPUKey, CPUTime]         { return f.CPUs }
func softnetRows(f *Frame) []row[CPUKey, Softnet]     { return f.Softnet }
func napiRows(f *Frame) []row[NAPIKey, NAPI]          { return f.NAPI }
func deviceRows(f *Frame) []row[DeviceKey, Device]    { return f.Devices }
func dropRows(f *Frame) []row[DropKey, Drops]         { return f.Drops }
func socketRows(f *Frame) []row[SocketKey, Socket]    { return f.Sockets }
func taskRows(f *Frame) []row[TaskKey, Task]          { return f.Tasks }
func counterRows(f *Frame) []row[CounterKey, Counter] { return f.Counters }
func flowRows(f *Frame) []row[FlowKey, Flow]          { return f.Flows }
func poolRows(f *Frame) []row[PoolKey, Pool]          { return f.Pools }

// forecast fits a line through the occupancy of a pool over at most the last
// ten minutes. ok is false unless the pool grows steadily: at least 30 s of
// history, five ports gained, and a line that explains most of the change.
func forecast(v *view, id int) (perSecond float64, ok bool) {
	const most, least = 600, 30
	var n, sx, sy, sxx, sxy, syy float64
	first, last := -1.0, 0.0
	for i := max(0, v.index-most+1); i <= v.index; i++ {
		p, found := find(poolRows(v.snap.Frame(i)), id)
		if !found {
			continue
		}
		x, y := float64(i), float64(p.Used)
		if first < 0 {
			first = y
		}
		last = y
		n, sx, sy, sxx, sxy, syy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y, syy+y*y
	}
	if n < least || last-first < 5 {
		return 0, false
	}
	dx, dy, dxy := n*sxx-sx*sx, n*syy-sy*sy, n*sxy-sx*sy
	if dx <= 0 || dy <= 0 || dxy <= 0 || dxy*dxy/(dx*dy) < 0.8 {
		return 0, false
	}
	return dxy / dx, true
}

// back says that the reader looks at the past: totals are then those of the
// history up to that moment.
func (v *view) back() bool { return v.snap.Now.Sub(v.at) > 2*time.Second }

// lostBetween sums the packets that were lost from a to b by series.
func lostBetween(v *view, a, b model.Time) []row[DropKey, Drops] {
	var out []row[DropKey, Drops]
	from, to := v.snap.At(a), v.snap.At(b)
	for i := max(from, 0); i <= to; i++ {
		f := v.snap.Frame(i)
		if f.End() <= a || f.Start > b {
			continue
		}
		fresh := union(out, f.Drops)
		if len(fresh) != len(out) {
			grown := make([]row[DropKey, Drops], len(fresh))
			for j := range fresh {
				grown[j].key = fresh[j].key
				if old, ok := find(out, fresh[j].ID); ok {
					grown[j].Value = old
				}
			}
			out = grown
		}
		j := 0
		for k := range f.Drops {
			for out[j].ID < f.Drops[k].ID {
				j++
			}
			out[j].Value.Rate += f.Drops[k].Value.Rate
		}
	}
	return out
}
