// Package probes lists the signals that lostbeat can observe. Each has a
// folder of its own; adding one is a folder and one line here and in
// probes_linux.go.
package probes

import "lostbeat/model"

// Info describes a probe on every system, for documentation and diagnosis.
type Info struct {
	// Name is the probe's name, as in --probe and in probe events.
	Name string
	// Doc says what it observes, in one sentence.
	Doc string
	// Kinds are the kinds of events that it emits.
	Kinds []model.Kind
}

// Catalogue lists all probes in the order in which they are attached.
var Catalogue = []Info{
	{
		Name:  "deferred",
		Doc:   "deferred interrupt work: how long softirqs (Linux) and DPCs (Windows) waited and ran, per CPU",
		Kinds: []model.Kind{model.KindDeferredHist, model.KindDeferredRun, model.KindCPUTime},
	},
	{
		Name:  "interrupt",
		Doc:   "hard interrupts (Linux) and ISRs (Windows): how long each line's handlers ran, per CPU",
		Kinds: []model.Kind{model.KindInterruptHist, model.KindInterruptRun},
	},
	{
		Name: "nic",
		Doc: "network devices: NAPI polls, softnet, link and ring counters, ring sizes, queues and the CPUs that serve " +
			"them; SNMP counters",
		Kinds: []model.Kind{
			model.KindNAPI,
			model.KindSoftnet,
			model.KindDeviceStats,
			model.KindDeviceConfig,
			model.KindDeviceQueue,
			model.KindDeviceEvent,
			model.KindDrop,
			model.KindCounter,
		},
	},
	{
		Name: "drop",
		Doc: "packets lost inside the host, by place and reason, with the socket, port and process where known; " +
			"receive queues that fill",
		Kinds: []model.Kind{model.KindDrop, model.KindSocketQueue},
	},
	{
		Name: "port",
		Doc: "local ports: how each is taken, given back, rests or cannot be taken, by whom; pools; what exists at the " +
			"start; an audit against the kernel's tables",
		Kinds: []model.Kind{
			model.KindPortAcquire,
			model.KindPortRelease,
			model.KindPortRest,
			model.KindPortFail,
			model.KindPortActive,
			model.KindPortPool,
			model.KindPortAudit,
			model.KindPortActivity,
		},
	},
	{
		Name:  "stack",
		Doc:   "kernel stacks, sampled only while a detector asks for them: what makes packets expensive, what holds a CPU",
		Kinds: []model.Kind{model.KindStackSample},
	},
	{
		Name: "sched",
		Doc: "why a watched thread did not run, only while a detector asks: no CPU and who ran instead, throttled, frozen, " +
			"stopped, blocked, waiting for other input",
		Kinds: []model.Kind{model.KindSchedHist, model.KindSchedState, model.KindSchedRival},
	},
	{
		Name: "confirm",
		Doc: "tables and their limits, settings, queues, filter rules and their counters, read only when a detector asks, " +
			"to confirm or to rule out a cause",
		Kinds: []model.Kind{model.KindReading},
	},
}
