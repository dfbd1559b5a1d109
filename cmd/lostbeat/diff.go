package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lostbeat/compare"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/run"

	"github.com/spf13/cobra"
)

// diffSchema is the name and version of the schema of a comparison.
const diffSchema = "lostbeat.diff/1"

func newDiff() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		zone     zoneFlag
		format   formatFlag
	)
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two recordings, such as a good and a bad one",
		Long: `Compare two recordings, captures or bundles, of the same host at two times or of two hosts: CPU
time of deferred work and interrupts, waits of deferred work, drops by place and reason, ports held,
taken and refused, loss counters, and findings that only one of the two has.

Each difference has its 95 % confidence interval. Differences that chance or normal variation
explains are not reported: the last line says how many series were compared, and how. Each input
needs at least 12 values (seconds of a recording, or samples of a log).

Exit status: 0, whatever differs; 3 when an input is incomplete.`,
		Example: `  lostbeat diff good.lostbeat bad.lostbeat
  lostbeat diff monday.blg tuesday.blg
  lostbeat diff --json before.tar.xz after.tar.xz | jq -r '.differences[].text'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return hint.New(fmt.Sprintf("diff compares two files, not %d", len(args)), "usage: "+cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			form, err := format.form()
			if err != nil {
				return err
			}
			defer files.confine(cmd, args)()
			var sides [2]*compare.Side
			for i, path := range args {
				side := files
				read := func(list []*run.Capture, line *readingLine) (*compare.Side, error) {
					return run.SideOf(cmd.Context(), path, list, thresholds, line.progress())
				}
				if sides[i], err = oneSide(cmd, &side, path, read); err != nil {
					return err
				}
			}
			result := compare.Compare(sides[0], sides[1])
			out := bufio.NewWriter(cmd.OutOrStdout())
			if form == asJSON {
				err = plain.Object(out, diffSchema, result)
			} else {
				err = writeDiff(out, &result, zone.zone())
			}
			if err = errors.Join(err, out.Flush()); err == nil && sides[0].Incomplete+sides[1].Incomplete != "" {
				err = errIncomplete
			}
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	settings.register(cmd)
	zone.register(cmd)
	format.register(cmd, "one JSON object", asText, asJSON)
	return cmd
}

// oneSide opens one of the two inputs.
func oneSide(
	cmd *cobra.Command, files *captureFlags, path string,
	read func([]*run.Capture, *readingLine) (*compare.Side, error),
) (*compare.Side, error) {
	paths, done, err := files.unpack(cmd.Context(), []string{path})
	if err != nil {
		return nil, err
	}
	defer done()
	line := showReading(cmd.ErrOrStderr(), path)
	defer line.end()
	captures, closeAll, err := files.openAll(paths, line)
	if err != nil {
		return nil, err
	}
	side, err := read(captures, line)
	return side, errors.Join(err, closeAll())
}

// writeDiff prints what differs.
func writeDiff(w io.Writer, r *compare.Result, zone *time.Location) error {
	for i, info := range []compare.Info{r.A, r.B} {
		fmt.Fprintf(w, "%c  %s: %s, %s to %s (%s)\n", 'A'+rune(i), plain.Text(info.File),
			plain.Text(cmp.Or(info.Host, "unknown host")), plain.Moment(info.Start.Std(), zone),
			plain.Moment(info.End.Std(), zone), plain.Span(info.End.Sub(info.Start)))
	}
	fmt.Fprintln(w)
	both := 0
	for _, f := range r.Findings {
		switch f.Only {
		case "both":
			both++
			continue
		case "a":
			fmt.Fprintf(w, "only in A   %s\n", findingLine(f.A))
		default:
			fmt.Fprintf(w, "only in B   %s\n", findingLine(f.B))
		}
		if f.Unjudged != "" {
			fmt.Fprintf(w, "            %s\n", plain.Text(f.Unjudged))
		}
	}
	switch {
	case len(r.Findings) == 0:
		fmt.Fprintln(w, "no finding in either")
	case both > 0:
		fmt.Fprintf(w, "%s in both, about the same CPU, device, process or pool\n", words.Plural(both, "finding"))
	}
	fmt.Fprintln(w)
	for _, d := range r.Differences {
		fmt.Fprintln(w, plain.Text(words.Sentence(d.Text)))
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %s\n", words.Plural(r.More, "more difference"))
	}
	if len(r.Bursts) > 0 {
		fmt.Fprintln(w, "During findings that only one has, and too rare to be a difference overall:")
	}
	for _, b := range r.Bursts {
		fmt.Fprintf(w, "  in %s: %s\n", strings.ToUpper(b.In), plain.Text(b.Text))
	}
	for _, l := range r.Levels {
		fmt.Fprintln(w, plain.Text(words.Sentence(l.Text)))
	}
	switch {
	case r.Compared == 0 && len(r.Levels) == 0:
		fmt.Fprintln(w, "no series could be compared")
	case r.Compared == 0:
	case r.Short:
		fmt.Fprintln(w, "no difference found: too few values; each input needs at least twelve, "+
			"and values that resemble their neighbours count less")
	case len(r.Differences)+len(r.Levels) == 0:
		fmt.Fprintf(w, "no difference found: %s compared\n", series(r.Compared))
	default:
		fmt.Fprintf(w, "no difference found in the rest of the %s compared\n", series(r.Compared))
	}
	fmt.Fprintln(w)
	for _, text := range r.NotCompared {
		fmt.Fprintf(w, "not compared: %s\n", plain.Text(text))
	}
	_, err := fmt.Fprintf(w, "method: %s\n", r.Method)
	return err
}

func series(n int) string { return words.Plural(n, "series", "series") }

// findingLine is a finding in one line.
func findingLine(f *model.Finding) string {
	return fmt.Sprintf("%s · %s: %s", f.Severity, f.Detector, plain.Text(f.Title))
}
