package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"lostbeat/model"
	"lostbeat/pipeline"

	"github.com/spf13/cobra"
)

func newWatch() *cobra.Command {
	var live liveFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print findings on this host as they arise, a line each",
		Long: `Trace this host without a UI and print each finding when it arises, when it gets worse
and when it ends, a line each.`,
		Example: `  sudo lostbeat watch
  sudo lostbeat watch --json | logger -t lostbeat`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src, settings, err := live.open()
			if err != nil {
				return err
			}
			onTerminal := isTerminal(cmd.OutOrStdout())
			if isTerminal(cmd.ErrOrStderr()) { // a quiet host prints nothing for hours
				fmt.Fprintln(
					cmd.ErrOrStderr(),
					"lostbeat: watching deferred work, packet drops and ports of this host; a line for each finding; Ctrl-C ends it",
				)
			}
			printer := &findingPrinter{out: bufio.NewWriter(cmd.OutOrStdout()), json: asJSON, seen: map[string]findingState{}}
			_, err = pipeline.Run(
				cmd.Context(),
				src,
				pipeline.Options{
					Detect:  &settings,
					Live:    true,
					Outputs: []pipeline.Output{{Name: "standard output", Sink: printer, Essential: true}},
				},
			)
			if onTerminal && hungUp(err) {
				return nil
			}
			return err
		},
	}
	live.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line: every update of every finding")
	return cmd
}

// findingPrinter is a sink that prints findings.
type findingPrinter struct {
	out  *bufio.Writer
	json bool
	seen map[string]findingState
}

type findingState struct {
	severity model.Severity
	ongoing  bool
}

// Write implements pipeline.Sink.
func (p *findingPrinter) Write(b *model.Batch) error {
	for i := range b.Events {
		f, ok := b.Finding(&b.Events[i])
		if !ok {
			continue
		}
		if err := p.print(b.Events[i].Time, f); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

func (p *findingPrinter) print(at model.Time, f model.Finding) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(f)
	}
	before, known := p.seen[f.ID]
	now := findingState{f.Severity, f.Ongoing}
	p.seen[f.ID] = now
	if known && before.ongoing == now.ongoing && before.severity >= now.severity {
		return nil // an update that changes numbers only
	}
	return printLine(p.out, at, f)
}

// printLine prints a finding on one line.
func printLine(w io.Writer, at model.Time, f model.Finding) error {
	mark := severityMarks[f.Severity]
	suffix := ""
	if !f.Ongoing {
		mark, suffix = "✔", fmt.Sprintf(" (over after %s)", shortDuration(f.End.Sub(f.Start)))
	}
	_, err := fmt.Fprintf(
		w,
		"%s %s %s %s: %s%s\n",
		at.Std().Format("2006-01-02T15:04:05Z"),
		mark,
		f.Severity,
		f.Detector,
		printable(f.Title),
		suffix,
	)
	return err
}
