package fold

import (
	"slices"
	"time"

	"lostbeat/model"
)

// frame returns the open frame of time t: nil when it is closed, or older than
// the history.
func (h *History) frame(t model.Time) *frameBuilder {
	start := t - t%FrameStep
	if len(h.open) == 0 {
		h.open = append(h.open, &frameBuilder{start: start})
	}
	last := h.open[len(h.open)-1].start
	if start > last {
		if !h.shared { // otherwise the detectors' ticks do
			h.fold.Ports.endSecond(h.state, int((start-last)/FrameStep))
		}
		h.takePools(h.open[len(h.open)-1], true)
		if start-last > historyFrames*FrameStep { // nothing of before is in reach
			h.frames, h.rows, h.open, last = nil, 0, h.open[:0], start-FrameStep
		}
		for at := last + FrameStep; at <= start; at += FrameStep {
			h.open = append(h.open, &frameBuilder{start: at})
		}
		h.close()
	}
	i := int((start - h.open[0].start) / FrameStep)
	if i < 0 {
		if len(h.frames) > 0 || len(h.open) >= h.keepOpen || -i > maxOpenFrames {
			return nil
		}
		for range -i { // an interval that began before the first event
			h.open = slices.Insert(h.open, 0, &frameBuilder{start: h.open[0].start - FrameStep})
		}
		i = 0
	}
	f := h.open[i]
	f.dirty = true
	return f
}

// close seals the frames that can no longer change and drops the oldest ones.
func (h *History) close() {
	n := len(h.open) - h.keepOpen
	if n <= 0 {
		return
	}
	frames := h.frames[:len(h.frames):len(h.frames)] // published: never appended to in place
	for _, f := range h.open[:n] {
		sealed := f.seal()
		frames = append(frames, sealed)
		h.rows += sealed.rows()
	}
	h.open = slices.Delete(h.open, 0, n)
	drop := max(0, len(frames)+len(h.open)-historyFrames)
	for _, f := range frames[:drop] {
		h.rows -= f.rows()
	}
	for ; h.rows > historyRows && drop < len(frames); drop++ {
		h.rows -= frames[drop].rows()
	}
	h.frames = frames[drop:]
}

// oldest returns the start of the history.
func (h *History) oldest() model.Time {
	switch {
	case len(h.frames) > 0:
		return h.frames[0].Start
	case len(h.open) > 0:
		return h.open[0].start
	}
	return 0
}

// spread calls add for every open frame that an interval of length dur which
// ended at end touches, with the part of the interval that lies in it.
func (h *History) spread(end model.Time, dur time.Duration, add func(f *frameBuilder, part float32)) {
	if dur <= 0 {
		if f := h.frame(end); f != nil {
			add(f, 1)
		}
		return
	}
	if seconds := int(dur/time.Second) + 3; seconds > h.keepOpen {
		h.keepOpen = min(seconds, maxOpenFrames)
	}
	h.frame(end - 1) // so that the frames exist, the newest first
	begin := end.Add(-dur)
	start := max(begin, end-maxOpenFrames*FrameStep)
	for at := start - start%FrameStep; at < end; at += FrameStep {
		overlap := min(end, at+FrameStep) - max(begin, at)
		f := h.frame(at)
		if f == nil {
			if overlap > FrameStep/2 {
				h.late++
			}
			continue
		}
		f.cover(begin, end)
		add(f, float32(float64(overlap)/float64(dur)))
	}
}
