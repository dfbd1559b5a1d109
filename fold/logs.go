package fold

import (
	"cmp"
	"slices"
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// Logs keeps what the logs of applications say: when they fell silent, and
// which lines report heartbeats and connections.
type Logs struct {
	// Gaps and Lines are those of logs that were read by themselves.
	Gaps  []model.LogGap
	Lines []model.LogLine
	// Total is how many of both there were, those for which there was no room included.
	Total int
	room  *budget.Budget
	// followed are the logs of this host, and what others wrote beside it.
	followed []*FollowedLog
}

// FollowedLog is a log that was followed, or read beside a capture: it belongs to the stream's host, unless it has
// another.
type FollowedLog struct {
	// Log and Host name it; Host is empty for the stream's own.
	Log, Host string
	State     model.LogState
	// Gaps and Lines are the latest, oldest first; their times are when the line was written. The last gap may last.
	Gaps  []model.LogGap
	Lines []model.LogLine
	// GapCount and LineCount are how many there were.
	GapCount, LineCount uint64
}

// Lasts returns the silence that goes on, nil for none.
func (l *FollowedLog) Lasts() *model.LogGap {
	if n := len(l.Gaps); n > 0 && l.Gaps[n-1].Lasts {
		return &l.Gaps[n-1]
	}
	return nil
}

const (
	// maxLogFacts bounds the gaps, and the lines, that are kept.
	maxLogFacts = 20000
	// maxFollowedLogs bounds the logs that are followed, maxFollowedFacts the gaps, and the lines, that are kept of each.
	maxFollowedLogs  = 64
	maxFollowedFacts = 64
)

// Followed returns the logs that are followed, in the order in which they appeared.
func (l *Logs) Followed() []*FollowedLog { return l.followed }

// of returns the followed log of a name, nil for none.
func (l *Logs) of(log, host string) *FollowedLog {
	for _, f := range l.followed {
		if f.Log == log && f.Host == host {
			return f
		}
	}
	return nil
}

func (l *Logs) addState(v model.LogState) {
	f := l.of(v.Log, v.Host)
	if f == nil {
		if len(l.followed) >= maxFollowedLogs {
			l.room.LeaveOut("followed logs")
			return
		}
		f = &FollowedLog{Log: v.Log, Host: v.Host}
		l.followed = append(l.followed, f)
	}
	f.State = v
}

// bounded appends to a list of which the latest are kept.
func bounded[T any](list []T, v T) []T {
	if len(list) >= maxFollowedFacts {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, v)
}

func (l *Logs) addGap(v model.LogGap) {
	v.Time = v.Time.Add(-v.Lag)
	if f := l.of(v.Log, v.Host); f != nil {
		if f.Lasts() != nil { // the same silence, longer or over
			f.Gaps = f.Gaps[:len(f.Gaps)-1]
		} else {
			f.GapCount++
		}
		f.Gaps = bounded(f.Gaps, v)
		return
	}
	l.Total++
	if l.take(len(l.Gaps), int(unsafe.Sizeof(v))+len(v.Log)+len(v.Before)+len(v.After)) {
		l.Gaps = append(l.Gaps, v)
	}
}

func (l *Logs) addLine(v model.LogLine) {
	v.Time = v.Time.Add(-v.Lag)
	if f := l.of(v.Log, v.Host); f != nil {
		f.LineCount++
		f.Lines = bounded(f.Lines, v)
		return
	}
	l.Total++
	if l.take(len(l.Lines), int(unsafe.Sizeof(v))+len(v.Log)+len(v.Text)) {
		l.Lines = append(l.Lines, v)
	}
}

// LinesIn returns the lines of the followed logs of this host that were written from one time to another, in order.
func (l *Logs) LinesIn(from, to model.Time) (lines []model.LogLine) {
	for _, f := range l.followed {
		for _, line := range f.Lines {
			if f.Host == "" && line.Time >= from && line.Time <= to {
				lines = append(lines, line)
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b model.LogLine) int { return cmp.Compare(a.Time, b.Time) })
	return lines
}

// shown returns copies for a snapshot.
func (l *Logs) shown() []FollowedLog {
	out := make([]FollowedLog, 0, len(l.followed))
	for _, f := range l.followed {
		c := *f
		c.Gaps, c.Lines = slices.Clone(f.Gaps), slices.Clone(f.Lines)
		out = append(out, c)
	}
	return out
}

// take reports whether there is room for one more of n facts.
func (l *Logs) take(n, bytes int) bool {
	const what = "gaps and lines of logs"
	if n >= maxLogFacts {
		l.room.LeaveOut(what)
		return false
	}
	return l.room.Take(what, bytes)
}
