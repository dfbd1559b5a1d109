package recording

import (
	"errors"
	"fmt"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/record"
)

// mostOpen is how many findings are named of those that held when a recorder ended.
const mostOpen = 3

// recovered says in one line what was going on when an earlier recorder ended, and what is left of it.
func recovered(r *record.Recovered) string {
	var b strings.Builder
	if r.Start == 0 && r.Err != nil {
		return fmt.Sprintf("%s was left behind and cannot be read: %s", r.Ring, reason(r.Err))
	}
	fmt.Fprintf(&b, "the last recorder did not end in order: %s. ", r.Ended)
	if r.Start == 0 {
		fmt.Fprintf(&b, "%s held no whole block of events", r.Ring)
		return b.String()
	}
	fmt.Fprintf(&b, "Its last event is of %s", r.End.Std().Format("2006-01-02 15:04:05.000 UTC"))
	if r.Ended != record.EndProcess {
		fmt.Fprintf(&b, "; up to %s more was not on disk yet", plain.Span(r.Unsynced))
	}
	if n := len(r.Open); n == 0 {
		b.WriteString("; no finding was open")
	} else {
		fmt.Fprintf(&b, "; open findings: %s", strings.Join(r.Open[:min(n, mostOpen)], "; "))
		if n > mostOpen {
			fmt.Fprintf(&b, "; and %d more", n-mostOpen)
		}
	}
	for _, d := range r.Damage {
		fmt.Fprintf(&b, "; %s", d)
	}
	if r.Missing > 0 {
		fmt.Fprintf(&b, "; %d blocks between the others are missing", r.Missing)
	}
	if r.Err != nil {
		fmt.Fprintf(&b, "; it could not be saved and is still in %s: %s", r.Ring, reason(r.Err))
		return b.String()
	}
	fmt.Fprintf(&b, "; saved to %s (%s over %s",
		r.Path, plain.Quantity(float64(r.Events), "events"), plain.Span(r.End.Sub(r.Start)))
	if r.Cut {
		b.WriteString(", the newest part: the total cap has no room for more")
	}
	b.WriteString(")")
	return b.String()
}

// reason is an error with its hint, without its operation and path, which are in the sentence around it.
func reason(err error) string {
	text := hint.Of(err)
	var of *record.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if text == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v (%s)", err, text)
}
