package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/model"

	"github.com/spf13/cobra"
)

func newFindings() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		asJSON   bool
		exitCode bool
	)
	cmd := &cobra.Command{
		Use:   "findings FILE...",
		Short: "Run the detectors over recordings and captures",
		Long: `Run the detectors over recordings and Windows captures and print what they find.
They see event time only: the verdicts are the same as those of the live session.`,
		Example: `  lostbeat findings night.lostbeat
  lostbeat findings --json *.lostbeat | jq -r .title
  lostbeat findings --exit-code capture.etl || echo "look at this"`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			worst := model.SeverityInfo
			total := 0
			err = eachCapture(cmd.Context(), args, files, cmd.ErrOrStderr(), func(c *capture) error {
				found, unseen, err := findAll(cmd.Context(), c, thresholds)
				c.reading.end()
				if err != nil {
					return err
				}
				for _, f := range found {
					total++
					worst = max(worst, f.Severity)
					if asJSON {
						err = json.NewEncoder(out).Encode(f)
					} else {
						err = writeFinding(out, f)
					}
					if err != nil {
						return err
					}
				}
				if !asJSON && len(found) == 0 {
					start, end := c.Span()
					fmt.Fprintf(
						out,
						"%s: no finding in %s, %s to %s\n",
						printable(c.path),
						shortDuration(end.Sub(start)),
						start.Std().Format(time.RFC3339),
						end.Std().Format(time.RFC3339),
					)
				}
				if !asJSON && len(unseen) > 0 {
					fmt.Fprintf(
						out,
						"    not judged, because it is not in the capture: %s ('lostbeat info' says why)\n",
						strings.Join(unseen, ", "),
					)
				}
				return out.Flush()
			})
			if flushErr := out.Flush(); err == nil {
				err = flushErr
			}
			if err == nil && exitCode && total > 0 && worst >= model.SeverityWarning {
				return errFindings
			}
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	settings.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 when there is a warning or worse")
	return cmd
}

// signals are what findings go by, and the probes that show them.
var signals = []struct{ probe, name string }{
	{"deferred", "deferred work (DPCs, softirqs) of single CPUs"},
	{"interrupt", "interrupts"},
	{"drop", "packets dropped in protocols and sockets"},
	{"port", "ports"},
}

// findAll runs the detectors over a source and returns the last state of every
// finding, in the order in which they arose, and the signals that were not
// there to be judged: those of which every part was off. A source that says
// nothing of its probes is taken to have all.
func findAll(
	ctx context.Context,
	c *capture,
	settings detect.Settings,
) (findings []model.Finding, unseen []string, err error) {
	engine := detect.New(settings)
	var found findingList
	parts := map[[2]string]model.ProbeState{}
	start, end := c.Span()
	err = c.Run(ctx, func(b *model.Batch) error {
		if c.kind == kindRecording && c.reading != nil &&
			len(b.Events) > 0 { // the others tell how many bytes they have read
			c.reading.report(int64(b.Events[0].Time-start), int64(end-start))
		}
		for i := range b.Events {
			if b.Events[i].Kind == model.KindProbe {
				p, _ := b.Probe(&b.Events[i])
				parts[[2]string{p.Name, p.Part}] = p.State
			}
		}
		engine.Apply(b, found.add)
		return nil
	})
	engine.Finish(found.add)
	if err == nil {
		err = ctx.Err()
	}
	for _, s := range signals {
		known, shown := false, false
		for part, state := range parts {
			if part[0] == s.probe {
				known, shown = true, shown || state != model.ProbeOff
			}
		}
		if known && !shown {
			unseen = append(unseen, s.name)
		}
	}
	return found.findings, unseen, err
}

// findingList keeps the last state of each finding in order of appearance.
type findingList struct {
	findings []model.Finding
	index    map[string]int
}

func (l *findingList) add(_ model.Time, f model.Finding) {
	if i, ok := l.index[f.ID]; ok {
		l.findings[i] = f
		return
	}
	if l.index == nil {
		l.index = map[string]int{}
	}
	l.index[f.ID] = len(l.findings)
	l.findings = append(l.findings, f)
}

// severityMarks are the signs in front of a finding's title.
var severityMarks = map[model.Severity]string{
	model.SeverityInfo:     "•",
	model.SeverityWarning:  "▲",
	model.SeverityCritical: "✖",
}

// writeFinding prints a finding for people.
func writeFinding(w io.Writer, f model.Finding) error {
	var b strings.Builder
	span := fmt.Sprintf(
		"%s to %s UTC, %s",
		f.Start.Std().Format("2006-01-02 15:04:05.000"),
		f.End.Std().Format("15:04:05.000"),
		shortDuration(f.End.Sub(f.Start)),
	)
	if f.Ongoing {
		span += ", still going on at the end"
	}
	fmt.Fprintf(
		&b,
		"%s %s\n    %s · %s · %s\n",
		severityMarks[f.Severity],
		printable(f.Title),
		f.Severity,
		f.Detector,
		span,
	)
	section := func(label string, lines []string) {
		for i, line := range lines {
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(&b, "    %-10s%s\n", label, printable(line))
		}
	}
	section("why", f.Causes)
	var evidence []string
	for _, e := range f.Evidence {
		evidence = append(evidence, e.Name+": "+quantity(e.Value, e.Unit))
	}
	section("evidence", evidence)
	section("ruled out", f.RuledOut)
	section("do", f.Advice)
	if f.Loss > 0 {
		section(
			"loss",
			[]string{fmt.Sprintf("%d events were lost while this was seen: the numbers are lower bounds", f.Loss)},
		)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// quantity formats a value with its unit for people.
func quantity(v float64, unit string) string {
	switch unit {
	case "ns":
		return shortDuration(time.Duration(v))
	case "s":
		return shortDuration(time.Duration(v * float64(time.Second)))
	case "ratio":
		return strconv.FormatFloat(v*100, 'f', 1, 64) + " %"
	case "":
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := 0
	if v != float64(int64(v)) {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}

// shortDuration formats d with three significant digits or so.
func shortDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + shortDuration(-d)
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d >= time.Millisecond:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 1, 64) + " ms"
	case d >= time.Microsecond:
		return strconv.FormatFloat(float64(d)/1e3, 'f', 1, 64) + " µs"
	}
	return strconv.FormatInt(int64(d), 10) + " ns"
}

// printable replaces control characters, so that names from a traced host
// cannot steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e ||
			r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}
