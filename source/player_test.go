package source

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lostbeat/model"
)

// tape is a recording of one event each second, ten to a block.
type tape struct{ seconds int }

func (r tape) Span() (start, end model.Time) { return ms(1000), ms(1000 * r.seconds) }

func (r tape) Run(ctx context.Context, emit Emit) error { return r.RunFrom(ctx, 0, emit) }

func (r tape) RunFrom(ctx context.Context, t model.Time, emit Emit) error {
	first := max(0, (int(t/ms(1000))-1)/10*10)
	for block := first; block < r.seconds; block += 10 {
		var times []model.Time
		for s := block + 1; s <= min(block+10, r.seconds); s++ {
			times = append(times, ms(1000*s))
		}
		if err := emit(at(0, times...)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// play runs p and records at which second of the clock each event came out.
func play(t *testing.T, p *Player) (result func() (seconds, when []int)) {
	var seconds, when []int
	start := time.Now()
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- p.Run(ctx, func(b *model.Batch) error {
			for i := range b.Events {
				seconds = append(seconds, int(b.Events[i].Time/ms(1000)))
				when = append(when, int(time.Since(start).Round(100*time.Millisecond)/(100*time.Millisecond)))
			}
			return nil
		})
	}()
	return func() ([]int, []int) {
		synctest.Wait()
		if !p.opts.Hold {
			if err := <-done; err != nil {
				t.Error(err)
			}
			cancel()
			return seconds, when
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return seconds, when
	}
}

func TestPlayerPace(t *testing.T) {
	for _, c := range []struct {
		speed float64
		want  []int // tenths of seconds at which the events 1 to 4 come out
	}{{1, []int{0, 10, 20, 30}}, {2, []int{0, 5, 10, 15}}, {0.5, []int{0, 20, 40, 60}}, {math.Inf(1), []int{0, 0, 0, 0}}} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPlayer(tape{4}, PlayerOptions{Speed: c.speed})
			seconds, when := play(t, p)()
			if !slices.Equal(seconds, []int{1, 2, 3, 4}) || !slices.Equal(when, c.want) {
				t.Errorf("speed %v: events %v at %v, want %v", c.speed, seconds, when, c.want)
			}
			if s := p.State(); !s.Ended || s.Position != ms(4000) {
				t.Errorf("state %+v", s)
			}
		})
	}
}

func TestPlayerPauseSpeedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlayer(tape{40}, PlayerOptions{Hold: true})
		result := play(t, p)
		time.Sleep(2500 * time.Millisecond) // events 1, 2, 3
		p.Pause()
		if got := p.Position(); got != ms(3500) {
			t.Errorf("position %v", got)
		}
		time.Sleep(time.Hour)
		p.Step(time.Second) // event 4
		synctest.Wait()
		if got := p.Position(); got != ms(4500) {
			t.Errorf("position after a step %v", got)
		}
		p.SetSpeed(10)
		p.SetSpeed(-1)
		p.Resume() // position 4.5 s, 0.55 s of clock bring it to 10 s
		time.Sleep(600 * time.Millisecond)
		p.Pause()
		seconds, _ := result()
		if !slices.Equal(seconds, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) {
			t.Errorf("events %v", seconds)
		}
	})
}

func TestPlayerSeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var moves []model.Time
		p := NewPlayer(
			tape{40},
			PlayerOptions{
				Hold:   true,
				Paused: true,
				Start:  ms(3000),
				Moved:  func(to model.Time) *model.Batch { moves = append(moves, to); return nil },
			},
		)
		result := play(t, p)
		synctest.Wait() // 1, 2, 3
		p.Seek(ms(23500))
		if p.Position() != ms(23500) {
			t.Errorf("position %v", p.Position())
		}
		synctest.Wait()          // 21, 22, 23
		p.Step(-4 * time.Second) // to 19.5: 11 to 19
		synctest.Wait()
		p.Seek(ms(1_000_000)) // the end: 31 to 40
		synctest.Wait()
		if s := p.State(); !s.Ended || !s.Paused || s.Position != ms(40000) {
			t.Errorf("state %+v", s)
		}
		p.Seek(ms(0)) // the start: 1
		synctest.Wait()
		if s := p.State(); s.Ended || s.Position != ms(1000) {
			t.Errorf("state %+v", s)
		}
		seconds, _ := result()
		want := []int{1, 2, 3, 21, 22, 23, 11, 12, 13, 14, 15, 16, 17, 18, 19, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 1}
		if !slices.Equal(seconds, want) {
			t.Errorf("events %v", seconds)
		}
		if !slices.Equal(moves, []model.Time{ms(23500), ms(19500), ms(40000), ms(1000)}) {
			t.Errorf("moves %v", moves)
		}
	})
}

func TestPlayerLeadIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlayer(tape{40}, PlayerOptions{Hold: true, Paused: true, Start: ms(15000), LeadIn: 10 * time.Second})
		result := play(t, p)
		synctest.Wait() // 1 to 15: the block in which second 5 lies begins with 1
		p.Seek(ms(32000))
		synctest.Wait() // 21 to 32
		p.Seek(ms(3000))
		synctest.Wait() // 1 to 3
		if got := p.Position(); got != ms(3000) {
			t.Errorf("position %v", got)
		}
		seconds, when := result()
		var want []int
		for _, part := range [][2]int{{1, 15}, {21, 32}, {1, 3}} {
			for s := part[0]; s <= part[1]; s++ {
				want = append(want, s)
			}
		}
		if !slices.Equal(seconds, want) || slices.Max(when) != 0 {
			t.Errorf("events %v at %v, want %v", seconds, when, want)
		}
	})
}

func TestPlayerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		if err := NewPlayer(tape{4}, PlayerOptions{}).Run(t.Context(), func(*model.Batch) error { return gone }); !errors.Is(
			err,
			gone,
		) {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		n := 0
		if err := NewPlayer(tape{400}, PlayerOptions{}).Run(
			ctx, func(b *model.Batch) error { n += len(b.Events); return nil },
		); err != nil ||
			n != 2 {
			t.Errorf("stopped on request with %v after %d events", err, n)
		}
	})
}

// at makes a batch of softnet events, marked with their source, at the given times.
func at(source int32, times ...model.Time) *model.Batch {
	var b model.Builder
	for _, t := range times {
		b.AddCounter(model.Counter{Time: t, CPU: source, Name: fmt.Sprint("source ", source)})
	}
	return b.Take()
}

// ms returns a time in milliseconds.
func ms(n int) model.Time { return model.Time(n) * model.Time(time.Millisecond) }
