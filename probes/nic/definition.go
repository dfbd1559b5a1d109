package nic

import (
	"lostbeat/model"
	"lostbeat/probes/probe"
)

// Definition describes the probe for the list of all.
func Definition() probe.Definition {
	return probe.Definition{
		Name: "nic",
		Doc: "network devices: NAPI polls, softnet, link and ring counters, ring sizes, queues and the CPUs that handle " +
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
		New:     engine(),
		ETW:     NewETW,
		ETWRank: 7,
	}
}
