package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/tui"

	"github.com/spf13/cobra"
)

func newReplay() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		ui       uiFlags
		speed    float64
		at       string
	)
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Open a recording or a Windows capture in the terminal UI",
		Long: `Open a recording or a Windows capture (.etl, .blg, perfmon .csv) in the same UI as a
live session. It needs no privileges and works on every system. Space pauses, the arrow
keys step, [ and ] go to the previous and next finding, g jumps to a time. The files of a
recorder that rotates open as one: give the name that it was given, or their directory.`,
		Example: `  lostbeat replay night.lostbeat
  lostbeat replay night.lostbeat --at 03:12:00 --speed 4
  lostbeat replay capture.etl`,
		Args: fileArgs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			if speed <= 0 {
				return &usageError{"--speed must be above 0", "1 is the speed of the recording, 10 ten times as fast"}
			}
			c, err := openCapture(args[0], files, nil)
			if err != nil {
				return err
			}
			defer c.Close()
			start, end := c.Span()
			from := start
			if at != "" {
				if from, err = parseMoment(at, start, end); err != nil {
					return err
				}
			}
			if err := requireTerminal("without one, use 'lostbeat findings FILE' or 'lostbeat events FILE'"); err != nil {
				return err
			}
			opts := ui.options(fold.NewHistory(nil))
			opts.Source = filepath.Base(args[0])
			return replay(
				cmd.Context(),
				c,
				thresholds,
				opts,
				source.PlayerOptions{Speed: speed, Start: from, LeadIn: leadIn(c), Hold: true},
			)
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	settings.register(cmd)
	ui.register(cmd)
	cmd.Flags().Float64Var(&speed, "speed", 1, "how many seconds of the recording pass in one second")
	cmd.Flags().
		StringVar(&at, "at", "", "start at this `TIME`: 14:03:09 (UTC), RFC 3339, +90s after the start, -90s before the end")
	return cmd
}

// Bounds of the lead-in of a jump: what the screen's history holds, and about
// how many bytes of a file are read in a second.
const (
	longestLeadIn  = fold.HistoryLength
	traceLeadIn    = 128 << 20
	recordedLeadIn = 4 << 20
)

// leadIn is how much of a capture is played at once before a jump's target, so
// that the screen shows there what it would show had it been played so far: as
// much as the screen keeps, or as about a second of reading allows.
func leadIn(c *capture) time.Duration {
	start, end := c.Span()
	size := int64(0)
	files, _ := record.Files(c.path) // without them the lead-in is the longest
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	limit := float64(recordedLeadIn)
	if c.kind == kindETL {
		limit = traceLeadIn
	}
	return time.Duration(min(float64(longestLeadIn), float64(end-start)*limit/float64(max(size, 1))))
}

// replay shows a capture: one pass over all of it finds the verdicts, while a
// player shows the moment that the user asks for.
func replay(
	ctx context.Context,
	c *capture,
	settings detect.Settings,
	opts tui.Options,
	playing source.PlayerOptions,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	state := opts.State
	verdicts := &judged{Seekable: c}
	screen := &jumpingScreen{History: state}
	playing.Moved = screen.mark
	player := source.NewPlayer(verdicts, playing)
	opts.Player = playerControl{player}

	var wait sync.WaitGroup
	var scanErr, playErr error
	wait.Go(func() {
		scanErr = scanCapture(ctx, verdicts, c.path, c.flags, settings, state)
	})
	wait.Go(func() {
		_, playErr = pipeline.Run(ctx, player, pipeline.Options{Outputs: []pipeline.Output{{Name: "screen", Sink: screen}}})
		if playErr != nil && ctx.Err() == nil {
			state.SetFault(playErr)
		}
	})
	wait.Go(func() { watchTerminal(ctx, cancel) })
	err := tui.Run(ctx, opts)
	cancel()
	wait.Wait()
	if errors.Is(playErr, context.Canceled) {
		playErr = nil
	}
	return errors.Join(err, scanErr, playErr)
}

// jumpingScreen is a fold.History that forgets what was before a jump, at the
// jump's place in the stream: events from before it wait in the queue between
// player and screen.
type jumpingScreen struct {
	*fold.History

	mu    sync.Mutex
	marks map[*model.Batch]bool
}

// mark returns the batch that stands for a jump.
func (s *jumpingScreen) mark(to model.Time) *model.Batch {
	var b model.Builder
	b.AddMeta(model.Meta{Time: to, Flags: model.FlagKeyframe, Key: "replay", Value: "jump"})
	mark := b.Take()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil {
		s.marks = make(map[*model.Batch]bool)
	}
	s.marks[mark] = true
	return mark
}

// Write implements pipeline.Sink.
func (s *jumpingScreen) Write(b *model.Batch) error {
	s.mu.Lock()
	jump := s.marks[b]
	delete(s.marks, b)
	s.mu.Unlock()
	if jump {
		s.Reset()
		return nil
	}
	return s.History.Write(b)
}

// scanCapture finds the verdicts of a capture through a reader of its own.
func scanCapture(
	ctx context.Context,
	verdicts *judged,
	path string,
	flags captureFlags,
	settings detect.Settings,
	state *fold.History,
) error {
	c, err := openCapture(path, flags, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	start, end := c.Span()
	err = verdicts.scan(ctx, c, settings, func(at model.Time) {
		state.SetProgress(int64(at-start), int64(end-start))
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		state.SetFault(fmt.Errorf("look for findings: %w", err))
		return err
	}
	state.SetFindings(verdicts.findings())
	return nil
}

// playerControl is a source.Player as the UI wants it.
type playerControl struct{ *source.Player }

func (p playerControl) Paused() bool   { return p.State().Paused }
func (p playerControl) Speed() float64 { return p.State().Speed }

// Step moves by d, then stands still.
func (p playerControl) Step(d time.Duration) {
	p.Pause()
	p.Player.Step(d)
}

func (p playerControl) Span() (start, end model.Time) {
	s := p.State()
	return s.Start, s.End
}
