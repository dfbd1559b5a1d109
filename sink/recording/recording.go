// Package recording writes the stream to recordings: all of it, or the time
// around each finding.
package recording

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/record"
)

// Recorder is a sink that ends in files.
type Recorder interface {
	// Write implements pipeline.Sink.
	Write(*model.Batch) error
	// Close ends the file, CloseWithin in a time of its own: see record.Writer.
	Close() error
	CloseWithin(time.Duration) error
	// Stats are those of the files. They do not wait for the disk.
	Stats() record.Stats
}

// Keeper is a Recorder that writes the time around now when it is asked to.
type Keeper interface {
	// Keep may be called from any goroutine, and waits for the disk. why is said. Before the first event, while the probes
	// are attached, it is remembered.
	Keep(why string)
}

// Locator is a Recorder with files that each hold the time around some of the findings.
type Locator interface {
	// Locate returns the file with the latest time around a finding, empty for none. It waits until the recorder has come
	// to the finding, but no longer than until the deadline, or until hurry is closed.
	Locate(f *model.Finding, deadline time.Time, hurry <-chan struct{}) string
}

// New begins a recording of everything.
func New(path string, o record.Options) (Recorder, error) {
	w, err := record.Create(path, o)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// flight keeps the last minutes and writes the time around each finding to a file.
type flight struct {
	*record.Flight
	window time.Duration
	seen   map[string]bool
	// open are the findings that hold.
	open map[string]bool
	// failing says that the last finding could not be recorded.
	failing bool
	log     func(line string)
	// quiet says that somebody else says where findings are recorded.
	quiet  bool
	places places
	// last is the time of the newest event, asked why Keep was called before any.
	last  atomic.Int64
	asked atomic.Pointer[string]
}

// NewFlight returns a recorder that keeps the window and writes it, and what follows, to a file when a finding of
// weight arises. log is told of each, of what an earlier recorder has left behind, and of the ring; it must not block.
// quiet leaves out where a finding is recorded, for a caller who says that with Locate.
func NewFlight(path string, o record.FlightOptions, log func(line string), quiet bool) (Recorder, error) {
	if o.MaxSize > 0 || o.RotateSize > 0 || o.RotateEvery > 0 {
		return nil, hint.New(
			"--flight writes a file to each finding: --max-size, --rotate-size and --rotate-every do not apply",
			"bound its files with --total-cap",
		)
	}
	say := func(line string) { log(plain.Text(line)) }
	o.Say = say
	f, err := record.NewFlight(path, o)
	if err != nil {
		return nil, err
	}
	if found := f.Recovered(); found != nil {
		say(recovered(found))
	}
	if err := f.RingError(); err != nil {
		say(fmt.Sprintf("%v: the last %s are kept in memory, %s at most, and are lost if this process or the host ends",
			err, plain.Span(o.Window), plain.Quantity(float64(f.MemoryLimit()>>10), "KiB")))
		if text := hint.Of(err); text != "" {
			say("hint: " + text)
		}
	}
	return &flight{
		Flight: f, window: o.Window, seen: map[string]bool{}, open: map[string]bool{}, log: say, quiet: quiet,
		places: places{of: map[string]place{}, changed: make(chan struct{})},
	}, nil
}

// Write implements pipeline.Sink: a new finding, and every update of one that
// is still going on, asks for the time around it. While one holds, or a detector
// looks closer, the ring is synced often.
func (r *flight) Write(b *model.Batch) error {
	if err := r.Flight.Write(b); err != nil {
		return err
	}
	suspicious := false
	for i := range b.Events {
		e := &b.Events[i]
		r.last.Store(max(r.last.Load(), int64(e.Time)))
		if v, ok := b.RequestEvent(e); ok {
			suspicious = suspicious || v.Finding != "" && v.State <= model.RequestOn
		}
		v, ok := b.Finding(e)
		if !ok || v.Severity < model.SeverityWarning {
			continue
		}
		if delete(r.open, v.ID); v.Ongoing {
			r.open[v.ID] = true
		} else if r.seen[v.ID] {
			r.places.put(&v, "")
			continue
		}
		suspicious = true
		r.trigger(e.Time, &v)
		r.seen[v.ID] = true
	}
	if r.last.Load() != 0 {
		if why := r.asked.Swap(nil); why != nil {
			r.Keep(*why)
		}
	}
	if suspicious || len(r.open) > 0 {
		r.Suspect()
	}
	return nil
}

// trigger asks for the time around a moment of a finding.
func (r *flight) trigger(at model.Time, f *model.Finding) {
	err := r.Trigger(at, r.window)
	failed := err != nil
	switch first := !r.seen[f.ID]; {
	case first && !failed && r.quiet:
	case first, failed != r.failing:
		r.say(f.Title, err)
	}
	if r.failing = failed; !failed {
		r.places.put(f, r.Stats().Path)
	} else {
		r.places.put(f, "")
	}
}

// say logs what has become of a moment that was asked for.
func (r *flight) say(why string, err error) {
	if err != nil {
		r.log(fmt.Sprintf("%s: it cannot be recorded now: %v", why, err))
		return
	}
	r.log(fmt.Sprintf("%s: recording it to %s", why, r.Stats().Path))
}

// Keep asks for the time around now, which somebody else has a reason for.
func (r *flight) Keep(why string) {
	if r.last.Load() == 0 {
		r.log(why + ": it will be recorded once the probes are attached")
		r.asked.Store(&why)
		if r.last.Load() == 0 || !r.asked.CompareAndSwap(&why, nil) {
			return // Write does it, or has done it
		}
	}
	r.Suspect()
	r.say(why, r.Trigger(model.Time(r.last.Load()), r.window))
}

// Locate implements Locator.
func (r *flight) Locate(f *model.Finding, deadline time.Time, hurry <-chan struct{}) string {
	if f.Severity < model.SeverityWarning {
		return "" // never recorded
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	for {
		path, known, changed := r.places.get(f)
		if known {
			return path
		}
		select {
		case <-changed:
		case <-hurry:
			return path
		case <-late.C:
			return path
		}
	}
}

// places are the files with findings. A recording with pseudonyms has other IDs than those who ask: detector and start
// are the same, and findings of one detector that start together are in one file.
type places struct {
	mu sync.Mutex
	of map[string]place
	// changed is closed with the next change.
	changed chan struct{}
}

// place is where a finding is recorded, and its end when that was known.
type place struct {
	path string
	end  model.Time
}

func placeKey(f *model.Finding) string { return fmt.Sprintf("%s/%d", f.Detector, f.Start) }

// put notes where a version of a finding is; an empty path leaves what is known.
func (p *places) put(f *model.Finding, path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := placeKey(f)
	old := p.of[key]
	if path == "" {
		path = old.path
	}
	p.of[key] = place{path, max(old.end, f.End)}
	close(p.changed)
	p.changed = make(chan struct{})
}

// get returns where a finding is; known says that this version of it, or a later one, was seen.
func (p *places) get(f *model.Finding) (path string, known bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.of[placeKey(f)]
	return at.path, ok && at.end >= f.End, p.changed
}
