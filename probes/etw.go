package probes

import (
	"lostbeat/etw"
	"lostbeat/probes/deferred"
	"lostbeat/probes/drop"
	"lostbeat/probes/heartbeat"
	"lostbeat/probes/interrupt"
	"lostbeat/probes/nic"
	"lostbeat/probes/port"
	"lostbeat/probes/sched"
)

// ETW returns the Windows halves of all probes, fresh for one decoder. They
// work on every system: captures are read anywhere.
func ETW() []etw.Probe {
	return []etw.Probe{
		sched.NewETW(),
		deferred.NewETW(),
		interrupt.NewETW(),
		heartbeat.NewETW(),
		port.NewETW(),
		drop.NewETW(),
		nic.NewETW(),
	}
}
