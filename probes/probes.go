// Package probes lists the signals that lostbeat can observe. Each has a
// folder of its own; adding one is a folder and one line here.
package probes

import (
	"cmp"
	"slices"

	"lostbeat/ebpf"
	"lostbeat/etw"
	"lostbeat/probes/confirm"
	"lostbeat/probes/deferred"
	"lostbeat/probes/drop"
	"lostbeat/probes/heartbeat"
	"lostbeat/probes/interrupt"
	"lostbeat/probes/nic"
	"lostbeat/probes/pause"
	"lostbeat/probes/pktmon"
	"lostbeat/probes/port"
	"lostbeat/probes/probe"
	"lostbeat/probes/sched"
	"lostbeat/probes/stack"
)

// Catalogue lists all probes in the order in which they are attached.
var Catalogue = []probe.Definition{
	deferred.Definition(),
	interrupt.Definition(),
	nic.Definition(),
	drop.Definition(),
	port.Definition(),
	stack.Definition(),
	sched.Definition(),
	confirm.Definition(),
	heartbeat.Definition(),
	pause.Definition(),
	pktmon.Definition(),
}

// All returns the probes of this system, in the order of the Catalogue.
func All() []ebpf.Probe {
	var all []ebpf.Probe
	for _, d := range Catalogue {
		if d.New != nil {
			all = append(all, d.New())
		}
	}
	return all
}

// Live returns the probes that watch a running host: on a system that has none,
// those that others have.
func Live() []probe.Definition {
	var live []probe.Definition
	for _, d := range Catalogue {
		if d.New != nil {
			live = append(live, d)
		}
	}
	if live == nil {
		return Catalogue
	}
	return live
}

// ETW returns the Windows halves of all probes, fresh for one decoder.
func ETW() []etw.Probe {
	inOrder := slices.SortedFunc(slices.Values(Catalogue), func(a, b probe.Definition) int {
		return cmp.Compare(a.ETWRank, b.ETWRank)
	})
	var all []etw.Probe
	for _, d := range inOrder {
		if d.ETW != nil {
			all = append(all, d.ETW())
		}
	}
	return all
}
