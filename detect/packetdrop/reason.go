package packetdrop

import (
	"slices"
	"strings"

	"lostbeat/fold"
	"lostbeat/model"
)

// Cause is what kind of cause a loss has.
type Cause uint8

// Kinds of causes.
const (
	// CauseUnknown is a loss of which only the function is known.
	CauseUnknown Cause = iota
	// CauseProgram is a program that does not read, accept or listen.
	CauseProgram
	// CauseBuffer is a queue that was full.
	CauseBuffer
	// CauseMemory is a limit on memory or on the entries of a table.
	CauseMemory
	// CauseFilter is a decision to drop: a rule, a program, a policy.
	CauseFilter
	// CauseRouting is an address, route or neighbour that does not fit.
	CauseRouting
	// CauseCorruption is a packet that is damaged or malformed.
	CauseCorruption
	// CauseDevice is a device or its driver.
	CauseDevice
	// CauseConfiguration is a setting that does not fit.
	CauseConfiguration
	// CauseNetwork is a loss before the packet came to this host, or after it left.
	CauseNetwork
	// CauseProcessor is a CPU that did not take packets on in time.
	CauseProcessor
	// CauseNormal is what every host does in the course of its work.
	CauseNormal
)

// causeNames are the text forms of the causes.
var causeNames = [...]string{
	"unknown", "program", "buffer", "memory", "filter", "routing", "corruption", "device", "configuration", "network",
	"processor", "normal",
}

// String returns the cause's name.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return causeNames[CauseUnknown]
}

// Names of readings that confirm a cause or rule it out, for model.RequestReading.
const (
	// ReadConntrack is the fill of the connection table and its maximum.
	ReadConntrack = "conntrack"
	// ReadIPTables is the counters of the rules of iptables-legacy.
	ReadIPTables = "iptables"
	// ReadListenQueue is the accept queues of listeners and their limits.
	ReadListenQueue = "listen_queue"
	// ReadMTU is the MTU of a device and of its peer.
	ReadMTU = "mtu"
	// ReadNeighbours is the fill of the neighbour table and its limits.
	ReadNeighbours = "neighbours"
	// ReadNetdev is the settings of the backlog and of NET_RX.
	ReadNetdev = "netdev"
	// ReadNft is the counters of the rules of nftables.
	ReadNft = "nft"
	// ReadQdisc is the statistics of a device's queueing disciplines.
	ReadQdisc = "qdisc"
	// ReadRPFilter is the reverse path filter of a device.
	ReadRPFilter = "rp_filter"
	// ReadSNMP is the rise of the kernel's counters of losses, those of Reason.Counters among them.
	ReadSNMP = "snmp"
	// ReadSockbuf is the default and largest buffers of sockets.
	ReadSockbuf = "sockbuf"
	// ReadTC is the filters of traffic control on a device.
	ReadTC = "tc"
	// ReadTCPMem is the memory of all TCP sockets and its limit.
	ReadTCPMem = "tcp_mem"
	// ReadUDPMem is the memory of all UDP sockets and its limit.
	ReadUDPMem = "udp_mem"
	// ReadXDP is the XDP program of a device.
	ReadXDP = "xdp"
)

// Reason is what is known about one reason for which packets are lost.
type Reason struct {
	// Name is the reason as in drop events, a prefix of it, or (a prefix of) a kernel function.
	Name string
	// In is the function in which a reason means just this; empty in any.
	In string
	// Meaning says in one sentence what happened.
	Meaning string
	// Cause is the kind of the cause.
	Cause Cause
	// Confirm are the readings to ask for, which confirm the cause or rule it out, the most telling one first.
	Confirm []string
	// Signals are the kinds of events of the stream that show more of the same fault.
	Signals []model.Kind
	// Counters are the kernel's own counters of the same losses, as in counter events; a second witness. Ask for
	// ReadSNMP where the stream does not have them.
	Counters []string
	// Advice says what to do, and when not to.
	Advice string
	// Healthy says that healthy hosts show it in small numbers.
	Healthy bool
	// Gone says that packets are lost for it, too, when a device is removed or its link goes down.
	Gone bool
	// Noise says that what is lost for it is meant for nobody, as a rule, however large a share of a device's
	// packets it is: it is a fault only where it hits a flow that comes regularly.
	Noise bool
	// With is the reason whose case it joins, because it has the same cause; empty none.
	With string
	// Proven is the case of TestReasons that has made the kernel drop packets for this reason and has compared their
	// number with an independent count; empty where none has.
	Proven string
}

// Match says how well an entry fits a drop.
type Match uint8

const (
	// MatchNone is an entry that only repeats what the event says.
	MatchNone Match = iota
	// MatchFamily is an entry of the reason's family: it has the first part of its name.
	MatchFamily
	// MatchFunction is the entry of the function that freed the packet.
	MatchFunction
	// MatchReason is the entry of the reason itself.
	MatchReason
)

// reasonNotSpecified leaves it to the function.
const reasonNotSpecified = "NOT_SPECIFIED"

// reasonNextHop is the reason of packets whose next hop does not answer.
const reasonNextHop = "NEIGH_FAILED"

// reasonQdisc is the reason of packets that a queueing discipline drops.
const reasonQdisc = "QDISC_DROP"

// reasonNoSocket is the reason of packets for a closed port.
const reasonNoSocket = "NO_SOCKET"

// unknownReason stands for a reason that is in no table.
var unknownReason = Reason{
	Meaning: "The kernel or driver gives a reason that this version of lostbeat does not know.",
	Cause:   CauseUnknown,
	Advice:  "Look the reason and the function up in the kernel's source, and compare with the device's counters.",
	Healthy: true,
}

// unknownOnWindows stands for what the drop events of Windows give as numbers without a documented meaning.
var unknownOnWindows = Reason{
	Meaning: "Windows gives a number as the reason; lostbeat does not know what this number means.",
	Cause:   CauseUnknown,
	Advice: "Compare with the counters of the adapter (Get-NetAdapterStatistics) and of the protocols (netstat -s). " +
		"\"pktmon\" shows in which component packets are lost.",
	Healthy: true,
}

// goneReasons stand for what became of a device, by its name in device events.
var goneReasons = map[string]*Reason{
	model.DeviceRemoved: {
		Meaning: "The device was removed while packets were still sent through it.",
		Cause:   CauseDevice,
		Advice: "Find out what removed the device, and what still sends through it (ip route, ip neigh). No action is " +
			"needed if it was removed on purpose.",
		Gone: true,
	},
	model.DeviceLinkDown: {
		Meaning: "The link of the device was down while packets were still sent through it.",
		Cause:   CauseDevice,
		Advice: "Bring the other end up if it is down (ip -d link), or find what cut the link: cable, switch. No action " +
			"is needed if it was taken down on purpose.",
		Gone: true,
	},
}

// tables are all tables of reasons by name.
var tables = [][]Reason{
	socketReasons, filterReasons, ipReasons, tcpReasons, qdiscReasons, deviceReasons, subsystemReasons,
}

// exactReasons are reasons of which the function says more.
var exactReasons = []Reason{ttlIn("ip_forward"), ttlIn("ip6_forward")}

// functions are kernel functions by prefix; the longest that fits decides.
var functions = slices.Concat(deviceFunctions, protocolFunctions)

// byName finds a reason; built from the tables, never changed.
var byName = func() map[string]*Reason {
	all := make(map[string]*Reason)
	for _, table := range tables {
		for i := range table {
			all[table[i].Name] = &table[i]
		}
	}
	return all
}()

// Lookup returns what is known about packets lost for a reason in a function,
// both as in drop events, and how well it fits. What it returns is to be read only.
func Lookup(reason, function string) (*Reason, Match) {
	// The compiler names parts of a function "name.isra.0", "name.part.1".
	function, _, _ = strings.Cut(function, ".")
	if reason == reasonNotSpecified || reason == "" {
		if r := longest(functions, function); r != nil {
			return r, MatchFunction
		}
		return byName[reasonNotSpecified], MatchNone
	}
	for i := range exactReasons {
		if r := &exactReasons[i]; r.Name == reason && r.In == function {
			return r, MatchReason
		}
	}
	if r := byName[reason]; r != nil {
		return r, MatchReason
	}
	if r := longest(families, reason); r != nil {
		return r, MatchFamily
	}
	if r := longest(functions, function); r != nil {
		return r, MatchFunction
	}
	return &unknownReason, MatchNone
}

// longest returns the entry of table whose name is the longest prefix of name, nil when none is.
func longest(table []Reason, name string) (found *Reason) {
	for i := range table {
		r := &table[i]
		if strings.HasPrefix(name, r.Name) && (found == nil || len(r.Name) > len(found.Name)) {
			found = r
		}
	}
	return found
}

// Explained returns what a drop means that the kernel gave a reason and a function for, and what to do; device is the
// one that lost it, empty unknown.
func Explained(reason, function, device string) (meaning, advice string) {
	r, _ := Lookup(reason, function)
	return r.Meaning, adviceFor(r, device)
}

// adviceFor is the advice of a reason with the name of the device.
func adviceFor(r *Reason, device string) string {
	if device == "" {
		return r.Advice
	}
	return strings.ReplaceAll(r.Advice, "DEVICE", fold.Printable(device))
}
