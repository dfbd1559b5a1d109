package run

import (
	"context"
	"time"

	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/report"
	"lostbeat/source"
)

// Observe is Findings that keeps what a report shows of the capture. see is given each batch as it was read; nil for
// nobody.
func Observe(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress, see func(*model.Batch),
) (j Judgement, seen *report.Capture, err error) {
	w := &watcher{collect: report.NewCollector(), see: see}
	if j, err = judge(ctx, c, settings, progress, nil, w); err != nil {
		return j, nil, err
	}
	seen = w.collect.Finish(w.engine.Facts())
	seen.File, seen.Format = c.Path, c.Format.Name
	seen.Start, seen.End = c.Span()
	integrity := c.Integrity()
	seen.Complete, seen.Integrity = integrity.Complete(), IntegrityLine(integrity)
	seen.Unjudged, seen.LeftOut, seen.Notes = j.Unseen, j.LeftOut, j.Notes
	if noter, ok := c.File.(interface{ Notes() []string }); ok {
		seen.Notes = append(seen.Notes, noter.Notes()...)
	}
	seen.Notes = append(seen.Notes, c.Outside()...)
	for _, text := range j.Assumed {
		seen.Notes = append(seen.Notes, "assumed: "+text)
	}
	if j.Slice != "" {
		seen.Notes = append(seen.Notes, j.Slice)
	}
	return j, seen, nil
}

// watcher gives an engine a stream in pieces that are short enough for a collector to see all of it.
type watcher struct {
	engine  *detect.Engine
	collect *report.Collector
	see     func(*model.Batch)
	// begin is when the piece under way begins, last the latest event of it; 0 before any.
	begin, last model.Time
}

// Lengths of pieces.
const (
	pieceLength = model.Time(30 * time.Second)
	// pieceBreak is the time without an event after which all that is known is taken.
	pieceBreak = model.Time(10 * time.Minute)
)

// of says which engine it is, and shows the engine's facts to the collector, where there is one.
func (w *watcher) of(e *detect.Engine) {
	w.engine = e
	if w.collect != nil {
		e.Show(w.collect.History())
	}
}

// apply gives the engine a batch.
func (w *watcher) apply(b *model.Batch, keep detect.Emit) {
	if w.collect == nil {
		w.engine.Apply(b, keep)
		return
	}
	if w.see != nil {
		w.see(b)
	}
	w.collect.Watch(b)
	for first := 0; first < len(b.Events); {
		at := b.Events[first].Time
		if w.begin == 0 || at >= w.begin+pieceLength {
			if w.begin != 0 {
				w.collect.Take(at > w.last+pieceBreak)
			}
			w.begin = at
		}
		n := first
		for n < len(b.Events) && b.Events[n].Time < w.begin+pieceLength {
			w.last = max(w.last, b.Events[n].Time)
			n++
		}
		part := *b
		part.Events = b.Events[first:n]
		h := w.collect.History()
		h.Begin()
		w.engine.Apply(&part, keep)
		h.End()
		first = n
	}
}

// finish ends the engine's stream.
func (w *watcher) finish(keep detect.Emit) {
	if w.collect == nil {
		w.engine.Finish(keep)
		return
	}
	h := w.collect.History()
	h.Begin()
	w.engine.Finish(keep)
	h.End()
	w.collect.Take(true)
}
