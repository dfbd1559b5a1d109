package tui

import (
	"math"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// window is how many frames the tables look back: a series that was seen in it
// keeps its row, so that rows do not come and go.
const window = 60

// collect returns a row for every series that occurs in the last n frames, with
// its value in the frame that is shown, by series.
func collect[K comparable, V any](v *view, n int, rows func(*fold.Frame) []fold.Row[K, V]) []fold.Row[K, V] {
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
func union[K comparable, V any](a, b []fold.Row[K, V]) []fold.Row[K, V] {
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
	out := make([]fold.Row[K, V], 0, len(a)+missing)
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

// measured is a number of a row, not a number where nothing was read in that second.
func measured(m fold.Measured, n float32) float64 {
	if m&fold.Seen == 0 {
		return math.NaN()
	}
	return float64(n)
}

// extremes returns the largest value of each series, by its place in series,
// over the last n frames.
func extremes[K comparable, V any](
	v *view,
	n int,
	series []fold.Row[K, V],
	rows func(*fold.Frame) []fold.Row[K, V],
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

// absence is what a second says in which a series does not occur.
type absence bool

const (
	// unmeasured: nothing was read in that second.
	unmeasured absence = false
	// isZero: the series is counted as it happens, so that there was none.
	isZero absence = true
)

// trace returns the last n values of one series up to the frame that is shown,
// not a number where it was not measured.
func trace[K comparable, V any](
	v *view,
	n int,
	id int,
	rows func(*fold.Frame) []fold.Row[K, V],
	absent absence,
	value func(*V) float32,
) []float32 {
	return v.snap.Values(v.index, n, func(f *fold.Frame) (float32, bool) {
		x, ok := fold.Find(rows(f), id)
		return value(&x), ok || absent == isZero
	})
}

// Rows of frames: a series and its value in one second.
type (
	workSeries    = fold.Row[fold.WorkSeries, fold.FrameWork]
	cpuSeries     = fold.Row[fold.CPUSeries, fold.FrameCPU]
	softnetSeries = fold.Row[fold.CPUSeries, fold.FrameSoftnet]
	napiSeries    = fold.Row[fold.NAPISeries, fold.FrameNAPI]
	deviceSeries  = fold.Row[fold.DeviceSeries, fold.FrameDevice]
	dropSeries    = fold.Row[fold.DropSeries, fold.FrameDrops]
	socketSeries  = fold.Row[fold.SocketSeries, fold.FrameSocket]
	taskSeries    = fold.Row[fold.TaskSeries, fold.FrameTask]
	counterSeries = fold.Row[fold.CounterSeries, fold.FrameCounter]
	flowSeries    = fold.Row[fold.FlowSeries, fold.FrameFlow]
	poolSeries    = fold.Row[fold.PoolSeries, fold.FramePool]
	holderSeries  = fold.Row[fold.HolderSeries, fold.FrameHolder]
)

func deferredRows(f *fold.Frame) []workSeries   { return f.Deferred }
func interruptRows(f *fold.Frame) []workSeries  { return f.Interrupts }
func cpuRows(f *fold.Frame) []cpuSeries         { return f.CPUs }
func softnetRows(f *fold.Frame) []softnetSeries { return f.Softnet }
func napiRows(f *fold.Frame) []napiSeries       { return f.NAPI }
func deviceRows(f *fold.Frame) []deviceSeries   { return f.Devices }
func dropRows(f *fold.Frame) []dropSeries       { return f.Drops }
func socketRows(f *fold.Frame) []socketSeries   { return f.Sockets }
func taskRows(f *fold.Frame) []taskSeries       { return f.Tasks }
func counterRows(f *fold.Frame) []counterSeries { return f.Counters }
func flowRows(f *fold.Frame) []flowSeries       { return f.Flows }

// back says that the reader looks at the past: totals are then those of the
// history up to that moment.
func (v *view) back() bool { return v.snap.Now.Sub(v.at) > 2*time.Second }

// lostBetween sums the packets that were lost from a to b by series.
func lostBetween(v *view, a, b model.Time) []dropSeries {
	var out []dropSeries
	from, to := v.snap.At(a), v.snap.At(b)
	for i := max(from, 0); i <= to; i++ {
		f := v.snap.Frame(i)
		if f.End() <= a || f.Start > b {
			continue
		}
		fresh := union(out, f.Drops)
		if len(fresh) != len(out) {
			grown := make([]dropSeries, len(fresh))
			for j := range fresh {
				grown[j].Series = fresh[j].Series
				if old, ok := fold.Find(out, fresh[j].ID); ok {
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
