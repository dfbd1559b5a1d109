package perfmon

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"lostbeat/model"
)

// role says what a counter means to the event model besides being a counter.
type role uint8

const (
	roleNone role = iota
	roleProcessorTime
	roleUserTime
	rolePrivilegedTime
	roleDPCTime
	roleInterruptTime
	roleIdleTime
	roleDPCsQueued
	roleInterrupts
	roleRXPackets
	roleTXPackets
	roleRXBytes
	roleRXDiscarded
	roleRXErrors
	roleTXDiscarded
	roleTXErrors
	roleUDPErrors
	roleDroppedDatagrams
)

// counterSpec describes one counter that lostbeat knows.
type counterSpec struct {
	// name is the counter's English name.
	name string
	// index is its number in perflib, the same on every machine and in every language; 0 where it has none.
	index uint32
	// mode and unit are those of its counter events.
	mode model.CounterMode
	unit string
	role role
}

// objectSpec describes one object that lostbeat knows.
type objectSpec struct {
	// name is the object's English name.
	name string
	// index is its number in perflib, 0 where it differs between machines.
	index uint32
	// perCPU says that its instances are processors.
	perCPU   bool
	counters []counterSpec
}

// canonical returns the name of a counter event: "Object/Counter".
func (o *objectSpec) canonical(c *counterSpec) string { return o.name + "/" + c.name }

// Units of counter events.
const (
	unitRatio     = "ratio"
	unitPackets   = "packets"
	unitDatagrams = "datagrams"
)

var processorCounters = []counterSpec{
	{"% Processor Time", 6, model.CounterShare, unitRatio, roleProcessorTime},
	{"% User Time", 142, model.CounterShare, unitRatio, roleUserTime},
	{"% Privileged Time", 144, model.CounterShare, unitRatio, rolePrivilegedTime},
	{"% DPC Time", 696, model.CounterShare, unitRatio, roleDPCTime},
	{"% Interrupt Time", 698, model.CounterShare, unitRatio, roleInterruptTime},
	{"% Idle Time", 1746, model.CounterShare, unitRatio, roleIdleTime},
	{"DPCs Queued/sec", 1334, model.CounterRate, "DPCs/s", roleDPCsQueued},
	{"DPC Rate", 1336, model.CounterGauge, "DPCs per clock tick", roleNone},
	{"Interrupts/sec", 148, model.CounterRate, "interrupts/s", roleInterrupts},
}

var adapterCounters = []counterSpec{
	{"Packets Received/sec", 266, model.CounterRate, "packets/s", roleRXPackets},
	{"Packets Sent/sec", 452, model.CounterRate, "packets/s", roleTXPackets},
	{"Bytes Received/sec", 264, model.CounterRate, "bytes/s", roleRXBytes},
	{"Packets Received Discarded", 528, model.CounterTotal, unitPackets, roleRXDiscarded},
	{"Packets Received Errors", 530, model.CounterTotal, unitPackets, roleRXErrors},
	{"Packets Outbound Discarded", 540, model.CounterTotal, unitPackets, roleTXDiscarded},
	{"Packets Outbound Errors", 542, model.CounterTotal, unitPackets, roleTXErrors},
	{"Output Queue Length", 544, model.CounterGauge, unitPackets, roleNone},
}

var udpCounters = []counterSpec{
	{"Datagrams Received Errors", 666, model.CounterTotal, unitDatagrams, roleUDPErrors},
	{"Datagrams No Port/sec", 664, model.CounterRate, "datagrams/s", roleNone},
	{"Datagrams Received/sec", 446, model.CounterRate, "datagrams/s", roleNone},
	{"Datagrams Sent/sec", 442, model.CounterRate, "datagrams/s", roleNone},
}

var tcpCounters = []counterSpec{
	{"Segments Retransmitted/sec", 656, model.CounterRate, "segments/s", roleNone},
	{"Connection Failures", 648, model.CounterTotal, "connections", roleNone},
}

var ipCounters = []counterSpec{
	{"Datagrams Received Discarded", 560, model.CounterTotal, unitDatagrams, roleNone},
}

// objects are the counters that bear on lost heartbeats and on their rivals: a
// core kept busy, a queue for the processor, paging, a slow disk.
var objects = []objectSpec{
	{"Processor", 238, true, processorCounters},
	{"Processor Information", 0, true, processorCounters},
	{"Network Interface", 510, false, adapterCounters},
	{"Network Adapter", 0, false, adapterCounters},
	{"UDPv4", 658, false, udpCounters},
	{"UDPv6", 1532, false, udpCounters},
	{"TCPv4", 638, false, tcpCounters},
	{"TCPv6", 1530, false, tcpCounters},
	{"IPv4", 546, false, ipCounters},
	{"IPv6", 548, false, ipCounters},
	{"Microsoft Winsock BSP", 0, false, []counterSpec{
		{"Dropped Datagrams", 0, model.CounterTotal, unitDatagrams, roleDroppedDatagrams},
		{"Dropped Datagrams/sec", 0, model.CounterRate, "datagrams/s", roleNone},
		{"Rejected Connections", 0, model.CounterTotal, "connections", roleNone},
	}},
	{"Per Processor Network Interface Card Activity", 0, false, []counterSpec{
		{"DPCs Queued/sec", 0, model.CounterRate, "DPCs/s", roleNone},
		{"DPCs Deferred/sec", 0, model.CounterRate, "DPCs/s", roleNone},
		{"Interrupts/sec", 0, model.CounterRate, "interrupts/s", roleNone},
		{"Receive Indications/sec", 0, model.CounterRate, "indications/s", roleNone},
		{"Received Packets/sec", 0, model.CounterRate, "packets/s", roleNone},
		{"Low Resource Receive Indications/sec", 0, model.CounterRate, "indications/s", roleNone},
		{"Low Resource Received Packets/sec", 0, model.CounterRate, "packets/s", roleNone},
	}},
	{"System", 2, false, []counterSpec{
		{"Processor Queue Length", 44, model.CounterGauge, "threads", roleNone},
		{"Context Switches/sec", 146, model.CounterRate, "switches/s", roleNone},
	}},
	{"Memory", 4, false, []counterSpec{
		{"Available MBytes", 1382, model.CounterGauge, "MiB", roleNone},
		{"Pages/sec", 40, model.CounterRate, "pages/s", roleNone},
	}},
	{"PhysicalDisk", 234, false, []counterSpec{
		{"Avg. Disk sec/Transfer", 206, model.CounterGauge, "s", roleNone},
	}},
}

// fold reduces a name to what is compared: no case, no diacritics, single
// spaces. Letters that do not decompose are mapped by hand.
func fold(s string) string {
	var b strings.Builder
	space := false
	for _, r := range norm.NFD.String(strings.ToLower(s)) {
		switch {
		case unicode.Is(unicode.Mn, r):
			continue
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		switch r {
		case 'ł':
			r = 'l'
		case 'ı':
			r = 'i'
		case 'ø':
			r = 'o'
		case 'đ':
			r = 'd'
		case 'ß':
			b.WriteByte('s')
			r = 's'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// names finds the counters that lostbeat knows, by name in any language or by index.
type names struct {
	objects  map[string]*objectSpec
	counters map[*objectSpec]map[string]*counterSpec
	// user maps folded "object\counter" to a canonical name.
	user map[string]string
}

// newNames indexes the tables. user maps names as they stand in the log,
// "Object\Counter", to canonical ones, "Processor/% DPC Time".
func newNames(user map[string]string) *names {
	n := &names{
		objects:  map[string]*objectSpec{},
		counters: map[*objectSpec]map[string]*counterSpec{},
		user:     map[string]string{},
	}
	for i := range objects {
		o := &objects[i]
		n.objects[fold(o.name)] = o
		for _, local := range localObjects[o.name] {
			n.objects[fold(local)] = o
		}
		byName := map[string]*counterSpec{}
		for j := range o.counters {
			c := &o.counters[j]
			for _, local := range localCounters[c.name] {
				byName[fold(local)] = c
			}
		}
		for j := range o.counters {
			byName[fold(o.counters[j].name)] = &o.counters[j]
		}
		n.counters[o] = byName
	}
	for local, canonical := range user {
		n.user[fold(local)] = canonical
	}
	return n
}

// find returns the counter with the given names, or nils.
func (n *names) find(object, counter string) (*objectSpec, *counterSpec) {
	if canonical, ok := n.user[fold(object+`\`+counter)]; ok {
		object, counter, _ = strings.Cut(canonical, "/")
	}
	o := n.objects[fold(object)]
	if o == nil {
		return nil, nil
	}
	return o, n.counters[o][fold(counter)]
}

// knows reports whether object is one that lostbeat knows.
func (n *names) knows(object string) bool { return n.objects[fold(object)] != nil }

// findIndex returns the counter with the given perflib indexes, or nils.
func findIndex(object, counter uint32) (*objectSpec, *counterSpec) {
	if object == 0 {
		return nil, nil
	}
	for i := range objects {
		o := &objects[i]
		if o.index != object {
			continue
		}
		for j := range o.counters {
			if o.counters[j].index == counter {
				return o, &o.counters[j]
			}
		}
		return o, nil
	}
	return nil, nil
}
