package confine

import "slices"

// Need is a capability that a feature of tracing takes.
type Need struct {
	Capability string
	// Feature is what takes it, as docs/CAPABILITIES.md and doctor say it.
	Feature string
	// Probes are those with the feature, nil for all.
	Probes []string
	// Later says that it is needed after the start, too: on request, or for what comes later.
	Later bool
}

// Needs is the table of capabilities and features. TestLongCapabilities compares it with what the program says where
// one is missing.
var Needs = []Need{
	{"CAP_BPF", "load and attach programs at the start", nil, false},
	{"CAP_BPF", "load programs on request: the way of a heartbeat's packets, kernel stacks, waits of threads",
		[]string{"heartbeat", "sched", "stack", "port", "drop", "deferred"}, true},
	{"CAP_PERFMON", "trace the kernel: programs on its tracepoints and functions", nil, false},
	{"CAP_PERFMON", "load tracing programs on request, sample kernel stacks",
		[]string{"heartbeat", "sched", "stack", "port", "drop", "deferred"}, true},
	{"CAP_NET_ADMIN", "programs of control groups", []string{"port", "heartbeat", "drop"}, true},
	{"CAP_NET_ADMIN", "firewall rules and counters, queues, ring sizes, socket tables with memory",
		[]string{"confirm", "nic", "port", "heartbeat"}, true},
	{"CAP_DAC_READ_SEARCH", "tracefs, and files of other users' processes",
		[]string{"port", "heartbeat", "sched", "interrupt"}, true},
	{"CAP_SYS_PTRACE", "network namespaces, files, settings and sockets of other users' processes",
		[]string{"port", "nic", "drop", "heartbeat", "sched", "confirm"}, true},
	{"CAP_SYS_ADMIN", "ports, devices and readings of other network namespaces (containers)",
		[]string{"port", "nic", "drop", "heartbeat", "confirm"}, true},
	{"CAP_SYSLOG", "names of kernel functions where packets are dropped and that stacks consist of",
		[]string{"drop", "stack"}, true},
}

// Kept returns the capabilities that the given probes need after the start, nil for all probes, and whether they load
// programs then.
func Kept(probes []string) (capabilities []string, loads bool) {
	for _, n := range Needs {
		chosen := n.Probes == nil || len(probes) == 0 ||
			slices.ContainsFunc(probes, func(p string) bool { return slices.Contains(n.Probes, p) })
		if !n.Later || !chosen {
			continue
		}
		loads = loads || n.Capability == "CAP_BPF"
		if !slices.Contains(capabilities, n.Capability) {
			capabilities = append(capabilities, n.Capability)
		}
	}
	return capabilities, loads
}

// looksInside are the capabilities that look into other processes, which a strict confinement does without: Landlock
// refuses what they are for.
var looksInside = []string{"CAP_SYS_PTRACE", "CAP_SYS_ADMIN"}

// Strict returns the capabilities that a strict confinement keeps of those given.
func Strict(capabilities []string) []string {
	return slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return slices.Contains(looksInside, c) })
}

// Unseen says what a strict confinement does not see.
func Unseen() (features []string) {
	for _, n := range Needs {
		if slices.Contains(looksInside, n.Capability) {
			features = append(features, n.Feature)
		}
	}
	return features
}

// Capability is a capability with the features that take it.
type Capability struct {
	Name     string
	Features []string
}

// Capabilities returns the table by capability.
func Capabilities() (list []Capability) {
	for _, n := range Needs {
		if len(list) == 0 || list[len(list)-1].Name != n.Capability {
			list = append(list, Capability{Name: n.Capability})
		}
		c := &list[len(list)-1]
		c.Features = append(c.Features, n.Feature)
	}
	return list
}
