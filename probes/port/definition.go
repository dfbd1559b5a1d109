package port

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "port",
		Doc: "local ports: how each is taken, given back, rests or cannot be taken, by whom; pools; what exists at the " +
			"start; an audit against the kernel's tables; the RPC programs that rpcbind has registered",
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
