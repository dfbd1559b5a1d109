//go:build !linux

package pause

import "lostbeat/ebpf"

// engine is nil: there is no eBPF half on this system.
func engine() func() ebpf.Probe { return nil }
