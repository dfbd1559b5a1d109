package confirm

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "confirm",
		Doc: "tables and their limits, settings, queues, filter rules and counters, read only on a detector's request, " +
			"to confirm or rule out a cause",
		Kinds: []model.Kind{model.KindReading},
		New:   engine(),
	}
}
