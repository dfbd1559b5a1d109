package model

import "strings"

// NotSampled is why detail is missing while lostbeat leaves it out to stay within its own CPU time: the start of the
// reason of probe and request events.
const NotSampled = "not sampled: lostbeat's own CPU bound"

// PartRequests is the part of a probe that has programs attached only while it serves requests.
const PartRequests = "requests"

// ShedPart is detail that lostbeat leaves out while it takes more CPU time than it may.
type ShedPart struct {
	// Probe and Part name it in probe events.
	Probe, Part string
	// Request is the kind of request that is refused meanwhile, but for standing ones; full tracing is Trace and no
	// request.
	Request RequestKind
	Trace   bool
	// Step is when it is left out: the lowest first.
	Step int
	// What is what is missing then, as the start of a sentence.
	What string
}

// ShedParts are the parts in the order in which they are left out. Counters, on which verdicts rest, are not among
// them.
var ShedParts = []ShedPart{
	{Probe: "deferred", Part: "full tracing", Trace: true, Step: 0, What: "Single runs of deferred work were"},
	{Probe: "interrupt", Part: "full tracing", Trace: true, Step: 0, What: "Single runs of interrupts were"},
	{Probe: "stack", Part: PartRequests, Request: RequestStacks, Step: 1, What: "Kernel stacks were"},
	{Probe: "heartbeat", Part: "zoom", Request: RequestZoom, Step: 2, What: "Packets on their way to their sockets were"},
	{Probe: "sched", Part: PartRequests, Request: RequestSched, Step: 3, What: "The scheduling of suspected threads was"},
}

// Shed says that a part of a probe is left out because of lostbeat's own CPU time.
func (p Probe) Shed() bool { return p.State != ProbeOn && strings.HasPrefix(p.Reason, NotSampled) }
