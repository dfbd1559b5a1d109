package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// heartbeatsName is the name of the page.
const heartbeatsName = "Heartbeats"

func (u *ui) heartbeatBands(v *view) []band {
	var bands []band
	if len(v.snap.Beats) > 0 {
		bands = append(bands, band{u.beatGrid(v)})
	}
	if len(v.snap.Proposals) > 0 {
		bands = append(bands, band{u.proposalGrid(v)})
	}
	if len(v.snap.Flows) > 0 {
		bands = append(bands, band{u.flowGrid(v)})
	}
	measured := len(bands) > 0
	if len(v.snap.Logs) > 0 {
		bands = append(bands, band{u.logGrid(v)})
	}
	if !measured {
		bands = append(bands, band{&block{id: "unmeasured", height: 8, least: 3, draw: func(u *ui, w, h int) []string {
			what, how := u.unfollowed(v)
			out := []string{newLine(u.theme, w).space(1).put(heading, what).String()}
			text := how + " The tables below need no flow: whether programs read their queues in time, and how long " +
				"watched tasks waited."
			pieces := wrap(clean(text, u.theme.ascii), w-4)
			if room := h - 1; room > 0 && room < len(pieces) {
				more := u.theme.more
				pieces = append(pieces[:room-1], truncate(pieces[room-1], w-4-width(more), "")+more)
			}
			for _, piece := range pieces {
				out = append(out, newLine(u.theme, w).space(3).put(dim, piece).String())
			}
			return out
		}}})
	}
	return append(bands, band{u.socketGrid(v, "heartbeats.sockets"), u.taskGrid(v)})
}

// unfollowed says that no flow is followed, and what would follow one.
func (u *ui) unfollowed(v *view) (what, how string) {
	on := func(part string) bool {
		return slices.ContainsFunc(v.snap.Probes, func(p model.Probe) bool {
			return p.Name == "heartbeat" && p.Part == part && p.State == model.ProbeOn && p.Reason == ""
		})
	}
	offer := "On a live Linux host, --heartbeat udp:5405 follows one"
	if u.opt.Follow != nil {
		offer = "F follows one (udp:5405, corosync)"
	}
	const gives = ": their gaps, and where the time went."
	switch {
	case on("search"):
		return "no heartbeats found so far", "auto looks for sockets of known programs continuously, and for regular " +
			"packets during a few seconds of each minute. " + offer + " by name" + gives
	case on("flows"):
		return "no flow is followed so far", "None of the requested flows has an open socket; each is followed as " +
			"soon as one opens."
	case u.opt.Follow != nil:
		return "no flow is followed", offer + ", or finds them (auto)" + gives
	}
	return "no flow is followed", offer + ", and --heartbeat auto finds them" + gives
}

// flowIDs are the places of flows in the frames.
func flowIDs(v *view) map[fold.FlowSeries]int {
	ids := map[fold.FlowSeries]int{}
	for _, r := range collect(v, window, flowRows) {
		ids[r.Key] = r.ID
	}
	return ids
}

// beatGrid lists the flows that are followed, with their cadence.
func (u *ui) beatGrid(v *view) *grid[*fold.BeatTotal] {
	rows := make([]*fold.BeatTotal, len(v.snap.Beats))
	for i := range rows {
		rows[i] = &v.snap.Beats[i]
	}
	series := flowIDs(v)
	// A number is shown where the flow has a cadence that it can be measured by.
	count := func(title string, value func(*fold.BeatTotal) (n uint64, ok bool)) column[*fold.BeatTotal] {
		return numberColumn(title, 5, 0, func(b *fold.BeatTotal) float64 {
			if n, ok := value(b); ok && (b.Period > 0 || n > 0) {
				return float64(n)
			}
			return -1
		}, func(n float64) string {
			if n < 0 {
				return none
			}
			return formatCount(n)
		})
	}
	nanos := func(title string, drop int, value func(*fold.BeatTotal) time.Duration) column[*fold.BeatTotal] {
		return numberColumn(title, 7, drop, func(b *fold.BeatTotal) float64 { return float64(value(b)) },
			func(n float64) string {
				if n == 0 {
					return none
				}
				return formatNanos(n)
			})
	}
	return &grid[*fold.BeatTotal]{
		id:     "beats",
		title:  "heartbeats since " + formatClock(v.snap.Started, u.loc) + " (Enter: where the time went)",
		limits: limits(v.snap.Probes, "heartbeat"),
		rows:   rows,
		sort:   4,
		desc:   true,
		then:   func(b *fold.BeatTotal) float64 { return float64(v.longest(b)) },
		ident:  func(b *fold.BeatTotal) string { return b.Name },
		find: func(b *fold.BeatTotal) string {
			return flowName(&b.Series) + " " + b.KnownAs + " " + processName(b.Series.Process, b.Series.PID)
		},
		enter: func(b *fold.BeatTotal) command {
			u.open(drill{kind: "flow", flow: b.Name})
			return nil
		},
		cols: []column[*fold.BeatTotal]{
			{title: "", w: 1, draw: func(l *line, _ int, b *fold.BeatTotal) {
				if f := v.lossOf(b); f != nil && v.active(f) {
					s, g := u.severity(f.Severity)
					l.glyph(s, g)
				} else if b.Open.ID != 0 {
					l.glyph(warning, u.theme.glyphs.warning)
				} else if b.Period > 0 && b.Ended == 0 {
					l.glyph(good, u.theme.good)
				}
			}},
			textColumn("flow", 22, 1, 0, beatName),
			textColumn("owner", 14, 0, 2, func(b *fold.BeatTotal) string {
				return processName(b.Series.Process, b.Series.PID)
			}),
			nanos("period", 1, func(b *fold.BeatTotal) time.Duration { return b.Period }),
			count("late", func(b *fold.BeatTotal) (uint64, bool) { return b.Late, true }),
			count("lost", func(b *fold.BeatTotal) (uint64, bool) {
				return b.Lost, b.Series.Direction == model.DirectionRX && b.State != model.FlowReads
			}),
			nanos("worst", 0, v.longest),
			{
				title:  "timeout used",
				w:      13,
				right:  true,
				drop:   3,
				number: func(b *fold.BeatTotal) float64 { return b.TimeoutUsed() },
				draw: func(l *line, w int, b *fold.BeatTotal) {
					text := none
					if b.Timeout > 0 {
						text = formatPercent(b.TimeoutUsed()) + " of " + formatSpan(b.Timeout)
					}
					l.field(plain, text, w, true)
				},
			},
			{title: "each bar 1 s", w: 12, flex: 1, drop: 5, draw: func(l *line, w int, b *fold.BeatTotal) {
				if id, ok := series[b.Series]; ok {
					gap := func(x *fold.FrameFlow) float32 { return x.Gap }
					l.spark(accent, trace(v, min(w, maxSpark), id, flowRows, unmeasured, gap), 0)
				}
			}},
			textColumn("verdict", 21, 1, 4, func(b *fold.BeatTotal) string { return u.beatVerdict(v, b) }),
		},
	}
}

// beatName writes a followed flow as "udp/5405 from 10.0.0.2 (knet)", with the peer's port where it is another one.
func beatName(b *fold.BeatTotal) string {
	name := flowName(&b.Series)
	if b.Series.LPort == b.Series.Port {
		name = strings.TrimSuffix(name, fmt.Sprintf(":%d", b.Series.Port))
	}
	if b.KnownAs != "" {
		name += " (" + b.KnownAs + ")"
	}
	return name
}

// lossOf returns the last finding about a flow, nil for none.
func (v *view) lossOf(b *fold.BeatTotal) (last *model.Finding) {
	for i, f := range v.snap.Findings {
		if f.Start <= v.at && strings.HasPrefix(f.ID, "heartbeat-loss/"+b.Name+"/") && (last == nil || f.End >= last.End) {
			last = v.snap.FindingAt(i, v.at)
		}
	}
	return last
}

// beatVerdict says in a few words why a flow was late, or what is not seen of it.
func (u *ui) beatVerdict(v *view, b *fold.BeatTotal) string {
	if f := v.lossOf(b); f != nil && (b.Open.ID == 0 || v.active(f)) {
		_, why, _ := strings.Cut(f.Title, ": ")
		if !v.active(f) {
			why = "at " + formatClock(f.Start, u.loc) + ": " + why
		}
		return why
	}
	switch g := &b.Open; {
	case g.ID != 0 && g.Waiting > 0:
		return "not read for " + formatSpan(g.Length())
	case g.ID != 0:
		return "nothing for " + formatSpan(g.Length())
	case b.Ended != 0:
		return "closed at " + formatClock(b.Ended, u.loc)
	case b.Period == 0:
		return "no regular interval yet"
	case b.State == model.FlowReads && b.Series.Direction == model.DirectionRX:
		return "reads only: arrivals are not seen"
	case b.State == model.FlowArrivals && b.Series.Direction == model.DirectionRX:
		return "arrivals only: reads are not seen"
	case b.State == model.FlowCaptured:
		return "on the wire only: captured packets"
	}
	return ""
}

// beatBands is one followed flow and where the time of its gap went.
func (u *ui) beatBands(v *view, name string) []band {
	var b *fold.BeatTotal
	for i := range v.snap.Beats {
		if v.snap.Beats[i].Name == name {
			b = &v.snap.Beats[i]
		}
	}
	return []band{{&block{id: "flow", height: 1 << 16, least: 1, draw: func(u *ui, w, h int) []string {
		if b == nil {
			return []string{newLine(u.theme, w).space(1).put(dim, "this flow is no longer in memory").String()}
		}
		return u.scrolled(u.beatLines(v, b, w), w, h)
	}}}}
}

// beatLines draws a followed flow in full.
func (u *ui) beatLines(v *view, b *fold.BeatTotal, w int) []string {
	facts := []string{processName(b.Series.Process, b.Series.PID)}
	if b.Period > 0 {
		facts = append(facts, "a packet every "+formatSpan(b.Period))
	} else {
		facts = append(facts, "no regular interval yet")
	}
	if b.Device != "" {
		facts = append(facts, "over "+b.Device)
	}
	if b.Timeout > 0 {
		facts = append(facts, "timeout "+formatSpan(b.Timeout))
	}
	if b.Packets > 0 {
		facts = append(facts, plural(int(b.Packets), "packet"))
	}
	if b.Reads > 0 {
		facts = append(facts, formatInt(int64(b.Reads))+" read")
	}
	if b.Dropped > 0 {
		facts = append(facts, formatInt(int64(b.Dropped))+" dropped by this host")
	}
	out := []string{
		newLine(u.theme, w).space(1).put(heading, beatName(b)).String(),
		newLine(u.theme, w).space(3).put(dim, strings.Join(facts, " · ")).String(),
	}
	if text := u.beatVerdict(v, b); v.lossOf(b) == nil && text != "" {
		out = append(out, newLine(u.theme, w).space(3).put(warning, text).String())
	}
	gap, what := b.Worst, "the longest gap"
	if b.Open.ID != 0 {
		gap, what = b.Open, "the current gap"
	}
	out = append(out, blank(w))
	if gap.ID != 0 {
		out = append(out, u.waterfall(b, what, &gap, w)...)
		if last := b.Latest; last.ID != 0 && last.ID != gap.ID {
			out = append(out, blank(w))
			out = append(out, u.waterfall(b, "the last one", &last, w)...)
		}
	} else {
		out = append(out, newLine(u.theme, w).space(3).put(plain, v.withoutGap(b)).String())
	}
	if lines := linesAround(v, gap.From, gap.To); gap.ID != 0 && len(lines) > 0 {
		out = append(out, blank(w), newLine(u.theme, w).space(3).put(heading, "what the logs say").String())
		out = append(out, u.quoted(lines, w)...)
	}
	if f := v.lossOf(b); f != nil {
		out = append(out, blank(w))
		out = append(out, u.findingLines(v, f, w)...)
	}
	return out
}

// withoutGap says of a flow without a gap that was too long what is known instead.
func (v *view) withoutGap(b *fold.BeatTotal) string {
	switch {
	case v.cutOff(b) != nil:
		return "nothing for " + formatSpan(v.longest(b))
	case b.Period == 0:
		return "gaps are judged once the flow has a regular interval"
	case v.lossOf(b) != nil:
		return "the longest gap that its packets show was " + formatSpan(b.Longest)
	case b.Longest > 0:
		return "no gap was longer than the flow's interval allows: the longest was " + formatSpan(b.Longest)
	}
	return "no gap was longer than the flow's interval allows"
}

// waterfall draws where the time of a gap went, stage after stage.
func (u *ui) waterfall(b *fold.BeatTotal, what string, g *fold.Gap, w int) []string {
	title := fmt.Sprintf("%s: from %s on, %s later than usual", what, formatMillis(g.From.Add(g.Period), u.loc),
		formatSpan(g.Delay()))
	out := []string{newLine(u.theme, w).space(3).put(bold, title).String()}
	if g.Blind {
		return append(out, newLine(u.theme, w).space(5).put(dim,
			"stages unknown: only the program's reads are seen").String())
	}
	type stage struct {
		name     string
		d        time.Duration
		measured bool
	}
	received := b.Series.Direction == model.DirectionRX
	stages := []stage{{"not sent", g.Absent, true}}
	if g.Qdisc > 0 {
		stages = append(stages, stage{"in the queueing discipline", g.Qdisc, true})
	}
	if received {
		arrived := !g.Lasts || g.Waiting > 0
		stages = []stage{
			{"did not arrive", g.Absent, true},
			{"lost at its socket", g.Lost, b.Reads > 0},
			{"softirq, backlog, filter", g.Stack, arrived},
			{"in the queue of its socket", g.Queue, arrived && b.Reads > 0},
		}
		if g.Return > 0 {
			stages = append(stages, stage{"read, without a CPU then", g.Return, true})
		}
	}
	var all time.Duration
	for _, x := range stages {
		all += x.d
	}
	room := max(w-5-26-2-8-2-6-2-2, 0)
	var before time.Duration
	for _, x := range stages {
		l := newLine(u.theme, w).space(5).field(plain, x.name, 26, false).space(2)
		if !x.measured {
			out = append(out, l.field(dim, none, 8, true).String())
			continue
		}
		share := float64(x.d) / float64(max(all, 1))
		l.field(bold, formatSpan(x.d), 8, true).space(2).field(plain, formatPercent(share), 6, true).space(2)
		from := int(float64(room) * float64(before) / float64(max(all, 1)))
		before += x.d
		to := int(float64(room) * float64(before) / float64(max(all, 1)))
		l.space(from)
		if x.d > 0 && to == from {
			l.glyph(dim, u.theme.sparks[1])
		}
		out = append(out, l.repeat(accent, u.theme.sparks[len(u.theme.sparks)-1], to-from).String())
	}
	var rest []string
	if g.Waiting > 0 {
		rest = append(rest, plural(int(g.Waiting), "packet")+" waited to be read")
	}
	if g.Missed > 0 && received {
		rest = append(rest, plural(int(g.Missed), "packet")+" missing")
	}
	if g.Delayed > 0 {
		rest = append(rest, formatInt(int64(g.Delayed))+" of them arrived together afterwards")
	}
	if len(rest) > 0 {
		out = append(out, newLine(u.theme, w).space(5).put(dim, strings.Join(rest, " · ")).String())
	}
	return out
}

func (u *ui) flowGrid(v *view) *grid[*fold.FlowTotal] {
	rows := make([]*fold.FlowTotal, len(v.snap.Flows))
	for i := range rows {
		rows[i] = &v.snap.Flows[i]
	}
	series := flowIDs(v)
	nanos := func(title string, drop int, value func(*fold.FlowTotal) float64) column[*fold.FlowTotal] {
		return numberColumn(title, 9, drop, value, func(n float64) string {
			if n == 0 {
				return none
			}
			return formatNanos(n)
		})
	}
	g := &grid[*fold.FlowTotal]{
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
					packets := func(x *fold.FrameFlow) float32 { return x.Packets }
					l.spark(accent, trace(v, min(w, maxSpark), id, flowRows, isZero, packets), 0)
				}
			}},
		},
	}
	if verdict := func(f *fold.FlowTotal) string { return v.silenceOf(&f.Key) }; slices.ContainsFunc(
		rows, func(f *fold.FlowTotal) bool { return verdict(f) != "" },
	) {
		g.cols = slices.Insert(g.cols, len(g.cols)-1, textColumn("verdict", 21, 1, 4, verdict))
	}
	return g
}

// silenceOf is the last finding that names the silence of a flow, empty for none.
func (v *view) silenceOf(k *fold.FlowSeries) string {
	name := "(" + socketName(k.Protocol, k.LPort) + " from " + k.Peer
	var last *model.Finding
	for i, f := range v.snap.Findings {
		if f.Start <= v.at && (last == nil || f.End >= last.End) && k.Direction != model.DirectionTX &&
			slices.ContainsFunc(f.Evidence, func(e model.Evidence) bool {
				at := strings.Index(e.Name, name)
				return strings.HasPrefix(e.Name, "silence of ") && at >= 0 && !isDigit(e.Name[at+len(name):])
			}) {
			last = v.snap.FindingAt(i, v.at)
		}
	}
	if last == nil {
		return ""
	}
	why, _, _ := strings.Cut(last.Title, "; ")
	return why
}

// isDigit says that a text goes on with a digit.
func isDigit(text string) bool { return text != "" && text[0] >= '0' && text[0] <= '9' }

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
		id:     "tasks",
		title:  "watched tasks: from wake-up to running",
		empty:  "no watched tasks in this stream",
		rows:   collect(v, window, taskRows),
		sort:   3,
		desc:   true,
		limits: limits(v.snap.Probes, "sched"),
		ident:  func(x r) string { return fmt.Sprint(x.Key) },
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
