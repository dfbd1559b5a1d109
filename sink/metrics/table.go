package metrics

// Kind is what a metric's values mean.
type Kind string

// Kinds of metrics, as Prometheus calls them.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric is an entry of the table of metrics.
type Metric struct {
	Name   string
	Kind   Kind
	Labels []string
	// Help says what it is, in the output and in docs/METRICS.md.
	Help string
	// Most is the largest number of label sets that it ever has.
	Most int
}

// Names of the metrics.
const (
	nameActive         = "lostbeat_findings_active"
	nameFindings       = "lostbeat_findings_total"
	nameDropped        = "lostbeat_dropped_packets_total"
	nameRefused        = "lostbeat_port_refusals_total"
	namePoolUsed       = "lostbeat_pool_used_ports"
	namePoolResting    = "lostbeat_pool_resting_ports"
	namePoolSize       = "lostbeat_pool_size_ports"
	nameExhaustion     = "lostbeat_pool_exhaustion_seconds"
	nameWait           = "lostbeat_deferred_wait_seconds"
	nameRun            = "lostbeat_deferred_run_seconds"
	namePackets        = "lostbeat_heartbeat_packets_total"
	nameLate           = "lostbeat_heartbeat_late_total"
	nameMissing        = "lostbeat_heartbeat_lost_packets_total"
	nameLongest        = "lostbeat_heartbeat_longest_gap_seconds"
	nameOverdue        = "lostbeat_heartbeat_overdue_seconds"
	namePeriod         = "lostbeat_heartbeat_period_seconds"
	nameTimeout        = "lostbeat_heartbeat_timeout_seconds"
	nameProcessCPU     = "lostbeat_process_cpu_seconds_total"
	nameKernelCPU      = "lostbeat_kernel_cpu_seconds_total"
	nameResident       = "lostbeat_resident_memory_bytes"
	nameLost           = "lostbeat_lost_events_total"
	nameShed           = "lostbeat_detail_left_out"
	nameProbes         = "lostbeat_probe_parts"
	nameJudged         = "lostbeat_judged_timestamp_seconds"
	nameLeftOut        = "lostbeat_series_left_out"
	nameBuild          = "lostbeat_build_info"
	otherLabel         = "other"
	maxPools           = 64
	maxFlows           = 64
	maxVectors         = 32
	maxOrigins         = 16
	maxDetectors       = 32
	severities, places = 3, 8
)

// flowLabels name a followed flow: what it is known for, its protocol, the port of the service, and who is at the
// other end. Flows that differ in nothing else are added up.
var flowLabels = []string{"service", "protocol", "port", "peer", "direction"}

// poolLabels name a pool of ports.
var poolLabels = []string{"pool", "protocol", "netns"}

// Table describes every metric. The output, docs/METRICS.md and the tests of rules and dashboard are read from it.
var Table = []Metric{
	{nameActive, Gauge, []string{"detector", "severity"},
		"Findings that are ongoing. 0 is exported too, so that an alert resolves.", maxDetectors * severities},
	{nameFindings, Counter, []string{"detector", "severity"},
		"Findings that reached a severity: each counts once at the severity with which it began, and once more when " +
			"it gets worse. It counts findings that were over before the next scrape, too.", maxDetectors * severities},
	{nameDropped, Counter, []string{"place"},
		"Packets lost inside the host, by place. A drop by a filter is a decision, and no fault.", places},
	{nameRefused, Counter, nil, "Attempts to take a local port that failed.", 1},
	{namePoolUsed, Gauge, poolLabels, "Distinct ports of a pool that are held.", maxPools},
	{namePoolResting, Gauge, poolLabels,
		"Distinct ports of a pool that are closed and not free yet (TIME_WAIT).", maxPools},
	{namePoolSize, Gauge, poolLabels, "Ports of a pool that can be taken.", maxPools},
	{nameExhaustion, Gauge, poolLabels,
		"Seconds until a pool is exhausted at its present rate. Absent while it does not fill steadily.", maxPools},
	{nameWait, Histogram, []string{"vector"},
		"Time from raise to entry of deferred work: a softirq vector (NET_RX), or the driver of a DPC.", maxVectors + 1},
	{nameRun, Histogram, []string{"vector"}, "Time from entry to exit of deferred work.", maxVectors + 1},
	{namePackets, Counter, flowLabels, "Packets of a followed heartbeat flow.", maxFlows + 1},
	{nameLate, Counter, flowLabels, "Gaps of a followed flow that were longer than its cadence allows.", maxFlows + 1},
	{nameMissing, Counter, flowLabels, "Packets that were missing in such gaps and did not come later.", maxFlows + 1},
	{nameLongest, Gauge, flowLabels,
		"Longest time without a packet of a followed flow since it has been followed, the present one included.", maxFlows},
	{nameOverdue, Gauge, flowLabels,
		"By how much the next packet of a followed flow is late now; 0 while none is.", maxFlows},
	{namePeriod, Gauge, flowLabels, "Usual time between two packets. Absent while it is not known.", maxFlows},
	{nameTimeout, Gauge, flowLabels,
		"Silence after which the flow's protocol gives its peer up. Absent while it is not known.", maxFlows},
	{nameProcessCPU, Counter, nil, "CPU time of the lostbeat process, user and system.", 1},
	{nameKernelCPU, Counter, nil, "Estimated CPU time that lostbeat's programs take in the kernel.", 1},
	{nameResident, Gauge, nil, "Resident memory of the lostbeat process.", 1},
	{nameLost, Counter, []string{"origin"},
		"Events that lostbeat lost, by where: ringbuf and queue are of everyone, output is of these metrics alone.",
		maxOrigins + 1},
	{nameShed, Gauge, []string{"probe", "part"},
		"1 while detail is left out to stay below --max-cpu, else 0. Counters on which verdicts rest are never left out.",
		8},
	{nameProbes, Gauge, []string{"state"}, "Parts of probes that are on, degraded or off; lostbeat doctor names them.", 3},
	{nameJudged, Gauge, nil, "End of the last second that was judged, in seconds since 1970.", 1},
	{nameLeftOut, Gauge, []string{"what"},
		"Pools, flows, vectors, origins and findings that have no series of their own here, because there are too many.", 5},
	{nameBuild, Gauge, []string{"version", "goversion"}, "1, with the version of lostbeat.", 1},
}
