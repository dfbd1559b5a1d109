package drop

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "drop",
		Doc: "packets lost inside the host, by place and reason, with the socket, port and process where known; " +
			"receive queues that fill",
		Kinds:   []model.Kind{model.KindDrop, model.KindFlowDrop, model.KindSocketQueue},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 6,
	}
}
