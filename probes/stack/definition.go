package stack

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name:  "stack",
		Doc:   "kernel stacks, sampled only on a detector's request: what makes packets expensive, what occupies a CPU",
		Kinds: []model.Kind{model.KindStackSample},
		New:   engine(),
	}
}
