package model

import "time"

// RequestKind is the kind of detail that a detector asks for.
type RequestKind uint8

// Kinds of requests.
const (
	// RequestStacks samples the kernel stacks of Request.CPU, or of all CPUs when it is -1 (stack.sample).
	RequestStacks RequestKind = iota
	// RequestSched watches how the threads of Request.PID are scheduled, or the one thread Request.TID when it is set
	// (sched.state, sched.rival). With neither, CPU names the CPU whose ksoftirqd is watched.
	RequestSched
	// RequestReading reads what Request.Name names in the network namespace Request.Netns (reading).
	RequestReading
	// RequestZoom attaches a hook for each packet that the host receives, to see how followed ones spend their time before
	// they reach their socket (packet.early).
	RequestZoom
	// RequestFollow follows the flow that Request.Name names as --heartbeat does, until the source ends.
	RequestFollow
)

// RequestKindEnum names the kinds of requests.
var RequestKindEnum = Enum{"RequestKind", []string{"stacks", "sched", "reading", "zoom", "follow"}}

func (v RequestKind) String() string { return RequestKindEnum.Name(uint64(v)) }

// RequestState is what has become of a request.
type RequestState uint8

// States of requests.
const (
	// RequestAsked is a request that a detector has made.
	RequestAsked RequestState = iota
	// RequestOn is a request that is being served.
	RequestOn
	// RequestOff is a request whose time is over.
	RequestOff
	// RequestRefused is a request that is not served; its reason says why.
	RequestRefused
)

// RequestStateEnum names the states of requests.
var RequestStateEnum = Enum{"RequestState", []string{"asked", "on", "off", "refused"}}

func (v RequestState) String() string { return RequestStateEnum.Name(uint64(v)) }

// Request is detail that a detector wants from a live source while it suspects
// a fault. A source serves it for a bounded time, or refuses it; both are
// request events of the stream, and what is found comes as events of its own
// kinds. Sources that are no live host ignore requests.
type Request struct {
	// Kind is the kind of detail.
	Kind RequestKind
	// CPU is the CPU that it concerns, -1 all or none in particular.
	CPU int32
	// PID and TID are the process and the thread that it concerns, -1 none.
	PID, TID int32
	// Netns is the inode number of the network namespace that it concerns, 0 the host's or none.
	Netns int64
	// Ifindex is the device that it concerns, 0 none.
	Ifindex int64
	// Name is which reading, flow or task is wanted, empty where the other fields say it.
	Name string
	// For is how long it is wanted; the source may serve it for a shorter time.
	For time.Duration
	// Finding is the id of the case that asks.
	Finding string
	// Standing says that it is wanted all the time, for what the user asked to follow, and not on suspicion: it is
	// served whatever lostbeat takes itself (ShedParts).
	Standing bool
}

// Same says that r and o ask for the same detail, whoever asks and for however long.
func (r Request) Same(o Request) bool {
	r.For, r.Finding, r.Standing, o.For, o.Finding, o.Standing = 0, "", false, 0, "", false
	return r == o
}

// SchedState is what a watched thread does.
type SchedState uint8

// States of watched threads.
const (
	SchedUnknown SchedState = iota
	// SchedRunning is a thread on a CPU.
	SchedRunning
	// SchedWaiting is a thread that could run and has no CPU.
	SchedWaiting
	// SchedThrottled is a thread whose control group has used up its CPU quota.
	SchedThrottled
	// SchedFrozen is a thread whose control group is frozen.
	SchedFrozen
	// SchedStopped is a thread stopped by a signal or a debugger.
	SchedStopped
	// SchedDisk is a thread that waits for a block device or a file system.
	SchedDisk
	// SchedLock is a thread that waits for a lock.
	SchedLock
	// SchedMemory is a thread that waits for memory: reclaim, compaction, a page fault.
	SchedMemory
	// SchedInput is a thread that waits for something to arrive: it reads, polls or accepts.
	SchedInput
	// SchedSleeping is a thread that sleeps in any other way.
	SchedSleeping
)

// SchedStateEnum names the states of watched threads.
var SchedStateEnum = Enum{"SchedState", []string{
	"unknown", "running", "waiting", "throttled", "frozen", "stopped", "disk", "lock", "memory", "input", "sleeping",
}}

func (v SchedState) String() string { return SchedStateEnum.Name(uint64(v)) }

// SchedPolicy is a scheduling policy.
type SchedPolicy uint8

// Scheduling policies; SchedPolicySoftirq stands for deferred work and interrupts, which no policy governs.
const (
	SchedPolicyUnknown SchedPolicy = iota
	SchedPolicyOther
	SchedPolicyFIFO
	SchedPolicyRR
	SchedPolicyBatch
	SchedPolicyIdle
	SchedPolicyDeadline
	SchedPolicyExt
	SchedPolicySoftirq
)

// SchedPolicyEnum names the scheduling policies.
var SchedPolicyEnum = Enum{"SchedPolicy", []string{
	"unknown", "other", "fifo", "rr", "batch", "idle", "deadline", "ext", "softirq",
}}

func (v SchedPolicy) String() string { return SchedPolicyEnum.Name(uint64(v)) }
