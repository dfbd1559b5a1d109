package screen

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/source"
)

// recording writes 150 seconds of a host.
func recording(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "long.lostbeat")
	w, err := record.Create(path, record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	for range 150 {
		var b model.Builder
		for cpu := range int32(40) {
			b.AddCPUTime(model.CPUTime{Time: at, Dur: time.Second, CPU: cpu, Idle: time.Second})
		}
		if err := w.Write(b.Take()); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJumpDropsWhatIsQueued jumps back while events of the old place wait
// between player and screen: none of them may be shown at the new one.
func TestJumpDropsWhatIsQueued(t *testing.T) {
	c, err := record.Open(recording(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start, end := c.Span()
	screen := &Jumping{History: fold.NewHistory()}
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
				return screen.Mark(to)
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
