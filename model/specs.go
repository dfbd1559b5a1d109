package model

//go:generate go run lostbeat/internal/gen/modelgen

// Unit is the unit and the Go type of a numeric argument.
type Unit uint8

// Units of arguments.
const (
	// UnitCount is a number of things (uint64).
	UnitCount Unit = iota
	// UnitNanoseconds is a duration (time.Duration).
	UnitNanoseconds
	// UnitBytes is a size in bytes (uint64).
	UnitBytes
	// UnitNumber is an identifier or a signed number (int64).
	UnitNumber
	// UnitPort is a port number (uint16).
	UnitPort
	// UnitHex is an address or a bit mask (uint64).
	UnitHex
	// UnitBool is 0 or 1 (bool).
	UnitBool
	// UnitFloat is a floating-point number (float64).
	UnitFloat
	// UnitTime is a moment (Time).
	UnitTime
	// UnitEnum is a value of Field.Enum.
	UnitEnum
)

// String returns the name of the unit, as docs/EVENTS.md has it; that of an enumeration are its values' names.
func (u Unit) String() string {
	names := [...]string{"count", "ns", "bytes", "number", "port", "hex", "bool", "float", "time", "name"}
	if int(u) < len(names) {
		return names[u]
	}
	return ""
}

// Field describes one argument, string or histogram of a kind.
type Field struct {
	// Name is the key in the text form and in JSON; numbers end in their unit.
	Name string
	// Unit is the unit of a numeric argument.
	Unit Unit
	// Enum lists the names of a UnitEnum argument.
	Enum *Enum
	// Doc says what it is, when it is unknown, and where it comes from.
	Doc string
}

// Spec describes one kind of event.
type Spec struct {
	Kind Kind
	// Name is the text form, "area.what".
	Name string
	// View is the name of the typed view.
	View string
	// Doc says what the event reports and where it comes from.
	Doc string
	// Since is the minor version of the recording format that introduced the kind.
	Since int
	// Span says what Dur is; empty where the kind has none.
	Span string
	// CPU says that the CPU is part of the event where it is known.
	CPU bool
	// Task says that PID and TID are part of the event where they are known.
	Task bool
	// Netns says that the network namespace is part of the event where it is known, as Event.Netns; kinds that carry it
	// as an argument do not say so.
	Netns bool
	// Resource names the resource id; empty where the kind has none.
	Resource Field
	// Args, Strings and Hists describe the slots in use, in order.
	Args, Strings, Hists []Field
	// Stack says what the stack is; empty where the kind has none.
	Stack string
	// InPlace says that events of the kind come by the million: constants name
	// their slots, so that they can be written and read without the typed view.
	InPlace bool
}

// Kinds, by area: 1-15 the stream itself, 16-31 CPU time and network work,
// 32-47 ports, 48-63 scheduling and sockets, 64-95 packets, RPC and raw records,
// 96-111 application logs and event logs.
const (
	KindMeta         Kind = 1
	KindClock        Kind = 2
	KindProbe        Kind = 3
	KindLoss         Kind = 4
	KindCounter      Kind = 5
	KindProcess      Kind = 6
	KindFinding      Kind = 7
	KindRequest      Kind = 8
	KindReading      Kind = 9
	KindDeferredHist Kind = 16
	KindDeferredRun  Kind = 17

	KindInterruptHist Kind = 18
	KindInterruptRun  Kind = 19
	KindNAPI          Kind = 20
	KindSoftnet       Kind = 21
	KindDeviceStats   Kind = 22
	KindDeviceConfig  Kind = 23
	KindDeviceQueue   Kind = 24
	KindDrop          Kind = 25
	KindDeviceEvent   Kind = 26
	KindCPUTime       Kind = 27
	KindHostPause     Kind = 28

	KindPortAcquire  Kind = 32
	KindPortRelease  Kind = 33
	KindPortRest     Kind = 34
	KindPortFail     Kind = 35
	KindPortActive   Kind = 36
	KindPortPool     Kind = 37
	KindPortAudit    Kind = 38
	KindPortActivity Kind = 39

	KindPortTable       Kind = 40
	KindPortHolder      Kind = 41
	KindPortDestination Kind = 42

	KindSchedHist    Kind = 48
	KindSchedSwitch  Kind = 49
	KindSocketQueue  Kind = 50
	KindStackSample  Kind = 51
	KindSchedState   Kind = 52
	KindSchedRival   Kind = 53
	KindPacket       Kind = 64
	KindRPCCall      Kind = 65
	KindRPCEndpoint  Kind = 66
	KindImage        Kind = 67
	KindProfile      Kind = 68
	KindRPCActive    Kind = 69
	KindPacketRead   Kind = 70
	KindFlow         Kind = 71
	KindPacketQdisc  Kind = 72
	KindPacketReturn Kind = 73
	KindFlowStall    Kind = 74
	KindPacketEarly  Kind = 75
	KindCaptureDrop  Kind = 76
	KindFlowDevice   Kind = 77
	KindFlowDrop     Kind = 78
	KindRaw          Kind = 80

	KindLogGap   Kind = 96
	KindLogLine  Kind = 97
	KindLogState Kind = 98

	KindHostEvent Kind = 100

	KindNote Kind = 104
)

var (
	fieldLogHost = Field{
		Name: "host",
		Doc:  "the host that wrote the log where that is another one, empty for the stream's own (since 1.2)",
	}
	fieldLogLag = Field{
		Name: "lag_ns", Unit: UnitNanoseconds,
		Doc: "how long before the event's time the line was written: a log that is followed is read after that; 0 in files " +
			"(since 1.2)",
	}
	fieldDevice  = Field{Name: "device", Doc: "device name at the time of the event"}
	fieldIfindex = Field{Name: "ifindex", Unit: UnitNumber, Doc: "interface index in its network namespace, 0 unknown"}
	fieldCookie  = Field{
		Name: "cookie",
		Unit: UnitHex,
		Doc:  "the kernel's socket cookie (Linux) or the AFD endpoint (Windows), 0 unknown",
	}
	fieldProto  = Field{Name: "protocol", Unit: UnitEnum, Enum: &ProtocolEnum, Doc: "transport protocol"}
	fieldLocal  = Field{Name: "local_addr", Doc: "local IP address in text, 0.0.0.0 or :: when any, empty unknown"}
	fieldRemote = Field{Name: "remote_addr", Doc: "remote IP address in text, empty when there is none"}
	fieldLPort  = Field{Name: "local_port", Unit: UnitPort, Doc: "local port, 0 unknown"}
	fieldRPort  = Field{Name: "remote_port", Unit: UnitPort, Doc: "remote port, 0 when there is none"}
	fieldNetns  = Field{
		Name: "netns",
		Unit: UnitNumber,
		Doc:  "inode number of the network namespace, 0 unknown or not applicable",
	}
	fieldProcess = Field{Name: "process", Doc: "process name, empty unknown"}
	fieldHow     = Field{
		Name: "how",
		Unit: UnitEnum,
		Enum: &HowEnum,
		Doc:  "the way in which the port was taken or given back",
	}
)

// netnsKey is the name of Event.Netns in the text form and in JSON.
const netnsKey = "netns_inode"

const intervalSpan = "the interval that was counted"

// Specs describes every kind, in order of their numbers.
var Specs = []Spec{
	{
		Kind: KindMeta,
		Name: "meta",
		View: "Meta",
		Doc: "one fact about the host, the capture or the tool. Keys in use: host, os, kernel, arch, cpus, " +
			"processor (emulated: by software), boot_id, tool, source, start_wall, clock, command, " +
			"utc_offset (of the machine's local time, where a capture has local times).",
		Strings: []Field{{Name: "key", Doc: "what the fact is about"}, {Name: "value", Doc: "the fact in text"}},
	},
	{
		Kind: KindClock,
		Name: "clock",
		View: "Clock",
		Doc: "a reading of the clocks, at the start and every 30 s; shows steps of the wall clock against the session's " +
			"scale.",
		Args: []Field{
			{Name: "boot_ns", Unit: UnitNanoseconds, Doc: "CLOCK_BOOTTIME, or the performance counter in nanoseconds"},
			{Name: "mono_ns", Unit: UnitNanoseconds, Doc: "CLOCK_MONOTONIC, 0 unknown"},
			{Name: "wall", Unit: UnitTime, Doc: "the wall clock at that reading, which may step"},
			{
				Name: "bracket_ns",
				Unit: UnitNanoseconds,
				Doc:  "width of the bracket in which the clocks were read: the uncertainty",
			},
		},
	},
	{
		Kind: KindProbe,
		Name: "probe",
		View: "Probe",
		Doc:  "whether a part of a probe works, at the start and at each change.",
		Args: []Field{{Name: "state", Unit: UnitEnum, Enum: &ProbeStateEnum, Doc: "off, on or degraded"}},
		Strings: []Field{{Name: "name", Doc: "the probe"}, {Name: "part", Doc: "the part, empty for the probe as a whole"},
			{
				Name: "reason",
				Doc:  "what does not work and why, empty when on",
			}, {Name: "hint", Doc: "what would fix it, empty when nothing is known"}},
	},
	{
		Kind: KindLoss,
		Name: "loss",
		View: "Loss",
		Doc:  "events that were lost before they entered the stream, counted where they were lost.",
		Span: "they were lost within this time",
		CPU:  true,
		Args: []Field{
			{Name: "lost", Unit: UnitCount, Doc: "events lost; 1 where only the fact is known"},
			{Name: "lost_bytes", Unit: UnitBytes, Doc: "their size, 0 unknown"},
		},
		Strings: []Field{
			{Name: "origin", Doc: "where: ringbuf, queue, output, etw, etw-buffer, file, ..."},
			{Name: "detail", Doc: "which probe, queue or buffer"},
		},
	},
	{
		Kind:     KindCounter,
		Name:     "counter",
		View:     "Counter",
		Doc:      "a value read from the system that no other kind covers: SNMP counters, perfmon counters.",
		Span:     "the interval, for rate and share",
		CPU:      true,
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "value", Unit: UnitFloat, Doc: "the value, in the counter's unit"},
			{Name: "mode", Unit: UnitEnum, Enum: &CounterModeEnum, Doc: "how to read it"},
		},
		Strings: []Field{
			{Name: "name", Doc: "the counter, e.g. Udp.RcvbufErrors or Processor/% DPC Time"},
			{Name: "instance", Doc: "device, CPU or process instance, empty when there is one only"},
			{Name: "unit", Doc: "packets, bytes, ..."},
			{Name: "host", Doc: "whose counter it is, where a log has those of several hosts; empty for the stream's host"},
		},
	},
	{
		Kind: KindProcess,
		Name: "process",
		View: "Process",
		Doc: "a process's name; written when its PID first appears in the stream, at its start and at its end where " +
			"they are seen.",
		Task: true,
		Args: []Field{
			{Name: "state", Unit: UnitEnum, Enum: &ProcessStateEnum, Doc: "active, started or exited"},
			{Name: "ppid", Unit: UnitNumber, Doc: "parent process, 0 unknown"},
			{Name: "started", Unit: UnitTime, Doc: "when it started, 0 unknown"},
			{
				Name: "ended", Unit: UnitEnum, Enum: &ProcessEndEnum,
				Doc: "how it ended, of one that had a followed socket (since 1.2)",
			},
			{
				Name: "end_code", Unit: UnitNumber,
				Doc: "its exit status, or the number of the signal that ended it (since 1.2)",
			},
		},
		Strings: []Field{
			{Name: "name", Doc: "process name (comm on Linux, image name on Windows)"},
			{Name: "cmdline", Doc: "command line, empty unknown"},
			{Name: "cgroup", Doc: "path of its control group, empty unknown"},
			{Name: "unit", Doc: "systemd unit, container or pod that it belongs to, empty unknown (since 1.2)"},
		},
	},
	{
		Kind: KindFinding,
		Name: "finding",
		View: "FindingEvent",
		Doc:  "a detector's verdict or its update; always marked derived.",
		Span: "from the finding's start to this update",
		Args: []Field{
			{Name: "severity", Unit: UnitEnum, Enum: &SeverityEnum, Doc: "info, warning or critical"},
			{Name: "ongoing", Unit: UnitBool, Doc: "whether the fault still holds"},
		},
		Strings: []Field{
			{Name: "id", Doc: "identity: updates of one finding share it"},
			{Name: "detector", Doc: "which detector"},
			{Name: "title", Doc: "the finding in one sentence"},
			{Name: "body", Doc: "the whole Finding as a JSON object"},
		},
	},
	{
		Kind:  KindRequest,
		Name:  "request",
		View:  "RequestEvent",
		Since: 1,
		Doc: "detail that a detector asked for while it suspected a fault, and what became of it: a stream shows what " +
			"was looked at and when. A replay ignores requests.",
		Span: "since it was switched on, when it is switched off",
		CPU:  true,
		Task: true,
		Args: []Field{
			{Name: "what", Unit: UnitEnum, Enum: &RequestKindEnum, Doc: "the kind of detail"},
			{Name: "state", Unit: UnitEnum, Enum: &RequestStateEnum, Doc: "asked, on, off or refused"},
			{Name: "for_ns", Unit: UnitNanoseconds, Doc: "how long it is wanted"},
			fieldNetns,
		},
		Strings: []Field{
			{Name: "name", Doc: "which reading, flow or task is wanted; empty where CPU, PID or namespace say it"},
			{Name: "finding", Doc: "id of the case that asked"},
			{Name: "reason", Doc: "why it was refused or ended early, empty otherwise"},
		},
	},
	{
		Kind:  KindReading,
		Name:  "reading",
		View:  "Reading",
		Since: 1,
		Doc: "a value that was read to confirm or to rule out a cause, most because a detector asked for it: the fill of a " +
			"table and its limit, a setting, a rule's counter.",
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "value", Unit: UnitFloat, Doc: "the value, in the reading's unit"},
			{Name: "limit", Unit: UnitFloat, Doc: "the limit that goes with it, 0 where there is none"},
			fieldNetns,
		},
		Strings: []Field{
			{Name: "name", Doc: "what was read: conntrack, neighbours, udp_mem, listen_queue, rp_filter, rpc_ports, ..."},
			{Name: "instance", Doc: "device, table, port or rule; empty when there is one only"},
			{Name: "unit", Doc: "entries, pages, packets, ...; empty for settings"},
			{Name: "detail", Doc: "what else is known, in text; empty when nothing is"},
		},
	},

	{
		Kind: KindDeferredHist,
		Name: "deferred.hist",
		View: "DeferredHist",
		Doc: "all runs of one kind of deferred work on one CPU in an interval (softirq vector on Linux; DPC routine on " +
			"Windows).",
		Span: intervalSpan,
		CPU:  true,
		Args: []Field{
			{Name: "class", Unit: UnitEnum, Enum: &ClassEnum, Doc: "softirq, dpc, threaded_dpc or timer_dpc"},
			{Name: "count", Unit: UnitCount, Doc: "runs that ended in the interval"},
			{
				Name: "busy_ns",
				Unit: UnitNanoseconds,
				Doc:  "time spent in the interval, a run still going included as far as it is known",
			},
			{Name: "max_wait_ns", Unit: UnitNanoseconds, Doc: "longest time from raise to entry, 0 unknown"},
			{
				Name: "max_run_ns",
				Unit: UnitNanoseconds,
				Doc:  "longest run",
			},
			{Name: "raised", Unit: UnitCount, Doc: "times raised, 0 unknown"},
		},
		Strings: []Field{
			{Name: "name", Doc: "softirq vector (NET_RX) or driver!routine"},
			{Name: "driver", Doc: "driver image, empty on Linux"},
		},
		Hists: []Field{{Name: "wait", Doc: "raise to entry"}, {Name: "run", Doc: "entry to exit"}},
	},
	{
		Kind:    KindDeferredRun,
		Name:    "deferred.run",
		View:    "DeferredRun",
		Doc:     "one run of deferred work: those above the threshold, or all with --trace.",
		Span:    "the run, entry to exit",
		CPU:     true,
		Task:    true,
		InPlace: true,
		Args: []Field{
			{Name: "class", Unit: UnitEnum, Enum: &ClassEnum, Doc: "softirq, dpc, threaded_dpc or timer_dpc"},
			{
				Name: "wait_ns",
				Unit: UnitNanoseconds,
				Doc:  "from the first raise that it served to its entry; see flag wait_unknown",
			},
			{
				Name: "exclusive_ns",
				Unit: UnitNanoseconds,
				Doc:  "the run without the interrupts nested in it, 0 unknown",
			},
			{Name: "routine", Unit: UnitHex, Doc: "address of the routine, 0 on Linux"},
			{Name: "vector", Unit: UnitNumber, Doc: "softirq vector number, 0 on Windows"},
		},
		Strings: []Field{
			{Name: "name", Doc: "softirq vector (NET_RX) or driver!routine"},
			{Name: "driver", Doc: "driver image, empty on Linux"},
			{Name: "task", Doc: "task that it interrupted or that ran it (ksoftirqd/0)"},
			{Name: "before", Doc: "what held the CPU between raise and entry, empty unknown"},
		},
	},
	{
		Kind:     KindInterruptHist,
		Name:     "interrupt.hist",
		View:     "InterruptHist",
		Doc:      "all runs of one interrupt line on one CPU in an interval.",
		Span:     intervalSpan,
		CPU:      true,
		Resource: Field{Name: "irq", Unit: UnitNumber, Doc: "IRQ number (Linux) or vector (Windows)"},
		Args: []Field{
			{Name: "class", Unit: UnitEnum, Enum: &ClassEnum, Doc: "hardirq, isr or isr_msi"},
			{Name: "count", Unit: UnitCount, Doc: "runs that ended in the interval"},
			{Name: "busy_ns", Unit: UnitNanoseconds, Doc: "time spent in the interval"},
			{Name: "max_run_ns", Unit: UnitNanoseconds, Doc: "longest run"},
		},
		Strings: []Field{
			{Name: "name", Doc: "the line's action (virtio0-input.0) or driver!routine"},
			{Name: "driver", Doc: "driver image, empty on Linux"},
		},
		Hists: []Field{{Name: "run", Doc: "entry to exit"}},
	},
	{
		Kind:     KindInterruptRun,
		Name:     "interrupt.run",
		View:     "InterruptRun",
		Doc:      "one run of an interrupt handler: those above the threshold, or all with --trace.",
		Span:     "the run, entry to exit",
		CPU:      true,
		Task:     true,
		InPlace:  true,
		Resource: Field{Name: "irq", Unit: UnitNumber, Doc: "IRQ number (Linux) or vector (Windows)"},
		Args: []Field{
			{Name: "class", Unit: UnitEnum, Enum: &ClassEnum, Doc: "hardirq, isr or isr_msi"},
			{Name: "exclusive_ns", Unit: UnitNanoseconds, Doc: "the run without the interrupts nested in it, 0 unknown"},
			{Name: "routine", Unit: UnitHex, Doc: "address of the routine, 0 on Linux"},
			{Name: "handled", Unit: UnitBool, Doc: "whether the handler claimed the interrupt"},
		},
		Strings: []Field{
			{Name: "name", Doc: "the line's action or driver!routine"},
			{Name: "driver", Doc: "driver image, empty on Linux"},
		},
	},
	{
		Kind:     KindNAPI,
		Name:     "napi",
		View:     "NAPI",
		Doc:      "the polls of one device on one CPU in an interval (tracepoint napi:napi_poll).",
		Span:     intervalSpan,
		CPU:      true,
		Netns:    true,
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "polls", Unit: UnitCount, Doc: "polls"},
			{Name: "packets", Unit: UnitCount, Doc: "work done: packets"},
			{Name: "full_polls", Unit: UnitCount, Doc: "polls that used their whole budget: more was waiting"},
			{
				Name: "threaded_polls",
				Unit: UnitCount,
				Doc:  "polls made by a NAPI thread instead of NET_RX",
			},
			{Name: "max_packets", Unit: UnitCount, Doc: "most packets in one poll"},
		},
		Strings: []Field{fieldDevice},
	},
	{
		Kind: KindSoftnet,
		Name: "softnet",
		View: "Softnet",
		Doc:  "one CPU's /proc/net/softnet_stat, counted over an interval.",
		Span: intervalSpan,
		CPU:  true,
		Args: []Field{
			{Name: "processed", Unit: UnitCount, Doc: "packets taken from the devices"},
			{Name: "dropped", Unit: UnitCount, Doc: "packets dropped because the backlog was full"},
			{Name: "time_squeeze", Unit: UnitCount, Doc: "NET_RX runs that ended with work left; a small number is normal"},
			{
				Name: "received_rps",
				Unit: UnitCount,
				Doc:  "wake-ups by other CPUs for RPS",
			},
			{Name: "flow_limit", Unit: UnitCount, Doc: "packets dropped by the flow limit"},
			{Name: "backlog_packets", Unit: UnitCount, Doc: "packets in the backlog at the end"},
		},
	},
	{
		Kind:     KindDeviceStats,
		Name:     "device.stats",
		View:     "DeviceStats",
		Doc:      "one device's counters over an interval (rtnetlink and ethtool; MIB_IF_ROW2).",
		Span:     intervalSpan,
		Netns:    true,
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "rx_packets", Unit: UnitCount, Doc: "packets received"},
			{Name: "tx_packets", Unit: UnitCount, Doc: "packets sent"},
			{
				Name: "rx_dropped",
				Unit: UnitCount,
				Doc:  "received packets that the device layer lost, as the driver counts them",
			},
			{
				Name: "tx_dropped",
				Unit: UnitCount,
				Doc:  "packets to be sent that were lost",
			},
			{
				Name: "rx_errors",
				Unit: UnitCount,
				Doc:  "receive errors (rx_errors, ring overruns not included where the driver tells them apart)",
			},
			{Name: "rx_bytes", Unit: UnitBytes, Doc: "bytes received"},
		},
		Strings: []Field{fieldDevice, {Name: "source", Doc: "where the numbers come from"}},
	},
	{
		Kind:     KindDeviceConfig,
		Name:     "device.config",
		View:     "DeviceConfig",
		Doc:      "one device's rings and queues, at the start and at each change.",
		Netns:    true,
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "rx_queues", Unit: UnitCount, Doc: "receive queues, 0 unknown"},
			{Name: "tx_queues", Unit: UnitCount, Doc: "transmit queues, 0 unknown"},
			{Name: "rx_ring", Unit: UnitCount, Doc: "receive descriptors to a queue, 0 unknown"},
			{
				Name: "rx_ring_max",
				Unit: UnitCount,
				Doc:  "most receive descriptors that the device takes, 0 unknown",
			},
			{Name: "tx_ring", Unit: UnitCount, Doc: "transmit descriptors to a queue, 0 unknown"},
			{Name: "threaded", Unit: UnitBool, Doc: "whether threaded NAPI is on"},
		},
		Strings: []Field{
			fieldDevice,
			{Name: "driver", Doc: "driver name, empty unknown"},
			{Name: "netns", Doc: "name or inode of its network namespace, empty for the host's"},
			{Name: "ring_source", Doc: "what is known about ring drops: the statistic in use, or why there is none"},
		},
	},
	{
		Kind:     KindDeviceQueue,
		Name:     "device.queue",
		View:     "DeviceQueue",
		Doc:      "which CPUs serve one queue of a device, at the start and at each change.",
		Netns:    true,
		Resource: fieldIfindex,
		Args: []Field{
			{Name: "queue", Unit: UnitNumber, Doc: "queue number"},
			{Name: "direction", Unit: UnitEnum, Enum: &DirectionEnum, Doc: "rx or tx"},
			{Name: "irq", Unit: UnitNumber, Doc: "its interrupt, 0 unknown"},
			{Name: "ring", Unit: UnitCount, Doc: "descriptors, 0 unknown"},
		},
		Strings: []Field{
			fieldDevice,
			{Name: "irq_cpus", Doc: "CPU list of the interrupt's affinity, empty unknown"},
			{Name: "rps_cpus", Doc: "CPU list of RPS (rx) or XPS (tx), empty when off"},
		},
	},
	{
		Kind: KindDrop,
		Name: "drop",
		View: "Drop",
		Doc: "packets lost inside the host at one place for one reason within an interval; the CPU is the one that " +
			"freed them, -1 at a backlog, where it need not be the owner (softnet shows it). Flag transmit: they were " +
			"being sent.",
		Span:     intervalSpan,
		CPU:      true,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			{Name: "place", Unit: UnitEnum, Enum: &PlaceEnum, Doc: "where"},
			{Name: "count", Unit: UnitCount, Doc: "packets"},
			fieldProto,
			{
				Name: "local_port",
				Unit: UnitPort,
				Doc: "local port of the socket that lost them, or the destination port of received packets that had reached " +
					"no socket; 0 unknown",
			},
			{
				Name: "ifindex",
				Unit: UnitNumber,
				Doc:  "interface, 0 unknown",
			},
			{Name: "queue", Unit: UnitNumber, Doc: "device queue, -1 unknown"},
		},
		Strings: []Field{
			{
				Name: "reason",
				Doc:  "drop reason as the running kernel names it, the driver's statistic, or the provider's reason code",
			},
			{Name: "device", Doc: "device name, empty unknown"},
			fieldProcess,
			{Name: "location", Doc: "kernel function that dropped them, empty unknown"},
		},
	},
	{
		Kind:     KindDeviceEvent,
		Name:     "device.event",
		View:     "DeviceEvent",
		Doc:      "something happened to a device: link up or down, removed, renamed, transmit timeout, reset.",
		Netns:    true,
		Resource: fieldIfindex,
		Strings: []Field{
			fieldDevice,
			{Name: "what", Doc: "link_up, link_down, removed, renamed, reset, tx_timeout"},
			{Name: "detail", Doc: "reason, or the name before it was renamed; empty unknown"},
		},
	},
	{
		Kind: KindCPUTime,
		Name: "cpu.time",
		View: "CPUTime",
		Doc:  "one CPU's time over an interval (/proc/stat, or the processor counters).",
		Span: intervalSpan,
		CPU:  true,
		Args: []Field{
			{Name: "user_ns", Unit: UnitNanoseconds, Doc: "user code, nice included"},
			{Name: "system_ns", Unit: UnitNanoseconds, Doc: "kernel code without interrupts"},
			{Name: "softirq_ns", Unit: UnitNanoseconds, Doc: "softirqs, or DPCs"},
			{
				Name: "irq_ns",
				Unit: UnitNanoseconds,
				Doc:  "hard interrupts",
			},
			{Name: "idle_ns", Unit: UnitNanoseconds, Doc: "idle, waiting for I/O included"},
			{Name: "steal_ns", Unit: UnitNanoseconds, Doc: "taken by the hypervisor"},
		},
	},

	{
		Kind:  KindHostPause,
		Name:  "host.pause",
		View:  "HostPause",
		Since: 2,
		Doc: "the whole host stood still for a while (Linux): it was suspended, or its virtual machine was stopped, which " +
			"only a clock outside of it shows.",
		Span: "it was noticed within this time",
		Args: []Field{
			{Name: "what", Unit: UnitEnum, Enum: &PauseEnum, Doc: "suspended or stopped"},
			{Name: "paused_ns", Unit: UnitNanoseconds, Doc: "for how long it stood still"},
			{Name: "error_ns", Unit: UnitNanoseconds, Doc: "by how much that may be wrong"},
		},
		Strings: []Field{{Name: "clock", Doc: "the clock that went on, and shows it"}},
	},
	{
		Kind:     KindPortAcquire,
		Name:     "port.acquire",
		View:     "PortAcquire",
		Doc:      "a local port was taken.",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			fieldHow,
			fieldNetns,
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
		Stack:   "the call that took it, where asked for",
	},
	{
		Kind:     KindPortRelease,
		Name:     "port.release",
		View:     "PortRelease",
		Doc:      "a local port was given back.",
		Span:     "how long it was held, 0 unknown",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			fieldHow,
			fieldNetns,
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},
	{
		Kind:     KindPortRest,
		Name:     "port.rest",
		View:     "PortRest",
		Doc:      "a closed port that cannot be used again yet: TIME_WAIT, or the rest that an RPC runtime gives it.",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{Name: "rest_ns", Unit: UnitNanoseconds, Doc: "for how long from now, 0 unknown"},
			fieldNetns,
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},
	{
		Kind:     KindPortFail,
		Name:     "port.fail",
		View:     "PortFail",
		Doc:      "an attempt to take a port failed.",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			{Name: "local_port", Unit: UnitPort, Doc: "port asked for, 0 any"},
			fieldRPort,
			fieldHow,
			fieldNetns,
			{Name: "error", Unit: UnitNumber, Doc: "errno (Linux) or NTSTATUS (Windows)"},
		},
		Strings: []Field{
			fieldLocal,
			fieldRemote,
			fieldProcess,
			{Name: "error_name", Doc: "EADDRINUSE, STATUS_TOO_MANY_ADDRESSES, ..."},
		},
		Stack: "the call that failed, where asked for",
	},
	{
		Kind:     KindPortActive,
		Name:     "port.active",
		View:     "PortActive",
		Doc:      "a local port that is held: at the start, in a keyframe, or found by the audit.",
		Span:     "how long it has been held, 0 unknown",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			fieldHow,
			fieldNetns,
			{Name: "resting", Unit: UnitBool, Doc: "closed and at rest (TIME_WAIT) rather than held"},
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
		Stack:   "the call that took it, where known",
	},
	{
		Kind: KindPortPool,
		Name: "port.pool",
		View: "PortPool",
		Doc:  "a pool of ports and its limits, at the start and at each change; high 0: the pool has gone.",
		Args: []Field{
			fieldProto,
			{Name: "low", Unit: UnitPort, Doc: "lowest port"},
			{Name: "high", Unit: UnitPort, Doc: "highest port"},
			{Name: "size", Unit: UnitCount, Doc: "ports that can be taken: the range without the reserved ports"},
			{Name: "source", Unit: UnitEnum, Enum: &PoolSourceEnum, Doc: "where the limits come from"},
			fieldNetns,
		},
		Strings: []Field{
			{Name: "name", Doc: "the pool"},
			{Name: "reserved", Doc: "ports in the range that cannot be taken, as a list of ranges"},
			{Name: "netns_name", Doc: "name or inode of its network namespace, empty for the host's"},
		},
	},
	{
		Kind: KindPortAudit,
		Name: "port.audit",
		View: "PortAudit",
		Doc:  "the periodic comparison of the tracked ports with the kernel's own tables.",
		Span: "since the last audit",
		Args: []Field{
			{Name: "tracked", Unit: UnitCount, Doc: "ports that were tracked"},
			{Name: "kernel", Unit: UnitCount, Doc: "ports in the kernel's tables"},
			{Name: "missed", Unit: UnitCount, Doc: "in the tables but not tracked; now added"},
			{Name: "stale", Unit: UnitCount, Doc: "tracked but no longer in the tables; now released"},
			{Name: "resting", Unit: UnitCount, Doc: "sockets in TIME_WAIT"},
			fieldNetns,
		},
	},
	{
		Kind: KindPortActivity,
		Name: "port.activity",
		View: "PortActivity",
		Doc: "whether a held port is used: when that becomes known and at each change, and when a bound port is " +
			"connected, whose remote end it then names. A port in use that is not reported again is still in use. " +
			"Connections that a listener accepted are left out.",
		Span:     "since its last use; 0 where it is in use or nothing is known",
		Task:     true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{
				Name: "activity",
				Unit: UnitEnum,
				Enum: &ActivityEnum,
				Doc: "in_use: used within the last 10 s; idle: not used for longer; peer_closed: idle, closed by the peer and " +
					"not by the program (CLOSE_WAIT); unknown: no longer watched",
			},
			{
				Name: "at_least",
				Unit: UnitBool,
				Doc: "whether it was taken before its uses could be seen, and has not been used since: it is idle for longer " +
					"in truth",
			},
			fieldNetns,
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},
	{
		Kind: KindPortTable,
		Name: "port.table",
		View: "PortTable",
		Doc: "all sockets of one protocol were listed at one moment (netstat, ss, Get-NetUDPEndpoint). What single " +
			"processes and destinations had precedes it at the same time. Ports are distinct ones of the system's own range. " +
			"Flag secondary: nothing says when it was.",
		Since: 2,
		Args: []Field{
			fieldProto,
			{Name: "held", Unit: UnitCount, Doc: "ports that sockets hold"},
			{Name: "resting", Unit: UnitCount, Doc: "ports that only sockets in TIME_WAIT have"},
			{Name: "bound_seen", Unit: UnitBool, Doc: "whether ports that are bound and not connected are listed (netstat -q)"},
			{Name: "owners_seen", Unit: UnitBool, Doc: "whether owners are listed"},
			{
				Name: "range_known",
				Unit: UnitBool,
				Doc:  "whether the system's range was given, rather than assumed to be the default",
			},
		},
		Strings: []Field{
			{Name: "table", Doc: "the command that listed them"},
			{Name: "time_from", Doc: "where its time is from"},
		},
	},
	{
		Kind:  KindPortHolder,
		Name:  "port.holder",
		View:  "PortHolder",
		Doc:   "what one process had in a table of sockets.",
		Since: 2,
		Span:  "the age of the oldest port of the system's range, 0 unknown",
		Task:  true,
		Resource: Field{
			Name: "outside", Unit: UnitCount, Doc: "distinct ports outside of the system's range",
		},
		Args: []Field{
			fieldProto,
			{Name: "ports", Unit: UnitCount, Doc: "distinct ports of the system's range"},
			{Name: "bound", Unit: UnitCount, Doc: "of those, ports that are bound, and neither listen nor are connected"},
			{Name: "close_wait", Unit: UnitCount, Doc: "connections in CLOSE_WAIT, with any port"},
			{
				Name: "kept",
				Unit: UnitCount,
				Doc: "ports of the system's range that it had in the table before already, in the same sockets " +
					"as far as can be told",
			},
			{Name: "connections", Unit: UnitCount, Doc: "connections of any state, with any port"},
		},
		Strings: []Field{
			fieldProcess,
			{Name: "remote_addr", Doc: "the remote end of most of its CLOSE_WAIT, empty without any"},
		},
	},
	{
		Kind:  KindPortDestination,
		Name:  "port.destination",
		View:  "PortDestination",
		Doc:   "the ports of the system's range that one destination had in a table of sockets; the task is its only owner.",
		Since: 2,
		Task:  true,
		Args: []Field{
			fieldProto,
			{Name: "held", Unit: UnitCount, Doc: "distinct ports of connections"},
			{Name: "resting", Unit: UnitCount, Doc: "distinct ports in TIME_WAIT only"},
			fieldRPort,
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},

	{
		Kind: KindSchedHist,
		Name: "sched.hist",
		View: "SchedHist",
		Doc:  "delays from wake-up to running of one watched task in an interval: ksoftirqd, NAPI threads, chosen processes.",
		Span: intervalSpan,
		CPU:  true,
		Task: true,
		Args: []Field{
			{Name: "count", Unit: UnitCount, Doc: "wake-ups"},
			{Name: "max_wait_ns", Unit: UnitNanoseconds, Doc: "longest delay"},
			{Name: "run_ns", Unit: UnitNanoseconds, Doc: "time on the CPU, 0 unknown"},
		},
		Strings: []Field{
			{Name: "task", Doc: "task name"},
			{Name: "blocker", Doc: "what ran during the longest delay, empty unknown"},
		},
		Hists: []Field{{Name: "wait", Doc: "wake-up to running"}},
	},
	{
		Kind: KindSchedSwitch,
		Name: "sched.switch",
		View: "SchedSwitch",
		Doc:  "a CPU changed to another thread.",
		CPU:  true,
		Task: true,
		Args: []Field{
			{Name: "old_tid", Unit: UnitNumber, Doc: "thread that left"},
			{Name: "old_state", Unit: UnitNumber, Doc: "its state, as the system numbers it"},
			{Name: "wait_ns", Unit: UnitNanoseconds, Doc: "how long the new thread waited, 0 unknown"},
		},
		Strings: []Field{fieldProcess},
	},
	{
		Kind: KindSocketQueue,
		Name: "socket.queue",
		View: "SocketQueue",
		Doc: "one socket's receive queue over an interval: those that dropped, or that are more than half full; the " +
			"thread is the one that last took something out.",
		Span:     intervalSpan,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			{Name: "queued_bytes", Unit: UnitBytes, Doc: "bytes in the queue at the end, overhead included"},
			{Name: "limit_bytes", Unit: UnitBytes, Doc: "SO_RCVBUF"},
			{Name: "dropped", Unit: UnitCount, Doc: "packets dropped at the queue in the interval"},
			{
				Name: "idle_ns",
				Unit: UnitNanoseconds,
				Doc: "time since the program last took something out of the queue, or since the socket is followed where it " +
					"has not done so since: then it is longer in truth; 0 unknown",
			},
		},
		Strings: []Field{fieldLocal, fieldProcess},
	},
	{
		Kind:  KindStackSample,
		Name:  "stack.sample",
		View:  "StackSample",
		Since: 1,
		Doc: "kernel stacks of one CPU, sampled on request and added up by task and function over an interval: what " +
			"made packets expensive, or what held the CPU.",
		Span: intervalSpan,
		CPU:  true,
		Task: true,
		Args: []Field{
			{Name: "samples", Unit: UnitCount, Doc: "samples with this task and function"},
			{Name: "of", Unit: UnitCount, Doc: "all samples of the CPU in the interval, user code included"},
			{Name: "softirq", Unit: UnitBool, Doc: "whether deferred work was running"},
		},
		Strings: []Field{
			{Name: "function", Doc: "function that ran (the leaf), empty for user code"},
			{Name: "entry", Doc: "outermost function that says what it ran for: net_rx_action, vfs_read, ...; empty unknown"},
			{Name: "task", Doc: "task that was running or was interrupted"},
		},
		Stack: "the kernel stack seen most often among them",
	},
	{
		Kind:  KindSchedState,
		Name:  "sched.state",
		View:  "SchedStateEvent",
		Since: 1,
		Doc:   "how long one watched thread was in one state in an interval; threads are watched on request.",
		Span:  intervalSpan,
		CPU:   true,
		Task:  true,
		Resource: Field{
			Name: "cookie",
			Unit: UnitHex,
			Doc:  "socket whose input it waits for, as socket.queue has it; 0 none, or not one alone",
		},
		Args: []Field{
			{Name: "state", Unit: UnitEnum, Enum: &SchedStateEnum, Doc: "running, waiting for a CPU, throttled, ..."},
			{Name: "total_ns", Unit: UnitNanoseconds, Doc: "time in the state within the interval"},
			{
				Name: "longest_ns",
				Unit: UnitNanoseconds,
				Doc:  "longest single stay that ended in the interval or still lasts, its part before the interval included",
			},
			{Name: "count", Unit: UnitCount, Doc: "how often it entered the state"},
			{
				Name: "limit_ns",
				Unit: UnitNanoseconds,
				Doc:  "for throttled: CPU time per period that the control group allows, 0 unknown",
			},
			{Name: "period_ns", Unit: UnitNanoseconds, Doc: "for throttled: the period, 0 unknown"},
		},
		Strings: []Field{
			{Name: "task", Doc: "thread name"},
			{
				Name: "detail",
				Doc: "where it stayed longest: system call, descriptor and what that is, then the kernel function; " +
					"\"recvfrom fd 5 udp:5405: __skb_wait_for_more_packets\"; empty unknown",
			},
			{Name: "cgroup", Doc: "control group that throttles or freezes it, empty otherwise"},
		},
		Stack: "the kernel stack of the longest stay, where it was taken",
	},
	{
		Kind:  KindSchedRival,
		Name:  "sched.rival",
		View:  "SchedRival",
		Since: 1,
		Doc:   "who ran on the CPU while a watched thread waited for it, in an interval; PID and TID are the rival's.",
		Span:  intervalSpan,
		CPU:   true,
		Task:  true,
		Args: []Field{
			{Name: "run_ns", Unit: UnitNanoseconds, Doc: "time that it ran while the watched thread waited"},
			{Name: "victim_tid", Unit: UnitNumber, Doc: "the watched thread"},
			{Name: "victim_pid", Unit: UnitNumber, Doc: "its process"},
			{Name: "policy", Unit: UnitEnum, Enum: &SchedPolicyEnum, Doc: "scheduling policy of the rival"},
			{Name: "priority", Unit: UnitNumber, Doc: "real-time priority of the rival, 0 for the other policies"},
		},
		Strings: []Field{
			{Name: "task", Doc: "the rival's name; the vector's name where deferred work ran"},
			{Name: "victim", Doc: "the watched thread's name"},
			{Name: "cgroup", Doc: "control group of the rival, empty unknown"},
		},
	},
	{
		Kind: KindPacket,
		Name: "packet",
		View: "Packet",
		Doc: "one datagram or segment, sent or received (Windows network events, of a process; followed flows on Linux, " +
			"where a received one has reached its socket, just before its queue, and a sent one the IP layer; captured " +
			"packets, as they were on the wire).",
		Span: "received: from its arrival at the host to its socket, in which deferred work, the backlog and filters " +
			"had it; 0 unknown",
		CPU:      true,
		Task:     true,
		Netns:    true,
		InPlace:  true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{Name: "direction", Unit: UnitEnum, Enum: &DirectionEnum, Doc: "rx or tx"},
			{Name: "size_bytes", Unit: UnitBytes, Doc: "payload size"},
			{
				Name: "mark", Unit: UnitHex,
				Doc: "what the packet is recognised by on another host (Linux): the high half is the TCP sequence number behind " +
					"its last byte, or the identification of IPv4; the low half a hash of its first 128 bytes of payload; 0 unknown",
			},
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},
	{
		Kind: KindRPCCall,
		Name: "rpc.call",
		View: "RPCCall",
		Doc:  "a remote procedure call ended, or failed.",
		Span: "the call, 0 when its start was not seen",
		Task: true,
		Args: []Field{
			{Name: "status", Unit: UnitNumber, Doc: "RPC status, 0 success"},
			{Name: "procedure", Unit: UnitNumber, Doc: "procedure number"},
			{Name: "transport", Unit: UnitNumber, Doc: "protocol sequence: 1 TCP, 2 named pipe, 3 LRPC, 4 HTTP"},
			{Name: "server", Unit: UnitBool, Doc: "whether this is the server's side"},
		},
		Strings: []Field{
			{Name: "interface", Doc: "interface UUID, or program and version"},
			{Name: "endpoint", Doc: "endpoint, empty unknown"},
			{Name: "address", Doc: "network address, empty unknown"},
			fieldProcess,
		},
	},
	{
		Kind:  KindRPCEndpoint,
		Name:  "rpc.endpoint",
		View:  "RPCEndpoint",
		Doc:   "an endpoint was registered with or removed from the endpoint mapper (rpcbind, RPCSS), or held at the start.",
		Task:  true,
		Netns: true,
		Args: []Field{
			fieldProto,
			fieldLPort,
			{Name: "removed", Unit: UnitBool, Doc: "whether it was removed"},
			{Name: "version", Unit: UnitNumber, Doc: "program or interface version"},
		},
		Strings: []Field{
			{Name: "interface", Doc: "interface UUID, or number and name of a program"},
			{Name: "endpoint", Doc: "endpoint in text; on Linux transport and address"},
			fieldProcess,
		},
	},
	{
		Kind: KindImage,
		Name: "image",
		View: "Image",
		Doc:  "a driver or library is mapped: how addresses become names.",
		Task: true,
		Args: []Field{
			{Name: "base", Unit: UnitHex, Doc: "lowest address"},
			{Name: "size_bytes", Unit: UnitBytes, Doc: "length"},
			{Name: "unloaded", Unit: UnitBool, Doc: "whether it was unmapped"},
		},
		Strings: []Field{{Name: "file", Doc: "file name"}},
	},
	{
		Kind: KindProfile,
		Name: "profile",
		View: "Profile",
		Doc:  "profile samples of one CPU over an interval: secondary evidence for DPC and ISR time.",
		Span: intervalSpan,
		CPU:  true,
		Args: []Field{
			{Name: "samples", Unit: UnitCount, Doc: "samples"},
			{Name: "dpc_samples", Unit: UnitCount, Doc: "of them inside a DPC"},
			{Name: "isr_samples", Unit: UnitCount, Doc: "of them inside an ISR"},
		},
	},
	{
		Kind: KindRPCActive,
		Name: "rpc.active",
		View: "RPCActive",
		Doc:  "a remote procedure call whose end is not in the capture: at the capture's end.",
		Span: "since the call began",
		Task: true,
		Args: []Field{
			{Name: "procedure", Unit: UnitNumber, Doc: "procedure number"},
			{Name: "transport", Unit: UnitNumber, Doc: "protocol sequence: 1 TCP, 2 named pipe, 3 LRPC, 4 HTTP"},
			{Name: "server", Unit: UnitBool, Doc: "whether this is the server's side"},
		},
		Strings: []Field{
			{Name: "interface", Doc: "interface UUID, or program and version"},
			{Name: "endpoint", Doc: "endpoint, empty unknown"},
			{Name: "address", Doc: "network address, empty unknown"},
			fieldProcess,
		},
	},
	{
		Kind:  KindPacketRead,
		Name:  "packet.read",
		View:  "PacketRead",
		Since: 2,
		Doc: "a program has taken a datagram of a followed flow, or the last byte of a segment, out of its socket " +
			"(Linux). Datagrams are told apart by their order in the queue, segments by their sequence numbers.",
		Span:     "in the queue of its socket, 0 where its arrival was not seen",
		CPU:      true,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{
				Name: "host_ns", Unit: UnitNanoseconds,
				Doc: "before that, from its arrival at the host to its socket, 0 unknown",
			},
			{Name: "size_bytes", Unit: UnitBytes, Doc: "bytes that the program was given"},
			{Name: "left", Unit: UnitCount, Doc: "packets that were left in the queue"},
		},
		Strings: []Field{fieldLocal, fieldRemote, fieldProcess},
	},
	{
		Kind:  KindFlow,
		Name:  "flow",
		View:  "Flow",
		Since: 2,
		Doc: "a socket whose packets are followed, or that looks like a heartbeat and is proposed (Linux): when it is " +
			"found, when something of it changes, and every 10 s.",
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{
				Name: "timeout_ns", Unit: UnitNanoseconds,
				Doc: "silence after which the protocol gives its peer up, 0 unknown",
			},
			{
				Name: "state", Unit: UnitEnum, Enum: &FlowStateEnum,
				Doc: "what is seen of it: followed is all, arrivals and reads are one of the two, ended means that the socket " +
					"was closed, proposed is not followed, captured is seen on the wire only",
			},
			{
				Name: "period_ns", Unit: UnitNanoseconds,
				Doc: "time between two heartbeats: as configured, or for a proposed one as it was measured; 0 unknown",
			},
		},
		Strings: []Field{
			fieldLocal, fieldRemote, fieldProcess,
			{Name: "known_as", Doc: "the protocol that the flow is known for, or whose port a proposed one uses; empty unknown"},
		},
	},
	{
		Kind:  KindPacketQdisc,
		Name:  "packet.qdisc",
		View:  "PacketQdisc",
		Since: 2,
		Doc: "a packet that a followed flow sends was put into the queueing discipline of a device, or has left it for the " +
			"driver (Linux). Devices without one, and those that are empty when a packet comes and let it pass, say nothing.",
		Span:     "in the queueing discipline, 0 when it was just put in",
		CPU:      true,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			fieldIfindex,
			{Name: "left", Unit: UnitBool, Doc: "whether it has left"},
			{Name: "backlog", Unit: UnitCount, Doc: "packets that were in the queueing discipline then"},
		},
		Strings: []Field{
			fieldRemote, fieldProcess, fieldDevice,
			{Name: "qdisc", Doc: "kind of the device's root queueing discipline: tbf, fq_codel, ..."},
		},
	},
	{
		Kind:  KindPacketReturn,
		Name:  "packet.return",
		View:  "PacketReturn",
		Since: 2,
		Doc: "a thread that had read from a followed socket went on after it had lost the CPU on its way out of the system " +
			"call, so that its program got late what it had read (Linux; from 1 ms on, of watched threads).",
		Span:     "without the CPU",
		CPU:      true,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldProto,
			fieldLPort,
			{Name: "state", Unit: UnitEnum, Enum: &SchedStateEnum, Doc: "waiting for a CPU, throttled, frozen or stopped"},
		},
		Strings: []Field{fieldProcess},
	},
	{
		Kind:  KindFlowStall,
		Name:  "flow.stall",
		View:  "FlowStall",
		Since: 2,
		Doc: "what TCP itself did to the data of a followed connection (Linux; in captures, a reset): a segment was sent " +
			"again, a segment is missing while later ones have come, the peer's receive window is closed, or a segment from " +
			"the peer has reset the connection, which neither end had closed.",
		Span: "sent again: since the segment was sent first; missing: since the first later segment came; window: since it " +
			"was closed",
		CPU:      true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldLPort,
			fieldRPort,
			{Name: "what", Unit: UnitEnum, Enum: &StallEnum, Doc: "resent, missing, window or reset"},
			{
				Name: "ongoing", Unit: UnitBool,
				Doc: "missing, window: whether it lasts; the event that ends it says no",
			},
			{Name: "segments", Unit: UnitCount, Doc: "resent: how often it was sent by now; missing: later ones that wait"},
		},
		Strings: []Field{fieldLocal, fieldRemote},
	},
	{
		Kind:  KindPacketEarly,
		Name:  "packet.early",
		View:  "PacketEarly",
		Since: 2,
		Doc: "how a received packet of a followed flow spent its time before it reached its socket, while a detector " +
			"wants to know (request zoom; Linux). It comes before the packet's own event, which has the same time.",
		Span:     "from its arrival at the host to its socket",
		CPU:      true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldLPort,
			fieldRPort,
			{
				Name: "backlog_ns", Unit: UnitNanoseconds,
				Doc: "of it, until deferred work took the packet up (the backlog of a CPU); behind it are filters and IP",
			},
		},
		Strings: []Field{fieldRemote},
	},
	{
		Kind:  KindCaptureDrop,
		Name:  "capture.drop",
		View:  "CaptureDrop",
		Since: 2,
		Doc: "packets that Packet Monitor reports as dropped (Windows): of one reason, component and flow within an " +
			"interval. Those that somebody misses are a drop event, too. Flag transmit: they were being sent.",
		Span: intervalSpan,
		Resource: Field{
			Name: "reports", Unit: UnitCount,
			Doc: "events that reported them: one packet is reported by each layer and each socket that refuses it",
		},
		Args: []Field{
			fieldProto,
			fieldLPort,
			fieldRPort,
			{Name: "count", Unit: UnitCount, Doc: "packets"},
			{Name: "verdict", Unit: UnitEnum, Enum: &CaptureVerdictEnum, Doc: "what they are"},
			fieldIfindex,
		},
		Strings: []Field{
			{Name: "reason", Doc: "the reason as the capture has it, or its number"},
			{Name: "component", Doc: "the driver or protocol that dropped them, empty unknown"},
			fieldRemote,
			{Name: "location", Doc: "the place in it, or its number"},
		},
	},
	{
		Kind:  KindFlowDevice,
		Name:  "flow.device",
		View:  "FlowDevice",
		Since: 2,
		Doc: "the device over which the packets of a followed flow come or go (Linux): after the first packet, when it is " +
			"another one, and every 10 s while there are packets.",
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			fieldRPort,
			{Name: "direction", Unit: UnitEnum, Enum: &DirectionEnum, Doc: "rx or tx"},
			fieldIfindex,
			{
				Name: "complete", Unit: UnitBool,
				Doc: "whether below has all devices of that namespace on which the packets may be next; it is not known of " +
					"tunnels",
			},
		},
		Strings: []Field{
			fieldRemote, fieldDevice,
			{
				Name: "below",
				Doc: "the devices below that one, with commas between them: the ports of a bridge or bond, the device of a " +
					"VLAN, and theirs",
			},
		},
	},
	{
		Kind:  KindFlowDrop,
		Name:  "flow.drop",
		View:  "FlowDrop",
		Since: 2,
		Doc: "of the packets of a drop with the same place, reason, location and port, those of one followed flow, or " +
			"those of a followed port which are of no followed flow: then the socket is 0 and remote_addr is empty. Of the " +
			"rest of the drop, it is not known whose they are. Flag transmit: as that of the drop.",
		Span:     intervalSpan,
		Task:     true,
		Netns:    true,
		Resource: fieldCookie,
		Args: []Field{
			{Name: "place", Unit: UnitEnum, Enum: &PlaceEnum, Doc: "where"},
			{Name: "count", Unit: UnitCount, Doc: "packets"},
			fieldProto,
			{Name: "local_port", Unit: UnitPort, Doc: "that of the drop, 0 unknown"},
			fieldRPort,
			{Name: "direction", Unit: UnitEnum, Enum: &DirectionEnum, Doc: "that of the flow: rx or tx"},
		},
		Strings: []Field{
			fieldRemote, {Name: "reason", Doc: "that of the drop"}, fieldDevice, {Name: "location", Doc: "that of the drop"},
		},
	},
	{
		Kind: KindRaw,
		Name: "raw",
		View: "Raw",
		Doc:  "a record that lostbeat does not interpret, so that nothing in a file is invisible.",
		CPU:  true,
		Task: true,
		Args: []Field{
			{Name: "id", Unit: UnitNumber, Doc: "event id, or opcode of a class"},
			{Name: "version", Unit: UnitNumber, Doc: "event version"},
			{Name: "level", Unit: UnitNumber, Doc: "level"},
			{Name: "keyword", Unit: UnitHex, Doc: "keyword mask"},
			{Name: "classic", Unit: UnitBool, Doc: "whether id is the opcode of a class"},
		},
		Strings: []Field{
			{Name: "provider", Doc: "provider or class GUID"},
			{Name: "name", Doc: "event name where a schema is known"},
			{Name: "payload", Doc: "fields as JSON where a schema is known, hexadecimal otherwise"},
		},
	},

	{
		Kind:  KindLogGap,
		Name:  "log.gap",
		View:  "LogGap",
		Since: 1,
		Doc: "a stretch in which an application wrote nothing to its log, too long for this log: its own cadence " +
			"is the measure. It ends with the line at the event's time.",
		Span: "from the last line before it to the line that ends it",
		Args: []Field{
			{Name: "expected_count", Unit: UnitFloat, Doc: "how many silences of this length or longer the log's cadence " +
				"lets expect in all of it"},
			{Name: "usual_ns", Unit: UnitNanoseconds, Doc: "the time between two lines that one in a hundred exceeds"},
			{
				Name: "longest_ns", Unit: UnitNanoseconds,
				Doc: "the longest other silence of the log that does not count as a gap",
			},
			{Name: "lines", Unit: UnitCount, Doc: "lines with a time from which the cadence was learned"},
			fieldLogLag,
			{Name: "lasts", Unit: UnitBool, Doc: "1 while no line has ended it: of a log that is followed, since 1.2"},
		},
		Strings: []Field{
			{Name: "log", Doc: "the log's file"},
			{Name: "before", Doc: "the last line before the silence, without control characters and shortened"},
			{Name: "after", Doc: "the line that ends it, likewise"},
			fieldLogHost,
		},
	},
	{
		Kind:  KindLogLine,
		Name:  "log.line",
		View:  "LogLine",
		Since: 1,
		Doc: "a line of an application's log that reports missed heartbeats, a lost connection or node, or that a " +
			"program was held up; docs/LOGS.md lists the patterns.",
		Span: "how long before the line the silence began, where the line says so",
		Args: []Field{
			{Name: "class", Unit: UnitEnum, Enum: &LogClassEnum, Doc: "what the line reports"},
			{Name: "silence_ns", Unit: UnitNanoseconds, Doc: "the time without a line before it, 0 for the first line"},
			fieldLogLag,
		},
		Strings: []Field{
			{Name: "log", Doc: "the log's file"},
			{Name: "pattern", Doc: "the pattern's name"},
			{Name: "text", Doc: "the line without control characters, shortened"},
			fieldLogHost,
		},
	},
	{
		Kind:  KindLogState,
		Name:  "log.state",
		View:  "LogState",
		Since: 2,
		Doc: "a log that is followed, or that was read beside the stream: when it is found, when something of it changes, " +
			"and every 10 s. PID is the process that has the file open for writing, where it is known.",
		Task: true,
		Args: []Field{
			{Name: "state", Unit: UnitEnum, Enum: &LogStateEnum, Doc: "what has become of the file"},
			{Name: "lines", Unit: UnitCount, Doc: "lines that were read since the start"},
			{
				Name: "usual_ns",
				Unit: UnitNanoseconds,
				Doc:  "the time between two lines that one in a hundred exceeds, 0 unknown",
			},
			{Name: "last", Unit: UnitTime, Doc: "when the last line was written, 0 unknown"},
			{Name: "lost_bytes", Unit: UnitBytes, Doc: "what came faster than it could be read"},
			fieldLogLag,
		},
		Strings: []Field{
			{Name: "log", Doc: "the log's file"},
			{Name: "clock", Doc: "how its times are read, and how its clock compares with the moments of writing, in words"},
			{Name: "process", Doc: "the name of the process"},
			fieldLogHost,
		},
	},
	{
		Kind:  KindHostEvent,
		Name:  "host.event",
		View:  "HostEvent",
		Since: 2,
		Doc: "an entry of the system's event log (Windows) that bears on lost heartbeats or on ports; docs/INPUTS.md " +
			"lists them. Others are not events of the stream.",
		Args: []Field{
			{Name: "what", Unit: UnitEnum, Enum: &HostEventEnum, Doc: "what it reports"},
			{Name: "id", Unit: UnitNumber, Doc: "the number that its provider gives to such entries"},
			{Name: "step_ns", Unit: UnitNumber, Doc: "by how many nanoseconds the clock was set, 0 where it was not"},
			{Name: "record", Unit: UnitNumber, Doc: "its number in the log that it was written to, 0 unknown: its order " +
				"there whatever the clock said"},
			{Name: "numbering", Unit: UnitNumber, Doc: "the log that record numbers it in: numbers of entries with the same " +
				"log, host and numbering compare; 0 unknown"},
		},
		Strings: []Field{
			{Name: "provider", Doc: "who wrote it"},
			{Name: "about", Doc: "the node, adapter or resource that it is about, empty for the host"},
			{Name: "log", Doc: "the log's file"},
			{Name: "host", Doc: "the host that wrote it"},
		},
	},

	{
		Kind:  KindNote,
		Name:  "note",
		View:  "Note",
		Since: 2,
		Doc: "what a reader wrote about a moment of the recording. Notes that are added to a finished recording stand at " +
			"its end.",
		Args: []Field{{Name: "about", Unit: UnitTime, Doc: "the moment that it is about"}},
		Strings: []Field{
			{Name: "text", Doc: "what was written; empty for a moment that was only marked"},
		},
	},
}

// specByKind indexes Specs by kind number; built from the table, never changed.
var specByKind = func() (index [128]*Spec) {
	for i := range Specs {
		index[Specs[i].Kind] = &Specs[i]
	}
	return index
}()

// SpecOf returns the description of k, or nil for a kind that this version does not know.
func SpecOf(k Kind) *Spec {
	if int(k) < len(specByKind) {
		return specByKind[k]
	}
	return nil
}

// KindNamed returns the kind with the given name.
func KindNamed(name string) (Kind, bool) {
	for i := range Specs {
		if Specs[i].Name == name {
			return Specs[i].Kind, true
		}
	}
	return 0, false
}
