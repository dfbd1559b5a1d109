// Package findings prints findings for people: a line each as they arise, or in full.
package findings

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/pipeline"
)

// Spec is the output "text": a line when a finding arises, gets worse or ends, with times of the given zone.
func Spec(zone *time.Location) pipeline.Spec {
	return pipeline.Spec{
		Name:  "text",
		Doc:   "findings, a line each",
		Kinds: []model.Kind{model.KindFinding, model.KindFlow},
		Open:  func(w io.Writer) pipeline.Sink { return New(w, zone) },
	}
}

// severityMarks are the signs in front of a finding's title.
var severityMarks = map[model.Severity]string{
	model.SeverityInfo:     "•",
	model.SeverityWarning:  "▲",
	model.SeverityCritical: "✖",
}

// Mark is the sign in front of what has the severity of that name.
func Mark(severity string) string {
	var s model.Severity
	_ = s.UnmarshalText([]byte(severity)) // what is no name is info
	return severityMarks[s]
}

// Lines is a sink that prints a line when a finding arises, gets worse or ends.
type Lines struct {
	out     *bufio.Writer
	zone    *time.Location
	changes Changes
	// proposed are the flows that were said to look like heartbeats, by name and process.
	proposed map[string]bool
}

// New returns a Lines that prints to w, with times of the given zone.
func New(w io.Writer, zone *time.Location) *Lines {
	return &Lines{out: bufio.NewWriter(w), zone: zone, proposed: map[string]bool{}}
}

// Write implements pipeline.Sink.
func (l *Lines) Write(b *model.Batch) error {
	for i := range b.Events {
		if flow, ok := b.Flow(&b.Events[i]); ok {
			if err := l.propose(&flow); err != nil {
				return err
			}
			continue
		}
		f, ok := b.Finding(&b.Events[i])
		if !ok {
			continue
		}
		if !l.changes.New(f) {
			continue
		}
		if err := writeLine(l.out, b.Events[i].Time.Std().In(l.zone), f); err != nil {
			return err
		}
	}
	return l.out.Flush()
}

// maxProposed bounds the flows that are remembered to have been proposed.
const maxProposed = 1024

// propose prints that a flow looks like a heartbeat, once.
func (l *Lines) propose(f *model.Flow) error {
	key := fmt.Sprintf("%s of %d", f.Name(), f.PID)
	if f.State != model.FlowProposed || l.proposed[key] {
		return nil
	}
	if len(l.proposed) >= maxProposed {
		clear(l.proposed)
	}
	l.proposed[key] = true
	_, err := fmt.Fprintf(l.out, "%s • %s\n", f.Time.Std().In(l.zone).Format(time.RFC3339), Proposal(f))
	return err
}

// Proposal says that a flow looks like a heartbeat, and how it is followed.
func Proposal(f *model.Flow) string {
	text := fmt.Sprintf("%s of %s[%d]", strings.Replace(f.Name(), ":", "/", 1), plain.Text(f.Process), f.PID)
	if f.Period > 0 {
		text += " has a packet every " + plain.Span(f.Period)
	}
	if f.KnownAs != "" {
		text += " (the port of " + plain.Text(f.KnownAs) + ")"
	}
	return text + ": follow it with --heartbeat " + f.Name()
}

// writeLine prints a finding on one line.
func writeLine(w io.Writer, at time.Time, f model.Finding) error {
	mark := severityMarks[f.Severity]
	suffix := ""
	if !f.Ongoing {
		mark, suffix = "✔", fmt.Sprintf(" (over after %s)", plain.Span(f.End.Sub(f.Start)))
	}
	_, err := fmt.Fprintf(
		w,
		"%s %s %s %s: %s%s\n",
		at.Format(time.RFC3339),
		mark,
		f.Severity,
		f.Detector,
		plain.Text(f.Title),
		suffix,
	)
	return err
}

// Period says from when to when a finding is, or at which moment.
func Period(f model.Finding, zone *time.Location) string {
	const date, clock = "2006-01-02 ", "15:04:05.000"
	start, end := f.Start.Std().In(zone), f.End.Std().In(zone)
	if f.Start == f.End {
		return end.Format(date + clock + " MST")
	}
	layout := clock + " MST"
	if start.Format(date) != end.Format(date) {
		layout = date + layout
	}
	return start.Format(date+clock) + " to " + end.Format(layout)
}

// span says from when to when a finding is, and for how long.
func span(f model.Finding, zone *time.Location) string {
	text := Period(f, zone)
	if f.Start == f.End {
		return text
	}
	text += ", " + plain.Span(f.End.Sub(f.Start))
	if f.Ongoing {
		text += ", still active when last seen"
	}
	return text
}

// Moment writes a moment as people read it, with its zone.
func Moment(t model.Time, zone *time.Location) string {
	return t.Std().In(zone).Format("2006-01-02 15:04:05 MST")
}

// lossLine says that events were lost while a finding was formed.
func lossLine(lost uint64) string {
	return fmt.Sprintf("%d events were lost during this finding: the numbers are lower bounds", lost)
}

// Write prints a finding in full, with times of the given zone.
func Write(w io.Writer, f model.Finding, zone *time.Location) error {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"%s %s\n    %s · %s · %s\n",
		severityMarks[f.Severity],
		plain.Text(f.Title),
		f.Severity,
		f.Detector,
		span(f, zone),
	)
	section := func(label string, lines []string) {
		for i, line := range lines {
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(&b, "    %-10s%s\n", label, plain.Text(line))
		}
	}
	section("why", words.Reasons(&f))
	var evidence []string
	for _, e := range f.Evidence {
		evidence = append(evidence, e.Name+": "+plain.Tie(plain.Quantity(e.Value, e.Unit)))
	}
	section("evidence", evidence)
	section("ruled out", f.RuledOut)
	section("do", f.Advice)
	if f.Loss > 0 {
		section("loss", []string{lossLine(f.Loss)})
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}
