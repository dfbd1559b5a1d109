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
	// Name is Prometheus' name, with the unit in it. OTLP is OpenTelemetry's, and Unit the unit of its values there, by
	// UCUM: Prometheus makes Name of the two.
	Name, OTLP, Unit string
	Kind             Kind
	// Labels are attributes in OTLP.
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
	nameExports        = "lostbeat_failed_exports_total"
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

// Labels that may tell whose a host is.
const (
	labelPeer  = "peer"
	labelPool  = "pool"
	labelNetns = "netns"
)

// flowLabels name a followed flow: what it is known for, its protocol, the port of the service, and who is at the
// other end. Flows that differ in nothing else are added up.
var flowLabels = []string{"service", "protocol", "port", labelPeer, "direction"}

// poolLabels name a pool of ports.
var poolLabels = []string{labelPool, "protocol", labelNetns}

// Table describes every metric. The output, docs/METRICS.md and the tests of rules and dashboard are read from it.
var Table = []Metric{
	{nameActive, "lostbeat.findings.active", "{finding}", Gauge, []string{"detector", "severity"},
		"Findings that are ongoing. 0 is exported too, so that an alert resolves.", maxDetectors * severities},
	{nameFindings, "lostbeat.findings", "{finding}", Counter, []string{"detector", "severity"},
		"Findings that reached a severity: each counts once at the severity with which it began, and once more when " +
			"it gets worse. It counts findings that were over before the next scrape, too.", maxDetectors * severities},
	{nameDropped, "lostbeat.dropped.packets", "{packet}", Counter, []string{"place"},
		"Packets lost inside the host, by place. A drop by a filter is a decision, and no fault.", places},
	{nameRefused, "lostbeat.port.refusals", "{refusal}", Counter, nil, "Attempts to take a local port that failed.", 1},
	{namePoolUsed, "lostbeat.pool.used_ports", "{port}", Gauge, poolLabels,
		"Distinct ports of a pool that are held.", maxPools},
	{namePoolResting, "lostbeat.pool.resting_ports", "{port}", Gauge, poolLabels,
		"Distinct ports of a pool that are closed and not free yet (TIME_WAIT).", maxPools},
	{namePoolSize, "lostbeat.pool.size_ports", "{port}", Gauge, poolLabels,
		"Ports of a pool that can be taken.", maxPools},
	{nameExhaustion, "lostbeat.pool.exhaustion", "s", Gauge, poolLabels,
		"Seconds until a pool is exhausted at its present rate. Absent while it does not fill steadily.", maxPools},
	{nameWait, "lostbeat.deferred.wait", "s", Histogram, []string{"vector"},
		"Time from raise to entry of deferred work: a softirq vector (NET_RX), or the driver of a DPC.", maxVectors + 1},
	{nameRun, "lostbeat.deferred.run", "s", Histogram, []string{"vector"},
		"Time from entry to exit of deferred work.", maxVectors + 1},
	{namePackets, "lostbeat.heartbeat.packets", "{packet}", Counter, flowLabels,
		"Packets of a followed heartbeat flow.", maxFlows + 1},
	{nameLate, "lostbeat.heartbeat.late", "{gap}", Counter, flowLabels,
		"Gaps of a followed flow that were longer than its cadence allows.", maxFlows + 1},
	{nameMissing, "lostbeat.heartbeat.lost_packets", "{packet}", Counter, flowLabels,
		"Packets that were missing in such gaps and did not come later.", maxFlows + 1},
	{nameLongest, "lostbeat.heartbeat.longest_gap", "s", Gauge, flowLabels,
		"Longest time without a packet of a followed flow since it has been followed, the present one included.", maxFlows},
	{nameOverdue, "lostbeat.heartbeat.overdue", "s", Gauge, flowLabels,
		"By how much the next packet of a followed flow is late now; 0 while none is.", maxFlows},
	{namePeriod, "lostbeat.heartbeat.period", "s", Gauge, flowLabels,
		"Usual time between two packets. Absent while it is not known.", maxFlows},
	{nameTimeout, "lostbeat.heartbeat.timeout", "s", Gauge, flowLabels,
		"Silence after which the flow's protocol gives its peer up. Absent while it is not known.", maxFlows},
	{nameProcessCPU, "lostbeat.process.cpu", "s", Counter, nil, "CPU time of the lostbeat process, user and system.", 1},
	{nameKernelCPU, "lostbeat.kernel.cpu", "s", Counter, nil,
		"Estimated CPU time that lostbeat's programs take in the kernel.", 1},
	{nameResident, "lostbeat.resident_memory", "By", Gauge, nil, "Resident memory of the lostbeat process.", 1},
	{nameLost, "lostbeat.lost_events", "{event}", Counter, []string{"origin"},
		"Events that lostbeat lost, by where: ringbuf and queue are of everyone, output is of these metrics alone.",
		maxOrigins + 1},
	{nameExports, "lostbeat.failed_exports", "{export}", Counter, []string{"reason"},
		"Exports of these metrics by --otlp-metrics that failed: unreachable is repeated with newer values, refused is " +
			"not, and of a partial one the receiver has left out some series. Absent without that flag.", 3},
	{nameShed, "lostbeat.detail.left_out", "{part}", Gauge, []string{"probe", "part"},
		"1 while detail is left out to stay below --max-cpu, else 0. Counters on which verdicts rest are never left out.",
		8},
	{nameProbes, "lostbeat.probe.parts", "{part}", Gauge, []string{"state"},
		"Parts of probes that are on, degraded or off; lostbeat doctor names them.", 3},
	{nameJudged, "lostbeat.judged.timestamp", "s", Gauge, nil,
		"End of the last second that was judged, in seconds since 1970.", 1},
	{nameLeftOut, "lostbeat.series.left_out", "{series}", Gauge, []string{"what"},
		"Pools, flows, vectors, origins and findings that have no series of their own here, because there are too many.", 5},
	{nameBuild, "lostbeat.build.info", "", Gauge, []string{"version", "goversion"},
		"1, with the version of lostbeat.", 1},
}
