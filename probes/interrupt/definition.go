package interrupt

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name:    "interrupt",
		Doc:     "hard interrupts (Linux) and ISRs (Windows): how long each line's handlers ran, per CPU",
		Kinds:   []model.Kind{model.KindInterruptHist, model.KindInterruptRun},
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 3,
	}
}
