package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/source/snapshot"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// cutMargin is how much of the time before and after a finding is cut out with it unless --margin says otherwise.
const cutMargin = 30 * time.Second

func newCut() *cobra.Command {
	var (
		hide         redactFlag
		files        captureFlags
		zone         zoneFlag
		since, until string
		finding, out string
		margin       time.Duration
		opts         record.Options
	)
	cmd := &cobra.Command{
		Use:   "cut FILE... -o OUT",
		Short: "Write a part of a recording or capture to a recording",
		Long: `Write the time from --since to --until, or the time of one finding with a margin, to a new
recording that every command can open, including cut. It contains the state at its start: ports,
processes, devices, pools, probes. Its findings are those of the whole input, including findings
that began earlier, because the part alone lacks the normal values from before. With other
thresholds (--set, --config) the part is judged by itself.

It reads recordings, Windows captures, performance logs and bundles. Several files, and the
members of a bundle, are merged on one time line; they must be from one host.

If the input is damaged or has lost events, wherever that was, the part says so: the exit status
is 3, and also that of commands that open the part.`,
		Example: `  lostbeat cut night.lostbeat --since 14:03:00 --until 14:05:00 -o part.lostbeat
  lostbeat cut night.lostbeat --finding socket-drop -o part.lostbeat
  lostbeat cut capture.etl --since +90s --until +2m -o part.lostbeat
  ssh web-1 sudo lostbeat cut /var/lib/lostbeat/night.lostbeat --finding leak -o - > part.lostbeat`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkCut(out, since, until, finding, args); err != nil {
				return err
			}
			if out == "-" {
				if isTerminal(cmd.OutOrStdout()) {
					return hint.New("a recording is binary and cannot be written to a terminal",
						"send it to a file or a pipe: -o - > part.lostbeat")
				}
				folder, failed := os.MkdirTemp("", "lostbeat-cut-*")
				if failed != nil {
					return fmt.Errorf("make a folder for the part: %w", failed)
				}
				defer os.RemoveAll(folder)
				signal.Ignore(syscall.SIGPIPE) // a reader that ends is an error like others, after which the folder is removed
				// The index of a recording is written on close.
				files.scratch, out = folder, filepath.Join(folder, "part"+record.Extension)
				defer func() {
					if err == nil || errors.Is(err, errIncomplete) {
						err = cmp.Or(copyFile(cmd.OutOrStdout(), out), err)
					}
				}()
			}
			opts.Tool = tool()
			settings := all.Settings()
			defer files.confine(cmd, args, filepath.Dir(out))()
			args, done, err := files.unpack(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			names := namesOf(&files, args)
			if args, err = files.besides(args); err != nil {
				return err
			}
			line := showReading(cmd.ErrOrStderr(), names[0])
			defer line.end()
			var from, to model.Time
			if finding != "" {
				captures, closeAll, err := files.openAll(args, line)
				if err != nil {
					return err
				}
				from, to, err = aroundFinding(cmd.Context(), captures, settings, line, finding, margin)
				if err = errors.Join(err, closeAll()); err != nil {
					return err
				}
			}
			captures, closeAll, err := files.openAll(args, line)
			if err != nil {
				return err
			}
			start, end := run.SpanOf(captures)
			if finding == "" {
				if from, to, err = bounds(since, until, start, end, zone); err != nil {
					return errors.Join(err, closeAll())
				}
			}
			cut := run.Cut{
				Captures: captures, Names: names, Settings: settings, Since: max(from, start), Until: min(to, end),
				Redact: hide.names(names), Progress: line.progress(),
			}
			result, err := cut.Write(cmd.Context(), out, opts)
			line.end()
			incomplete := incompleteOf(captures)
			if err = errors.Join(err, closeAll()); err != nil {
				return err
			}
			if files.scratch != "" {
				result.Path = "standard output"
			}
			fmt.Fprintln(cmd.ErrOrStderr(), cutSummary(cut, result, zone.zone()))
			if len(incomplete) == 0 {
				return nil
			}
			for _, text := range incomplete {
				fmt.Fprintln(cmd.ErrOrStderr(), plain.Text(text))
			}
			return errIncomplete
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	files.registerLogs(cmd)
	zone.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&out, "output", "o", "", "the recording to write: `FILE`, or - for standard output (required)")
	flags.StringVar(&since, "since", "", "start at this `TIME`: "+momentForms)
	flags.StringVar(&until, "until", "", "end at this `TIME`")
	flags.StringVar(&finding, "finding", "", "cut around the finding with this `ID` (from findings --json); the "+
		"first letters of the ID are enough if they are unique")
	flags.DurationVar(&margin, "margin", cutMargin, "how much time before and after the finding to include")
	hide.register(cmd)
	flags.BoolVar(&opts.Overwrite, "force", false, "replace an existing file")
	return cmd
}

// checkCut refuses what cannot be cut.
func checkCut(out, since, until, finding string, inputs []string) error {
	example := "lostbeat cut night.lostbeat --since 14:03:00 --until 14:05:00 -o part.lostbeat"
	switch {
	case out == "":
		return hint.New("cut needs an output file", example)
	case since == "" && until == "" && finding == "":
		return hint.New("cut needs a time range: --since, --until or --finding", example)
	case finding != "" && (since != "" || until != ""):
		return hint.New("--finding cannot be combined with --since or --until",
			"--margin sets how much time before and after it is included")
	}
	if out == "-" {
		return nil
	}
	if err := checkOutput(out); err != nil {
		return err
	}
	return notAnInput(out, inputs)
}

// copyFile writes a file to w.
func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// notAnInput refuses to write to a file that is read.
func notAnInput(out string, inputs []string) error {
	target, err := os.Stat(out)
	if err != nil {
		return nil
	}
	for _, path := range inputs {
		if input, err := os.Stat(path); err == nil && os.SameFile(target, input) {
			return hint.New(plain.Text(out)+" is also the input file", "give another name with -o")
		}
	}
	return nil
}

// namesOf returns what the user calls what is opened: a bundle by its own name.
func namesOf(f *captureFlags, paths []string) (names []string) {
	for _, b := range f.unpacked.Bundles {
		names = append(names, b.Path)
	}
	for _, p := range paths {
		if !f.unpacked.Member(p) {
			names = append(names, f.unpacked.Name(p))
		}
	}
	return names
}

// openAll opens files at once, those of a format that makes one source of several together, and text logs last, whose
// times may need the others.
func (f *captureFlags) openAll(
	paths []string, line *readingLine,
) (list []*run.Capture, closeAll func() error, err error) {
	closeAll = func() (err error) {
		for _, c := range list {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	parts, _ := logsLast(paths)
	for _, part := range parts {
		for _, group := range run.Groups(f.unpacked, part) {
			c, err := f.open(group, line.progress())
			if err != nil {
				if companion := new(snapshot.CompanionError); errors.As(err, &companion) && f.unpacked.Member(group[0]) {
					continue
				}
				return nil, nil, errors.Join(err, closeAll())
			}
			list = append(list, c)
		}
		f.logZone = run.LogTime(list)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("the input has no events")
	}
	return list, closeAll, nil
}

// incompleteOf says which captures could not be read to their ends, and why.
func incompleteOf(captures []*run.Capture) (lines []string) {
	for _, c := range captures {
		if i := c.Integrity(); !i.Complete() {
			lines = append(lines, c.Path+": "+run.IntegrityLine(i))
		}
	}
	return lines
}

// bounds returns the slice that --since and --until ask for.
func bounds(since, until string, start, end model.Time, zone zoneFlag) (from, to model.Time, err error) {
	from, to = start, end
	if since != "" {
		if from, err = parseMoment(since, start, end, zone.zone()); err != nil {
			return 0, 0, fmt.Errorf("--since: %w", err)
		}
	}
	if until != "" {
		if to, err = parseMoment(until, start, end, zone.zone()); err != nil {
			return 0, 0, fmt.Errorf("--until: %w", err)
		}
	}
	if to < from {
		return 0, 0, hint.New("--until is before --since", "write "+momentForms)
	}
	return from, to, nil
}

// aroundFinding returns the time of a finding with a margin.
func aroundFinding(
	ctx context.Context, captures []*run.Capture, settings detect.Settings, line *readingLine, id string,
	margin time.Duration,
) (from, to model.Time, err error) {
	found, err := run.JudgeTogether(ctx, captures, settings, line.progress())
	if err != nil {
		return 0, 0, err
	}
	var match []model.Finding
	for _, f := range found {
		if f.ID == id {
			match = []model.Finding{f}
			break
		}
		if strings.HasPrefix(f.ID, id) {
			match = append(match, f)
		}
	}
	if len(match) != 1 {
		return 0, 0, noSuchFinding(id, match, found)
	}
	return match[0].Start.Add(-margin), match[0].End.Add(margin), nil
}

// noSuchFinding says which findings there are instead.
func noSuchFinding(id string, match, found []model.Finding) error {
	text := fmt.Sprintf("there is no finding %q", plain.Text(id))
	if len(match) > 1 {
		text, found = fmt.Sprintf("%d findings begin with %q", len(match), plain.Text(id)), match
	}
	if len(found) == 0 {
		return hint.New(text, "the input has no finding: give --since and --until")
	}
	slices.SortStableFunc(found, func(a, b model.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	const shown = 5
	var ids []string
	for _, f := range found[:min(shown, len(found))] {
		ids = append(ids, f.ID)
	}
	return hint.New(text, "there are "+strings.Join(ids, ", ")+"; 'lostbeat findings --json' prints all with their texts")
}

// cutSummary is what is said of a slice that was written.
func cutSummary(c run.Cut, done run.CutDone, zone *time.Location) string {
	text := fmt.Sprintf("cut %s events, %s to %s (%s), %s, to %s; findings: %d",
		humanize.Comma(int64(done.Events)), plain.Moment(c.Since.Std(), zone), plain.Moment(c.Until.Std(), zone),
		plain.Span(c.Until.Sub(c.Since)), humanize.IBytes(done.Bytes), plain.Text(done.Path), len(done.Findings))
	if done.Earlier > 0 {
		text += fmt.Sprintf(", %d of which began earlier", done.Earlier)
	}
	return text
}
