package run

import (
	"fmt"
	"slices"
	"strings"

	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/probes"
	"lostbeat/source"
)

// OpenHost returns this host as a source of events. From then on this process
// keeps its own memory small.
func OpenHost(o ebpf.Options) (source.Source, error) {
	var names []string
	for _, p := range probes.Catalogue {
		names = append(names, p.Name)
	}
	for _, name := range o.Only {
		if !slices.Contains(names, name) {
			return nil, hint.New(fmt.Sprintf("there is no probe %q", name), "probes: "+strings.Join(names, ", "))
		}
	}
	boundMemory()
	return ebpf.New(o, probes.All())
}

// requests returns what hands a detector's requests to a source, nil when it
// takes none.
func requests(src source.Source) func(model.Request) {
	if r, ok := src.(source.Requester); ok {
		return r.Request
	}
	return nil
}
