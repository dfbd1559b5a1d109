// Package probe says what a probe is: what its folder gives to the list of all.
package probe

import (
	"lostbeat/ebpf"
	"lostbeat/etw"
	"lostbeat/model"
)

// Definition describes a probe on every system.
type Definition struct {
	// Name is the probe's name, as in --probe and in probe events.
	Name string
	// Doc says what it observes, in one sentence.
	Doc string
	// Kinds are the kinds of events that it emits.
	Kinds []model.Kind
	// New makes its eBPF half; nil on a system that has none.
	New func() ebpf.Probe
	// ETW makes its Windows half, fresh for one decoder. It works on every
	// system: captures are read anywhere. Nil for a probe without one.
	ETW func() etw.Probe
	// ETWRank is its place among the Windows halves, which are given each record in this order: what others rely on, such
	// as which thread runs on a CPU, comes first.
	ETWRank int
}
