package detect

// Fields lists every setting, for flags and for the documentation. Setting a
// field changes s.
func (s *Settings) Fields() []Field {
	l, st, r, so, le, ex, co := &s.Lifecycle, &s.Starvation, &s.Ring, &s.Socket, &s.Leak, &s.Exhaustion, &s.Counters
	return []Field{
		{
			"lifecycle.window",
			"span over which rates and shares are judged",
			"three 1 s intervals: one noisy interval does not decide",
			&l.Window,
		},
		{"lifecycle.update_every", "how often an open finding is emitted again", "bounded rate", &l.UpdateEvery},
		{
			"lifecycle.clear_after",
			"how long a fault must be absent before its finding closes",
			"netdata clears its network alarms with a delay as well",
			&l.ClearAfter,
		},
		{
			"lifecycle.reopen_within",
			"a fault that returns within this time continues its old finding",
			"no flapping",
			&l.ReopenWithin,
		},

		{
			"starvation.busy_share",
			"share of a CPU's time in deferred work that counts as starving",
			"measured: 79 to 99.8 % on starved CPUs, 36 to 48 % under the same flood without loss",
			&st.BusyShare,
		},
		{"starvation.clear_share", "share below which the finding may close", "hysteresis", &st.ClearShare},
		{
			"starvation.shared_busy_share",
			"share of the largest vector on a CPU that has no idle time",
			"ksoftirqd shares its CPU with tasks: it then gets half of it",
			&st.SharedBusyShare,
		},
		{
			"starvation.drop_share",
			"share of a CPU's packets dropped at its backlog that counts as a victim",
			"bpftune enlarges the backlog at 1/32",
			&st.DropShare,
		},
		{
			"starvation.min_drops",
			"packets dropped within the window that count as a victim",
			"a flood that the host handles dropped thousands of millions, a quiet host none",
			&st.MinDrops,
		},
		{
			"starvation.late_wait",
			"wait from raise to entry that counts as late",
			"softirqslower's default, 10 ms",
			&st.LateWait,
		},
		{
			"starvation.late_count",
			"late waits within the window that count as a victim",
			"one late wait is noise on a virtual machine",
			&st.LateCount,
		},
		{
			"starvation.long_run",
			"shortest run that can be blamed for a late wait",
			"half of late_wait: two such runs make one",
			&st.LongRun,
		},
		{
			"starvation.max_steal",
			"stolen share of a CPU above which delays on it prove nothing",
			"a stopped virtual CPU delays everything",
			&st.MaxSteal,
		},
		{
			"starvation.dear_packet",
			"time for one packet above which its path is called dear",
			"measured: 1 to 2 µs for a UDP packet through veth without rules",
			&st.DearPacket,
		},
		{
			"starvation.squeeze_share",
			"share of NET_RX runs that ended with work left at which the budget is called small",
			"time_squeeze alone proves nothing; most runs squeezed after few packets does",
			&st.SqueezeShare,
		},
		{
			"starvation.full_poll_share",
			"share of polls that used their whole budget at which a NAPI thread is called overrun",
			"measured: such threads leave NET_RX near 1 % while the device drops millions",
			&st.FullPollShare,
		},
		{
			"starvation.silent_gaps",
			"usual gaps without a packet after which a regular flow is silent",
			"cluster heartbeats are given up after 2 to 10 misses (WSFC: 5 or 10 of 1 s)",
			&st.SilentGaps,
		},
		{
			"starvation.least_silence",
			"shortest silence of a flow",
			"shorter ones are jitter that no heartbeat notices",
			&st.LeastSilence,
		},
		{
			"starvation.dpc_guideline",
			"documented limit of one DPC",
			"Microsoft driver documentation: 100 µs",
			&st.DPCGuideline,
		},
		{
			"starvation.isr_guideline",
			"documented limit of one ISR",
			"Microsoft driver documentation: 25 µs",
			&st.ISRGuideline,
		},
		{
			"starvation.guideline_factor",
			"how far beyond its guideline a DPC or ISR is reported",
			"real traces exceed the guideline itself all the time; 1 ms is also what audio tools call too long",
			&st.GuidelineFactor,
		},
		{
			"starvation.watchdog",
			"length of a single DPC at which Windows stops",
			"bug check 0x133: dumps show 0x500 ticks of 15.625 ms",
			&st.Watchdog,
		},

		{
			"ring.min_drops",
			"packets lost in a ring within the window",
			"well above the few that are lost while a link comes up",
			&r.MinDrops,
		},
		{
			"ring.drop_share",
			"and their share of what arrived",
			"netdata warns at 2 % over 10 min; a heartbeat is lost long before",
			&r.DropShare,
		},

		{
			"socket.min_drops",
			"packets dropped at a socket's queue within the window",
			"netdata warns at 10 a second",
			&so.MinDrops,
		},
		{
			"socket.stopped_idle",
			"time without a read, with data in the queue, after which a program has stopped reading",
			"longer than a garbage collection or a slow disk",
			&so.StoppedIdle,
		},
		{
			"socket.full_share",
			"share of readings that found the queue filled at which the program is slow rather than its buffer small",
			"a queue that never empties has no bursts",
			&so.FullShare,
		},
		{
			"socket.slow_share",
			"part of the limit from which the queue counts as filled",
			"the probe reports queues from half full on",
			&so.SlowShare,
		},

		{
			"leak.min_ports",
			"growth that counts as a leak over 20 s and more",
			"above what one request of a healthy program opens",
			&le.MinPorts,
		},
		{
			"leak.min_ports_fast",
			"growth that counts as a leak within 5 s",
			"clear cases only: ports every second and none back",
			&le.MinPortsFast,
		},
		{
			"leak.bounded_share",
			"part of a bounded pool (configured, RPC, reserved) whose growth counts as a leak where that is fewer ports",
			"most of a pool of 100 would be gone before 40 ports stand out",
			&le.BoundedShare,
		},
		{
			"leak.min_ports_bounded",
			"growth that counts as a leak in the smallest of bounded pools",
			"a handful of sockets is how programs begin",
			&le.MinPortsBounded,
		},
		{
			"leak.min_connections",
			"growth of TCP connections over a minute and more",
			"connection pools of a few dozen are common",
			&le.MinConnections,
		},
		{
			"leak.min_connections_fast",
			"growth of TCP connections within 5 s",
			"connection pools of 100 are common, of 200 rare",
			&le.MinConnectionsFast,
		},
		{
			"leak.evenness",
			"smallest step, as part of the mean step, of growth that is called steady",
			"what levels off is a pool that settles",
			&le.Evenness,
		},
		{
			"leak.given_back",
			"part of the ports taken that may be given back meanwhile",
			"a process that gives back is not leaking, unless it churns",
			&le.GivenBack,
		},
		{
			"leak.proof_after",
			"how long growth must last to be called a leak; before, the finding is of severity info",
			"clients that wait 5 s for an answer hold their ports as long",
			&le.ProofAfter,
		},
		{
			"leak.early_churn",
			"ports given back within moments for each one kept, from which keeping one a second is reported early",
			"what is kept stands out against 95 % and more that is not",
			&le.EarlyChurn,
		},
		{"leak.keep_for", "how long a leak may pause", "hysteresis", &le.KeepFor},
		{"leak.critical_within", "forecast at which a leak is critical", "time for a person to act", &le.CriticalWithin},
		{
			"leak.vanished_ports",
			"ports of a bounded pool that must be missing",
			"chance alone leaves a few",
			&le.VanishedPorts,
		},
		{
			"leak.vanished_factor",
			"how much longer than the usual time (p95) a port must lie unused to be missing",
			"with a random choice, four times the p95 happens once in 160,000 ports",
			&le.VanishedFactor,
		},
		{
			"leak.rest_linux",
			"rest of a closed TCP port on Linux where its event does not say",
			"TCP_TIMEWAIT_LEN, 60 s",
			&le.RestLinux,
		},
		{
			"leak.rest_windows",
			"rest of a closed port on Windows where its event does not say",
			"TcpTimedWaitDelay, 240 s",
			&le.RestWindows,
		},

		{
			"exhaustion.warn_share",
			"share of a pool in use or at rest that is reported",
			"netdata warns of file and process tables at 90 %; ports are refused without warning",
			&ex.WarnShare,
		},
		{"exhaustion.clear_share", "share below which the finding may close", "hysteresis", &ex.ClearShare},
		{
			"exhaustion.full_share",
			"share at which a refused allocation is the pool's fault",
			"the last ports are hard to find",
			&ex.FullShare,
		},
		{"exhaustion.min_ports", "smallest pool that is judged", "a pool of a few ports is meant to be full", &ex.MinPorts},
		{"exhaustion.failures_for", "how long a refused allocation counts", "hysteresis", &ex.FailuresFor},

		{"counters.min_samples", "samples before a counter is judged", "a baseline of 30 values", &co.MinSamples},
		{
			"counters.busy_share",
			"DPC or interrupt share of one CPU that can be called unusual at all",
			"PAL warns at 10 % all the time; one core at 14 % was measured on an idle desktop",
			&co.BusyShare,
		},
		{
			"counters.robust_z",
			"distance from the median, in robust standard deviations, that is unusual",
			"outlier rule of Iglewicz and Hoaglin is 3.5; DPC time is not normal",
			&co.RobustZ,
		},
		{
			"counters.significance",
			"largest probability of the coincidence under shifts of the log",
			"1 in 100",
			&co.Significance,
		},
		{
			"counters.max_samples",
			"samples kept of one counter",
			"bounded memory: five and a half hours of 1 s",
			&co.MaxSamples,
		},
	}
}
