package etw

import (
	"slices"

	"lostbeat/model"
)

// provider is one that a session enables.
type provider struct {
	guid GUID
	name string
	// level is the highest level of its events that are used.
	level uint8
	// keywords are what a Windows gets that takes no list of events: as little as shows drops and failures.
	keywords uint64
}

// userProviders are the providers of the user session.
var userProviders = []provider{
	{ProviderAFD, "Microsoft-Windows-Winsock-AFD", 5, 0},
	{ProviderTCPIP, "Microsoft-Windows-TCPIP", 4, 0x10000000000},
	{ProviderRPC, "Microsoft-Windows-RPC", 4, 0},
	{ProviderRPCSS, "Microsoft-Windows-RPCSS", 4, 0},
	{ProviderNDIS, "Microsoft-Windows-NDIS", 3, 0},
	{ProviderKernelNetwork, "Microsoft-Windows-Kernel-Network", 4, 0},
}

// kernelClasses are the classes of the events that the system logger gives.
var kernelClasses = []GUID{ClassPerfInfo, ClassProcess, ClassThread, ClassImage}

// contextSwitch is the kind of the switches of threads.
var contextSwitch = Opcode(ClassThread, 36)

// traceable reports whether a live session can have a kind of events.
func traceable(k Key) bool {
	return slices.Contains(kernelClasses, k.Class) ||
		slices.ContainsFunc(userProviders, func(p provider) bool { return p.guid == k.Class })
}

// liveStates says what probes can see in a live session.
type liveStates struct {
	// possible are the kinds of events that a live session can have, wanted those of them that were asked for, enabled
	// those that come; reason and hint say why not all do.
	possible, wanted, enabled Census
	reason, hint              string
}

// of returns the states of a probe. What it misses in every capture are counters, which are read here.
func (l *liveStates) of(p Probe) []model.Probe {
	ever, possible := p.Status(nil), p.Status(l.possible)
	wanted, states := p.Status(l.wanted), p.Status(l.enabled)
	for i := range states {
		s := &states[i]
		switch {
		case i >= len(ever) || i >= len(possible) || i >= len(wanted):
		case ever[i].State != model.ProbeOn:
			s.State, s.Reason, s.Hint = model.ProbeOn, "", ""
		case possible[i].State != model.ProbeOn:
			s.Reason = "a live session does not have its events" // the hint says how to record them
		case wanted[i].State != model.ProbeOn:
			s.Reason, s.Hint = "off by default: it has many events", "enable it with --probe"
		case s.State != model.ProbeOn:
			s.Reason, s.Hint = l.reason, l.hint
		}
	}
	return states
}
