package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/applog"
)

// LogWord is a line in which a victim reports the fault itself.
type LogWord struct {
	// Victim is whose log has it, Pattern the line's name, as in docs/LOGS.md.
	Victim, Pattern string
	// Whole says that the line is about all of the fault, from its beginning to its end; otherwise it was written while
	// the fault lasted, or just after.
	Whole bool
	// Within is how much the times may differ.
	Within time.Duration
}

// readLogs compares the findings with what the victims say of themselves.
func (r *Result) readLogs(ctx context.Context, env *Env, found []model.Finding) {
	logs := make(map[string][]model.LogLine)
	for _, x := range r.Scenario.Expect {
		for _, word := range x.Logs {
			lines, read := logs[word.Victim]
			if !read {
				var err error
				if lines, err = linesOf(ctx, env.victims[word.Victim]); err != nil {
					r.Disagrees = append(r.Disagrees, err.Error())
				}
				logs[word.Victim] = lines
			}
			for i := range found {
				if x.matches(&found[i], env) {
					if text := word.disagrees(&found[i], lines); text != "" {
						r.Disagrees = append(r.Disagrees, text)
					}
					break
				}
			}
		}
	}
}

// linesOf reads the log of a victim.
func linesOf(ctx context.Context, v *victim) ([]model.LogLine, error) {
	if v == nil {
		return nil, errors.New("there is no such victim")
	}
	log, err := applog.Open(v.log, source.OpenOptions{
		LogTime: &source.LogTime{Zone: time.UTC, Year: time.Now().UTC().Year(), Source: "the lab"},
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", v.log, err)
	}
	defer log.Close()
	var lines []model.LogLine
	err = log.Run(ctx, func(b *model.Batch) error {
		for i := range b.Events {
			if line, ok := b.LogLine(&b.Events[i]); ok {
				lines = append(lines, line)
			}
		}
		return nil
	})
	return lines, err
}

// disagrees says how no line agrees with a finding, empty when one does.
func (w *LogWord) disagrees(f *model.Finding, lines []model.LogLine) string {
	text := fmt.Sprintf("%q is from %s to %s, and %s says", f.Title, clock(f.Start), clock(f.End), w.Victim)
	near := func(a, b model.Time) bool { return a.Sub(b).Abs() <= w.Within }
	said := false
	for _, line := range lines {
		if line.Pattern != w.Pattern {
			continue
		}
		begin := line.Time.Add(-line.Dur)
		text += fmt.Sprintf(" %s to %s (%s),", clock(begin), clock(line.Time), line.Text)
		said = true
		switch {
		case w.Whole:
			if line.Dur > 0 && near(begin, f.Start) && near(line.Time, f.End) {
				return ""
			}
		case line.Time < f.Start.Add(-w.Within) || line.Time > f.End.Add(w.Within):
		case line.Dur == 0 || near(begin, f.Start):
			return ""
		}
	}
	if !said {
		return text + " nothing of " + w.Pattern
	}
	return text[:len(text)-1]
}

func clock(t model.Time) string { return time.Unix(0, int64(t)).UTC().Format("15:04:05.000") }
