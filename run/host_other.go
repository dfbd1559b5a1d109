//go:build !windows

package run

import (
	"lostbeat/ebpf"
	"lostbeat/probes"
	"lostbeat/source"
)

func openHost(o ebpf.Options) (source.Source, error) { return ebpf.New(o, probes.All()) }
