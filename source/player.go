package source

import (
	"context"
	"errors"
	"math"
	"sort"
	"sync"
	"time"

	"lostbeat/model"
)

// A Player looks for events that have fallen due this often: smooth to the eye,
// and batches rather than single events for the receiver.
const (
	minTick = 20 * time.Millisecond
	maxTick = 50 * time.Millisecond
)

// errMoved ends a pass over the recording because another begins elsewhere.
var errMoved = errors.New("the player moves to another time")

// PlayerOptions configures a Player. Its zero value plays at the speed of the
// recording and ends with it.
type PlayerOptions struct {
	// Speed is how many seconds of the recording pass in one second; 0 means 1,
	// math.Inf(1) as fast as the receiver takes it.
	Speed float64
	// Paused says that the player waits at the start.
	Paused bool
	// Start is where to begin; 0 is the start of the recording.
	Start model.Time
	// LeadIn is how much of the recording before a jump's target, and before
	// Start, is handed on at once: what led to the moment that is shown.
	LeadIn time.Duration
	// Hold says that Run waits for commands at the end of the recording
	// instead of returning.
	Hold bool
	// Moved returns a batch that is handed on before the first one that follows
	// a jump, nil for none. Whoever keeps state has to drop it there, and not
	// before: what was handed on earlier may still be under way.
	Moved func(to model.Time) *model.Batch
}

// Player plays a recording at a chosen speed. It is a Source; its other
// methods control it and may be called from any goroutine, before and during Run.
type Player struct {
	src  Seekable
	opts PlayerOptions

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each command
	speed   float64
	paused  bool
	// position is the moment of the recording that was reached at time since.
	position model.Time
	since    time.Time
	// target is where to go next, moving says that it is set.
	target model.Time
	moving bool
	// fast is the moment up to which events go out without being paced.
	fast       model.Time
	start, end model.Time
	ended      bool
}

// PlayerState is what a Player is doing.
type PlayerState struct {
	// Position is the moment of the recording that has been reached.
	Position model.Time
	// Start and End are the bounds of the recording.
	Start, End model.Time
	// Speed is as in PlayerOptions.
	Speed float64
	// Paused says that the position stands still on request, Ended that the end was reached.
	Paused, Ended bool
}

// NewPlayer returns a player of src.
func NewPlayer(src Seekable, opts PlayerOptions) *Player {
	p := &Player{src: src, opts: opts, changed: make(chan struct{}), speed: 1, paused: opts.Paused}
	p.start, p.end = src.Span()
	if opts.Speed > 0 {
		p.speed = opts.Speed
	}
	p.position = p.start
	if opts.Start != 0 {
		p.position = p.clamp(opts.Start)
	}
	p.fast = p.position
	return p
}

func (p *Player) clamp(t model.Time) model.Time { return min(max(t, p.start), p.end) }

// leadIn returns where to begin in order to show t.
func (p *Player) leadIn(t model.Time) model.Time { return max(t.Add(-p.opts.LeadIn), p.start) }

// Run implements Source.
func (p *Player) Run(ctx context.Context, emit Emit) error {
	p.mu.Lock()
	p.since = time.Now()
	from := p.leadIn(p.position)
	p.mu.Unlock()
	for {
		err := p.src.RunFrom(ctx, from, func(b *model.Batch) error { return p.pace(ctx, b, emit) })
		if err == nil {
			err = p.atEnd(ctx)
		}
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())):
			return nil
		case !errors.Is(err, errMoved):
			return err
		}
		p.mu.Lock()
		to := p.target
		from = p.leadIn(to)
		p.position, p.fast, p.since, p.moving, p.ended = to, to, time.Now(), false, false
		p.mu.Unlock()
		if p.opts.Moved == nil {
			continue
		}
		if mark := p.opts.Moved(to); mark != nil {
			if err := emit(mark); err != nil {
				return err
			}
		}
	}
}

// after returns the index of the first event later than t.
func after(events []model.Event, t model.Time) int {
	return sort.Search(len(events), func(i int) bool { return events[i].Time > t })
}

// pace hands on b as its events fall due.
func (p *Player) pace(ctx context.Context, b *model.Batch, emit Emit) error {
	events := b.Events
	for len(events) > 0 {
		due, wait, changed, err := p.due(events[0].Time, events[len(events)-1].Time)
		if err != nil {
			return err
		}
		if n := after(events, due); n > 0 {
			part := *b
			part.Events = events[:n]
			events = events[n:]
			if err := emit(&part); err != nil {
				return err
			}
			continue
		}
		if err := sleep(ctx, wait, changed); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// due returns up to which moment events may go out now, of those from next to
// last; when that is before next, also how long to wait, negative for until
// something changes.
func (p *Player) due(next, last model.Time) (due model.Time, wait time.Duration, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moving {
		return 0, 0, nil, errMoved
	}
	p.settle(time.Now())
	due = max(p.position, p.fast)
	switch {
	case next <= due:
	case p.paused:
		wait = -1
	case math.IsInf(p.speed, 1):
		p.position = p.clamp(max(p.position, last))
		due = max(due, last)
	default:
		wait = min(maxTick, max(minTick, time.Duration(float64(next-due)/p.speed)))
	}
	return due, wait, p.changed, nil
}

// settle moves the position to where it is at time now.
func (p *Player) settle(now time.Time) {
	if !p.paused && !p.since.IsZero() && !math.IsInf(p.speed, 1) {
		passed := float64(now.Sub(p.since)) * p.speed
		p.position = p.clamp(p.position + model.Time(min(passed, float64(p.end-p.position))))
	}
	if !p.since.IsZero() {
		p.since = now
	}
}

// atEnd waits, when asked to, until a command leads back into the recording.
func (p *Player) atEnd(ctx context.Context) error {
	for {
		p.mu.Lock()
		p.settle(time.Now())
		moving, changed := p.moving, p.changed
		if !moving {
			p.position, p.ended = p.end, true
		}
		p.mu.Unlock()
		switch {
		case moving:
			return errMoved
		case !p.opts.Hold:
			return nil
		}
		if err := sleep(ctx, -1, changed); err != nil {
			return err
		}
	}
}

// sleep waits for d, without end when d is negative, or until changed is closed.
func sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	var expired <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-expired:
	}
	return nil
}

// command changes the player's state under its lock.
func (p *Player) command(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(time.Now())
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Pause stops at the present position.
func (p *Player) Pause() { p.command(func() { p.paused = true }) }

// Resume goes on from the present position.
func (p *Player) Resume() { p.command(func() { p.paused = false }) }

// SetSpeed sets how many seconds of the recording pass in one second;
// math.Inf(1) is as fast as the receiver takes it. Speeds of 0 and below, which
// have no meaning, are ignored.
func (p *Player) SetSpeed(speed float64) {
	if speed > 0 {
		p.command(func() { p.speed = speed })
	}
}

// Seek jumps to time t, or to the nearest end of the recording. What held
// before it, and the events of the lead-in and of the block in which that
// begins, up to t, are handed on at once.
func (p *Player) Seek(t model.Time) {
	p.command(func() {
		p.target = p.clamp(t)
		p.moving = true
	})
}

// Step moves the position by d of the recording's time, whether paused or not;
// backwards it is a jump.
func (p *Player) Step(d time.Duration) {
	p.command(func() {
		from := p.position
		if p.moving {
			from = p.target
		}
		to := p.clamp(from.Add(d))
		switch {
		case d < 0 || p.moving:
			p.target, p.moving = to, true
		default:
			p.position = to
		}
	})
}

// Position returns the moment of the recording that has been reached.
func (p *Player) Position() model.Time { return p.State().Position }

// State returns what the player is doing.
func (p *Player) State() PlayerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(time.Now())
	s := PlayerState{Position: p.position, Start: p.start, End: p.end, Speed: p.speed, Paused: p.paused, Ended: p.ended}
	if p.moving {
		s.Position = p.target
	}
	return s
}
