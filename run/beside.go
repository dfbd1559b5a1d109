package run

import (
	"context"
	"slices"
	"sort"

	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/applog"
)

// besideLogs is a capture with the logs of its host, read to their ends.
type besideLogs struct {
	source.File
	logs []besideLog
}

// besideLog is a log and what it says, in order.
type besideLog struct {
	state  model.LogState
	events []applog.LiveEvent
}

// openBeside reads the logs that belong to a capture.
func openBeside(file source.File, logs []applog.Followed) (source.File, error) {
	if len(logs) == 0 {
		return file, nil
	}
	out := &besideLogs{File: file}
	for _, o := range logs {
		events, state, err := applog.ReadBeside(context.Background(), o)
		if err != nil {
			return nil, err
		}
		out.logs = append(out.logs, besideLog{state, events})
	}
	return out, nil
}

// Outside names the logs that say nothing of the time of the capture, and when they were written.
func (l *besideLogs) Outside() (out []string) {
	start, end := l.Span()
	for _, log := range l.logs {
		if log.state.Last < start || len(log.events) > 0 && log.events[0].Seen > end {
			out = append(out, log.state.Log+" has nothing of the time of the capture (its last line is of "+
				log.state.Last.Std().Format("2006-01-02 15:04:05")+" UTC): is it another one, or its zone wrong? "+
				log.state.Clock)
		}
	}
	return out
}

// Run implements source.Source.
func (l *besideLogs) Run(ctx context.Context, emit source.Emit) error {
	return l.File.Run(ctx, l.into(emit))
}

// RunFrom implements source.Seekable.
func (l *besideLogs) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	return l.File.RunFrom(ctx, t, l.into(emit))
}

// into returns an emit that puts what the logs say into the stream.
func (l *besideLogs) into(emit source.Emit) source.Emit {
	var events []applog.LiveEvent
	first := true
	return func(b *model.Batch) error {
		n := len(b.Events)
		if n == 0 {
			return emit(b)
		}
		last := b.Events[n-1].Time
		if first {
			first = false
			host := ""
			for i := range b.Events {
				if m, ok := b.Meta(&b.Events[i]); ok && m.Key == "host" {
					host = m.Value
				}
			}
			if err := emit(b); err != nil {
				return err
			}
			events = l.from(b.Events[0].Time, host)
			return emit(l.begin(last, host))
		}
		for len(events) > 0 && events[0].Seen <= last {
			at := events[0].Seen
			part, rest := *b, *b
			n := sort.Search(len(b.Events), func(i int) bool { return b.Events[i].Time > at })
			part.Events, rest.Events = b.Events[:n], b.Events[n:]
			if n > 0 {
				if err := emit(&part); err != nil {
					return err
				}
			}
			b = &rest
			var own model.Builder
			for len(events) > 0 && events[0].Seen <= at {
				events[0].Add(&own, at)
				events = events[1:]
			}
			if err := emit(own.Take()); err != nil {
				return err
			}
		}
		if len(b.Events) == 0 {
			return nil
		}
		return emit(b)
	}
}

// from returns what the logs say from a time on, in order, of a stream of the given host.
func (l *besideLogs) from(t model.Time, host string) (events []applog.LiveEvent) {
	for _, log := range l.logs {
		for _, e := range log.events {
			if e.Seen < t {
				continue
			}
			e.Of(otherThan(log.state.Host, host))
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(a, b applog.LiveEvent) int { return int(min(max(a.Seen-b.Seen, -1), 1)) })
	return events
}

// otherThan returns the host of a log, empty where it is the stream's own.
func otherThan(log, host string) string {
	if log == host {
		return ""
	}
	return log
}

// begin says which logs there are.
func (l *besideLogs) begin(at model.Time, host string) *model.Batch {
	var b model.Builder
	for _, log := range l.logs {
		log.state.Time, log.state.Host = at, otherThan(log.state.Host, host)
		b.AddLogState(log.state)
	}
	return b.Take()
}
