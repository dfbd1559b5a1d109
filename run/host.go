package run

import (
	"fmt"
	"slices"
	"strings"

	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/probes"
	"lostbeat/source"
)

// ProbeNames are the names of the probes that watch this host.
func ProbeNames() []string {
	names := slices.Clone(hostProbes)
	for _, p := range probes.Live() {
		names = append(names, p.Name)
	}
	return names
}

// HostOptions say how this host is watched.
type HostOptions struct {
	ebpf.Options
	// RawBuffers lets Windows hand over whole buffers of its trace sessions, see etw.LiveOptions.
	RawBuffers bool
}

// OpenHost returns this host as a source of events. From then on this process
// keeps its own memory small.
func OpenHost(o HostOptions) (source.Source, error) {
	names := ProbeNames()
	for _, name := range o.Only {
		if !slices.Contains(names, name) {
			return nil, hint.New(fmt.Sprintf("there is no probe %q", name), "probes: "+strings.Join(names, ", "))
		}
	}
	boundMemory()
	return openHost(o)
}
