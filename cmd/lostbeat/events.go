package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/run"

	"github.com/spf13/cobra"
)

// eventFilter chooses events of a capture.
type eventFilter struct {
	kinds        map[model.Kind]bool // nil means all
	since, until model.Time
}

// wants reports whether an event passes.
func (f *eventFilter) wants(e *model.Event) bool {
	return e.Time >= f.since && e.Time <= f.until && (f.kinds == nil || f.kinds[e.Kind])
}

func newEvents() *cobra.Command {
	var (
		files        captureFlags
		kinds        []string
		since, until string
		zone         zoneFlag
		format       formatFlag
		hide         redactFlag
	)
	cmd := &cobra.Command{
		Use:   "events FILE...",
		Short: "Print the events of a recording or capture",
		Long: `Print the events of a recording or capture, one per line, in time order.
docs/EVENTS.md describes the kinds and their fields. The text form can be opened like a
recording; its times are always in UTC.`,
		Example: `  lostbeat events night.lostbeat --kind drop,port.fail
  lostbeat events night.lostbeat --since 14:03:00 --until +90s --json | jq .
  lostbeat events capture.etl --kind raw`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			files.everything = true
			form, err := format.form()
			if err != nil {
				return err
			}
			wanted, err := parseKinds(kinds)
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			terminal := cmd.ErrOrStderr()
			if isTerminal(cmd.OutOrStdout()) {
				terminal = io.Discard // the events are there already
			}
			names := hide.names(args)
			defer files.confine(cmd, args)()
			args, done, err := files.unpack(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			writer := eventWriter{out: out, form: form}
			if err := writer.head(); err != nil {
				return err
			}
			err = eachCapture(cmd.Context(), args, files, terminal, func(c *run.Capture, _ *readingLine) error {
				filter := eventFilter{kinds: wanted, since: math.MinInt64, until: math.MaxInt64}
				start, end := c.Span()
				from, to, err := bounds(since, until, start, end, zone)
				if err != nil {
					return err
				}
				if since != "" {
					filter.since = from
				}
				if until != "" {
					filter.until = to
				}
				emit := func(b *model.Batch) error { return writer.write(b, filter) }
				if names != nil {
					emit = func(b *model.Batch) error { return writer.write(names.Batch(b), filter) }
				}
				if since != "" {
					return c.RunFrom(cmd.Context(), filter.since, func(b *model.Batch) error {
						if names != nil {
							names.Learn(b)
						}
						return emit(withoutKeyframe(b))
					})
				}
				return c.Run(cmd.Context(), emit)
			})
			if flushErr := out.Flush(); err == nil {
				err = flushErr
			}
			return stopAtEnd(err)
		},
	}
	files.register(cmd)
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only these kinds, or areas like 'port' (repeatable)")
	cmd.Flags().
		StringVar(&since, "since", "", "start at this `TIME`: "+momentForms)
	cmd.Flags().StringVar(&until, "until", "", "end at this `TIME`")
	zone.register(cmd)
	hide.register(cmd)
	format.register(cmd, "one JSON object per line", asText, asJSON, asCSV)
	return cmd
}

// parseKinds resolves kind names and areas ("port" means every port.*).
func parseKinds(names []string) (map[model.Kind]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	kinds := map[model.Kind]bool{}
	for _, name := range names {
		before := len(kinds)
		for _, spec := range model.Specs {
			if spec.Name == name || strings.HasPrefix(spec.Name, name+".") {
				kinds[spec.Kind] = true
			}
		}
		if len(kinds) == before {
			var known []string
			for _, spec := range model.Specs {
				known = append(known, spec.Name)
			}
			slices.Sort(known)
			return nil, hint.New("there is no such kind", didYouMean(name, known)+"kinds: "+strings.Join(known, ", "))
		}
	}
	return kinds, nil
}

// errPastEnd stops a source once everything wanted has been printed.
var errPastEnd = fmt.Errorf("past the end of what was asked for")

func stopAtEnd(err error) error {
	if errors.Is(err, errPastEnd) {
		return nil
	}
	return err
}

// eventSchema is the name and version of the schema of an event.
const eventSchema = "lostbeat.event/1"

// eventWriter prints events in one of the forms.
type eventWriter struct {
	out  *bufio.Writer
	form string
	line []byte
}

// head prints the names of the columns of CSV: what all kinds have, and the rest as in the text form.
func (w *eventWriter) head() error {
	if w.form != asCSV {
		return nil
	}
	_, err := w.out.WriteString("time,kind,dur_ns,cpu,pid,tid,fields\n")
	return err
}

// append puts the event into the line.
func (w *eventWriter) append(b *model.Batch, e *model.Event) {
	switch w.form {
	case asJSON:
		w.line = append(w.line[:0], `{"schema":"`+eventSchema+`",`...)
		n := len(w.line)
		w.line = model.AppendJSON(w.line, b, e)
		w.line = append(w.line[:n], w.line[n+1:]...) // its own brace is there already
	case asCSV:
		w.line = model.AppendText(w.line[:0], b, e)
		_, rest, _ := strings.Cut(string(w.line), " ") // the time
		_, rest, _ = strings.Cut(rest, " ")            // the kind
		number := func(n int64, none bool) string {
			if none {
				return ""
			}
			return strconv.FormatInt(n, 10)
		}
		w.line = append(w.line[:0], strings.Join([]string{
			e.Time.String(), e.Kind.String(), number(int64(e.Dur), e.Dur == 0), number(int64(e.CPU), e.CPU < 0),
			number(int64(e.PID), e.PID < 0), number(int64(e.TID), e.TID < 0), quoted(plain.Cell(rest)),
		}, ",")...)
	default:
		w.line = model.AppendText(w.line[:0], b, e)
	}
}

// quoted writes a cell of CSV in quotes.
func quoted(cell string) string { return `"` + strings.ReplaceAll(cell, `"`, `""`) + `"` }

func (w *eventWriter) write(b *model.Batch, filter eventFilter) error {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Time > filter.until {
			return errPastEnd
		}
		if !filter.wants(e) {
			continue
		}
		w.append(b, e)
		w.line = append(w.line, '\n')
		if _, err := w.out.Write(w.line); err != nil {
			return err
		}
	}
	return nil
}

// withoutKeyframe drops the events that only repeat state after a seek.
func withoutKeyframe(b *model.Batch) *model.Batch {
	out := *b
	out.Events = nil
	for _, e := range b.Events {
		if e.Flags&model.FlagKeyframe == 0 {
			out.Events = append(out.Events, e)
		}
	}
	return &out
}
