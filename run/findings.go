package run

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/detect/logs"
	"lostbeat/detect/twohosts"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// signals are what findings go by, and the probes that show them.
var signals = []struct{ probe, name string }{
	{"deferred", "deferred work (DPCs, softirqs) of single CPUs"},
	{"interrupt", "interrupts"},
	{"drop", "packets dropped in protocols and sockets"},
	{"port", "ports"},
}

// Judgement is what the detectors say of a capture.
type Judgement struct {
	// Findings are the last state of every finding, in the order in which they arose.
	Findings []model.Finding
	// Unseen are the signals that were not there to be judged: those of which
	// every part was off. A source that says nothing of its probes is taken to have all.
	Unseen []string
	// LeftOut says what of the capture could not be kept, a line each.
	LeftOut []string
	// Assumed says what the times of a log leave open and how they were read, a sentence each.
	Assumed []string
	// Slice says of a recording that was cut what it is a part of and whose findings it has; empty for all others.
	Slice string
	// Notes are what is to be known of how packets were captured, a sentence each.
	Notes []string
	// facts are the counters and the logs, for Together; packets those of followed flows, nil where none are kept.
	facts   logs.Input
	packets *twohosts.Recording
}

// Findings runs the detectors over a capture. progress is told how far it is,
// nil for nobody.
func Findings(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress,
) (j Judgement, err error) {
	return judge(ctx, c, settings, progress, nil, nil)
}

// tap is given each batch of a capture with what was concluded from it.
type tap func(b *model.Batch, concluded []pipeline.Verdict) error

// judge is Findings that hands on the stream, and shows the facts to a watcher; a nil tap, or watcher, takes nothing.
func judge(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress, to tap, w *watcher,
) (j Judgement, err error) {
	engine := detect.New(settings, detect.Options{Memory: c.Options.Memory})
	if w == nil {
		w = new(watcher)
	}
	w.of(engine)
	var found model.FindingList
	var left leftOut
	var concluded []pipeline.Verdict
	var of slice
	keep := func(at model.Time, f model.Finding) {
		found.Add(f)
		if to != nil {
			concluded = append(concluded, pipeline.Verdict{At: at, Finding: f})
		}
	}
	parts := map[[2]string]model.ProbeState{}
	var seen tablesSeen
	start, end := c.Span()
	if c.Packets > 0 {
		j.packets = twohosts.New(c.Packets)
	}
	err = c.Run(ctx, func(b *model.Batch) error {
		if progress != nil && !c.Format.OwnProgress && len(b.Events) > 0 {
			progress(int64(b.Events[0].Time-start), int64(end-start))
		}
		for i := range b.Events {
			switch e := &b.Events[i]; e.Kind {
			case model.KindProbe:
				p, _ := b.Probe(e)
				k := [2]string{p.Name, p.Part}
				if _, ok := parts[k]; ok || len(parts) < maxParts {
					parts[k] = p.State
				}
			case model.KindPortTable:
				v, _ := b.PortTable(e)
				seen.add(&v)
			case model.KindLoss:
				v, _ := b.Loss(e)
				left.add(v)
			case model.KindMeta:
				if v, _ := b.Meta(e); strings.HasPrefix(v.Key, model.MetaNote) && len(j.Notes) < maxNotes &&
					!slices.Contains(j.Notes, v.Value) {
					j.Notes = append(j.Notes, v.Value)
				}
			}
		}
		if j.packets != nil {
			j.packets.Apply(b)
		}
		recorded := of.apply(b)
		w.apply(b, keep)
		if to == nil {
			return nil
		}
		if of.is {
			concluded = recorded
		}
		err := to(b, concluded)
		concluded = nil
		return err
	})
	w.finish(keep)
	if n, what := engine.LeftOut(); n > 0 {
		left.add(model.Loss{Lost: n, Origin: model.OriginMemory, Detail: "no room or time for " + what})
	}
	if n := found.LeftOut(); n > 0 {
		left.add(model.Loss{Lost: n, Origin: model.OriginMemory, Detail: "findings beyond the first"})
	}
	if err == nil {
		err = ctx.Err()
	}
	for _, s := range signals {
		known, shown := false, false
		for part, state := range parts {
			if part[0] == s.probe {
				known, shown = true, shown || state != model.ProbeOff
			}
		}
		switch {
		case !known || shown:
		case s.probe == "drop" && parts[[2]string{"capture", "drops"}] == model.ProbeOn:
			j.Unseen = append(j.Unseen, "packets dropped at full sockets (Packet Monitor does not report them)")
		default:
			j.Unseen = append(j.Unseen, s.name)
		}
	}
	j.Unseen = append(j.Unseen, seen.missing()...)
	j.Findings, j.LeftOut = found.All(), left.lines()
	if of.is {
		isDefault := settings.IsDefault()
		if isDefault {
			j.Findings = of.findings()
		}
		j.Slice = of.sentence(isDefault)
	}
	facts := engine.Facts()
	j.facts = logs.Input{Host: cmp.Or(facts.State.Meta["host"], filepath.Base(c.Path)), Logs: facts.Logs,
		Counters: facts.Counters}
	if j.packets != nil {
		j.packets.File = filepath.Base(c.Path)
		for _, d := range engine.Detectors() {
			if d, ok := d.(interface {
				Judged() map[string]heartbeatloss.Judged
			}); ok {
				j.packets.Judged = d.Judged()
			}
		}
	}
	if a, ok := c.File.(interface{ Assumed() []string }); ok {
		j.Assumed = a.Assumed()
		j.facts.Assumed = map[string][]string{filepath.Base(c.Path): j.Assumed}
	}
	return j, err
}

// tablesSeen is what tables of sockets show.
type tablesSeen struct{ tcp, bound, owners, any bool }

func (s *tablesSeen) add(v *model.PortTable) {
	s.any, s.owners = true, s.owners || v.OwnersSeen
	if v.Protocol == model.ProtocolTCP {
		s.tcp, s.bound = true, s.bound || v.BoundSeen
	}
}

// missing says what cannot be judged by the tables.
func (s *tablesSeen) missing() (out []string) {
	if s.tcp && !s.bound {
		out = append(out, "TCP ports that are bound without a connection (netstat without -q does not list them)")
	}
	if s.any && !s.owners {
		out = append(out, "who holds the ports (the tables have no owners)")
	}
	return out
}

// LeaveLogs takes out of the findings what they say of the capture's logs alone,
// and reports whether there was any: Together says it.
func (j *Judgement) LeaveLogs() bool {
	n := len(j.Findings)
	j.Findings = slices.DeleteFunc(j.Findings, func(f model.Finding) bool {
		return f.Detector == logs.Name && !logs.Followed(&f)
	})
	return len(j.Findings) < n
}

// LeaveFlows takes out of the findings those about followed flows, where packets were kept, and reports whether there
// was any: TogetherFlows says them.
func (j *Judgement) LeaveFlows() bool {
	if j.packets == nil {
		return false
	}
	j.Findings = slices.DeleteFunc(j.Findings, func(f model.Finding) bool {
		if f.Detector == heartbeatloss.Name {
			j.packets.Findings = append(j.packets.Findings, f)
			return true
		}
		return false
	})
	return len(j.packets.Findings) > 0
}

// TogetherFlows judges the followed flows of several hosts by what all of them have seen.
func TogetherFlows(judged []Judgement) []model.Finding {
	var list []*twohosts.Recording
	for _, j := range judged {
		if j.packets != nil {
			list = append(list, j.packets)
		}
	}
	return twohosts.Join(list)
}

// WithoutLogs gives up what Together needs of the logs and counters.
func (j *Judgement) WithoutLogs() { j.facts = logs.Input{} }

// Together judges the logs of several captures by the counters of all of them.
func Together(judged []Judgement, settings detect.Settings) []model.Finding {
	var inputs []logs.Input
	for _, j := range judged {
		inputs = append(inputs, j.facts)
	}
	thresholds, ok := settings.Of(logs.Table).(*logs.Settings)
	if !ok {
		return nil
	}
	return logs.Join(inputs, *thresholds)
}

// LogTime returns the zone of the hosts whose counters the captures have, for
// the times of logs beside them that do not say theirs; nil when they differ, or none says it.
func LogTime(captures []*Capture) *source.LogTime {
	var out *source.LogTime
	for _, c := range captures {
		var offset time.Duration
		switch f := c.File.(type) {
		case interface{ UTCOffset() time.Duration }:
			offset = f.UTCOffset()
		case interface{ LogZone() *time.Location }:
			zone := f.LogZone()
			if zone == nil {
				continue
			}
			_, seconds := c.end().In(zone).Zone()
			offset = time.Duration(seconds) * time.Second
		default:
			continue
		}
		zone := time.FixedZone(time.Unix(0, 0).In(time.FixedZone("", int(offset/time.Second))).Format("-07:00"),
			int(offset/time.Second))
		if out != nil && out.Zone.String() != zone.String() {
			return nil
		}
		if out == nil {
			out = &source.LogTime{Zone: zone, Source: "as in " + filepath.Base(c.Path)}
		}
	}
	return out
}

// end is when the capture ends.
func (c *Capture) end() time.Time {
	_, end := c.Span()
	return end.Std()
}

// maxNotes bounds what is said of a capture.
const maxNotes = 16

// maxParts bounds the parts of probes of a capture.
const maxParts = 1024

// leftOut adds up what a reader had to leave out, by the reason.
type leftOut struct {
	reasons []string
	counts  map[string]uint64
}

// maxReasons is how many reasons are told apart.
const maxReasons = 8

// add takes a loss of the stream, of which only those for want of room count:
// damage of the file is said by Integrity.
func (l *leftOut) add(v model.Loss) {
	if v.Origin != model.OriginMemory {
		return
	}
	reason := v.Detail
	if _, ok := l.counts[reason]; !ok {
		if len(l.reasons) >= maxReasons {
			reason = "other reasons"
		}
		if l.counts == nil {
			l.counts = map[string]uint64{}
		}
		if _, ok := l.counts[reason]; !ok {
			l.reasons = append(l.reasons, reason)
		}
	}
	l.counts[reason] += v.Lost
}

func (l *leftOut) lines() (lines []string) {
	for _, reason := range l.reasons {
		lines = append(lines, fmt.Sprintf("%d: %s", l.counts[reason], reason))
	}
	return lines
}
