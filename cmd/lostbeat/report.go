package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lostbeat/detect"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/report"
	"lostbeat/run"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// asHTML is the form of a page.
const asHTML = "html"

func newReport() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		format   formatFlag
		markdown bool
		zone     zoneFlag
		out      string
		force    bool
		hide     redactFlag
	)
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Write one page about recordings, captures and logs, for a ticket",
		Long: `Judge files as findings does and write what was found to one page that can be attached to a
ticket: the verdict first, with reason, advice and evidence; a time line; where the time of late
heartbeats went; CPU time and deferred work, packets lost and ports over time; log lines; facts
about each host; what was not seen, and what the input lacks.

The page is one HTML file that loads nothing: it prints, and it can be read where scripts are
blocked. --md writes a shorter form for an issue tracker, --json the same data for programs
(docs/schema/report.json). The same input gives the same bytes.

Exit status: 0; 2 for an error; 3 if an input is incomplete.`,
		Example: `  lostbeat report night.lostbeat -o report.html
  lostbeat report node-a.lostbeat node-b.lostbeat -o report.html
  lostbeat report --redact night.lostbeat -o report.html
  lostbeat report --md sosreport-node-a.tar.xz | xclip`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if markdown {
				if format.chosen && format.name != asMarkdown || format.json {
					return hint.New("--md excludes other formats", "give one of --md, --json and --format")
				}
				format.name = asMarkdown
			}
			form, err := format.form()
			if err != nil {
				return err
			}
			if out == "-" {
				out = ""
			}
			if err := checkReport(cmd, form, out, force, args); err != nil {
				return err
			}
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			var outputs []string
			if out != "" {
				outputs = []string{filepath.Dir(out)}
			}
			defer files.confine(cmd, args, outputs...)()
			r, err := makeReport(cmd, &files, args, thresholds, hide)
			if err != nil && !errors.Is(err, errIncomplete) {
				return err
			}
			write := func(w io.Writer) error {
				switch form {
				case asJSON:
					return plain.Object(w, report.Schema, r)
				case asMarkdown:
					return r.WriteMarkdown(w, zone.zone())
				}
				return r.WriteHTML(w, zone.zone())
			}
			if out == "" {
				buffered := bufio.NewWriter(cmd.OutOrStdout())
				return cmp.Or(errors.Join(write(buffered), buffered.Flush()), err)
			}
			size, writeErr := replaceFile(out, write)
			if writeErr != nil {
				return writeErr
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s, %s\n", plain.Text(out), plural(len(r.Findings), "finding"),
				humanize.IBytes(uint64(size)))
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	files.registerLogs(cmd)
	settings.register(cmd)
	zone.register(cmd)
	hide.register(cmd)
	format.register(cmd, "one JSON object", asHTML, asMarkdown, asJSON)
	cmd.Flags().BoolVar(&markdown, "md", false, "Markdown for an issue tracker; the same as --format md")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the `FILE` to write; - or without it, standard output")
	cmd.Flags().BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

// checkReport refuses what cannot be written.
func checkReport(cmd *cobra.Command, form, out string, force bool, inputs []string) error {
	if out == "" {
		if form == asHTML && isTerminal(cmd.OutOrStdout()) {
			return hint.New("the page is HTML and cannot be written to a terminal", "give -o report.html, or --md")
		}
		return nil
	}
	if err := notAnInput(out, inputs); err != nil {
		return err
	}
	target, err := os.Stat(out)
	if err != nil {
		return nil
	}
	if target.Mode().IsRegular() && !force {
		return hint.New(plain.Text(out)+" exists", "--force replaces it")
	}
	return nil
}

// replaceFile writes a file as a whole or not at all, and returns its size.
func replaceFile(path string, write func(io.Writer) error) (size int64, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe or a device
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		return 0, errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".lostbeat-report-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	buffered := bufio.NewWriter(f)
	err = errors.Join(write(buffered), buffered.Flush())
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}

// makeReport judges the files, by themselves and together, as findings does.
func makeReport(
	cmd *cobra.Command, files *captureFlags, args []string, thresholds detect.Settings, hide redactFlag,
) (*report.Report, error) {
	r := &report.Report{Tool: tool()}
	names := hide.names(args)
	var see func(*model.Batch)
	if names != nil {
		see = names.Learn
	}
	args, done, err := files.unpack(cmd.Context(), args)
	if err != nil {
		return nil, err
	}
	defer done()
	several, err := files.several(args)
	if err != nil {
		return nil, err
	}
	each := func(c *run.Capture, reading *readingLine) error {
		several.room(c)
		judged, seen, err := run.Observe(cmd.Context(), c, thresholds, reading.progress(), see)
		reading.end()
		if err != nil {
			return err
		}
		several.keep(c, &judged)
		r.Add(seen, judged.Findings)
		return nil
	}
	err = several.whole(cmd, files, each)
	if err != nil && !errors.Is(err, errIncomplete) {
		return nil, err
	}
	r.AddTogether(several.together(thresholds))
	for _, b := range files.unpacked.Bundles {
		r.Bundles = append(r.Bundles, report.Bundle{
			File: b.Path, Members: b.Members, Opened: b.Opened, Damage: b.Damage,
		})
	}
	r.Finish()
	if names != nil {
		r.Redact(names.Text, names.File)
	}
	return r, err
}
