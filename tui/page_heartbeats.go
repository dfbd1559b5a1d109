package tui

import (
	"fmt"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// heartbeatsName is the name of the page.
const heartbeatsName = "Heartbeats"

func (u *ui) heartbeatBands(v *view) []band {
	var bands []band
	if len(v.snap.Flows) > 0 {
		bands = append(bands, band{u.flowGrid(v)})
	} else {
		bands = append(bands, band{&block{id: "unmeasured", height: 4, least: 3, draw: func(u *ui, w, _ int) []string {
			out := []string{newLine(u.theme, w).space(1).put(heading, "the way of single packets is not measured here").String()}
			text := "No packet events are part of this stream, so gaps between heartbeats and the stages from the device to " +
				"the program cannot be shown. What follows is the last stage, which is measured: whether programs read their " +
				"queues in time, and how long watched tasks waited for a CPU."
			for _, piece := range wrap(clean(text, u.theme.ascii), w-4) {
				out = append(out, newLine(u.theme, w).space(3).put(dim, piece).String())
			}
			return out
		}}})
	}
	return append(bands, band{u.socketGrid(v, "heartbeats.sockets"), u.taskGrid(v)})
}

func (u *ui) flowGrid(v *view) *grid[*fold.FlowTotal] {
	rows := make([]*fold.FlowTotal, len(v.snap.Flows))
	for i := range rows {
		rows[i] = &v.snap.Flows[i]
	}
	series := map[fold.FlowSeries]int{}
	for _, r := range collect(v, window, flowRows) {
		series[r.Key] = r.ID
	}
	nanos := func(title string, drop int, value func(*fold.FlowTotal) float64) column[*fold.FlowTotal] {
		return numberColumn(title, 9, drop, value, func(n float64) string {
			if n == 0 {
				return none
			}
			return formatNanos(n)
		})
	}
	return &grid[*fold.FlowTotal]{
		id:    "flows",
		title: "flows since " + formatClock(v.snap.Started, u.loc),
		rows:  rows,
		sort:  3,
		desc:  true,
		ident: func(f *fold.FlowTotal) string { return fmt.Sprint(f.Key) },
		find:  func(f *fold.FlowTotal) string { return flowName(&f.Key) + " " + processName(f.Key.Process, f.Key.PID) },
		cols: []column[*fold.FlowTotal]{
			textColumn("flow", 24, 2, 0, func(f *fold.FlowTotal) string { return flowName(&f.Key) }),
			textColumn("process", 12, 1, 2, func(f *fold.FlowTotal) string { return processName(f.Key.Process, f.Key.PID) }),
			nanos("period", 1, func(f *fold.FlowTotal) float64 { return float64(f.Gap.Quantile(0.5)) }),
			nanos("max gap", 0, func(f *fold.FlowTotal) float64 { return float64(f.MaxGap) }),
			{
				title:  "which ended",
				w:      12,
				drop:   3,
				number: func(f *fold.FlowTotal) float64 { return float64(f.MaxGapEnd) },
				draw: func(l *line, w int, f *fold.FlowTotal) {
					l.field(dim, formatMillis(f.MaxGapEnd, u.loc), w, false)
				},
			},
			{
				title:  "last seen",
				w:      10,
				right:  true,
				number: func(f *fold.FlowTotal) float64 { return float64(f.Last) },
				draw: func(l *line, w int, f *fold.FlowTotal) {
					l.field(plain, formatSpan(v.at.Sub(f.Last).Truncate(time.Millisecond))+" ago", w, true)
				},
			},
			numberColumn("packets", 8, 4, func(f *fold.FlowTotal) float64 { return float64(f.Packets) }, formatCount),
			{title: "each bar 1 s", w: 12, flex: 2, drop: 5, draw: func(l *line, w int, f *fold.FlowTotal) {
				if id, ok := series[f.Key]; ok {
					l.spark(accent, trace(v, min(w, maxSpark), id, flowRows, func(x *fold.FrameFlow) float32 { return x.Packets }), 0)
				}
			}},
		},
	}
}

// flowName writes a flow as "udp/7000 from 10.0.0.1:4711".
func flowName(k *fold.FlowSeries) string {
	word := " from "
	if k.Direction == model.DirectionTX {
		word = " to "
	}
	return fmt.Sprintf("%s%s%s:%d", socketName(k.Protocol, k.LPort), word, k.Peer, k.Port)
}

func (u *ui) taskGrid(v *view) *grid[taskSeries] {
	type r = taskSeries
	return &grid[r]{
		id:    "tasks",
		title: "from wake-up to running, watched tasks",
		empty: "no task is watched in this stream",
		rows:  collect(v, window, taskRows),
		sort:  3,
		desc:  true,
		note:  probeNote(v.snap.Probes, "sched"),
		ident: func(x r) string { return fmt.Sprint(x.Key) },
		cols: []column[r]{
			textColumn("task", 14, 1, 0, func(x r) string { return processName(x.Key.Name, x.Key.TID) }),
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(x r) float64 { return float64(x.Key.CPU) },
				draw:   func(l *line, w int, x r) { l.field(plain, cpuName(x.Key.CPU), w, true) },
			},
			numberColumn("p99", 8, 0, func(x r) float64 { return float64(x.Value.WaitP99) }, formatNanos),
			numberColumn("longest", 8, 0, func(x r) float64 { return float64(x.Value.MaxWait) }, formatNanos),
			numberColumn("wakes/s", 8, 2, func(x r) float64 { return float64(x.Value.Wakeups) }, formatCount),
			textColumn("what ran instead", 16, 1, 1, func(x r) string { return x.Value.Blocker }),
		},
	}
}
