package starvation

import "lostbeat/detect"

// Settings are the thresholds of dpc-starvation; docs/DETECTORS.md explains each.
type Settings struct {
	BusyShare         float64
	ClearShare        float64
	SharedBusyShare   float64
	DropShare         float64
	MinDrops          uint64
	LateWait          detect.Duration
	LateCount         uint64
	LongRun           detect.Duration
	BurstDrops        uint64
	BacklogWait       detect.Duration
	ShallowShare      float64
	SmallBacklogShare float64
	HeldWait          detect.Duration
	InterruptShare    float64
	MaxSteal          float64
	ExpensivePacket   detect.Duration
	SqueezeShare      float64
	FullPollShare     float64
	SilentGaps        uint64
	LeastSilence      detect.Duration
	DPCGuideline      detect.Duration
	ISRGuideline      detect.Duration
	GuidelineFactor   float64
	Watchdog          detect.Duration
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "busy_share",
			Default: "0.7",
			Doc:     "share of a CPU's time in deferred work that counts as starving",
			Reason:  "measured: 79 to 99.8 % on starved CPUs, 36 to 48 % under the same flood without loss",
			Value:   &s.BusyShare,
		},
		{
			Key:     "clear_share",
			Default: "0.5",
			Doc:     "share below which the finding may close",
			Reason:  "hysteresis",
			Value:   &s.ClearShare,
		},
		{
			Key:     "shared_busy_share",
			Default: "0.4",
			Doc:     "share of the largest vector on a CPU that has no idle time",
			Reason:  "ksoftirqd shares its CPU with tasks: it then gets half of it",
			Value:   &s.SharedBusyShare,
		},
		{
			Key:     "drop_share",
			Default: "0.03125",
			Doc:     "share of a CPU's packets dropped at its backlog that counts as a victim",
			Reason:  "bpftune enlarges the backlog at 1/32",
			Value:   &s.DropShare,
		},
		{
			Key:     "min_drops",
			Default: "100",
			Doc:     "packets dropped within the window that count as a victim",
			Reason:  "a flood that the host handles dropped thousands of millions, a quiet host none",
			Value:   &s.MinDrops,
		},
		{
			Key:     "late_wait",
			Default: "10ms",
			Doc:     "wait from raise to entry that counts as late",
			Reason:  "softirqslower's default, 10 ms",
			Value:   &s.LateWait,
		},
		{
			Key:     "late_count",
			Default: "3",
			Doc:     "late waits within the window that count as a victim",
			Reason:  "one late wait is noise on a virtual machine",
			Value:   &s.LateCount,
		},
		{
			Key:     "long_run",
			Default: "5ms",
			Doc:     "shortest run that can be blamed for a late wait",
			Reason:  "half of late_wait: two such runs make one",
			Value:   &s.LongRun,
		},
		{
			Key:     "burst_drops",
			Default: "1000",
			Doc:     "packets dropped at a backlog within one second that are a fault by themselves",
			Reason:  "the default netdev_max_backlog: a backlog of it was filled and overflowed by as much again",
			Value:   &s.BurstDrops,
		},
		{
			Key:     "backlog_wait",
			Default: "1ms",
			Doc:     "wait of NET_RX from which something else had its CPU when a backlog overflowed",
			Reason:  "measured: 0.02 to 0.4 ms on a CPU whose backlog was 10 packets, 2 to 4 ms where programs held the CPU",
			Value:   &s.BacklogWait,
		},
		{
			Key:     "shallow_share",
			Default: "0.25",
			Doc:     "share of a CPU in NET_RX below which a backlog that overflows is called small",
			Reason:  "measured: 2 % with a backlog of 10 packets; a burst of 0.3 s takes 30 % of its second",
			Value:   &s.ShallowShare,
		},
		{
			Key:     "small_backlog_share",
			Default: "0.005",
			Doc:     "share of a CPU's packets dropped at a small backlog, or by the flow limit, that is reported",
			Reason:  "measured: 0.8 to 4 % with a backlog of 10 packets; floods that a host handles lose 0.3 %",
			Value:   &s.SmallBacklogShare,
		},
		{
			Key:     "held_wait",
			Default: "2ms",
			Doc:     "wait of a softirq from which it counts as held back, where it is known by whom",
			Reason:  "measured: 2 to 4 ms behind a real-time task; one wait above 2 ms in 168 s of a busy, healthy host",
			Value:   &s.HeldWait,
		},
		{
			Key:     "interrupt_share",
			Default: "0.5",
			Doc:     "share of a CPU in hard interrupts that is called a storm",
			Reason:  "more than half of a CPU is never left for tasks and softirqs on a healthy host",
			Value:   &s.InterruptShare,
		},
		{
			Key:     "max_steal",
			Default: "0.05",
			Doc:     "share of a CPU, stolen or (on one that QEMU emulates) in no state, above which delays on it prove nothing",
			Reason:  "a stopped virtual CPU delays everything",
			Value:   &s.MaxSteal,
		},
		{
			Key:     "expensive_packet",
			Default: "5µs",
			Doc:     "time for one packet from which its path is called expensive",
			Reason:  "measured: 1 to 2 µs for a UDP packet through veth without rules",
			Value:   &s.ExpensivePacket,
		},
		{
			Key:     "squeeze_share",
			Default: "0.5",
			Doc:     "share of NET_RX runs that ended with work left at which the budget is called small",
			Reason:  "time_squeeze alone proves nothing; most runs squeezed after few packets does",
			Value:   &s.SqueezeShare,
		},
		{
			Key:     "full_poll_share",
			Default: "0.5",
			Doc:     "share of polls that used their whole budget at which a NAPI thread is called overrun",
			Reason:  "measured: such threads leave NET_RX near 1 % while the device drops millions",
			Value:   &s.FullPollShare,
		},
		{
			Key:     "silent_gaps",
			Default: "5",
			Doc:     "usual gaps without a packet after which a regular flow is silent",
			Reason:  "cluster heartbeats are given up after 2 to 10 misses (WSFC: 5 or 10 of 1 s)",
			Value:   &s.SilentGaps,
		},
		{
			Key:     "least_silence",
			Default: "500ms",
			Doc:     "shortest silence of a flow",
			Reason:  "shorter ones are jitter that no heartbeat notices",
			Value:   &s.LeastSilence,
		},
		{
			Key:     "dpc_guideline",
			Default: "100µs",
			Doc:     "documented limit of one DPC",
			Reason:  "Microsoft driver documentation: 100 µs",
			Value:   &s.DPCGuideline,
		},
		{
			Key:     "isr_guideline",
			Default: "25µs",
			Doc:     "documented limit of one ISR",
			Reason:  "Microsoft driver documentation: 25 µs",
			Value:   &s.ISRGuideline,
		},
		{
			Key:     "guideline_factor",
			Default: "10",
			Doc:     "how far beyond its guideline a DPC or ISR is reported",
			Reason:  "real traces exceed the guideline itself all the time; 1 ms is also what audio tools call too long",
			Value:   &s.GuidelineFactor,
		},
		{
			Key:     "watchdog",
			Default: "20s",
			Doc:     "length of a single DPC at which Windows stops",
			Reason:  "bug check 0x133: dumps show 0x500 ticks of 15.625 ms",
			Value:   &s.Watchdog,
		},
	}
}
