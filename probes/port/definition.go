package port

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "port",
		Doc: "local ports: who takes and releases each, TIME_WAIT, failed attempts; pools; what is open at the " +
			"start; an audit against the kernel's tables; RPC programs registered with rpcbind",
		Kinds: []model.Kind{
			model.KindPortAcquire,
			model.KindPortRelease,
			model.KindPortRest,
			model.KindPortFail,
			model.KindPortActive,
			model.KindPortPool,
			model.KindPortAudit,
			model.KindPortActivity,
			model.KindRPCEndpoint,
		},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 5,
	}
}
