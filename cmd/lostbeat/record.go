package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newRecord() *cobra.Command {
	var (
		live     liveFlags
		out      string
		duration time.Duration
		flight   time.Duration
		opts     record.Options
		maxSize  byteSize
		rotate   byteSize
		totalCap byteSize
	)
	cmd := &cobra.Command{
		Use:   "record -o FILE",
		Short: "Record this host to a file, without a UI",
		Long: `Trace this host and write everything, findings included, to a recording that replay,
findings, events and info open on any system. Recordings are readable by their owner only.
SIGINT and SIGTERM end it cleanly; after a kill at most the last second is missing.`,
		Example: `  sudo lostbeat record -o night.lostbeat --duration 8h --max-size 1GiB
  sudo lostbeat record -o rec.lostbeat --rotate-every 1h --total-cap 2GiB
  sudo lostbeat record -o spike.lostbeat --trace --duration 10s
  sudo lostbeat record -o fault.lostbeat --flight 5m    only the minutes around each finding`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return &usageError{"record needs a file to write", "lostbeat record -o night.lostbeat"}
			}
			if err := checkOutput(out); err != nil {
				return err
			}
			src, settings, err := live.open()
			if err != nil {
				return err
			}
			opts.MaxSize, opts.RotateSize, opts.TotalCap, opts.Tool = int64(
				maxSize,
			), int64(
				rotate,
			), int64(
				totalCap,
			), "lostbeat "+version
			var writer recorder
			if flight > 0 {
				writer, err = newFlightRecorder(out, flight, opts, cmd.ErrOrStderr())
			} else {
				writer, err = newFileRecorder(out, opts)
			}
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			tally := &tally{}
			stopProgress := showProgress(cmd.ErrOrStderr(), writer, tally)
			stats, err := pipeline.Run(ctx, src, pipeline.Options{
				Detect: &settings, Live: true,
				Outputs: []pipeline.Output{{Name: outputRecording, Sink: writer, Essential: true}, {Name: "progress", Sink: tally}},
			})
			stopProgress()
			if errors.Is(err, record.ErrMaxSize) {
				fmt.Fprintf(cmd.ErrOrStderr(), "lostbeat: the recording has reached --max-size %s: stopped\n", maxSize.String())
				err = nil
			}
			closeErr := closeRecording(writer, err)
			fmt.Fprintln(cmd.ErrOrStderr(), writer.summary(stats, tally))
			return errors.Join(err, closeErr)
		},
	}
	live.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&out, "output", "o", "", "the recording to write (required)")
	flags.DurationVar(&duration, "duration", 0, "stop after this long")
	flags.Var(&maxSize, "max-size", "stop at this size")
	flags.Var(&rotate, "rotate-size", "begin a new file at this size")
	flags.DurationVar(&opts.RotateEvery, "rotate-every", 0, "begin a new file after this long")
	flags.Var(
		&totalCap,
		"total-cap",
		"delete the oldest files of this recording so that all together stay below this size",
	)
	flags.BoolVar(&opts.Overwrite, "force", false, "replace an existing file")
	flags.DurationVar(
		&flight,
		"flight",
		0,
		"flight recorder: keep this much in memory and write only the time around each finding, a file each",
	)
	return cmd
}

// afterDrain is how long a recording may take to be closed that was not written in time.
const afterDrain = time.Second

// closeRecording ends a recording after the pipeline has ended with err.
func closeRecording(r recorder, err error) error {
	var drain *pipeline.DrainError
	if errors.As(err, &drain) {
		return r.CloseWithin(afterDrain)
	}
	return r.Close()
}

// checkOutput refuses what cannot become a recording.
func checkOutput(path string) error {
	if path == "-" {
		return &usageError{
			"a recording cannot be written to standard output: its index is written when it is closed",
			"give a file, and 'lostbeat events FILE' for text",
		}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return &usageError{
			path + " is a directory",
			"name a file in it, e.g. -o " + filepath.Join(path, "night"+record.Extension),
		}
	}
	return nil
}

// outputRecording is the name of the output that ends in files.
const outputRecording = "recording"

// recorder is a sink that ends in files.
type recorder interface {
	pipeline.Sink
	io.Closer
	// CloseWithin is Close for a disk that is known to be slow.
	CloseWithin(time.Duration) error
	// size returns the bytes written so far and the events that could not be written.
	size() (bytes, lost uint64)
	// summary is what is said at the end.
	summary(pipeline.Stats, *tally) string
}

// fileRecorder writes everything.
type fileRecorder struct{ *record.Writer }

func newFileRecorder(path string, opts record.Options) (*fileRecorder, error) {
	w, err := record.Create(path, opts)
	if err != nil {
		return nil, err
	}
	return &fileRecorder{w}, nil
}

func (r *fileRecorder) size() (uint64, uint64) {
	s := r.Stats()
	return s.Bytes, s.Lost
}

func (r *fileRecorder) summary(p pipeline.Stats, t *tally) string {
	s := r.Stats()
	files := printable(s.Path)
	if s.Files > 1 {
		files = fmt.Sprintf("%d files up to %s", s.Files, files)
	}
	out := p.Of(outputRecording)
	lost := t.lost() + s.Lost + out.Missed + out.Unread
	return fmt.Sprintf(
		"recorded %s events, %s, to %s; %s lost; findings: %d",
		humanize.Comma(int64(s.Events)),
		humanize.IBytes(s.Bytes),
		files,
		humanize.Comma(int64(lost)),
		t.findings(),
	)
}

// tally is a sink that counts for the progress line.
type tally struct {
	mu    sync.Mutex
	count uint64
	loss  uint64
	ids   map[string]bool
}

// Write implements pipeline.Sink.
func (t *tally) Write(b *model.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += uint64(len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		switch e.Kind { // for millions of others a view of the wrong kind costs too
		case model.KindLoss:
			if v, _ := b.Loss(e); v.Origin != pipeline.OriginOutput { // that one is of this line alone
				t.loss += v.Lost
			}
		case model.KindFinding:
			if t.ids == nil {
				t.ids = map[string]bool{}
			}
			v, _ := b.FindingEvent(e)
			t.ids[v.ID] = true
		}
	}
	return nil
}

func (t *tally) events() uint64 { t.mu.Lock(); defer t.mu.Unlock(); return t.count }
func (t *tally) lost() uint64   { t.mu.Lock(); defer t.mu.Unlock(); return t.loss }
func (t *tally) findings() int  { t.mu.Lock(); defer t.mu.Unlock(); return len(t.ids) }

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
func showProgress(w io.Writer, r recorder, t *tally) (stop func()) {
	if !isTerminal(w) {
		return func() {}
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	began := time.Now()
	wait.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(w, "\r\x1b[K")
				return
			case <-ticker.C:
				bytes, lost := r.size()
				line := fmt.Sprintf(
					"● recording %s · %s events · %s · %d lost · findings %d · Ctrl-C ends it",
					time.Since(began).
						Round(time.Second),
					humanize.Comma(int64(t.events())),
					humanize.IBytes(bytes),
					lost+t.lost(),
					t.findings(),
				)
				fmt.Fprint(w, "\r\x1b[K", fit(line, columns(w)))
			}
		}
	})
	return func() { close(done); wait.Wait() }
}
