package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/sink/screen"
	"lostbeat/source"
	"lostbeat/tui"
)

// Replay shows a capture in the terminal UI.
type Replay struct {
	// Capture is shown. Its file is opened a second time, to look for findings.
	Capture *Capture
	// Settings are what it is judged by.
	Settings detect.Settings
	// UI are the options of the screen; Run adds what to show.
	UI tui.Options
	// Start is where to begin, Speed how many seconds pass in one.
	Start model.Time
	Speed float64
}

// Run shows the capture until the user leaves it: one pass over all of it finds
// the verdicts, while a player shows the moment that the user asks for.
func (r Replay) Run(ctx context.Context) error {
	state := fold.NewHistory()
	verdicts := &judged{Seekable: r.Capture}
	shown := &screen.Jumping{History: state}
	said(state, r.Capture)
	player := source.NewPlayer(verdicts, source.PlayerOptions{
		Speed: r.Speed, Start: r.Start, LeadIn: leadIn(r.Capture), Hold: true, Moved: shown.Mark,
	})
	opts := r.UI
	opts.State, opts.Player = state, playerControl{player}
	if path := r.notebook(); path != "" {
		opts.Note = func(n model.Note) error {
			if err := record.AppendNotes(path, []model.Note{n}); err != nil {
				return err
			}
			state.AddNotes(n)
			return nil
		}
	}

	ctx, all := begin(ctx)
	all.run("the search for findings", func() error {
		err := r.scan(ctx, verdicts, state)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			state.SetFault(err)
		}
		return err
	})
	all.run("the player", func() error {
		_, err := pipeline.Run(ctx, player, pipeline.Options{Outputs: []pipeline.Output{{Name: "screen", Sink: shown}}})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			state.SetFault(err)
		}
		return err
	})
	all.run("the terminal check", func() error { watchTerminal(ctx, all.stop); return nil })
	all.call("the screen", func() error { return tui.Run(ctx, opts) })
	return all.end()
}

// notebook is the file that takes notes about what is shown: a recording of a single file; empty for none.
func (r Replay) notebook() string {
	if len(r.Capture.Paths) != 1 || r.Capture.Format.Name != record.Recordings().Name {
		return ""
	}
	files, _ := record.Files(r.Capture.Paths[0]) // it is open: what cannot be listed now has no place for notes
	if len(files) != 1 {
		return ""
	}
	return files[0]
}

// scan finds the verdicts of a capture through a reader of its own.
func (r Replay) scan(ctx context.Context, verdicts *judged, state *fold.History) error {
	c, err := OpenAll(r.Capture.Paths, r.Capture.Options)
	if err != nil {
		return err
	}
	defer c.Close()
	start, end := c.Span()
	err = verdicts.scan(ctx, c, r.Settings, func(at model.Time) {
		state.SetProgress(int64(at-start), int64(end-start))
	})
	if err != nil {
		return fmt.Errorf("look for findings: %w", err)
	}
	state.AddNotes(verdicts.notes...)
	state.SetFindings(verdicts.findings())
	said(state, c)
	return nil
}

// said puts on the screen what of a capture is damaged or missing.
func said(state *fold.History, c *Capture) {
	if i := c.Integrity(); !i.Complete() {
		state.SetIncomplete(IntegrityLine(i))
	}
}

// leadIn is how much of a capture is played at once before a jump's target, so
// that the screen shows there what it would show had it been played so far: as
// much as the screen keeps, or as about a second of reading allows.
func leadIn(c *Capture) time.Duration {
	start, end := c.Span()
	size := int64(0)
	files, _ := record.Files(c.Path) // without them the lead-in is the longest
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	share := float64(c.Format.BytesPerSecond) / float64(max(size, 1))
	return time.Duration(min(float64(fold.HistoryLength), float64(end-start)*share))
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
