package sched

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "sched",
		Doc: "why a watched thread did not run (on a detector's request): no CPU and who ran instead, throttled, frozen, " +
			"stopped, blocked, waiting for other input",
		Kinds:   []model.Kind{model.KindSchedHist, model.KindSchedState, model.KindSchedRival},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 1,
	}
}
