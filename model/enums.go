package model

import "time"

// Enum is the list of names of an enumerated argument, by value.
type Enum struct {
	// Type is the Go type of the argument in the typed views.
	Type string
	// Names are the text forms; a value is its name's index.
	Names []string
}

// Name returns the text form of v, its decimal number when it has none.
func (e *Enum) Name(v uint64) string {
	if v < uint64(len(e.Names)) {
		return e.Names[v]
	}
	return itoa(v)
}

// Class is the class of deferred work or of an interrupt.
type Class uint8

// Classes of deferred work and interrupts.
const (
	ClassUnknown Class = iota
	ClassSoftirq
	ClassDPC
	ClassThreadedDPC
	ClassTimerDPC
	ClassHardIRQ
	ClassISR
	ClassISRMSI
)

// ClassEnum names the classes.
var ClassEnum = Enum{
	"Class",
	[]string{"unknown", "softirq", "dpc", "threaded_dpc", "timer_dpc", "hardirq", "isr", "isr_msi"},
}

func (v Class) String() string { return ClassEnum.Name(uint64(v)) }

// Place is where inside the host a packet was lost.
type Place uint8

// Places of loss, in the order in which a received packet meets them.
const (
	PlaceUnknown Place = iota
	// PlaceRing is the NIC's receive or transmit ring, as its driver counts it.
	PlaceRing
	// PlaceDevice is the device layer above the ring: a veth's peer, a full tx queue, XDP.
	PlaceDevice
	// PlaceBacklog is the per-CPU backlog of RPS, loopback and veth without NAPI.
	PlaceBacklog
	// PlaceQdisc is the queueing discipline.
	PlaceQdisc
	// PlaceFilter is netfilter, tc or a socket filter: a decision, not a fault.
	PlaceFilter
	// PlaceProtocol is IP, TCP or UDP before a socket was found or because of the packet's contents.
	PlaceProtocol
	// PlaceSocket is the socket's receive queue.
	PlaceSocket
)

// PlaceEnum names the places.
var PlaceEnum = Enum{
	"Place",
	[]string{"unknown", "ring", "device", "backlog", "qdisc", "filter", "protocol", "socket"},
}

func (v Place) String() string { return PlaceEnum.Name(uint64(v)) }

// Protocol is a transport protocol.
type Protocol uint8

// Transport protocols that have ports.
const (
	ProtocolUnknown Protocol = iota
	ProtocolTCP
	ProtocolUDP
	ProtocolOther
)

// ProtocolEnum names the protocols.
var ProtocolEnum = Enum{"Protocol", []string{"unknown", "tcp", "udp", "other"}}

func (v Protocol) String() string { return ProtocolEnum.Name(uint64(v)) }

// How is the way in which a port was taken or given back.
type How uint8

// Ways in which a port is taken or given back.
const (
	HowUnknown How = iota
	// HowBindAny is bind with port 0: the kernel chooses.
	HowBindAny
	// HowBindPort is bind with a port of the caller's choice.
	HowBindPort
	// HowConnect is an implicit allocation by connect.
	HowConnect
	// HowSend is an implicit allocation by sendto or sendmsg.
	HowSend
	// HowListen is an implicit allocation by listen.
	HowListen
	// HowKernel is an allocation by the kernel itself (SunRPC, NFS).
	HowKernel
	// HowPresent is a port that was held when observation began.
	HowPresent
	// HowAudit is a port that only the periodic audit found or missed.
	HowAudit
	// HowClose is a release by the last close, the owner's death included.
	HowClose
	// HowDisconnect is a release by connect to AF_UNSPEC.
	HowDisconnect
	// HowRestEnd is a release at the end of a port's rest.
	HowRestEnd
	// HowRPC is an allocation by the RPC runtime.
	HowRPC
	// HowAccept is a connection that shares its listener's port: it takes none of its own.
	HowAccept
)

// HowEnum names the ways.
var HowEnum = Enum{
	"How",
	[]string{
		"unknown",
		"bind_any",
		"bind_port",
		"connect",
		"send",
		"listen",
		"kernel",
		"present",
		"audit",
		"close",
		"disconnect",
		"rest_end",
		"rpc",
		"accept",
	},
}

func (v How) String() string { return HowEnum.Name(uint64(v)) }

// IdleAfter is how long a port has gone unused when it is called idle.
const IdleAfter = 10 * time.Second

// Activity says whether a held port is used.
type Activity uint8

const (
	// ActivityUnknown is a port whose use is not watched.
	ActivityUnknown Activity = iota
	// ActivityInUse is a port that was used within the last [IdleAfter].
	ActivityInUse
	// ActivityIdle is a port that has not been used for [IdleAfter] or longer.
	ActivityIdle
	// ActivityPeerClosed is a connection that has not been used for [IdleAfter] or
	// longer, whose peer has closed it while the program has not (CLOSE_WAIT).
	ActivityPeerClosed
)

// Idle says that a port has not been used for [IdleAfter] or longer.
func (v Activity) Idle() bool { return v == ActivityIdle || v == ActivityPeerClosed }

// ActivityEnum names the activities.
var ActivityEnum = Enum{"Activity", []string{"unknown", "in_use", "idle", "peer_closed"}}

func (v Activity) String() string { return ActivityEnum.Name(uint64(v)) }

// ProbeState says whether a part of a probe works.
type ProbeState uint8

// Probe states.
const (
	// ProbeOff is a part that does not run; its reason says why.
	ProbeOff ProbeState = iota
	// ProbeOn is a part that runs and sees everything it is meant to see; its reason, if any, says what no system shows
	// it.
	ProbeOn
	// ProbeDegraded is a part that runs and misses something; its reason says what.
	ProbeDegraded
)

// ProbeStateEnum names the probe states.
var ProbeStateEnum = Enum{"ProbeState", []string{"off", "on", "degraded"}}

func (v ProbeState) String() string { return ProbeStateEnum.Name(uint64(v)) }

// PoolSource is where the limits of a port pool come from.
type PoolSource uint8

// Sources of a pool's limits.
const (
	// PoolEphemeral is the system's range for ports of its own choice (ip_local_port_range, dynamicport).
	PoolEphemeral PoolSource = iota
	// PoolConfigured is a range given by the user (--pool).
	PoolConfigured
	// PoolReserved is the range of privileged ports that SunRPC binds (min_resvport to max_resvport).
	PoolReserved
	// PoolRPC is the range for RPC endpoints of the Windows registry.
	PoolRPC
)

// PoolSourceEnum names the sources of pools.
var PoolSourceEnum = Enum{"PoolSource", []string{"ephemeral", "configured", "reserved", "rpc"}}

func (v PoolSource) String() string { return PoolSourceEnum.Name(uint64(v)) }

// CounterMode says how a counter's values are to be read.
type CounterMode uint8

// Counter modes.
const (
	// CounterGauge is a value at one moment.
	CounterGauge CounterMode = iota
	// CounterTotal is a running total; its differences are counts.
	CounterTotal
	// CounterRate is a rate over the event's interval, per second.
	CounterRate
	// CounterShare is a share of the event's interval, 0 to 1.
	CounterShare
)

// CounterModeEnum names the counter modes.
var CounterModeEnum = Enum{"CounterMode", []string{"gauge", "total", "rate", "share"}}

func (v CounterMode) String() string { return CounterModeEnum.Name(uint64(v)) }

// LogClass is what a line of an application's log reports.
type LogClass uint8

// Classes of log lines.
const (
	// LogMissed is a heartbeat that did not arrive in time.
	LogMissed LogClass = iota
	// LogLost is a connection, session or node that was given up.
	LogLost
	// LogHeldUp is a program that says that it did not run.
	LogHeldUp
	// LogDisk is a disk that was slow, as the program measured it.
	LogDisk
	// LogNetwork is packets that had to be sent again or could not be sent.
	LogNetwork
	// LogAsked is a line that a pattern of the user matches.
	LogAsked
)

// LogClassEnum names the classes of log lines.
var LogClassEnum = Enum{
	"LogClass",
	[]string{"missed_heartbeat", "lost_connection", "held_up", "slow_disk", "network", "asked"},
}

func (v LogClass) String() string { return LogClassEnum.Name(uint64(v)) }

// LogFileState is what has become of the file of a log.
type LogFileState uint8

// States of logs.
const (
	// LogFollowed is a file that is read as it grows.
	LogFollowed LogFileState = iota
	// LogMissing is a file that does not exist, or cannot be read: its path is looked at again and again.
	LogMissing
	// LogDeleted is a file that has no name any more and is still read.
	LogDeleted
	// LogRead is a file that was read to its end beside a capture.
	LogRead
)

// LogStateEnum names the states of logs.
var LogStateEnum = Enum{"LogFileState", []string{"followed", "missing", "deleted", "read"}}

func (v LogFileState) String() string { return LogStateEnum.Name(uint64(v)) }

// Direction is the direction of a packet or queue.
type Direction uint8

// Directions.
const (
	DirectionRX Direction = iota
	DirectionTX
)

// DirectionEnum names the directions.
var DirectionEnum = Enum{"Direction", []string{"rx", "tx"}}

func (v Direction) String() string { return DirectionEnum.Name(uint64(v)) }

// ProcessState says why a process event was written.
type ProcessState uint8

// Process states.
const (
	// ProcessActive is a process that exists; nothing is said about its start.
	ProcessActive ProcessState = iota
	ProcessStarted
	ProcessExited
)

// ProcessStateEnum names the process states.
var ProcessStateEnum = Enum{"ProcessState", []string{"active", "started", "exited"}}

func (v ProcessState) String() string { return ProcessStateEnum.Name(uint64(v)) }

// ProcessEnd says how a process ended.
type ProcessEnd uint8

// Ends of processes.
const (
	// ProcessEndUnknown is one that was not seen, or none.
	ProcessEndUnknown ProcessEnd = iota
	// ProcessEndExit is a process that ended itself, with an exit status.
	ProcessEndExit
	// ProcessEndSignal is one that a signal ended.
	ProcessEndSignal
)

// ProcessEndEnum names the ends of processes.
var ProcessEndEnum = Enum{"ProcessEnd", []string{"unknown", "exit", "signal"}}

func (v ProcessEnd) String() string { return ProcessEndEnum.Name(uint64(v)) }

// Severity is how bad a finding is.
type Severity uint8

// Severities.
const (
	SeverityInfo Severity = iota
	SeverityWarning
	SeverityCritical
)

// SeverityEnum names the severities.
var SeverityEnum = Enum{"Severity", []string{"info", "warning", "critical"}}

func (v Severity) String() string { return SeverityEnum.Name(uint64(v)) }

// MarshalText implements encoding.TextMarshaler.
func (v Severity) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// CaptureVerdict is what a packet is that a capture reports as dropped.
type CaptureVerdict uint8

// What dropped packets are.
const (
	// CaptureUnknown is a reason of which nothing is known here.
	CaptureUnknown CaptureVerdict = iota
	// CaptureNoise is one that nobody on the host wanted: another host's, a group's without a member, a segment that
	// came twice.
	CaptureNoise
	// CaptureUnwanted is one for a port on which nothing listens.
	CaptureUnwanted
	// CaptureFiltered is one that a rule or a policy dropped.
	CaptureFiltered
	// CaptureLost is one that somebody misses.
	CaptureLost
)

// CaptureVerdictEnum names them.
var CaptureVerdictEnum = Enum{"CaptureVerdict", []string{"unknown", "noise", "unwanted", "filtered", "lost"}}

func (v CaptureVerdict) String() string { return CaptureVerdictEnum.Name(uint64(v)) }

// FlowState says what is seen of a followed flow.
type FlowState uint8

// States of followed flows.
const (
	// FlowUnseen is a socket that is known, and nothing of its packets.
	FlowUnseen FlowState = iota
	// FlowFollowed is a socket whose packets are seen when they reach it and when they are read.
	FlowFollowed
	// FlowArrivals is one whose packets are seen when they reach it, not when they are read.
	FlowArrivals
	// FlowReads is one whose packets are seen when they are read, not when they reach it.
	FlowReads
	// FlowEnded is a socket that is gone.
	FlowEnded
	// FlowProposed is one that is not followed: it looks like a heartbeat, and somebody may want to follow it.
	FlowProposed
	// FlowCaptured is one whose packets are seen on the wire only, in a capture: what became of them in a host is not.
	FlowCaptured
)

// FlowStateEnum names the states of followed flows.
var FlowStateEnum = Enum{
	"FlowState", []string{"unseen", "followed", "arrivals", "reads", "ended", "proposed", "captured"},
}

func (v FlowState) String() string { return FlowStateEnum.Name(uint64(v)) }

// Stall says what TCP did to the data of a connection.
type Stall uint8

// What TCP does to data.
const (
	// StallUnknown is not given.
	StallUnknown Stall = iota
	// StallResent is a segment that the host sent again, as it was not acknowledged.
	StallResent
	// StallMissing is a segment that has not come while later ones have: the program cannot read those.
	StallMissing
	// StallWindow is a peer whose receive window is closed: its program does not read.
	StallWindow
	// StallReset is a connection that the peer, or something on the way, has reset, and that neither end had closed.
	StallReset
)

// StallEnum names them.
var StallEnum = Enum{"Stall", []string{"unknown", "resent", "missing", "window", "reset"}}

func (v Stall) String() string { return StallEnum.Name(uint64(v)) }

// Pause says how a host came to stand still.
type Pause uint8

// Ways of standing still.
const (
	// PauseUnknown is not given.
	PauseUnknown Pause = iota
	// PauseSuspended is a host that slept: CLOCK_BOOTTIME went on, CLOCK_MONOTONIC did not.
	PauseSuspended
	// PauseStopped is a virtual machine that was stopped: its real-time clock went on, its other clocks did not.
	PauseStopped
)

// PauseEnum names them.
var PauseEnum = Enum{"Pause", []string{"unknown", "suspended", "stopped"}}

func (v Pause) String() string { return PauseEnum.Name(uint64(v)) }

// HostEventWhat is what an entry of the system's event log reports.
type HostEventWhat uint8

// What entries report.
const (
	// HostNodeRemoved is a node that was removed from a cluster: it missed its heartbeats.
	HostNodeRemoved HostEventWhat = iota
	// HostQuorumLost is a cluster service that stopped for want of quorum.
	HostQuorumLost
	// HostClusterNetwork is a network of a cluster that failed or was divided.
	HostClusterNetwork
	// HostClusterResource is a resource, a shared volume or a node that the cluster gave up or set aside.
	HostClusterResource
	// HostTCPPortsOut and HostUDPPortsOut are that no port of the whole machine was left.
	HostTCPPortsOut
	HostUDPPortsOut
	// HostTCPPortReused is a connection that failed because its port was used for the same remote end just before.
	HostTCPPortReused
	// HostLinkDown and HostLinkUp are the link of an adapter.
	HostLinkDown
	HostLinkUp
	// HostAdapterReset is an adapter that was reset or failed.
	HostAdapterReset
	// HostCrashed is a start after an end without shutdown, HostShutdown an orderly end, HostStarted a start.
	HostCrashed
	HostShutdown
	HostStarted
	// HostClockSet is a step of the clock.
	HostClockSet
	// HostDisk is a request to a disk that was retried or timed out.
	HostDisk
	// HostMemory is that virtual memory was short.
	HostMemory
	// HostUnreachable is a service that did not reach another host: what a want of ports or a network's failure leads to.
	HostUnreachable
	// HostReplicaTimeout is a replica of an availability group of SQL Server that did not answer in time.
	HostReplicaTimeout
	// HostLeaseExpired is the lease between an availability group and the cluster that was not renewed in time.
	HostLeaseExpired
)

// HostEventEnum names what entries of event logs report.
var HostEventEnum = Enum{
	"HostEventWhat",
	[]string{
		"node_removed", "quorum_lost", "cluster_network", "cluster_resource", "tcp_ports_out", "udp_ports_out",
		"tcp_port_reused", "link_down", "link_up", "adapter_reset", "crashed", "shutdown", "started", "clock_set", "disk",
		"memory", "unreachable", "replica_timeout", "lease_expired",
	},
}

func (v HostEventWhat) String() string { return HostEventEnum.Name(uint64(v)) }
