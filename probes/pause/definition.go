package pause

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name:  "pause",
		Doc:   "times in which the whole host stood still: it was suspended, or its virtual machine was stopped",
		Kinds: []model.Kind{model.KindHostPause},
		New:   engine(),
	}
}
