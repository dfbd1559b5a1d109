package fold

import (
	"slices"
	"time"

	"lostbeat/model"
)

// Loss remembers when events were lost.
type Loss struct {
	Total  uint64
	events []lossEvent
}

type lossEvent struct {
	at   model.Time
	lost uint64
}

func (l *Loss) add(at model.Time, lost uint64) {
	l.Total += lost
	if n := len(l.events); n > 0 && at.Sub(l.events[n-1].at) < time.Second {
		l.events[n-1].lost += lost
		return
	}
	if len(l.events) == 256 {
		l.events = slices.Delete(l.events, 0, 128)
	}
	l.events = append(l.events, lossEvent{at, lost})
}

// Before returns how many events had been lost before t.
func (l *Loss) Before(t model.Time) uint64 {
	n := l.Total
	for i := len(l.events) - 1; i >= 0 && l.events[i].at >= t; i-- {
		n -= l.events[i].lost
	}
	return n
}

// Since returns how many events have been lost since t.
func (l *Loss) Since(t model.Time) uint64 { return l.Total - l.Before(t) }

// LastAt returns when events were last lost, 0 never.
func (l *Loss) LastAt() model.Time {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].at
}
