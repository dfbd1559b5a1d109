package run

import (
	"context"
	"slices"
	"sort"
	"sync"

	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// judged is a capture with the verdicts of this version's detectors in place of
// those that were recorded with it. The verdicts come from one pass over the
// whole capture (scan), so that a player that jumps into its middle shows the
// same findings as one that has played it from the start.
type judged struct {
	source.Seekable

	mu      sync.Mutex
	updates []pipeline.Verdict // in order of At
	bytes   int                // in updates
	last    model.FindingList
	notes   []model.Note // what readers wrote about the capture
}

// maxUpdates bounds the memory of the states of findings that a player shows as
// it passes them. Without room for more, the last states alone are kept.
const maxUpdates = 24 << 20

// scan runs the detectors over the capture and keeps their verdicts; progress
// is told the event time that has been reached.
func (j *judged) scan(
	ctx context.Context,
	capture *Capture,
	settings detect.Settings,
	progress func(model.Time),
) error {
	engine := detect.New(settings, detect.Options{Memory: capture.Options.Memory})
	keep := func(at model.Time, f model.Finding) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.last.Add(f)
		if j.bytes += f.Size(); j.bytes <= maxUpdates {
			j.updates = append(j.updates, pipeline.Verdict{At: at, Finding: f})
		}
	}
	var of slice
	isDefault := settings.IsDefault()
	err := capture.Run(ctx, func(b *model.Batch) error {
		j.keepNotes(b)
		recorded := of.apply(b)
		if of.is && isDefault {
			for _, v := range recorded {
				keep(v.At, v.Finding)
			}
		} else {
			engine.Apply(b, keep)
		}
		if n := len(b.Events); n > 0 {
			progress(b.Events[n-1].Time)
		}
		return nil
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	if !of.is || !isDefault {
		engine.Finish(keep)
		return nil
	}
	_, end := capture.Span()
	for _, f := range of.findings() {
		keep(end, f)
	}
	return nil
}

// keepNotes notes what readers wrote.
func (j *judged) keepNotes(b *model.Batch) {
	for i := range b.Events {
		if n, ok := b.Note(&b.Events[i]); ok {
			j.mu.Lock()
			j.notes = append(j.notes, n)
			j.mu.Unlock()
		}
	}
}

// findings returns the last state of every finding known so far.
func (j *judged) findings() []model.Finding {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.last.All())
}

// RunFrom implements source.Seekable.
func (j *judged) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	next, first := 0, true
	return j.Seekable.RunFrom(ctx, t, func(b *model.Batch) error {
		if len(b.Events) == 0 {
			return nil
		}
		var held []pipeline.Verdict
		if first {
			first = false
			held, next = j.heldAt(b.Events[0].Time)
		}
		return j.merge(b, &next, held, emit)
	})
}

// Run implements source.Source.
func (j *judged) Run(ctx context.Context, emit source.Emit) error {
	start, _ := j.Span()
	return j.RunFrom(ctx, start, emit)
}

// heldAt returns the findings as they stood just before t, and the index of
// the first verdict after them.
func (j *judged) heldAt(t model.Time) (held []pipeline.Verdict, next int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next = sort.Search(len(j.updates), func(i int) bool { return j.updates[i].At >= t })
	var list model.FindingList
	for _, v := range j.updates[:next] {
		list.Add(v.Finding)
	}
	for _, f := range list.All() {
		held = append(held, pipeline.Verdict{At: t, Finding: f})
	}
	return held, next
}

// merge emits b without recorded findings and with the verdicts that fall into
// it, after those of held, which hold from its start.
func (j *judged) merge(b *model.Batch, next *int, held []pipeline.Verdict, emit source.Emit) error {
	last := b.Events[len(b.Events)-1].Time
	j.mu.Lock()
	due := j.updates[min(*next, len(j.updates)):]
	due = due[:sort.Search(len(due), func(i int) bool { return due[i].At > last })]
	j.mu.Unlock()
	*next += len(due)
	b = withoutFindings(b)
	if b = pipeline.Interleave(b, append(held, due...)); len(b.Events) == 0 {
		return nil
	}
	return emit(b)
}

// withoutFindings returns b without the findings that were recorded with it.
func withoutFindings(b *model.Batch) *model.Batch {
	finding := func(e model.Event) bool { return e.Kind == model.KindFinding }
	if !slices.ContainsFunc(b.Events, finding) {
		return b
	}
	without := *b
	without.Events = slices.DeleteFunc(slices.Clone(b.Events), finding)
	return &without
}
