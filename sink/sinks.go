// Package sink lists the outputs that a user can ask for.
package sink

import (
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/pipeline"
	"lostbeat/sink/findings"
	"lostbeat/sink/jsonl"
)

// Catalogue are the outputs that a user can ask for, a line each.
var Catalogue = []pipeline.Spec{
	findings.Spec,
	jsonl.Spec,
}

// Find returns the output of the given name.
func Find(name string) (pipeline.Spec, error) {
	var known []string
	for _, s := range Catalogue {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name+" ("+s.Doc+")")
	}
	return pipeline.Spec{}, hint.New("there is no output "+name, "outputs: "+strings.Join(known, ", "))
}
