package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"syscall"

	"lostbeat/detect"
	"lostbeat/export"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/redact"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/run"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newExport() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		format   formatFlag
		forms    = exportForms()
		chosen   = make([]bool, len(forms))
		job      exportJob
		hide     redactFlag
		kinds    []string
		out      string
		force    bool
	)
	cmd := &cobra.Command{
		Use:   "export FILE... -o OUT",
		Short: "Write recordings and captures as tables, or as a trace for Perfetto",
		Long: `Write the events of recordings and captures, and what findings says of them, as tables: one file
for each kind of event, with a column for each field, one of the findings, and one of the captures
that were read. -o names a new folder for them. docs/EXPORT.md describes the tables and has queries.

parquet is for DuckDB, Polars, pandas and Spark: columns have types, times are in nanoseconds and
UTC. csv is for spreadsheets: texts that begin with =, +, - or @ get an apostrophe in front, so that
a spreadsheet does not run them. jsonl has an object per line.

perfetto is one file, a trace that ui.perfetto.dev opens and trace_processor reads: tracks for each
CPU, device, heartbeat and pool of ports, the findings, log lines, and what was not recorded. It is
chosen by a name that ends in .pftrace, too; -o - writes it to standard output.

With --since and --until, the events of that time and the findings that fall into it are written.
The whole input is judged in any case.

Nothing is written if the export does not succeed. Exit status: 0; 2 for an error; 3 if an input is
incomplete: what could be read of it is written, and the table captures says so.`,
		Example: `  lostbeat export night.lostbeat -o night
  lostbeat export --csv --kind drop,port night.lostbeat -o night-csv
  lostbeat export --jsonl --since 14:03:00 --until +90s --redact capture.etl -o part
  lostbeat export node-a.lostbeat node-b.lostbeat -o both.pftrace
  duckdb -c "SELECT place, reason, sum(count) FROM 'night/drop.parquet' GROUP BY ALL"`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			form, err := chosenForm(&format, forms, chosen)
			if err != nil {
				return err
			}
			if job.kinds, err = parseKinds(kinds); err != nil {
				return err
			}
			if job.thresholds, err = settings.settings(); err != nil {
				return err
			}
			if export.IsTrace(out) && !format.chosen && !slices.Contains(chosen, true) {
				form = export.Perfetto
			}
			if err := checkExport(cmd, form, out, args); err != nil {
				return err
			}
			if hide.is {
				job.names = hide.names(args)
			}
			var outputs []string
			if out != "-" {
				outputs = []string{filepath.Dir(filepath.Clean(out))}
			}
			defer files.confine(cmd, args, outputs...)()
			to, err := createExport(cmd, form, out, force, job.kinds)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, to.Abort()) }()
			job.to = to
			err = job.run(cmd, &files, args)
			if err != nil && !errors.Is(err, errIncomplete) {
				return diskFull(err, out)
			}
			done, closeErr := to.Close()
			if closeErr != nil {
				return diskFull(closeErr, out)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), exported(done, out))
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	files.registerLogs(cmd)
	settings.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&out, "output", "o", "", "the `FOLDER` to write, of a trace the file or - (required)")
	flags.StringSliceVar(&kinds, "kind", nil, "only these kinds, or areas like 'port' (repeatable)")
	flags.StringVar(&job.since, "since", "", "start at this `TIME`: "+momentForms)
	flags.StringVar(&job.until, "until", "", "end at this `TIME`")
	job.zone.register(cmd)
	hide.register(cmd)
	format.register(cmd, "", forms...)
	for i, name := range forms {
		flags.BoolVar(&chosen[i], name, false, "the same as --format "+name)
	}
	flags.BoolVar(&force, "force", false, "replace the tables or the trace of an earlier export")
	return cmd
}

// exportForms are the names of what captures can be exported as.
func exportForms() (names []string) {
	for _, f := range export.Formats {
		names = append(names, f.Name)
	}
	return append(names, export.Perfetto)
}

// chosenForm returns the format that is asked for by --format or by a flag of its name.
func chosenForm(format *formatFlag, forms []string, chosen []bool) (string, error) {
	name, by := format.name, ""
	if format.chosen {
		by = name
	}
	for i, is := range chosen {
		if !is {
			continue
		}
		if by != "" && by != forms[i] {
			return "", hint.New("--"+forms[i]+" excludes "+by, "give one of --format and the short forms")
		}
		name, by = forms[i], forms[i]
	}
	return name, nil
}

// checkExport refuses what cannot be the name of an export.
func checkExport(cmd *cobra.Command, form, out string, inputs []string) error {
	example := "lostbeat export night.lostbeat -o night"
	trace := form == export.Perfetto
	switch {
	case out == "":
		return hint.New("export needs an output", example)
	case out == "-" && trace && isTerminal(cmd.OutOrStdout()):
		return hint.New("a trace is binary and cannot be written to a terminal", "give -o night.pftrace")
	case out == "-" && !trace:
		return hint.New("tables are written to a folder, not to standard output", example)
	case !trace && (filepath.Clean(out) == "." || filepath.Clean(out) == ".."):
		return hint.New("tables are written to a new folder, not into this one", example)
	case trace && out != "-":
		return notAnInput(out, inputs)
	}
	return nil
}

// exportTo is where an export is written to.
type exportTo interface {
	// Begin begins a capture, of which the time from since to until is written.
	Begin(c *export.Capture, since, until model.Time) error
	// Write takes an event, and reports whether it is written; Skip takes one that is not to be.
	Skip(capture string, b *model.Batch, e *model.Event) error
	Write(capture string, b *model.Batch, e *model.Event) (bool, error)
	// Capture ends a capture. Findings come after it.
	Capture(c *export.Capture) error
	Finding(capture string, f *model.Finding) error
	// Close completes the output; Abort removes it, and does nothing after Close.
	Close() (export.Done, error)
	Abort() error
}

func createExport(
	cmd *cobra.Command, form, out string, force bool, kinds map[model.Kind]bool,
) (exportTo, error) {
	if form == export.Perfetto {
		return export.CreateTrace(out, export.TraceOptions{Stdout: cmd.OutOrStdout(), Replace: force, Kinds: kinds})
	}
	for _, f := range export.Formats {
		if f.Name == form {
			return export.Create(out, export.Options{Format: f, Replace: force})
		}
	}
	return nil, fmt.Errorf("no format %s", form)
}

// exportJob is an export under way.
type exportJob struct {
	to           exportTo
	thresholds   detect.Settings
	names        *redact.Redactor // nil leaves names as they are
	kinds        map[model.Kind]bool
	since, until string
	zone         zoneFlag
}

// run exports the files.
func (j *exportJob) run(cmd *cobra.Command, files *captureFlags, args []string) error {
	args, done, err := files.unpack(cmd.Context(), args)
	if err != nil {
		return err
	}
	defer done()
	several, err := files.several(args)
	if err != nil {
		return err
	}
	each := func(c *run.Capture, reading *readingLine) error {
		several.room(c)
		filter := eventFilter{kinds: j.kinds, since: math.MinInt64, until: math.MaxInt64}
		start, end := c.Span()
		if j.since != "" || j.until != "" {
			if filter.since, filter.until, err = bounds(j.since, j.until, start, end, j.zone); err != nil {
				return err
			}
		}
		judged, err := j.capture(cmd.Context(), c, filter, reading)
		if err != nil {
			return err
		}
		told := several.keep(c, &judged)
		if !told || len(judged.Findings) > 0 {
			return j.findings(c.Path, judged.Findings, filter)
		}
		return nil
	}
	err = several.whole(cmd, files, each)
	if err != nil && !errors.Is(err, errIncomplete) {
		return err
	}
	all := eventFilter{since: math.MinInt64, until: math.MaxInt64}
	return cmp.Or(j.findings("", several.together(j.thresholds), all), err)
}

// capture exports what falls into the filter of a capture, and judges all of it.
func (j *exportJob) capture(
	ctx context.Context, c *run.Capture, filter eventFilter, reading *readingLine,
) (run.Judgement, error) {
	about := export.Capture{File: c.Path, Format: c.Format.Name}
	about.Start, about.End = c.Span()
	if j.names != nil {
		about.File = j.names.File(c.Path)
	}
	if err := j.to.Begin(&about, filter.since, filter.until); err != nil {
		return run.Judgement{}, err
	}
	judged, err := run.Stream(ctx, c, j.thresholds, reading.progress(), func(b *model.Batch) error {
		if j.names != nil {
			b = j.names.Batch(b)
		}
		for i := range b.Events {
			e := &b.Events[i]
			if m, ok := b.Meta(e); ok {
				about.Meta(m)
			}
			if !filter.wants(e) {
				if err := j.to.Skip(about.File, b, e); err != nil {
					return err
				}
				continue
			}
			written, err := j.to.Write(about.File, b, e)
			if err != nil {
				return err
			}
			if written {
				about.Rows++
			}
		}
		return nil
	})
	reading.end()
	if err != nil {
		return judged, err
	}
	integrity := c.Integrity()
	about.Complete = integrity.Complete()
	if !about.Complete {
		about.Integrity = run.IntegrityLine(integrity)
	}
	if j.names != nil {
		about.Integrity = j.names.Text(about.Integrity)
	}
	return judged, j.to.Capture(&about)
}

// findings exports the findings that fall into the filter.
func (j *exportJob) findings(path string, found []model.Finding, filter eventFilter) error {
	if j.names != nil && path != "" {
		path = j.names.File(path)
	}
	for i := range found {
		f := &found[i]
		if f.Start > filter.until || f.End < filter.since {
			continue
		}
		if j.names != nil {
			redacted := j.names.Finding(*f)
			f = &redacted
		}
		if err := j.to.Finding(path, f); err != nil {
			return err
		}
	}
	return nil
}

// diskFull says what to do about a disk that is full.
func diskFull(err error, out string) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return hint.New("the disk of "+plain.Text(out)+" is full; nothing was written",
		"give a name on another disk, or a part: --kind, --since, --until")
}

// exported says what was written.
func exported(done export.Done, out string) string {
	if out == "-" {
		out = "standard output"
	}
	text := fmt.Sprintf("%s: %s in %s, %s", plain.Text(out), plural(int(done.Rows), "row"),
		plural(done.Tables, "table"), humanize.IBytes(uint64(done.Bytes)))
	if done.Tracks > 0 {
		text = fmt.Sprintf("%s: %s on %s, %s", plain.Text(out),
			words.Plural(done.Rows, "entry", "entries"), plural(done.Tracks, "track"), humanize.IBytes(uint64(done.Bytes)))
	}
	if done.Unknown > 0 {
		text += fmt.Sprintf("; %s of kinds that this version does not know were left out",
			plural(int(done.Unknown), "event"))
	}
	if done.Trackless > 0 {
		text += fmt.Sprintf("; %s of kinds that have no track", plural(int(done.Trackless), "event"))
	}
	if done.LeftOut > 0 {
		text += fmt.Sprintf("; left out for lack of room or because of impossible times: %s",
			words.Plural(done.LeftOut, "entry", "entries"))
	}
	return text
}
