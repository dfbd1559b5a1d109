package probes

import (
	"slices"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Every probe of this system is in the catalogue, in the same order, and says
// the same about itself.
func TestCatalogue(t *testing.T) {
	next := 0
	for _, p := range All() {
		i := slices.IndexFunc(Catalogue[next:], func(info probe.Definition) bool { return info.Name == p.Name() })
		if i < 0 {
			t.Errorf("%s is not in the catalogue, or not in its place", p.Name())
			continue
		}
		info := Catalogue[next+i]
		next += i + 1
		if info.Doc == "" {
			t.Errorf("%s has no doc", info.Name)
		}
		for _, kind := range p.Kinds() {
			if !slices.Contains(info.Kinds, kind) {
				t.Errorf("%s emits %v, which its entry does not list", info.Name, kind)
			}
		}
	}
	for _, info := range Catalogue {
		for _, kind := range info.Kinds {
			if model.SpecOf(kind) == nil {
				t.Errorf("%s lists kind %d, which does not exist", info.Name, kind)
			}
		}
	}
}

// requests are what the probes are asked for while they run.
var requests = []model.Request{
	{Kind: model.RequestStacks, CPU: -1, PID: -1, TID: -1},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "snmp"},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "sockbuf"},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "qdisc"},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "mtu"},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "udp_mem"},
	{Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: "neighbours"},
}

// All probes together make one valid stream, in which each emits what it
// says and nothing else.
func TestAllTogether(t *testing.T) {
	owners := make(map[model.Kind]bool)
	for _, p := range All() {
		for _, kind := range p.Kinds() {
			owners[kind] = true
		}
	}
	s := ebpftest.Start(t, ebpf.Options{Trace: true}, All()...)
	for _, r := range requests {
		s.Request(r)
	}
	s.Intervals(3)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	engine := []model.Kind{
		model.KindMeta,
		model.KindClock,
		model.KindProbe,
		model.KindLoss,
		model.KindCounter,
		model.KindProcess,
		model.KindRequest,
	}
	states := make(map[string]bool)
	served := make(map[model.RequestKind]int)
	var cpu []float64
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if !owners[e.Kind] && !slices.Contains(engine, e.Kind) {
			t.Errorf("%v is emitted, but no probe lists it", e.Kind)
		}
		if p, ok := b.Probe(e); ok && p.State != model.ProbeOff {
			states[p.Name] = true
		}
		if r, ok := b.RequestEvent(e); ok && r.State == model.RequestOff {
			served[r.What]++
		} else if ok && r.State == model.RequestRefused {
			t.Errorf("request for %v %s is refused: %s", r.What, r.Name, r.Reason)
		}
		if c, ok := b.Counter(e); ok && c.Name == "self.cpu" && c.Dur == time.Second {
			cpu = append(cpu, c.Value)
		}
	})
	for _, p := range All() {
		if !states[p.Name()] {
			t.Errorf("nothing of %s runs", p.Name())
		}
	}
	for _, r := range requests {
		if served[r.Kind] == 0 {
			t.Errorf("no request for %v was served", r.Kind)
		}
	}
	t.Logf("shares of a processor: %v", cpu)
}
