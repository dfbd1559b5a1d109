package tui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// deferredName is the name of the page.
const deferredName = "Deferred"

// heatMetrics are what the heat map can show.
var heatMetrics = [...]struct {
	name   string
	value  func(*fold.FrameWork) float32
	format func(float64) string
	// steps are the lower bounds of heat levels 1 and up.
	steps [heatLevels - 1]float32
}{
	{
		"share of the CPU's time",
		func(w *fold.FrameWork) float32 { return w.Busy },
		formatPercent,
		[...]float32{0.01, 0.05, 0.2, 0.5, 0.8},
	},
	{
		"run p99",
		func(w *fold.FrameWork) float32 { return w.RunP99 },
		formatNanos,
		[...]float32{25e3, 100e3, 500e3, 2e6, 10e6},
	},
	{
		"wait p99",
		func(w *fold.FrameWork) float32 { return w.WaitP99 },
		formatNanos,
		[...]float32{25e3, 100e3, 500e3, 2e6, 10e6},
	},
	{
		"worst run",
		func(w *fold.FrameWork) float32 { return w.MaxRun },
		formatNanos,
		[...]float32{25e3, 100e3, 500e3, 2e6, 10e6},
	},
}

// workName is what a reader calls a series.
func workName(k *fold.WorkSeries) string {
	if k.Class == model.ClassHardIRQ && k.Name == "" {
		return "irq " + strconv.FormatInt(k.IRQ, 10)
	}
	return cmp.Or(k.Name, k.Driver, k.Class.String())
}

func (u *ui) deferredBands(v *view) []band {
	bands := []band{{u.heatMap(v)}}
	work := u.workGrid(
		v,
		"deferred",
		"deferred work by CPU "+u.oneSecond(v),
		"deferred",
		deferredRows,
	)
	work.limits = limits(v.snap.Probes, "deferred")
	runs := u.runGrid(v)
	interrupts := u.workGrid(
		v,
		"interrupts",
		"interrupts "+u.oneSecond(v),
		"interrupt",
		interruptRows,
	)
	interrupts.limits = limits(v.snap.Probes, "interrupt")
	return append(bands, band{work, runs}, band{interrupts, u.bucketGrid(v)}, band{u.cpuGrid(v)})
}

// workRow is a series of deferred work or of an interrupt with its worst values of the last minute.
type workRow struct {
	workSeries
	worstWait, worstRun float32
}

// workGrid lists series of work.
func (u *ui) workGrid(v *view, id, title, probe string, rows func(*fold.Frame) []workSeries) *grid[workRow] {
	series := collect(v, window, rows)
	waits := extremes(v, window, series, rows, func(w *fold.FrameWork) float32 { return w.MaxWait })
	runs := extremes(v, window, series, rows, func(w *fold.FrameWork) float32 { return w.MaxRun })
	list := make([]workRow, len(series))
	hasWait := false
	for i := range series {
		list[i] = workRow{series[i], waits[i], runs[i]}
		hasWait = hasWait || waits[i] > 0
	}
	nanos := func(title string, drop int, value func(*workRow) float32) column[workRow] {
		return numberColumn(title, 8, drop, func(r workRow) float64 { return float64(value(&r)) }, func(n float64) string {
			if n == 0 {
				return none
			}
			return formatNanos(n)
		})
	}
	nameWidth := 12
	if !hasWait { // routines of drivers have long names
		nameWidth = 20
	}
	g := &grid[workRow]{
		id:    id,
		title: title,
		empty: v.nothing(probe, "none in the last minute"),
		sort:  2,
		desc:  true,
		rows:  list,
		then:  func(r workRow) float64 { return float64(max(r.worstRun, r.worstWait)) },
		about: func(r workRow) model.Subject { return aboutCPU(r.Key.CPU) },
		ident: func(r workRow) string {
			return r.Key.Name + strconv.Itoa(int(r.Key.CPU)) + r.Key.Driver + strconv.FormatInt(r.Key.IRQ, 10)
		},
		find: func(r workRow) string {
			return fmt.Sprintf("cpu%d %s %s %s", r.Key.CPU, r.Key.Name, r.Key.Driver, r.Key.Class)
		},
		mark: func(r workRow) style {
			if r.Value.Busy >= 0.8 {
				return critical
			}
			return plain
		},
		cols: []column[workRow]{
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(r workRow) float64 { return float64(r.Key.CPU) },
				draw: func(l *line, w int, r workRow) {
					l.field(plain, cpuName(r.Key.CPU), w, true)
				},
			},
			{
				title: "what",
				w:     nameWidth,
				flex:  1,
				text:  func(r workRow) string { return workName(&r.Key) },
				draw: func(l *line, w int, r workRow) {
					l.field(plain, shortName(workName(&r.Key), w), w, false)
				},
			},
			{
				title:  "share",
				w:      7,
				right:  true,
				number: func(r workRow) float64 { return float64(r.Value.Busy) },
				draw: func(l *line, w int, r workRow) {
					s := plain
					switch {
					case r.Value.Busy >= 0.8:
						s = critical
					case r.Value.Busy >= 0.5:
						s = warning
					case r.Value.Busy == 0:
						s = dim
					}
					l.field(s, formatPercent(float64(r.Value.Busy)), w, true)
				},
			},
			{
				title:  "runs/s",
				w:      7,
				right:  true,
				drop:   5,
				number: func(r workRow) float64 { return float64(r.Value.Count) },
				draw: func(l *line, w int, r workRow) {
					if r.Value.Count == 0 && r.Value.Busy > 0 { // a share of the time, from a counter
						l.field(dim, none, w, true)
						return
					}
					l.field(plain, formatCount(float64(r.Value.Count)), w, true)
				},
			},
		},
	}
	if hasWait {
		g.cols = append(g.cols, nanos("wait p99", 2, func(r *workRow) float32 { return r.Value.WaitP99 }))
	}
	g.cols = append(g.cols, nanos("run p99", 1, func(r *workRow) float32 { return r.Value.RunP99 }))
	if hasWait {
		g.cols = append(g.cols, nanos("max wait", 4, func(r *workRow) float32 { return r.worstWait }))
	}
	g.cols = append(g.cols, nanos("max run", 3, func(r *workRow) float32 { return r.worstRun }),
		sparkColumn("each bar 1 s", 12, 3, 6, accent, 0.0, func(r workRow, n int) []float32 {
			return trace(v, n, r.ID, rows, isZero, func(w *fold.FrameWork) float32 { return w.Busy })
		}))
	g.cols[len(g.cols)-1].draw = func(l *line, w int, r workRow) {
		s := accent
		if r.Value.Busy >= 0.8 {
			s = critical
		}
		l.spark(s, trace(v, min(w, maxSpark), r.ID, rows, isZero, func(w *fold.FrameWork) float32 { return w.Busy }), 1)
	}
	return g
}

func cpuName(cpu int32) string {
	if cpu < 0 {
		return none
	}
	return strconv.Itoa(int(cpu))
}

// heatMap shows CPUs against vectors or routines.
func (u *ui) heatMap(v *view) section {
	metric := &heatMetrics[u.metric]
	series := collect(v, window, deferredRows)
	type columnSum struct {
		name  string
		class model.Class
		sum   float64
	}
	var columns []columnSum
	var cpus []int32
	cells := map[[2]string]float32{}
	byCPU := map[int32]float64{}
	for i := range series {
		k := &series[i].Key
		name := workName(k)
		if k.Class != model.ClassSoftirq && k.Driver != "" {
			name = k.Driver // there are too many routines for columns
		}
		if !slices.Contains(cpus, k.CPU) {
			cpus = append(cpus, k.CPU)
		}
		c := slices.IndexFunc(columns, func(c columnSum) bool { return c.name == name })
		if c < 0 {
			columns = append(columns, columnSum{name: name, class: k.Class})
			c = len(columns) - 1
		}
		value := metric.value(&series[i].Value)
		columns[c].sum += float64(series[i].Value.Busy)
		byCPU[k.CPU] += float64(value)
		cell := [2]string{cpuName(k.CPU), name}
		if u.metric == 0 {
			cells[cell] += value
		} else {
			cells[cell] = max(cells[cell], value)
		}
	}
	slices.Sort(cpus)
	slices.SortStableFunc(columns, func(a, b columnSum) int { // vectors in the kernel's order, routines by time
		if a.class == model.ClassSoftirq && b.class == model.ClassSoftirq {
			return cmp.Compare(vectorOrder(a.name), vectorOrder(b.name))
		}
		return cmp.Or(
			cmp.Compare(math.Floor(math.Log2(b.sum+1e-6)), math.Floor(math.Log2(a.sum+1e-6))),
			cmp.Compare(a.name, b.name),
		)
	})
	title := "CPU and deferred work: " + metric.name + " (m changes)"
	return &block{
		id:     "heat",
		title:  title,
		height: min(2+max(1, len(cpus)), 34),
		least:  4,
		draw: func(u *ui, w, h int) []string {
			out := []string{newLine(u.theme, w).space(1).put(heading, title).String()}
			if len(cpus) == 0 {
				why := offReason(v.snap.Probes, "deferred")
				if why == "" {
					why = "no deferred work in the last minute"
				}
				return append(out, newLine(u.theme, w).space(1).put(dim, why).String())
			}
			shown := cpus
			if len(shown) > h-2 { // the hottest, still in the order of their numbers
				shown = slices.Clone(cpus)
				slices.SortStableFunc(shown, func(a, b int32) int { return cmp.Compare(byCPU[b], byCPU[a]) })
				shown = shown[:max(1, h-3)]
				slices.Sort(shown)
			}
			const cellWidth = 10
			n := min(len(columns), max(1, (w-8)/(cellWidth+1)))
			head := newLine(u.theme, w).space(1).field(dim, "cpu", 5, false).space(1)
			for _, c := range columns[:n] {
				head.field(dim, shortName(c.name, cellWidth), cellWidth, true).space(1)
			}
			rest := w - head.used - 3
			if rest >= 12 {
				head.space(2).put(dim, "sum, 1 s bars")
			}
			out = append(out, head.String())
			for _, cpu := range shown {
				l := newLine(u.theme, w).space(1).field(plain, cpuName(cpu), 5, true).space(1)
				for _, c := range columns[:n] {
					value, seen := cells[[2]string{cpuName(cpu), c.name}]
					level := 0
					for level < heatLevels-1 && value >= metric.steps[level] {
						level++
					}
					text := ""
					if seen && value > 0 {
						text = metric.format(float64(value))
					}
					l.glyph(heat0+style(level), u.theme.shades[level]).field(heat0+style(level), text, cellWidth-1, true).space(1)
				}
				if rest >= 12 {
					l.space(2).spark(accent, v.snap.Values(v.index, min(rest, maxSpark), func(f *fold.Frame) (sum float32, ok bool) {
						for i := range f.Deferred {
							if f.Deferred[i].Key.CPU == cpu {
								sum, ok = sum+f.Deferred[i].Value.Busy, true
							}
						}
						return sum, ok
					}), 1)
				}
				out = append(out, l.String())
			}
			if hidden := len(cpus) - len(shown); hidden > 0 {
				out = append(
					out,
					newLine(
						u.theme,
						w,
					).space(1).
						put(dim, "the "+plural(len(shown), "busiest CPU")+"; "+plural(hidden, "more is", "more are")+" in the table").
						String(),
				)
			}
			return out
		},
	}
}

// vectors are the softirq vectors in the kernel's order.
var vectors = []string{"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"}

func vectorOrder(name string) int {
	if i := slices.Index(vectors, name); i >= 0 {
		return i
	}
	return len(vectors)
}

// shortName leaves out a driver's file extension where there is no room for it.
func shortName(name string, w int) string {
	if width(name) <= w {
		return name
	}
	for _, ext := range []string{".sys", ".exe", ".dll"} {
		if short := strings.Replace(name, ext, "", 1); short != name {
			return short
		}
	}
	return name
}

// runGrid lists the worst single runs up to the moment that is looked at.
func (u *ui) runGrid(v *view) *grid[*fold.FrameRun] {
	const most = 200
	var runs []*fold.FrameRun
	for i := 0; i <= v.index; i++ {
		f := v.snap.Frame(i)
		for j := range f.Runs {
			runs = append(runs, &f.Runs[j])
		}
	}
	slices.SortStableFunc(runs, func(a, b *fold.FrameRun) int { return cmp.Compare(b.Worst(), a.Worst()) })
	runs = runs[:min(len(runs), most)]
	length := func(
		title string,
		value func(*fold.FrameRun) time.Duration,
		known func(*fold.FrameRun) bool,
	) column[*fold.FrameRun] {
		c := numberColumn(title, 8, 0, func(r *fold.FrameRun) float64 { return float64(value(r)) }, formatNanos)
		draw := c.draw
		c.draw = func(l *line, w int, r *fold.FrameRun) {
			if !known(r) {
				l.field(dim, "unknown", w, true)
				return
			}
			draw(l, w, r)
		}
		return c
	}
	return &grid[*fold.FrameRun]{
		id:    "runs",
		title: "worst single runs since " + formatClock(v.snap.Oldest(), u.loc),
		empty: "no run was long enough to be listed",
		rows:  runs,
		sort:  -1,
		ident: func(r *fold.FrameRun) string { return r.Time.String() + cpuName(r.CPU) + r.Name },
		cols: []column[*fold.FrameRun]{
			{
				title:  "when",
				w:      12,
				drop:   1,
				number: func(r *fold.FrameRun) float64 { return float64(r.Time) },
				draw:   func(l *line, w int, r *fold.FrameRun) { l.field(dim, formatMillis(r.Time, u.loc), w, false) },
			},
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(r *fold.FrameRun) float64 { return float64(r.CPU) },
				draw:   func(l *line, w int, r *fold.FrameRun) { l.field(plain, cpuName(r.CPU), w, true) },
			},
			{
				title: "what",
				w:     10,
				flex:  1,
				text:  func(r *fold.FrameRun) string { return cmp.Or(r.Name, r.Class.String()) },
				draw: func(l *line, w int, r *fold.FrameRun) {
					l.field(plain, shortName(cmp.Or(r.Name, r.Class.String()), w), w, false)
				},
			},
			length(
				"waited",
				func(r *fold.FrameRun) time.Duration { return r.Wait },
				func(r *fold.FrameRun) bool { return !r.WaitUnknown },
			),
			length("ran", func(r *fold.FrameRun) time.Duration { return r.Length }, func(*fold.FrameRun) bool { return true }),
			textColumn("in task", 12, 1, 3, func(r *fold.FrameRun) string { return r.Task }),
			textColumn("before it", 12, 1, 2, func(r *fold.FrameRun) string { return r.Before }),
		},
	}
}

// bucketGrid counts runs by length since the start.
func (u *ui) bucketGrid(v *view) *grid[fold.WorkTotal] {
	rows := slices.DeleteFunc(
		slices.Clone(v.snap.Work),
		func(t fold.WorkTotal) bool { return t.Buckets == fold.WorkTotal{}.Buckets },
	)
	g := &grid[fold.WorkTotal]{
		id:    "buckets",
		title: "runs by length since " + formatClock(v.snap.Started, u.loc),
		empty: "no runs in this stream",
		rows:  rows,
		sort:  1,
		desc:  true,
		ident: func(t fold.WorkTotal) string { return t.Class.String() + t.Name + t.Driver },
		cols: []column[fold.WorkTotal]{
			textColumn("what", 14, 2, 0, func(t fold.WorkTotal) string {
				name := cmp.Or(t.Name, t.Class.String())
				if t.Driver != "" {
					name += " " + strings.ReplaceAll(t.Class.String(), "_", " ")
				}
				return name
			}),
			numberColumn("time", 8, 1, func(t fold.WorkTotal) float64 { return float64(t.BusyNanos) }, formatNanos),
			numberColumn("longest", 8, 0, func(t fold.WorkTotal) float64 { return float64(t.MaxRun) }, formatNanos),
		},
	}
	for i := range len(fold.BucketBounds) + 1 {
		title := bucketTitle(i)
		drop := 8 - i // the long runs matter
		if i == len(fold.BucketBounds) {
			drop = 0
		}
		g.cols = append(
			g.cols,
			numberColumn(title, 7, drop, func(t fold.WorkTotal) float64 { return float64(t.Buckets[i]) }, formatCount),
		)
	}
	return g
}

// bucketTitle is the range of the lengths that bucket i counts.
func bucketTitle(i int) string {
	bounds := fold.BucketBounds
	last := len(bounds)
	in := func(d, unit time.Duration) string { return strconv.FormatFloat(float64(d)/float64(unit), 'g', -1, 64) }
	switch {
	case i == 0:
		return "to " + in(bounds[0], time.Microsecond) + " µs"
	case i == last:
		return in(bounds[last-1], time.Millisecond) + " ms up"
	case bounds[i] < time.Millisecond:
		return in(bounds[i-1], time.Microsecond) + "–" + in(bounds[i], time.Microsecond) + " µs"
	}
	return in(bounds[i-1], time.Millisecond) + "–" + in(bounds[i], time.Millisecond) + " ms"
}

// cpuGrid shows where each CPU's time goes.
func (u *ui) cpuGrid(v *view) *grid[cpuSeries] {
	share := func(title string, drop int, value func(*fold.FrameCPU) float32) column[cpuSeries] {
		return numberColumn(
			title,
			7,
			drop,
			func(r cpuSeries) float64 { return measured(r.Value.Measured, value(&r.Value)) },
			formatPercent,
		)
	}
	return &grid[cpuSeries]{
		id:    "cpus",
		title: "CPU time",
		empty: "none in this stream",
		rows:  collect(v, window, cpuRows),
		sort:  0,
		about: func(r cpuSeries) model.Subject { return aboutCPU(r.Key.CPU) },
		ident: func(r cpuSeries) string { return cpuName(r.Key.CPU) },
		cols: []column[cpuSeries]{
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(r cpuSeries) float64 { return float64(r.Key.CPU) },
				draw: func(l *line, w int, r cpuSeries) {
					l.field(plain, cpuName(r.Key.CPU), w, true)
				},
			},
			share(
				"user",
				0,
				func(c *fold.FrameCPU) float32 { return c.User },
			), share("system", 0, func(c *fold.FrameCPU) float32 { return c.System }),
			share(
				"softirq",
				0,
				func(c *fold.FrameCPU) float32 { return c.Softirq },
			), share("irq", 0, func(c *fold.FrameCPU) float32 { return c.IRQ }),
			share(
				"idle",
				0,
				func(c *fold.FrameCPU) float32 { return c.Idle },
			), share("steal", 1, func(c *fold.FrameCPU) float32 { return c.Steal }),
			sparkColumn("busy, each bar 1 s", 18, 1, 2, accent, 1, func(r cpuSeries, n int) []float32 {
				return trace(v, n, r.ID, cpuRows, unmeasured, func(c *fold.FrameCPU) float32 { return 1 - c.Idle })
			}),
		},
	}
}
