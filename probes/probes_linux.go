package probes

import (
	"lostbeat/ebpf"
	"lostbeat/probes/confirm"
	"lostbeat/probes/deferred"
	"lostbeat/probes/drop"
	"lostbeat/probes/interrupt"
	"lostbeat/probes/nic"
	"lostbeat/probes/port"
	"lostbeat/probes/sched"
	"lostbeat/probes/stack"
)

// All returns the probes of this system, in the order of the Catalogue.
func All() []ebpf.Probe {
	return []ebpf.Probe{
		deferred.New(), interrupt.New(), nic.New(), drop.New(), port.New(), stack.New(), sched.New(),
		confirm.New(),
	}
}
