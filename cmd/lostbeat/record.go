package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/platform"
	"lostbeat/internal/redact"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/sink/board"
	"lostbeat/sink/findings"
	"lostbeat/sink/recording"
	"lostbeat/sink/tally"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newRecord() *cobra.Command {
	var (
		live     liveFlags
		zone     zoneFlag
		told     notifyFlags
		out      string
		duration time.Duration
		flight   time.Duration
		opts     record.Options
		maxSize  byteSize
		rotate   byteSize
		totalCap byteSize
		ring     = byteSize(defaultRing)
		hide     redactFlag
	)
	cmd := &cobra.Command{
		Use:   "record -o FILE",
		Short: "Record this host to a file, without a UI",
		Long: `Trace this host and write all events and findings to a recording that replay, findings, events
and info open on any system. Recordings are readable by their owner only. SIGINT and SIGTERM
end it cleanly; after a kill at most the last second is missing.

With --flight, the last minutes are kept in a file of fixed size beside the output, named like it
and ending in .ring, which all commands open while it is written. It is synced to the disk twice a
second while a finding is open or suspected, and every 30 s otherwise. When the recorder is killed
or the host goes down, the next start under the same name makes a recording of it and says what was
going on. SIGUSR1 keeps the minutes around now, as a finding does.

With --redact, the recording, the files of --flight and its ring, the metrics of --listen and
--metrics-file, and what --otlp and --otlp-metrics send have pseudonyms, the same one for the same
name. The detectors judge what happened under the real names, which this terminal, the journal,
--exec and --webhook show.

Exit status: 2 after an error; 3 if the recording is incomplete, because the disk was full or too
slow: the last line says how much is missing, and why.`,
		Example: `  sudo lostbeat record -o night.lostbeat --duration 8h --max-size 1GiB
  sudo lostbeat record -o rec.lostbeat --rotate-every 1h --total-cap 2GiB
  sudo lostbeat record -o spike.lostbeat --trace --duration 10s
  sudo lostbeat record -o night.lostbeat --log /var/log/app.log
  sudo lostbeat record -o fault.lostbeat --flight 5m    only the minutes around each finding
  sudo lostbeat findings fault.ring                     what that recorder holds now, or held when it was killed`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if out == "" {
				return hint.New("record needs an output file", "lostbeat record -o night.lostbeat")
			}
			if err := checkOutput(out); err != nil {
				return err
			}
			if err := checkRing(ring, totalCap, cmd.Flags().Changed("flight-size")); err != nil {
				return err
			}
			if hide.is && len(live.also) > 0 {
				return hint.New("--also writes names, so it cannot be combined with --redact",
					"read the findings from the recording: lostbeat findings --json "+plain.Text(out))
			}
			began, asked := time.Now(), takeKeepSignal()
			defer asked.stop()
			errs := cmd.ErrOrStderr()
			say := func(line string) { fmt.Fprintf(errs, "lostbeat: %s\n", line) }
			var names *redact.Shared
			boot := platform.ThisHost().BootID
			if hide.is {
				names, boot = hide.recording(live.logs), redact.Boot(boot)
				told.otlp.use(names)
			}
			notified, endNotifying, err := told.outputs(say, live.confines(cmd), out)
			if err != nil {
				return err
			}
			defer endNotifying()
			served, endServing, err := live.metrics.outputs(say, live.metrics.fileReport(say), &told.otlp, names)
			if err != nil {
				return err
			}
			defer endServing()
			src, settings, err := live.open(cmd, append(told.otlp.folders(out), filepath.Dir(out)), told.urls())
			if err != nil {
				return err
			}
			outputs, closeOutputs, err := live.also.outputs(zone.zone())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeOutputs()) }()
			shown, endShowing := boardOutput()
			defer endShowing()
			outputs = slices.Concat(outputs, shown, served)
			if !isTerminal(errs) {
				outputs = append(outputs, startOutput(say, began))
			}
			opts.MaxSize, opts.RotateSize, opts.TotalCap = int64(maxSize), int64(rotate), int64(totalCap)
			opts.Tool = tool()
			var to recording.Recorder
			if flight > 0 {
				to, err = recording.NewFlight(out, recording.Options{
					FlightOptions: record.FlightOptions{Options: opts, Window: flight, Ring: int64(ring), BootID: boot},
					Redact:        names, Log: say, Quiet: onJournal(),
				})
			} else {
				to, err = recording.New(out, opts, names)
			}
			if err != nil {
				return err
			}
			if onJournal() {
				journal, endJournal := journalOutput(say, to)
				defer endJournal()
				outputs = append(outputs, journal...)
			}
			ctx := cmd.Context()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			asked.serve(to)
			counts := &tally.Tally{}
			stopProgress := showProgress(errs, to, counts)
			done, err := run.Recording{
				Source: src, Settings: settings, To: to, Tally: counts, Outputs: append(outputs, notified...),
				Failed: outputFailed(errs),
			}.Run(ctx)
			stopProgress()
			if done.Full {
				say(fmt.Sprintf("the recording has reached --max-size %s: stopped", maxSize.String()))
			}
			fmt.Fprintln(errs, summary(done, counts, flight > 0))
			if names != nil && names.Full() {
				say("--redact: there were more names than are remembered: texts after that were left out")
			}
			for _, f := range counts.Proposed() {
				say(findings.Proposal(&f))
			}
			if done.Deleted > 0 {
				say(deleted(done, totalCap.String()))
			}
			if done.Ring.Path != "" {
				say(ringCost(done.Ring))
			}
			if !done.Whole() && err == nil {
				printError(errs, notRecorded(done, counts.Events()))
				err = errIncomplete
			}
			return err
		},
	}
	live.register(cmd)
	live.metrics.register(cmd)
	told.register(cmd)
	zone.register(cmd)
	hide.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&out, "output", "o", "", "the recording to write: `FILE` (required)")
	flags.DurationVar(&duration, "duration", 0, "stop after this long")
	flags.Var(&maxSize, "max-size", "stop at this size")
	flags.Var(&rotate, "rotate-size", "begin a new file at this size")
	flags.DurationVar(&opts.RotateEvery, "rotate-every", 0, "begin a new file after this long")
	flags.Var(
		&totalCap,
		"total-cap",
		"delete the oldest files of this recording to keep the total below this size",
	)
	flags.BoolVar(&opts.Overwrite, "force", false, "replace an existing file")
	flags.DurationVar(
		&flight,
		"flight",
		0,
		"flight recorder: keep this much and write only the time around each finding, one file each",
	)
	flags.Var(
		&ring,
		"flight-size",
		"size of the file beside the output in which --flight keeps the last minutes; 0 keeps them in memory",
	)
	return cmd
}

// boardOutput shows what is found to 'lostbeat check'; nothing where that cannot be.
func boardOutput() (outputs []pipeline.Output, end func()) {
	if runtime.GOOS != "linux" {
		return nil, func() {}
	}
	b, err := board.New(board.Folder)
	if err != nil {
		return nil, func() {} // check then watches by itself
	}
	output := pipeline.Output{Name: "findings for checks", Sink: b, Kinds: []model.Kind{model.KindFinding}}
	return []pipeline.Output{output}, func() { _ = b.Close() }
}

// defaultRing is the size of a flight recorder's ring unless --flight-size says otherwise.
const defaultRing = 32 << 20

// checkRing refuses sizes of rings that cannot be.
func checkRing(ring, totalCap byteSize, asked bool) error {
	least, most := byteSize(record.LeastRing), byteSize(record.MostRing)
	switch {
	case ring == 0 || !asked:
	case ring < least || ring > most:
		return hint.New(
			"--flight-size "+ring.String()+" is out of range",
			fmt.Sprintf("from %s to %s, or 0 for none", &least, &most),
		)
	case totalCap > 0 && ring > totalCap/4:
		return hint.New(
			"--flight-size "+ring.String()+" is more than a quarter of --total-cap "+totalCap.String()+", which it is a part of",
			"give a smaller ring or a larger cap",
		)
	}
	return nil
}

// checkOutput refuses what cannot become a recording.
func checkOutput(path string) error {
	if path == "-" {
		return hint.New(
			"a recording cannot be written to standard output: its index is written on close",
			"write to a file; 'lostbeat events FILE' prints it as text",
		)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return hint.New(
			path+" is a directory",
			"name a file in it, e.g. -o "+filepath.Join(path, "night"+record.Extension),
		)
	}
	return nil
}

// outputFailed returns what says that an output beside the main one has failed.
func outputFailed(w io.Writer) func(name string, err error) {
	return func(name string, err error) { fmt.Fprintf(w, "lostbeat: output %s: %v\n", name, err) }
}

// summary is what is said at the end of a recording.
func summary(done run.Recorded, counts *tally.Tally, flight bool) string {
	events, size, lost := humanize.Comma(int64(done.Events)), humanize.IBytes(done.Bytes), humanize.Comma(int64(done.Lost))
	path := plain.Text(done.Path)
	switch {
	case flight && done.Files == 0 && !done.Whole():
		return fmt.Sprintf(
			"watched %s events; findings: %d, but nothing around them could be recorded",
			humanize.Comma(int64(counts.Events())), counts.Findings(),
		)
	case flight && done.Files == 0:
		return fmt.Sprintf(
			"watched %s events; no finding, so nothing was written", humanize.Comma(int64(counts.Events())),
		)
	case flight:
		return fmt.Sprintf(
			"recorded %s events around %s, %s in %s, the last %s; %s lost",
			events, plural(counts.Findings(), "finding"), size, plural(done.Files, "file"), path, lost,
		)
	case done.Files > 1:
		path = fmt.Sprintf("%d files up to %s", done.Files, path)
	}
	return fmt.Sprintf("recorded %s events, %s, to %s; %s lost; findings: %d", events, size, path, lost, counts.Findings())
}

// deleted says what the total cap has deleted.
func deleted(done run.Recorded, limit string) string {
	return fmt.Sprintf(
		"deleted %s (%s events of this run) to stay below --total-cap %s",
		plural(done.Deleted, "file"), humanize.Comma(int64(done.DeletedEvents)), limit,
	)
}

// ringCost says what it has cost to have a ring on disk.
func ringCost(r record.RingStats) string {
	each := time.Duration(0)
	if r.Syncs > 0 {
		each = r.SyncTime / time.Duration(r.Syncs)
	}
	line := fmt.Sprintf("%s was synced %s, which took %s on average and %s at most",
		plain.Text(r.Path), plural(r.Syncs, "time"), plain.Span(each), plain.Span(r.SyncLongest))
	if r.Lost > 0 {
		line += fmt.Sprintf("; %s events were never in it", humanize.Comma(int64(r.Lost)))
	}
	return line
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanize.Comma(int64(n)) + " " + noun + "s"
}

// notRecorded says what the disk has not taken of all events, and why.
func notRecorded(done run.Recorded, all uint64) error {
	cause := done.Disk
	if cause == nil {
		// Nothing has failed.
		cause = fmt.Errorf("the disk of %s is too slow, or lostbeat gets too little CPU time", plain.Text(done.Path))
	}
	lost := done.Stats.Lost + done.Late
	if lost == 0 {
		return fmt.Errorf("the recording may be incomplete: %w", cause)
	}
	share := min(1, float64(lost)/float64(max(all, lost)))
	later := ""
	if done.Err == nil {
		later = "; the disk has taken later ones"
	}
	return &incompleteError{
		fmt.Sprintf(
			"the recording is incomplete: %s of %s events (%.1f %%) could not be written: %v%s",
			humanize.Comma(int64(lost)), humanize.Comma(int64(max(all, lost))), 100*share, cause, later,
		), cause,
	}
}

// incompleteError is a recording that lacks events, and why.
type incompleteError struct {
	message string
	cause   error
}

func (e *incompleteError) Error() string { return e.message }
func (e *incompleteError) Unwrap() error { return e.cause }

// fit cuts a line so that it does not wrap in a terminal: a line that wraps
// cannot be written over.
func fit(line string, width int) string {
	if runes := []rune(line); len(runes) >= width {
		return string(runes[:max(0, width-1)])
	}
	return line
}

// showProgress keeps a line on w up to date while it is a terminal. The
// returned function ends it.
func showProgress(w io.Writer, r recording.Recorder, t *tally.Tally) (stop func()) {
	if !isTerminal(w) {
		return func() {}
	}
	done := make(chan struct{})
	var line guard.Background
	began := time.Now()
	line.Go("the progress line", func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(w, "\r\x1b[K")
				return
			case <-ticker.C:
				s := r.Stats()
				text := fmt.Sprintf(
					"● recording %s · %s events · %s · %d lost · findings %d · Ctrl-C stops",
					time.Since(began).
						Round(time.Second),
					humanize.Comma(int64(t.Events())),
					humanize.IBytes(s.Bytes),
					s.Lost+t.Lost(),
					t.Findings(),
				)
				fmt.Fprint(w, "\r\x1b[K", fit(text, columns(w)))
			}
		}
	})
	return func() { close(done); line.Wait() }
}
