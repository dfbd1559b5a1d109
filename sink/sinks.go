// Package sink lists the outputs that a user can ask for.
package sink

import (
	"strings"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/pipeline"
	"lostbeat/sink/findings"
	"lostbeat/sink/jsonl"
)

// Catalogue returns the outputs that a user can ask for, a line each. Those that are for people write times of the
// given zone.
func Catalogue(zone *time.Location) []pipeline.Spec {
	return []pipeline.Spec{
		findings.Spec(zone),
		jsonl.Spec,
	}
}

// Find returns the output of the given name.
func Find(name string, zone *time.Location) (pipeline.Spec, error) {
	var known []string
	for _, s := range Catalogue(zone) {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name+" ("+s.Doc+")")
	}
	return pipeline.Spec{}, hint.New("there is no output "+name, "outputs: "+strings.Join(known, ", "))
}
