package ebpf_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// nothing is a program that does nothing.
func nothing(name string, kind cebpf.ProgramType, attach cebpf.AttachType, to string) *cebpf.ProgramSpec {
	return &cebpf.ProgramSpec{
		Name: name, Type: kind, AttachType: attach, AttachTo: to, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
}

// parts is a probe with parts that work and parts that do not.
type parts struct {
	t      *testing.T
	status []model.Probe
	loader *ebpf.Loader
}

func (*parts) Name() string        { return "parts" }
func (*parts) Kinds() []model.Kind { return nil }
func (p *parts) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	refused := nothing("refused", cebpf.RawTracepoint, 0, "softirq_entry")
	refused.Instructions = asm.Instructions{asm.Return()} // returns what was never set
	spec := &cebpf.CollectionSpec{
		Maps: map[string]*cebpf.MapSpec{
			"counts":     {Name: "counts", Type: cebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 3},
			"lb_ringbuf": {Name: "lb_ringbuf", Type: cebpf.RingBuf, MaxEntries: 4096},
		},
		Programs: map[string]*cebpf.ProgramSpec{
			"works":    nothing("works", cebpf.RawTracepoint, 0, "softirq_entry"),
			"also":     nothing("also", cebpf.RawTracepoint, 0, "softirq_exit"),
			"absent":   nothing("absent", cebpf.RawTracepoint, 0, "no_such_tracepoint"),
			"unknown":  nothing("unknown", cebpf.Tracing, cebpf.AttachTraceRawTp, "no_such_tracepoint"),
			"refused":  refused,
			"unnamed":  nothing("unnamed", cebpf.SocketFilter, 0, ""),
			"notrace":  nothing("notrace", cebpf.TracePoint, 0, "no_group"),
			"syscalls": nothing("syscalls", cebpf.TracePoint, 0, "syscalls/sys_enter_connect"),
		},
	}
	var err error
	if p.loader, err = env.NewLoader(spec); err != nil {
		return nil, err
	}
	for _, programs := range [][]string{
		{"works"}, {"works", "also"}, {"also", "absent"}, {"unknown"}, {"refused"}, {"unnamed"}, {"notrace"},
		{"no such program"}, {"syscalls"},
	} {
		p.status = append(p.status, p.loader.Try("parts", strings.Join(programs, "+"), programs...))
	}
	absent, works := ebpf.Set{Programs: []string{"also", "absent"}}, ebpf.Set{Programs: []string{"works"}}
	half := ebpf.Set{Programs: []string{"works"}, Unseen: "half is not seen"}
	for part, sets := range map[string][]ebpf.Set{
		"first": {works, half}, "second": {absent, half, works}, "none": {absent, {Programs: []string{"refused"}}},
	} {
		p.status = append(p.status, p.loader.TryInTurn("parts", part, sets))
	}
	if m := p.loader.Map("counts"); m == nil || m.MaxEntries() != 3 {
		p.t.Errorf("map counts: %v", m)
	}
	if m := p.loader.Map("lb_ringbuf"); m == nil || m.MaxEntries() != env.Maps["lb_ringbuf"].MaxEntries() {
		p.t.Errorf("the shared ringbuf was not put in: %v", m)
	}
	if m, v := p.loader.Map("nothing"), p.loader.Variable("nothing"); m != nil || v != nil {
		p.t.Errorf("what does not exist is found: %v, %v", m, v)
	}
	return p, nil
}
func (p *parts) Status() []model.Probe                                 { return p.status }
func (*parts) Collect(model.Time, time.Duration, *model.Builder) error { return nil }
func (p *parts) Close() error                                          { return p.loader.Close() }

func TestParts(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, &parts{t: t})
	got := make(map[string]model.Probe)
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if p, ok := b.Probe(e); ok && p.Name == "parts" {
			got[p.Part] = p
		}
	})
	for part, want := range map[string]struct {
		state  model.ProbeState
		reason string
	}{
		"works":           {model.ProbeOn, ""},
		"works+also":      {model.ProbeOn, ""},
		"also+absent":     {model.ProbeOff, "no_such_tracepoint"},
		"unknown":         {model.ProbeOff, "no_such_tracepoint"},
		"refused":         {model.ProbeOff, "load refused"},
		"unnamed":         {model.ProbeOff, "not attached by name"},
		"notrace":         {model.ProbeOff, "names no tracepoint"},
		"no such program": {model.ProbeOff, "no such program"},
		"syscalls":        {model.ProbeOn, ""},
		"first":           {model.ProbeOn, ""},
		"second":          {model.ProbeDegraded, "half is not seen"},
		"none":            {model.ProbeOff, "no_such_tracepoint"},
	} {
		p := got[part]
		if p.State != want.state || !strings.Contains(p.Reason, want.reason) || (want.reason == "") != (p.Reason == "") {
			t.Errorf("%s: %+v, want %v with reason %q", part, p, want.state, want.reason)
		}
		if part == "also+absent" && p.Hint == "" {
			t.Errorf("%s: no hint", part)
		}
		if strings.Contains(p.Reason, "\n") || len(p.Reason) > 250 {
			t.Errorf("%s: reason of %d bytes: %q", part, len(p.Reason), p.Reason)
		}
	}
}

// failing is a probe whose Collect fails and whose state then changes.
type failing struct {
	ebpftest.Flood
	env  *ebpf.Env
	fail bool
}

func (*failing) Name() string { return "failing" }
func (f *failing) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	f.env = env
	_, err := f.Flood.Attach(env)
	return f, err
}
func (f *failing) Status() []model.Probe {
	if f.fail {
		return []model.Probe{ebpf.StatusOf("failing", "map", errors.New("gone"))}
	}
	return []model.Probe{ebpf.StatusOf("failing", "map", nil)}
}
func (f *failing) Collect(model.Time, time.Duration, *model.Builder) error {
	if f.fail {
		return errors.New("cannot read the map")
	}
	f.fail = true
	f.env.StatusChanged()
	return nil
}

// What stops working while it runs is reported when it happens, and the rest
// goes on.
func TestCollectFails(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, &failing{})
	s.Intervals(2)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var states []model.ProbeState
	var reported int
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		p, ok := b.Probe(e)
		switch {
		case ok && p.Part == "map":
			states = append(states, p.State)
		case ok && p.Part == "counts" && p.State == model.ProbeDegraded && p.Reason == "cannot read the map":
			reported++
		}
	})
	if len(states) != 2 || states[0] != model.ProbeOn || states[1] != model.ProbeOff {
		t.Errorf("states %v, want on, then off", states)
	}
	if reported != 1 {
		t.Errorf("the failure of Collect is %d times in the stream, want once", reported)
	}
}
