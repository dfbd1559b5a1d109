//go:build !linux

package probes

import "lostbeat/ebpf"

// All returns nothing: there are no eBPF probes on this system.
func All() []ebpf.Probe { return nil }
