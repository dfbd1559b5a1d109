package logs

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// incident is one silence or one loss, as one log or several tell it.
type incident struct {
	from, to model.Time
	gaps     []model.LogGap
	// lines are those that report it; others belong to it and would not make one.
	lines, others []model.LogLine
}

const (
	// belongs is how far behind a silence a line may lie that speaks of it: the programs find out at their next timeout.
	belongs = 5 * time.Second
	// sameTrouble is how far apart lines without a silence are one incident.
	sameTrouble = time.Minute
	// lookBack is how long before a line the counters are looked at when nothing says since when.
	lookBack = 10 * time.Second
)

// incidents finds them in the gaps and lines of all logs, in order of time.
func incidents(gaps []model.LogGap, lines []model.LogLine, s Settings) []*incident {
	var out []*incident
	for _, g := range gaps {
		if g.ExpectedCount <= s.MaxExpected && g.Dur >= s.LeastGap.Std() {
			out = append(out, &incident{from: g.Time.Add(-g.Dur), to: g.Time, gaps: []model.LogGap{g}})
		}
	}
	slices.SortStableFunc(out, func(a, b *incident) int { return cmp.Compare(a.from, b.from) })
	// Logs that fall silent together report one incident.
	out = merge(out)
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b model.LogLine) int { return cmp.Compare(a.Time, b.Time) })
	var loose []*incident
	for _, line := range lines {
		i, _ := slices.BinarySearchFunc(out, line.Time, func(i *incident, t model.Time) int {
			return cmp.Compare(i.to.Add(belongs), t)
		})
		if i < len(out) && line.Time > out[i].from {
			out[i].add(line)
			continue
		}
		if n := len(loose); n > 0 && line.Time <= loose[n-1].to.Add(sameTrouble) {
			loose[n-1].add(line)
			continue
		}
		if !reports(line) {
			continue
		}
		from := line.Time.Add(-max(line.Dur, 0))
		if line.Dur == 0 {
			from = line.Time.Add(-lookBack)
			if line.Silence >= s.LeastGap.Std() && line.Silence <= time.Minute {
				from = line.Time.Add(-line.Silence)
			}
		}
		alone := &incident{from: from, to: line.Time}
		alone.add(line)
		loose = append(loose, alone)
	}
	out = append(out, loose...)
	slices.SortStableFunc(out, func(a, b *incident) int { return cmp.Compare(a.from, b.from) })
	return out
}

// merge joins silences that overlap.
func merge(list []*incident) []*incident {
	var out []*incident
	for _, i := range list {
		if n := len(out); n > 0 && i.from <= out[n-1].to {
			a := out[n-1]
			a.to = max(a.to, i.to)
			a.gaps = append(a.gaps, i.gaps...)
			continue
		}
		out = append(out, i)
	}
	return out
}

// reports says that a line makes an incident by itself: a slow disk or a packet that was sent again does not.
func reports(line model.LogLine) bool {
	return line.Class != model.LogDisk && line.Class != model.LogNetwork
}

func (i *incident) add(line model.LogLine) {
	if reports(line) {
		i.lines = append(i.lines, line)
	} else {
		i.others = append(i.others, line)
	}
}

// log is the log that the incident is told after, and its gap, nil for none: the
// longest one of a log that also reports the loss, or the longest.
func (i *incident) main() (log string, gap *model.LogGap) {
	for n := range i.gaps {
		g := &i.gaps[n]
		if gap == nil || i.reported(g.Log) && !i.reported(gap.Log) ||
			i.reported(g.Log) == i.reported(gap.Log) && g.Dur > gap.Dur {
			gap = g
		}
	}
	if gap != nil {
		return gap.Log, gap
	}
	return i.lines[0].Log, nil
}

func (i *incident) reported(log string) bool {
	return slices.ContainsFunc(i.lines, func(l model.LogLine) bool { return l.Log == log })
}

// line is the line to quote: of the given log where there is one.
func (i *incident) line(log string) *model.LogLine {
	if len(i.lines) == 0 {
		return nil
	}
	best := 0
	for n, l := range i.lines {
		b := i.lines[best]
		if (l.Log == log) != (b.Log == log) {
			if l.Log == log {
				best = n
			}
			continue
		}
		if l.Class < b.Class {
			best = n
		}
	}
	return &i.lines[best]
}
