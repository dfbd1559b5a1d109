package etw

import (
	"fmt"
	"slices"
	"testing"

	"lostbeat/model"
)

// partsProbe has a part for each of its kinds of events, and one for counters, which no capture has.
type partsProbe struct{ kinds []Key }

func (*partsProbe) Name() string        { return "parts" }
func (*partsProbe) Kinds() []model.Kind { return nil }
func (*partsProbe) Register(*Decoder)   {}

func (p *partsProbe) Status(c Census) (list []model.Probe) {
	for _, k := range p.kinds {
		s := model.Probe{State: model.ProbeOn}
		if !c.Has(k) {
			s = model.Probe{State: model.ProbeOff, Reason: "not in the capture", Hint: "record it"}
		}
		list = append(list, s)
	}
	return append(list, model.Probe{State: model.ProbeOff, Reason: "in no capture"})
}

// TestLiveStates wants a reason, and the right one, for each part of a probe that sees nothing.
func TestLiveStates(t *testing.T) {
	kinds := []Key{Opcode(ClassPerfInfo, 68), contextSwitch, Event(ProviderAFD, 1), Event(ProviderPktMon, PktMonDropped)}
	census := func(wanted func(Key) bool) Census {
		c := Census{}
		for _, k := range kinds {
			if wanted(k) {
				c[k] = 1
			}
		}
		return c
	}
	asked := func(k Key) bool { return traceable(k) && k != contextSwitch }
	states := liveStates{
		possible: census(traceable), wanted: census(asked),
		enabled: census(func(k Key) bool { return asked(k) && k.Class != ProviderAFD }),
		reason:  "access is denied", hint: "elevate",
	}
	var got []string
	for _, s := range states.of(&partsProbe{kinds}) {
		got = append(got, fmt.Sprintf("%s|%s|%s", s.State, s.Reason, s.Hint))
	}
	want := []string{
		"on||", "off|off by default: it has many events|enable it with --probe", "off|access is denied|elevate",
		"off|a live session does not have its events|record it", "on||",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
