package pause

import "lostbeat/ebpf"

// engine makes the eBPF half.
func engine() func() ebpf.Probe { return func() ebpf.Probe { return New() } }
