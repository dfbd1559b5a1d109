package heartbeat

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "heartbeat",
		Doc:  "packets of followed flows: their intervals, and the time in each stage",
		Kinds: []model.Kind{
			model.KindPacket, model.KindPacketRead, model.KindPacketReturn, model.KindPacketQdisc, model.KindPacketEarly,
			model.KindFlow, model.KindFlowDevice, model.KindFlowStall,
		},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 4,
	}
}
