package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lostbeat/fold"
	"lostbeat/model"
)

// Order of the tracks of a capture.
const (
	rankFindings = iota
	rankMissing
	rankNotes
	rankLogs
	rankBeats
	rankPorts
	rankDrops
	rankSockets
	rankThreads
	rankDevices
	rankRPC
	rankReadings
	rankCounters
	rankClock
	rankCPUs
)

// process is a capture: Perfetto groups tracks by process.
type process struct {
	t            *Trace
	file         string
	host, os     string
	since, until model.Time
	// root is nil until something is shown.
	root *trackGroup
	// facts are what holds: sockets of pools, and the cadence of flows.
	facts *fold.Fold
	// next is the end of the second under way, last the latest time of an event; 0 before any.
	next, last model.Time
	pools      bool
	beats      bool
	flows      map[fold.BeatKey]*flow
	// names are the network namespaces of flows, by name.
	names   map[string]uint32
	devices map[deviceKey]*trackGroup
	probes  map[[2]string]model.Probe
	// switches are the last changes of thread, by CPU.
	switches map[int32]model.SchedSwitch
	// stalls are what lasts of TCP flows, by flow and kind.
	stalls   map[stallKey]model.FlowStall
	counters []*counter
}

type deviceKey struct {
	name    string
	ifindex int64
	netns   uint32
}

type stallKey struct {
	netns  uint32
	cookie uint64
	what   model.Stall
}

// Bounds of what is remembered of a capture.
const (
	maxProbes = 1024
	maxStalls = 1024
	maxCPUs   = 4096
	maxFlows  = 4096
	maxNames  = 4096
)

func newProcess(t *Trace, c *Capture, since, until model.Time) *process {
	wanted := func(kinds ...model.Kind) bool {
		return t.opts.Kinds == nil || slices.ContainsFunc(kinds, func(k model.Kind) bool { return t.opts.Kinds[k] })
	}
	return &process{
		t: t, file: c.File, since: since, until: until, facts: fold.New(fold.Options{}),
		pools: wanted(model.KindPortPool, model.KindPortAcquire, model.KindPortRelease, model.KindPortActive),
		beats: wanted(model.KindPacket, model.KindPacketRead),
		flows: map[fold.BeatKey]*flow{}, probes: map[[2]string]model.Probe{}, switches: map[int32]model.SchedSwitch{},
		stalls: map[stallKey]model.FlowStall{}, names: map[string]uint32{}, devices: map[deviceKey]*trackGroup{},
	}
}

// top returns the track of the capture itself.
func (p *process) top() *trackGroup {
	if p.root != nil {
		return p.root
	}
	name := p.file
	switch {
	case name == "":
		name = "all files together"
	case p.host != "":
		name = p.host + " (" + p.file + ")"
	}
	p.t.roots++
	d := descriptor{
		name: name, pid: p.t.roots, kept: true, doc: "a file that was exported; its PID only numbers the files",
	}
	if p.t.describe(&d) {
		p.root = &trackGroup{d.uuid}
	}
	return p.root
}

// learn takes up what an event says of what holds, whether it is shown or not.
func (p *process) learn(b *model.Batch, e *model.Event) {
	switch e.Kind {
	case model.KindMeta:
		switch m, _ := b.Meta(e); m.Key {
		case "host":
			p.host = cmp.Or(p.host, m.Value)
		case "os":
			p.os = m.Value
		}
	case model.KindProbe:
		v, _ := b.Probe(e)
		p.probe(&v)
		return
	case model.KindPacket, model.KindPacketRead, model.KindPacketEarly, model.KindPacketReturn, model.KindPacketQdisc,
		model.KindFlow, model.KindFlowDevice, model.KindFlowStall, model.KindHostPause, model.KindProcess,
		model.KindPortActivity, model.KindPortPool, model.KindPortAcquire, model.KindPortRelease, model.KindPortRest,
		model.KindPortActive, model.KindDeviceConfig:
	default:
		p.tick(e)
		return
	}
	p.tick(e)
	p.facts.Apply(b, e)
}

// tick ends the seconds before an event.
func (p *process) tick(e *model.Event) {
	if !e.Possible() || e.Time == 0 {
		return
	}
	p.last = max(p.last, e.Time)
	if p.next != 0 && e.Time > p.next {
		p.second(p.next)
	}
	if e.Time > p.next {
		p.next = (e.Time + fold.Second - 1) / fold.Second * fold.Second
	}
}

// second shows what holds at the end of a second, and which heartbeats were late in it.
func (p *process) second(at model.Time) {
	p.facts.BeginTick(at, true)
	p.showPools(at)
	p.showLate(false)
	p.facts.EndTick()
}

// within says that a moment is in the part that is shown.
func (p *process) within(at model.Time) bool { return at >= p.since && at <= p.until }

// showPools shows how many ports of each pool are taken.
func (p *process) showPools(at model.Time) {
	if !p.pools || !p.within(at) {
		return
	}
	for _, pool := range p.facts.State.SortedPools() {
		if pool.High == 0 {
			continue
		}
		name := fmt.Sprintf("%s %s %d-%d", pool.Name, pool.Protocol, pool.Low, pool.High)
		if pool.NetnsName != "" {
			name += " netns " + pool.NetnsName
		}
		g := p.t.group(p.ports(), name, 0, "")
		for i, v := range []struct {
			name string
			n    int
		}{{"held", pool.Used}, {"resting", pool.Resting}, {"size", int(pool.Size)}} {
			p.t.sample(p.t.counterOf(p, g, v.name, "ports", i, ""), at, float64(v.n))
		}
	}
}

// ports is the group of all pools.
func (p *process) ports() *trackGroup {
	return p.t.group(p.top(), "ports", rankPorts, "pools of local ports")
}

// probe takes up the state of a part of a probe: while one does not work, that is shown.
func (p *process) probe(v *model.Probe) {
	key := [2]string{v.Name, v.Part}
	old, ok := p.probes[key]
	if ok && old.State == v.State || !ok && len(p.probes) == maxProbes {
		return
	}
	if ok {
		p.unprobed(&old, v.Time)
	}
	p.probes[key] = *v
}

// unprobed shows that a part of a probe did not work, from its event until a time.
func (p *process) unprobed(v *model.Probe, until model.Time) {
	from := max(v.Time, p.since)
	until = min(until, p.until)
	if v.State == model.ProbeOn || from > until || p.t.opts.Kinds != nil && !p.t.opts.Kinds[model.KindProbe] {
		return
	}
	name := v.Name
	if v.Part != "" {
		name += " " + v.Part
	}
	p.t.slice(p.missing(), from, until, name+": "+v.State.String(), "probe", note{"reason", v.Reason},
		note{"hint", v.Hint})
}

// missing is the track of what was not recorded.
func (p *process) missing() *lanes {
	return kept(p.t.lanesOf(p.top(), "not recorded", rankMissing,
		"events that were lost, parts that did not work, and times in which the host stood still"))
}

// kept says that slices get a track even if there are very many others.
func kept(l *lanes) *lanes {
	if l != nil {
		l.d.kept = true
	}
	return l
}

// finish shows what lasts at the end of the capture.
func (p *process) finish(c *Capture) {
	p.host = cmp.Or(p.host, c.Host)
	if p.next != 0 {
		p.facts.BeginTick(p.last, true)
		p.showPools(p.last)
		p.showLate(true)
	}
	end := max(p.last, c.End)
	for _, key := range slices.SortedFunc(maps.Keys(p.probes), func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	}) {
		v := p.probes[key]
		p.unprobed(&v, end)
	}
	for _, cpu := range slices.Sorted(maps.Keys(p.switches)) {
		v := p.switches[cpu]
		p.ran(&v, min(end, p.until))
	}
	for _, key := range slices.SortedFunc(maps.Keys(p.stalls), func(a, b stallKey) int {
		return cmp.Or(cmp.Compare(a.netns, b.netns), cmp.Compare(a.cookie, b.cookie), cmp.Compare(a.what, b.what))
	}) {
		v := p.stalls[key]
		p.stalled(&v)
	}
	for _, counter := range p.counters {
		p.t.end(counter)
	}
	if c.Integrity != "" {
		p.t.slice(p.missing(), min(end, p.until), min(end, p.until), "the file is incomplete", "file",
			note{"integrity", c.Integrity})
	}
	p.facts, p.flows, p.names, p.devices = nil, nil, nil, nil
	p.counters, p.probes, p.switches, p.stalls = nil, nil, nil, nil
	p.top()
}

// finding shows a finding as long as it lasted.
func (p *process) finding(f *model.Finding) {
	start := max(f.Start, 0)
	end := max(f.End, start)
	notes := []note{
		{"severity", f.Severity.String()}, {"detector", f.Detector}, {"id", f.ID}, {"ongoing", f.Ongoing},
		{"subject", subjectNotes(&f.Subject)},
	}
	var evidence []note
	for _, e := range f.Evidence {
		evidence = append(evidence, note{"", []note{{"name", e.Name}, {"value", e.Value}, {"unit", e.Unit}}})
	}
	notes = append(notes, note{"evidence", evidence}, textNotes("causes", f.Causes),
		textNotes("ruled_out", f.RuledOut), textNotes("advice", f.Advice), note{"events_lost", int64(f.Loss)})
	l := kept(p.t.lanesOf(p.top(), "findings", rankFindings, "what 'lostbeat findings' says, as long as it lasted"))
	p.t.slice(l, start, end, f.Title, f.Detector, notes...)
}

func subjectNotes(s *model.Subject) (notes []note) {
	notes = append(notes, note{"kind", s.Kind})
	if s.CPU >= 0 {
		notes = append(notes, note{"cpu", int64(s.CPU)})
	}
	notes = append(notes, note{"vector", s.Vector}, note{"driver", s.Driver}, note{"device", s.Device},
		note{"queue", s.Queue}, note{"process", s.Process})
	if s.PID >= 0 {
		notes = append(notes, note{"pid", int64(s.PID)})
	}
	notes = append(notes, note{"pool", s.Pool}, note{"protocol", s.Protocol}, note{"netns", s.Netns})
	if s.Port != 0 {
		notes = append(notes, note{"port", int64(s.Port)})
	}
	return notes
}

func textNotes(name string, texts []string) note {
	list := make([]note, len(texts))
	for i, s := range texts {
		list[i].value = s
	}
	return note{name, list}
}
