package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/internal/hint"
	"lostbeat/internal/redact"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/source"
)

// Cut is a slice of what was captured of a host.
type Cut struct {
	// Captures are what it is cut from: one, or several of one host, which are laid on one time line.
	Captures []*Capture
	// Names are what the user calls them.
	Names []string
	// Settings are what the whole is judged by.
	Settings detect.Settings
	// Since and Until bound the slice; both moments are part of it.
	Since, Until model.Time
	// Redact replaces names in all that is written, nil for none.
	Redact *redact.Redactor
	// Progress is told how far the first capture was read, nil for nobody.
	Progress source.Progress
}

// CutDone is what has become of a slice.
type CutDone struct {
	record.Stats
	// Findings are those of the whole that fall into the slice, Earlier how many of them began before it.
	Findings []model.Finding
	Earlier  int
}

// SpanOf returns the times of the first and the last event of all captures.
func SpanOf(captures []*Capture) (start, end model.Time) {
	for i, c := range captures {
		s, e := c.Span()
		if i == 0 || s < start {
			start = s
		}
		end = max(end, e)
	}
	return start, end
}

// JudgeTogether judges captures of one host, and the logs among them by all counters.
func JudgeTogether(
	ctx context.Context, captures []*Capture, settings detect.Settings, progress source.Progress,
) ([]model.Finding, error) {
	var all []Judgement
	for _, c := range captures {
		j, err := Findings(ctx, c, settings, progress)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		all = append(all, j)
	}
	return together(captures, all, settings), nil
}

// together returns the findings of captures that were judged.
func together(captures []*Capture, all []Judgement, settings detect.Settings) (found []model.Finding) {
	logs := slices.ContainsFunc(captures, func(c *Capture) bool { return c.Format.Name == LogFormat })
	joined := logs && len(captures) > 1
	for i := range all {
		if joined {
			all[i].LeaveLogs()
		}
		found = append(found, all[i].Findings...)
	}
	if joined {
		found = append(found, Together(all, settings)...)
	}
	return found
}

// Write writes the slice to a recording at path. The captures are read to their ends: the verdicts are those of the
// whole. An error leaves no file.
func (c Cut) Write(ctx context.Context, path string, o record.Options) (done CutDone, err error) {
	var streams []*cutStream
	defer func() {
		for _, s := range streams {
			s.stop()
		}
	}()
	for i, capture := range c.Captures {
		var progress source.Progress
		if i == 0 {
			progress = c.Progress
		}
		s := newCutStream(ctx, capture, c.Settings, progress)
		streams = append(streams, s)
		if s.advance(); s.err != nil {
			return done, s.err
		}
	}
	if err := oneHost(streams); err != nil {
		return done, err
	}
	w, err := record.Create(path, o)
	if err != nil {
		return done, err
	}
	out := &cutWriter{Cut: c, to: w, several: len(streams) > 1}
	for range streams {
		out.before = append(out.before, &history{state: state.New(), lasting: map[lastingKey]*model.Batch{}})
	}
	if err = out.copy(streams); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		done.Findings, done.Earlier, err = out.end(streams)
	}
	err = errors.Join(err, w.Close())
	done.Stats = w.Stats()
	if err == nil {
		err = done.Fault
	}
	if err != nil {
		return done, errors.Join(err, os.Remove(path))
	}
	return done, nil
}

// oneHost refuses streams of several hosts.
func oneHost(streams []*cutStream) error {
	host := ""
	for _, s := range streams {
		if s.host == "" || s.capture.Format.Name == LogFormat {
			continue
		}
		if host != "" && s.host != host {
			return hint.New(fmt.Sprintf("the files are of several hosts: %s and %s", host, s.host),
				"a recording is of one host: cut each of them by itself")
		}
		host = s.host
	}
	return nil
}

// cutPiece is a batch with what was concluded from it, as derived events.
type cutPiece struct {
	batch     *model.Batch
	concluded []pipeline.Verdict
}

// cutStream is a capture that is read and judged piece by piece.
type cutStream struct {
	capture *Capture
	next    func() (cutPiece, bool)
	stop    func()
	// now is the piece that is next, nil at the end; host is what the first said.
	now  *model.Batch
	host string
	// judged and err are set at the end.
	judged Judgement
	err    error
}

func newCutStream(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress,
) *cutStream {
	s := &cutStream{capture: c}
	s.next, s.stop = iter.Pull(func(yield func(cutPiece) bool) {
		s.judged, s.err = judge(ctx, c, settings, progress, func(b *model.Batch, concluded []pipeline.Verdict) error {
			if !yield(cutPiece{b, concluded}) {
				return errStopped
			}
			return nil
		}, nil)
		if errors.Is(s.err, errStopped) {
			s.err = nil
		} else if s.err != nil {
			s.err = fmt.Errorf("%s: %w", c.Path, s.err)
		}
	})
	return s
}

// errStopped ends the reading of a capture that is not needed any more.
var errStopped = errors.New("stopped")

// advance takes the next piece.
func (s *cutStream) advance() {
	for s.now = nil; s.now == nil; {
		p, ok := s.next()
		if !ok {
			return
		}
		if s.host == "" {
			for i := range p.batch.Events {
				if m, ok := p.batch.Meta(&p.batch.Events[i]); ok && m.Key == "host" {
					s.host = m.Value
				}
			}
		}
		if b := pipeline.Interleave(withoutFindings(p.batch), p.concluded); len(b.Events) > 0 {
			s.now = b
		}
	}
}

// lastingKey identifies what an event says that holds until another one says something else.
type lastingKey struct {
	kind     model.Kind
	resource uint64
	text     string
}

// history is what one capture has said before the slice.
type history struct {
	state *state.State
	// lasting are the last events about what the state does not keep: flows that are followed, logs, readings.
	lasting map[lastingKey]*model.Batch
	lost    uint64
}

// maxLasting bounds the memory of lasting.
const maxLasting = 4096

// add takes an event of b.
func (h *history) add(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindFlow, model.KindFlowDevice, model.KindLogState, model.KindReading:
		text := b.String(e.Str[0])
		switch e.Kind {
		case model.KindReading:
			text += "\x00" + b.String(e.Str[1])
		case model.KindFlowDevice: // of each peer and direction
			text += fmt.Sprint("\x00", e.Args[0], e.Args[1])
		}
		key := lastingKey{e.Kind, e.Resource, text}
		if _, ok := h.lasting[key]; ok || len(h.lasting) < maxLasting {
			var one model.Builder
			one.Import(b, *e)
			h.lasting[key] = one.Take()
		}
	case model.KindLoss:
		if v, _ := b.Loss(e); v.Origin != model.OriginLate && v.Origin != model.OriginMemory {
			h.lost += v.Lost
		}
	default:
		h.state.ApplyEvent(b, e)
	}
}

// keptLate are the kinds that change what holds: an event that comes after later ones counts for the slice although its
// time lies before it.
var keptLate = []model.Kind{
	model.KindProcess, model.KindDeviceConfig, model.KindDeviceQueue, model.KindDeviceEvent, model.KindPortPool,
	model.KindPortAcquire, model.KindPortActive, model.KindPortRest, model.KindPortRelease, model.KindPortActivity,
	model.KindRPCEndpoint, model.KindProbe,
}

// cutWriter copies streams into a slice.
type cutWriter struct {
	Cut
	to *record.Writer
	// several says that streams are joined: what one says of the start of its own state does not end that of the others.
	several bool
	before  []*history
	// open are the findings as they stand, begun says that the start of the slice is written.
	open  model.FindingList
	begun bool
}

// copy reads the streams in order of time.
func (w *cutWriter) copy(streams []*cutStream) error {
	for {
		first, limit := -1, model.Time(math.MaxInt64)
		for i, s := range streams {
			switch {
			case s.now == nil:
			case first < 0 || s.now.Events[0].Time < streams[first].now.Events[0].Time:
				if first >= 0 {
					limit = min(limit, streams[first].now.Events[0].Time)
				}
				first = i
			default:
				limit = min(limit, s.now.Events[0].Time)
			}
		}
		if first < 0 {
			break
		}
		s := streams[first]
		b, n := s.now, 0
		for n < len(b.Events) && (n == 0 || b.Events[n].Time <= limit) {
			n++
		}
		part, rest := *b, *b
		part.Events, rest.Events = b.Events[:n], b.Events[n:]
		if err := w.batch(first, &part); err != nil {
			return err
		}
		if s.now = &rest; len(rest.Events) == 0 {
			s.advance()
		}
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// batch takes what stream i has next.
func (w *cutWriter) batch(i int, b *model.Batch) error {
	if w.Redact != nil {
		w.Redact.Learn(b)
	}
	within := make([]model.Event, 0, len(b.Events))
	for n := range b.Events {
		e := &b.Events[n]
		if e.Kind == model.KindFinding && e.Time < w.Since {
			if f, ok := b.Finding(e); ok {
				w.open.Add(f)
			}
			continue
		}
		if e.Time >= w.Since && !w.begun {
			if err := w.begin(); err != nil {
				return err
			}
		}
		switch {
		case !w.begun:
			w.before[i].add(b, e)
		case e.Time > w.Until || w.several && isKeyframe(b, e):
		case e.Time >= w.Since || slices.Contains(keptLate, e.Kind):
			within = append(within, *e)
		}
	}
	if len(within) == 0 {
		return nil
	}
	part := *b
	part.Events = within
	return w.write(&part)
}

// write writes a batch, with pseudonyms where they are wanted.
func (w *cutWriter) write(b *model.Batch) error {
	if w.Redact != nil {
		b = w.Redact.Batch(b)
	}
	return w.to.Write(b)
}

// isKeyframe says that an event begins a keyframe, which ends what held before.
func isKeyframe(b *model.Batch, e *model.Event) bool {
	v, ok := b.Meta(e)
	return ok && v.Key == state.KeyframeKey
}

// begin writes what held when the slice began.
func (w *cutWriter) begin() error {
	w.begun = true
	w.before[0].state.Meta[MetaCutFrom] = w.from()
	lost := uint64(0)
	for i, h := range w.before {
		lost += h.lost
		for b := range h.state.Keyframe(w.Since) {
			if i > 0 {
				b.Events = slices.DeleteFunc(b.Events, func(e model.Event) bool { return isKeyframe(b, &e) })
			}
			if err := w.write(b); err != nil {
				return err
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(h.lasting), compareLasting) {
			b := h.lasting[key]
			b.Events[0].Time = w.Since
			b.Events[0].Flags |= model.FlagKeyframe
			if err := w.write(b); err != nil {
				return err
			}
		}
	}
	var own model.Builder
	if lost > 0 {
		own.AddMeta(model.Meta{Time: w.Since, Flags: model.FlagKeyframe, Key: MetaCutLost, Value: words.Exact(lost) +
			" events were lost before this part begins"})
	}
	for _, f := range w.open.All() {
		if f.Ongoing || f.End >= w.Since {
			own.AddFinding(w.Since, f)
		}
	}
	if b := own.Take(); b != nil {
		return w.write(b)
	}
	return nil
}

// from says what the slice is cut from.
func (w *cutWriter) from() string {
	start, end := SpanOf(w.Captures)
	var names []string
	for _, name := range w.Names {
		names = append(names, filepath.Base(name))
	}
	const shown = 4
	if more := len(names) - shown; more > 0 {
		names = append(names[:shown], fmt.Sprintf("%d more", more))
	}
	text := fmt.Sprintf("%s (%s to %s)", strings.Join(names, ", "),
		start.Std().Format(time.RFC3339), end.Std().Format(time.RFC3339))
	if before := w.before[0].state.Meta[MetaCutFrom]; before != "" {
		text += ", itself cut from " + before
	}
	return text
}

// end writes the findings of the whole that fall into the slice, as they ended.
func (w *cutWriter) end(streams []*cutStream) (found []model.Finding, earlier int, err error) {
	if !w.begun { // nothing happened from its start on
		if err := w.begin(); err != nil {
			return nil, 0, err
		}
	}
	var all []Judgement
	for _, s := range streams {
		all = append(all, s.judged)
	}
	var own model.Builder
	for _, f := range together(w.Captures, all, w.Settings) {
		if f.Start > w.Until || f.End < w.Since {
			continue
		}
		found = append(found, f)
		if f.Start < w.Since {
			earlier++
		}
	}
	meta := func(key, value string) {
		own.AddMeta(model.Meta{Time: w.Until, Flags: model.FlagKeyframe, Key: key, Value: value})
	}
	meta(metaCutFindings, strconv.Itoa(len(found)))
	if earlier > 0 {
		meta(metaCutEarlier, strconv.Itoa(earlier))
	}
	if incomplete := incompleteOf(w.Captures); incomplete != "" {
		meta(MetaCutIncomplete, incomplete)
	}
	for _, f := range found {
		own.AddFinding(w.Until, f)
	}
	b := own.Take()
	for i := range b.Events {
		e := &b.Events[i]
		e.Flags |= model.FlagKeyframe
		e.Dur = max(e.Dur, 0)
	}
	return found, earlier, w.write(b)
}

func compareLasting(a, b lastingKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.resource, b.resource), cmp.Compare(a.text, b.text))
}
