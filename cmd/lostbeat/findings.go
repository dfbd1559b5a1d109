package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"lostbeat/detect"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/sink/findings"
	"lostbeat/sink/jsonl"

	"github.com/spf13/cobra"
)

// incomplete is what `findings --json` prints of an input that is not whole.
type incomplete struct {
	File       string `json:"file"`
	Incomplete string `json:"incomplete"`
}

// incompleteSchema is the name and version of the schema of incomplete.
const incompleteSchema = "lostbeat.incomplete/1"

// recordings is how many of the paths may have packets of flows: recordings and captures.
func recordings(paths []string) (n int) {
	for _, path := range paths {
		if format, err := run.FormatOf(path); err == nil && run.HasPackets(format) {
			n++
		}
	}
	return n
}

// logsLast divides paths into those of counters, recordings and captures and
// those of text logs, whose times may need the others; joined says that there are both, or several logs.
func logsLast(paths []string) (parts [][]string, joined bool) {
	var logs, others []string
	for _, path := range paths {
		if format, err := run.FormatOf(path); err == nil && format.Name == run.LogFormat {
			logs = append(logs, path)
		} else {
			others = append(others, path)
		}
	}
	for _, part := range [][]string{others, logs} {
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	return parts, len(logs) > 0 && len(paths) > 1
}

// besides divides logs from what else is to be judged. A log beside one recording or trace belongs to it, whether it
// was given with --log or by its name alone; beside counter logs it is one of the files that are joined.
func (f *captureFlags) besides(paths []string) (rest []string, err error) {
	var logs []string
	hosts := 0
	for _, path := range paths {
		switch format, err := run.FormatOf(path); {
		case err == nil && format.Name == run.LogFormat:
			logs = append(logs, path)
			continue
		case err == nil && format.Name != run.CounterFormat && format.OpenAll == nil:
			hosts++
		}
		rest = append(rest, path)
	}
	switch {
	case hosts == 1 && len(rest) == 1:
		f.logs = append(f.logs, logs...)
		return rest, nil
	case len(f.logs) == 0:
		return paths, nil
	case hosts > 0:
		return nil, hint.New("--log belongs to one capture, but several files are given",
			"run findings on each file with its own logs")
	}
	paths = append(paths, f.logs...)
	f.logs = nil
	return paths, nil
}

// severalFiles are files that are judged by themselves and together.
type severalFiles struct {
	// parts are the files in the order in which they are read.
	parts [][]string
	// joined says that logs are judged by the counters of all files, hosts how many files may have packets of flows.
	joined bool
	hosts  int
	// captures are those that logs are joined with; judged is what all files are judged together by.
	captures []*run.Capture
	judged   []run.Judgement
}

// several returns the files of paths, without the logs that belong to one of them.
func (f *captureFlags) several(paths []string) (*severalFiles, error) {
	paths, err := f.besides(paths)
	if err != nil {
		return nil, err
	}
	parts, joined := logsLast(paths)
	return &severalFiles{parts: parts, joined: joined, hosts: recordings(paths)}, nil
}

// room gives a capture its share of the memory for packets.
func (s *severalFiles) room(c *run.Capture) {
	if s.hosts > 1 && run.HasPackets(c.Format) {
		c.Packets = run.PacketRoom / s.hosts
	}
}

// whole judges all files by each, and stops at the first that fails. Whether an input was incomplete is told at the
// end.
func (s *severalFiles) whole(
	cmd *cobra.Command, files *captureFlags, each func(c *run.Capture, reading *readingLine) error,
) (err error) {
	for _, part := range s.parts {
		partErr := eachCapture(cmd.Context(), part, *files, cmd.ErrOrStderr(), each)
		if partErr != nil && !errors.Is(partErr, errIncomplete) {
			return partErr
		}
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		err = cmp.Or(err, partErr)
		files.logZone = run.LogTime(s.captures)
	}
	for _, b := range files.unpacked.Bundles {
		if len(b.Damage) > 0 {
			err = cmp.Or(err, errIncomplete)
		}
	}
	return err
}

// keep keeps what a capture adds to the others, takes out of its findings what together says instead, and reports
// whether there was any.
func (s *severalFiles) keep(c *run.Capture, judged *run.Judgement) (told bool) {
	told = judged.LeaveFlows()
	if s.joined {
		told = judged.LeaveLogs() || told
		s.captures = append(s.captures, c)
	} else { // the facts of others are not needed any more
		judged.WithoutLogs()
	}
	if s.joined || s.hosts > 1 {
		s.judged = append(s.judged, *judged)
	}
	return told
}

// together returns what all files show together.
func (s *severalFiles) together(thresholds detect.Settings) []model.Finding {
	found := run.TogetherFlows(s.judged)
	if s.joined {
		found = append(found, run.Together(s.judged, thresholds)...)
	}
	return found
}

// bundlesOf names the bundles that were unpacked.
func bundlesOf(u *run.Unpacked) string {
	var names []string
	for _, b := range u.Bundles {
		names = append(names, plain.Text(b.Path))
	}
	return strings.Join(names, ", ")
}

func newFindings() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		format   formatFlag
		exitCode bool
		zone     zoneFlag
	)
	cmd := &cobra.Command{
		Use:   "findings FILE...",
		Short: "Run the detectors over recordings, captures and logs",
		Long: `Run the detectors over recordings, Windows captures and text logs, and print the findings.
The detectors use event time only, so a recording gives the same verdicts as the live session.

Application logs are joined with the counters of all other files on one time line: when a log
fell silent or reported missed heartbeats, and what each CPU of each host did then. A log given
with one recording or trace (by name, or with --log) belongs to its host: its silences and lines
are judged with everything that the host did. Times without a zone are read in the zone of the
counter logs given with them, otherwise as UTC, and every finding says so; --log-time sets the zone.

Several socket tables (netstat, ss, Get-NetUDPEndpoint) form one series, with tasklist and netsh
output as extra information: docs/INPUTS.md says how to make them.

Recordings of several hosts that followed the same flows (--heartbeat) are joined by their common
packets: one finding says whether a heartbeat was sent late, lost between the hosts, lost in one
of them, or read late, and by how much the clocks differed.

Packet captures (pcap, pcapng, pktmon, netsh trace) are joined with recordings and with each other
in the same way: packets that arrived on the wire and were lost inside a host, were sent but never
reached the wire, or were lost between two captures.

A damaged or truncated input is read as far as possible, and one line says what is missing; with
--json that is an object with the keys file and incomplete. --format md is for a ticket, csv for a
spreadsheet, with one finding per line.

Exit status: 0; 1 with --exit-code and a finding of severity warning or critical; 2 for an error;
3 if an input is incomplete (with --exit-code, only if nothing was found in the rest).`,
		Example: `  lostbeat findings night.lostbeat
  lostbeat findings cvp.log pim.log cvp-perfmon.csv pg-perfmon.csv
  lostbeat findings netstat_*.txt tasklist.csv
  lostbeat findings node-a.lostbeat node-b.lostbeat
  lostbeat findings node-b.lostbeat node-b.pcapng
  lostbeat findings night.lostbeat --log app.log --log-time local
  lostbeat findings --json *.lostbeat | jq -r '.title // .incomplete'
  lostbeat findings --exit-code capture.etl || echo "look at this"`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			form, err := format.form()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			text := withBlanks(out)
			files.said = form == asText || form == asMarkdown
			table := findings.NewCSV(out)
			// note prints for people what there is beside findings.
			note := func(indent, text string) {
				switch form {
				case asText:
					fmt.Fprintf(out, "%s%s\n", indent, text)
				case asMarkdown:
					fmt.Fprintf(out, "%s\n\n", plain.Markdown(text))
				}
			}
			worst := model.SeverityInfo
			// quiet is how many members of bundles were judged.
			total, quiet := 0, 0
			show := func(f model.Finding, file string) error {
				total++
				worst = max(worst, f.Severity)
				switch form {
				case asJSON:
					return plain.Object(out, jsonl.FindingSchema, f)
				case asCSV:
					return table.Write(file, f)
				case asMarkdown:
					return findings.WriteMarkdown(out, f, zone.zone())
				}
				return findings.Write(text, f, zone.zone())
			}
			if form == asCSV {
				if err := table.Head(); err != nil {
					return err
				}
			}
			defer files.confine(cmd, args)()
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
				judged, err := run.Findings(cmd.Context(), c, thresholds, reading.progress())
				reading.end()
				if err != nil {
					return err
				}
				told := several.keep(c, &judged)
				found, unseen := judged.Findings, judged.Unseen
				for _, line := range judged.LeftOut {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: left out %s\n", plain.Text(c.Path), plain.Text(line))
				}
				for _, f := range found {
					if err := show(f, c.Path); err != nil {
						return err
					}
				}
				integrity := c.Integrity()
				if form == asJSON && !integrity.Complete() {
					if err := plain.Object(out, incompleteSchema, incomplete{c.Path, run.IntegrityLine(integrity)}); err != nil {
						return err
					}
				}
				if files.unpacked.Member(c.Paths[0]) {
					quiet++
				} else if len(found) == 0 && !told {
					start, end := c.Span()
					what := "no finding in"
					if !integrity.Complete() {
						what = "no finding in what could be read of"
					}
					note("", fmt.Sprintf("%s: %s %s, %s to %s", plain.Text(c.Path), what, plain.Span(end.Sub(start)),
						findings.Moment(start, zone.zone()), findings.Moment(end, zone.zone())))
				}
				if len(unseen) > 0 {
					note("    ", fmt.Sprintf("not judged, not in the capture: %s ('lostbeat info' says why)",
						strings.Join(unseen, ", ")))
				}
				for _, text := range judged.Notes {
					note("    ", "note: "+plain.Text(text))
				}
				for _, text := range c.Outside() {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", plain.Text(c.Path), plain.Text(text))
				}
				for _, text := range judged.Assumed {
					if !told {
						note("    ", "assumed: "+plain.Text(text))
					}
				}
				if judged.Slice != "" {
					note("    ", plain.Text(judged.Slice))
				}
				if line := run.IntegrityLine(integrity); line != "" {
					note("    ", "input: "+plain.Text(line))
				}
				return out.Flush()
			}
			for _, part := range several.parts {
				partErr := eachCapture(cmd.Context(), part, files, cmd.ErrOrStderr(), each)
				switch {
				case partErr == nil:
				case len(several.parts) == 1 || stops(partErr) || cmd.Context().Err() != nil:
					err = partErr
				case errors.Is(partErr, errIncomplete):
					err = cmp.Or(err, partErr)
				default:
					if !errors.Is(partErr, errSaid) {
						printError(cmd.ErrOrStderr(), partErr)
					}
					err = errSaid
				}
				if stops(err) || cmd.Context().Err() != nil {
					return err
				}
				files.logZone = run.LogTime(several.captures)
			}
			for _, f := range several.together(thresholds) {
				if showErr := show(f, ""); showErr != nil {
					return showErr
				}
			}
			if total == 0 && quiet > 0 {
				note("", fmt.Sprintf("no finding in what was opened of %s ('lostbeat info' lists it)",
					bundlesOf(files.unpacked)))
			}
			for _, b := range files.unpacked.Bundles {
				for _, text := range b.Damage {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", plain.Text(b.Path), plain.Text(text))
					err = cmp.Or(err, errIncomplete)
				}
			}
			if flushErr := out.Flush(); err == nil {
				err = flushErr
			}
			if (err == nil || errors.Is(err, errIncomplete)) && exitCode && total > 0 && worst >= model.SeverityWarning {
				return errFindings
			}
			return err
		},
	}
	zone.register(cmd)
	files.register(cmd)
	files.registerPools(cmd)
	files.registerLogs(cmd)
	settings.register(cmd)
	format.register(cmd, "one JSON object per line", asText, asJSON, asCSV, asMarkdown)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false,
		"exit with 1 if there is a warning or critical finding, with 3 if there is none in an incomplete input")
	return cmd
}
