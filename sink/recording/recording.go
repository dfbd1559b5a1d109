// Package recording writes the stream to recordings: all of it, or the time
// around each finding.
package recording

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/redact"
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

// New begins a recording of everything. names gives pseudonyms, nil for none.
func New(path string, o record.Options, names *redact.Shared) (Recorder, error) {
	w, err := record.Create(path, o)
	if err != nil {
		return nil, err
	}
	if names != nil {
		return redacted{w, names}, nil
	}
	return w, nil
}

// redacted is a Recorder that is given pseudonyms.
type redacted struct {
	Recorder
	names *redact.Shared
}

// Write implements pipeline.Sink.
func (r redacted) Write(b *model.Batch) error { return r.Recorder.Write(r.names.Batch(b)) }

// Options are those of a flight recorder.
type Options struct {
	record.FlightOptions
	// Redact gives pseudonyms to what is recorded, nil for none.
	Redact *redact.Shared
	// Log is told of each finding that is recorded, of what an earlier recorder has left behind, and of the ring; it must
	// not block.
	Log func(line string)
	// Quiet leaves out where a finding is recorded, for a caller who says that with Locate.
	Quiet bool
}

// flight keeps the last minutes and writes the time around each finding to a file.
type flight struct {
	*record.Flight
	window time.Duration
	names  *redact.Shared
	// open are the findings that have not ended.
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
// warning or worse arises.
func NewFlight(path string, o Options) (Recorder, error) {
	if o.MaxSize > 0 || o.RotateSize > 0 || o.RotateEvery > 0 {
		return nil, hint.New(
			"--flight writes a file to each finding: --max-size, --rotate-size and --rotate-every do not apply",
			"bound its files with --total-cap",
		)
	}
	say := func(line string) { o.Log(plain.Text(line)) }
	o.Say = say
	f, err := record.NewFlight(path, o.FlightOptions)
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
		Flight: f, window: o.Window, names: o.Redact, open: map[string]bool{}, log: say, quiet: o.Quiet,
		places: places{of: map[string]place{}, changed: make(chan struct{})},
	}, nil
}

// Write implements pipeline.Sink: a new finding, and every update of one that
// is still going on, asks for the time around it. While one holds, or a detector
// looks closer, the ring is synced often.
func (r *flight) Write(b *model.Batch) error {
	recorded := b
	if r.names != nil {
		recorded = r.names.Batch(b)
	}
	if err := r.Flight.Write(recorded); err != nil {
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
		} else if r.places.has(v.ID) {
			r.places.put(&v, "")
			continue
		}
		suspicious = true
		r.trigger(e.Time, &v)
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
	switch first := !r.places.has(f.ID); {
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

// mostEnded is how many findings are remembered after their end. The journal asks for one within seconds.
const mostEnded = 1024

// places are the files with findings, by the finding's identity.
type places struct {
	mu sync.Mutex
	of map[string]place
	// ended are the findings that have ended, the one that ended first in front.
	ended []string
	// changed is closed with the next change.
	changed chan struct{}
}

// place is where a finding is recorded, and its end when that was known.
type place struct {
	path  string
	end   model.Time
	ended bool
}

// has says whether a version of the finding was seen.
func (p *places) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.of[id]
	return ok
}

// put notes where a version of a finding is; an empty path leaves what is known.
func (p *places) put(f *model.Finding, path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.of[f.ID]
	if path == "" {
		path = old.path
	}
	p.of[f.ID] = place{path, max(old.end, f.End), !f.Ongoing}
	switch {
	case f.Ongoing && old.ended:
		p.ended = slices.DeleteFunc(p.ended, func(id string) bool { return id == f.ID })
	case !f.Ongoing && !old.ended:
		p.ended = append(p.ended, f.ID)
	}
	if len(p.ended) > mostEnded {
		delete(p.of, p.ended[0])
		p.ended = p.ended[1:]
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// get returns where a finding is; known says that this version of it, or a later one, was seen.
func (p *places) get(f *model.Finding) (path string, known bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.of[f.ID]
	return at.path, ok && at.end >= f.End, p.changed
}
