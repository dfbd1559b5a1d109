package main

import (
	"context"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// TestJumpDropsWhatIsQueued jumps back while events of the old place wait
// between player and screen: none of them may be shown at the new one.
func TestJumpDropsWhatIsQueued(t *testing.T) {
	c, err := openCapture(longRecording(t), captureFlags{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start, end := c.Span()
	screen := &jumpingScreen{History: fold.NewHistory(nil)}
	moved := make(chan struct{})
	player := source.NewPlayer(
		c,
		source.PlayerOptions{
			Start:  end,
			LeadIn: time.Minute,
			Hold:   true,
			Paused: true,
			Moved: func(to model.Time) *model.Batch {
				defer close(moved)
				return screen.mark(to)
			},
		},
	)
	to := start.Add(20 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	jumped, back := false, false
	slow := slowSink(func(b *model.Batch) error {
		if !jumped {
			jumped = true
			for !player.State().Ended { // then all others are in the queue
				time.Sleep(time.Millisecond)
			}
			player.Seek(to)
			<-moved
		}
		if err := screen.Write(b); err != nil {
			return err
		}
		if b.Events[len(b.Events)-1].Time <= to && back { // all of the new place has come
			cancel()
		}
		back = back || b.Events[0].Flags&model.FlagKeyframe != 0 && b.Events[0].Time == to
		return nil
	})
	if _, err := pipeline.Run(
		ctx, player, pipeline.Options{Outputs: []pipeline.Output{{Name: "screen", Sink: slow, Essential: true}}},
	); err != nil &&
		ctx.Err() == nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // a snapshot is at most 100 ms old
	if got := screen.Snapshot().Now; got == 0 || got > to {
		t.Errorf("shown up to %v after a jump to %v", got, to)
	}
}

type slowSink func(*model.Batch) error

func (f slowSink) Write(b *model.Batch) error { return f(b) }
