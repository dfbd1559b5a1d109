package etl

import (
	"fmt"
	"strconv"
	"time"

	"lostbeat/etw"
	"lostbeat/model"
)

// introduce adds the events with which a stream describes itself, at the time
// of its first record. how says what the recording itself missed.
func (h *Header) introduce(
	out *model.Builder, t model.Time, file string, st *etw.State, how model.Probe, probes []etw.Probe,
) {
	meta := func(key, value string) {
		if value != "" {
			out.AddMeta(model.Meta{Time: t, Key: key, Value: value})
		}
	}
	host := &st.Host
	meta("host", host.Computer)
	meta("os", "windows")
	meta("kernel", h.kernel(host))
	meta("product", host.Product)
	meta("arch", fmt.Sprintf("%d-bit", 8*int(h.PointerSize)))
	meta("cpus", strconv.Itoa(int(h.Processors)))
	meta("source", "etl")
	meta("session", h.LoggerName)
	meta("file", file)
	meta("start_wall", h.Start.String())
	meta("clock", h.Clock.Type.String())
	out.AddClock(h.clockAt(t))
	how.Time = t
	out.AddProbe(how)
	for _, p := range probes {
		for _, status := range p.Status(st.Census) {
			status.Time = t
			out.AddProbe(status)
		}
	}
	for _, a := range host.Adapters {
		out.AddDeviceConfig(a.Config(t))
	}
}

// clockAt returns what the file says of the clocks at time t.
func (h *Header) clockAt(t model.Time) model.Clock {
	return model.Clock{Time: t, Boot: t.Sub(h.Boot), Wall: t}
}

// recorded says what the recording itself missed.
func (f *File) recorded() model.Probe {
	h := &f.header
	status := model.Probe{Name: "etw", State: model.ProbeOn}
	switch {
	case h.EventsLost > 0 || h.BuffersLost > 0:
		status.State = model.ProbeDegraded
		status.Reason = fmt.Sprintf("%d events and %d buffers were lost while recording", h.EventsLost, h.BuffersLost)
		status.Hint = "record with more or larger buffers, or fewer providers"
	case h.End == 0:
		status.State = model.ProbeDegraded
		status.Reason = "the file was not finalised: how much was lost while recording is not known"
		status.Hint = "stop the session before copying the file"
	case h.LogFileMode&modeCircular != 0:
		status.State = model.ProbeDegraded
		status.Reason = "circular file: it holds only the end of the session"
	}
	return status
}

// flagged reports a buffer whose flags say that something was lost before it.
func (r *replay) flagged(b *buffer) {
	t := r.f.header.Clock.Time(uint64(max(b.flushed, 0)))
	if b.flushed <= 0 || t < r.seek.Newest {
		t = r.seek.Newest
	}
	r.out.AddLoss(r.f.header.flagged(b, t))
}

// flagged returns the loss that the flags of a buffer report.
func (h *Header) flagged(b *buffer, t model.Time) model.Loss {
	what := "events"
	if b.flags&flagBufferLost != 0 {
		what = "buffers"
	}
	return model.Loss{
		Time:   t,
		CPU:    h.cpu(b),
		Lost:   1,
		Origin: "etw-buffer",
		Detail: fmt.Sprintf(
			"the buffer at offset %d reports an unknown number of %s lost before it", b.offset, what,
		),
	}
}

func (r *replay) damaged(d *Damage) {
	r.damage = append(r.damage, d)
	r.inside.Add(d.Error(), d.Bytes)
}

// loseDamage reports damage found since the last call.
func (r *replay) loseDamage(t model.Time) {
	for _, d := range r.damage {
		r.out.AddLoss(d.loss(t))
	}
	r.damage = r.damage[:0]
}

// loss returns the damage as an event.
func (d *Damage) loss(t model.Time) model.Loss {
	return model.Loss{
		Time: t, CPU: -1, Lost: max(d.Lost, 1), LostBytes: uint64(d.Bytes), Origin: model.OriginFile, Detail: d.Error(),
	}
}

// flush emits what has been added, in order of time.
func (r *replay) flush() {
	r.out.SortByTime()
	if batch := r.out.Take(); batch != nil && r.err == nil {
		r.err = r.seek.Emit(batch)
	}
}

// finish emits the rest, with what is known only at the end.
func (r *replay) finish(last model.Time, lateRecords uint64) {
	r.loseDamage(last)
	r.damage = append(r.damage, r.f.damage...)
	r.loseDamage(last)
	if n := r.decoder.Partial(); n > 0 {
		r.out.AddProbe(
			model.Probe{
				Time:   last,
				Name:   "etw",
				Part:   "payloads",
				State:  model.ProbeDegraded,
				Reason: fmt.Sprintf("%d records are shorter than their layout and are kept as raw events", n),
			},
		)
	}
	h := &r.f.header
	span := max(last.Sub(r.f.start), 0)
	r.lost(
		last,
		span,
		uint64(h.EventsLost),
		"etw",
		"events that the session counted as lost, at times that are not known",
	)
	r.lost(
		last,
		span,
		uint64(h.BuffersLost),
		"etw-buffer",
		"buffers that the session counted as lost, at times that are not known",
	)
	r.flush()
	if r.seek.Late > 0 {
		r.lost(
			max(last, r.seek.Newest),
			0,
			r.seek.Late,
			model.OriginLate,
			fmt.Sprintf("events that came too late to be put in order (%d records out of order)", lateRecords),
		)
		r.flush()
	}
	if r.err == nil {
		r.err = r.seek.End()
	}
}

func (r *replay) lost(t model.Time, span time.Duration, n uint64, origin, detail string) {
	if n > 0 {
		r.out.AddLoss(model.Loss{Time: t, Dur: span, CPU: -1, Lost: n, Origin: origin, Detail: detail})
	}
}
