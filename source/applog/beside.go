package applog

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"lostbeat/model"
)

// ReadBeside reads a log that belongs to a capture: all that it says, in order,
// and its state.
func ReadBeside(ctx context.Context, o Followed) (events []LiveEvent, state model.LogState, err error) {
	l, err := Open(o.Path, o.Options)
	if err != nil {
		return nil, state, err
	}
	defer l.Close()
	err = l.Run(ctx, func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			out := LiveEvent{Seen: e.Time, Wrote: e.Time}
			if g, ok := b.LogGap(e); ok {
				g.Host = o.Host
				out.gap = &g
			} else if line, ok := b.LogLine(e); ok {
				line.Host = o.Host
				out.line = &line
			} else {
				continue
			}
			events = append(events, out)
		}
		return nil
	})
	slices.SortStableFunc(events, func(a, b LiveEvent) int { return cmp.Compare(a.Seen, b.Seen) })
	clock := l.clock.form.String()
	if assumed := l.Assumed(); len(assumed) > 0 {
		clock += "; " + strings.Join(assumed, "; ")
	}
	return events, model.LogState{
		PID: -1, TID: -1, State: model.LogRead, Lines: l.lines.Load(), Last: l.end, Log: l.name, Host: o.Host, Clock: clock,
	}, err
}

// Of makes the event one of the stream's own host.
func (e *LiveEvent) Of(host string) {
	switch {
	case e.gap != nil:
		e.gap.Host = host
	case e.line != nil:
		e.line.Host = host
	}
}
