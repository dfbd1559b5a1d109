package heartbeat

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "heartbeat",
		Doc:  "single packets of chosen flows: their cadence, and the stages that they pass",
		Kinds: []model.Kind{
			model.KindPacket, model.KindPacketRead, model.KindPacketReturn, model.KindPacketQdisc, model.KindPacketEarly,
			model.KindFlow, model.KindFlowStall,
		},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 4,
	}
}
