package pktmon

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe.
func Definition() probe.Definition {
	return probe.Definition{
		Name:  "capture",
		Doc:   "Packets on the wire, and packets that Packet Monitor reports as dropped (Windows captures only).",
		Kinds: []model.Kind{model.KindPacket, model.KindFlow, model.KindFlowStall, model.KindDrop, model.KindCaptureDrop},
		ETW:   NewETW,
		// Behind those that name processes.
		ETWRank: 20,
	}
}
