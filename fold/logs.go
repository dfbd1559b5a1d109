package fold

import (
	"unsafe"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// Logs keeps what the logs of applications say: when they fell silent, and
// which lines report heartbeats and connections.
type Logs struct {
	Gaps  []model.LogGap
	Lines []model.LogLine
	// Total is how many of both there were, those for which there was no room included.
	Total int
	room  *budget.Budget
}

// maxLogFacts bounds the gaps, and the lines, that are kept.
const maxLogFacts = 20000

func (l *Logs) addGap(v model.LogGap) {
	l.Total++
	if l.take(len(l.Gaps), int(unsafe.Sizeof(v))+len(v.Log)+len(v.Before)+len(v.After)) {
		l.Gaps = append(l.Gaps, v)
	}
}

func (l *Logs) addLine(v model.LogLine) {
	l.Total++
	if l.take(len(l.Lines), int(unsafe.Sizeof(v))+len(v.Log)+len(v.Text)) {
		l.Lines = append(l.Lines, v)
	}
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
