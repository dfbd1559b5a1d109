package deferred

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name:    "deferred",
		Doc:     "deferred interrupt work: how long softirqs (Linux) and DPCs (Windows) waited and ran, per CPU",
		Kinds:   []model.Kind{model.KindDeferredHist, model.KindDeferredRun, model.KindCPUTime},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 2,
	}
}
