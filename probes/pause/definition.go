package pause

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name:  "pause",
		Doc:   "times when the whole host was stopped: suspended, or its virtual machine was paused",
		Kinds: []model.Kind{model.KindHostPause},
		New:   engine(),
	}
}
