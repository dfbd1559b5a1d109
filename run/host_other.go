//go:build !windows

package run

import (
	"lostbeat/ebpf"
	"lostbeat/probes"
	"lostbeat/source"
)

// hostProbes are those that stand beside the catalogue.
var hostProbes []string

func openHost(o ebpf.Options) (source.Source, error) { return ebpf.New(o, probes.All()) }
