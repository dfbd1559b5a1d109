//go:build !windows

package run

import (
	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/probes"
	"lostbeat/source"
)

// hostProbes are those that stand beside the catalogue.
var hostProbes []string

func openHost(o HostOptions) (source.Source, error) {
	if o.RawBuffers {
		return nil, hint.New("--raw-buffers is available on Windows only", "leave it out")
	}
	return ebpf.New(o.Options, probes.All())
}
