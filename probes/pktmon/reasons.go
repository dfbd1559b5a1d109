package pktmon

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"lostbeat/model"
)

// class is what a reason says of a packet.
type class uint8

const (
	// unclear is a reason of which nothing is known here.
	unclear class = iota
	// ordinary is one that every host has.
	ordinary
	// nobody is a packet that found no socket.
	nobody
	// refused is a rule or a policy: noise for a group, a filter for a packet to this host.
	refused
	// lost is a packet that somebody misses, whoever it was sent to.
	lost
)

// reason is what is known of a reason for which Packet Monitor reports a packet dropped.
type reason struct {
	number uint32
	// text is the name that Windows gives to it, as a capture has it.
	text  string
	class class
	place model.Place
	// rank orders the reasons of one packet: the highest tells most.
	rank uint8
}

const (
	ring     = model.PlaceRing
	device   = model.PlaceDevice
	filter   = model.PlaceFilter
	protocol = model.PlaceProtocol
)

// reasons are those that matter. Their numbers count only where a capture does not name them: in 2018 others were in
// use.
var reasons = []reason{
	{1, "Invalid Data", lost, device, 1},
	{2, "Invalid Packet", lost, device, 1},
	{3, "Insufficient resources", lost, device, 4},
	{4, "Adapter not ready", lost, device, 4},
	{5, "Media Disconnected", lost, device, 4},
	{6, "Not accepted", unclear, device, 1},
	{7, "Device busy", lost, device, 4},
	{8, "Filtered", refused, filter, 3},
	{9, "Filtered VLAN", refused, filter, 3},
	{10, "Unauthorized VLAN", refused, filter, 3},
	{11, "Unauthorized MAC", refused, filter, 3},
	{12, "Failed security policy", refused, filter, 3},
	{14, "QoS drop", lost, device, 4},
	{15, "IPSec drop", refused, filter, 3},
	{16, "Spoofed MAC address is not allowed", refused, filter, 3},
	{23, "MTU mismatch", lost, device, 4},
	{30, "Storm limit exceeded", lost, device, 4},
	{33, "Destination NIC is disabled", lost, device, 4},
	{34, "Packet does not match destination NIC packet filter", ordinary, device, 1},
	{38, "Adapter is in low power state", lost, device, 4},
	{201, "Adapter paused", lost, device, 4},
	{202, "Adapter reset in progress", lost, device, 4},
	{203, "Send aborted", lost, device, 4},
	{204, "Unsupported EtherType", ordinary, device, 1},
	{205, "General failure", lost, device, 2},
	{206, "Invalid frame length", lost, device, 3},
	{207, "Host out of memory", lost, device, 4},
	{208, "Frame too long", lost, device, 3},
	{209, "Frame too short", lost, device, 3},
	{210, "Frame length error", lost, device, 3},
	{211, "Cyclic Redundancy Check (CRC) error", lost, device, 4},
	{212, "Frame checksum error", lost, device, 4},
	{213, "Frame check sequence (FCS) error", lost, device, 4},
	{214, "Frame symbol error", lost, device, 4},
	{215, "Head of queue timeout", lost, device, 4},
	{216, "Stalled state discard", lost, device, 4},
	{217, "Receive queue full", lost, ring, 5},
	{218, "Physical layer error", lost, device, 4},
	{219, "DMA error", lost, device, 4},
	{220, "Firmware error", lost, device, 4},
	{221, "Decryption error", lost, device, 4},
	{401, "Microport error", lost, device, 4},
	{402, "VF not ready", lost, device, 4},
	{403, "Microport not ready", lost, device, 4},
	{404, "VMBus error", lost, device, 4},
	{601, "Loopback Ethernet packet", ordinary, device, 1},
	{607, "Interface not ready", lost, device, 4},
	{608, "Provider not ready", lost, device, 4},
	{701, "Failed ARP Guard", refused, filter, 3},
	{718, "Port Blocked", refused, filter, 3},
	{719, "NIC Suspended", lost, device, 4},
	{901, "Bad source address", unclear, protocol, 2},
	{902, "Not locally destined", ordinary, protocol, 1},
	{903, "Protocol unreachable", nobody, protocol, 2},
	{904, "Port unreachable", nobody, protocol, 2},
	{905, "Bad length", lost, protocol, 3},
	{906, "Malformed header", lost, protocol, 3},
	{907, "No route available", lost, protocol, 4},
	{909, "Inspection drop", refused, filter, 2},
	{911, "Administratively prohibited", refused, filter, 4},
	{912, "Bad checksum", lost, protocol, 4},
	{913, "Max receive path discard reason", lost, protocol, 2},
	{914, "Hop limit exceeded", unclear, protocol, 2},
	{915, "Address unreachable", lost, protocol, 4},
	{917, "Max forward path discard reason", lost, protocol, 2},
	{918, "Arbitration unhandled", ordinary, protocol, 0},
	{919, "Inspection absorb", ordinary, filter, 1},
	{920, "Fragment MTU exceeded", lost, protocol, 4},
	{922, "Address resolution timeout", lost, protocol, 5},
	{923, "Address resolution failure", lost, protocol, 4},
	{924, "IPsec failure", lost, filter, 4},
	{928, "Routing failure", lost, protocol, 4},
	{945, "Administratively configured setting", refused, filter, 3},
	{949, "Full queue", lost, protocol, 5},
	{950, "Disabled interface", lost, device, 4},
	{955, "ICMP: rejecting loopback neighbor discovery", ordinary, protocol, 1},
	{956, "ICMP: unknown type/code", ordinary, protocol, 1},
	{959, "ICMP: no handler", ordinary, protocol, 1},
	{960, "ICMP: not responding with error for error", ordinary, protocol, 1},
	{965, "ICMP: no matching request", ordinary, protocol, 1},
	{991, "ICMP: not locally destined", ordinary, protocol, 1},
	{995, "ARP: not locally destined", ordinary, protocol, 1},
	{1201, "INET: destination is multicast", ordinary, protocol, 1},
	{1203, "INET: checksum is invalid", lost, protocol, 4},
	{1204, "INET: transport endpoint was not found", nobody, protocol, 1},
	{1206, "INET: session state error", refused, protocol, 1},
	{1207, "INET: receive inspection", refused, filter, 3},
	{1208, "INET: invalid ACK in SYN_SENT state", ordinary, protocol, 2},
	{1209, "INET: expected SYN", ordinary, protocol, 2},
	{1210, "INET: received RST", ordinary, protocol, 2},
	{1211, "INET: received SYN while in SYN_RCVD state", ordinary, protocol, 2},
	{1212, "INET: simultaneous connect", ordinary, protocol, 2},
	{1213, "INET: PAWS failed", ordinary, protocol, 2},
	{1215, "INET: missed RST", ordinary, protocol, 2},
	{1216, "INET: outside receive window", ordinary, protocol, 2},
	{1217, "INET: duplicate segment", ordinary, protocol, 2},
	{1218, "INET: closed window", lost, protocol, 5},
	{1219, "INET: TCB removed", ordinary, protocol, 2},
	{1220, "INET: FIN-WAIT2", ordinary, protocol, 2},
	{1222, "INET: FIN received", ordinary, protocol, 2},
	{1223, "INET: listener received segment with invalid flags", ordinary, protocol, 2},
	{1224, "INET: TCB was not inserted in TCB table", unclear, protocol, 2},
	{1225, "INET: TIME-WAIT TCB received RST outside receive window", ordinary, protocol, 2},
	{1226, "INET: TIME-WAIT TCB received segment with SYN and other flags set", ordinary, protocol, 2},
	{1227, "INET: packet dropped by TIME_WAIT TCB", ordinary, protocol, 2},
	{1229, "INET: listener dropped SYN because SO_PAUSE_ACCEPT was set", lost, protocol, 5},
	{1230, "INET: listener dropped SYN to reduce memory pressure", lost, protocol, 5},
	{1231, "INET: accept inspection", refused, filter, 3},
	{1401, "IPSEC: The SPI in the packet does not match a valid IPsec SA", lost, filter, 4},
	{1402, "IPSEC: Packet was received on an IPsec SA whose lifetime has expired", lost, filter, 4},
	{1404, "IPSEC: Packet sequence number replay check failed", lost, filter, 4},
	{1406, "IPSEC: IPsec integrity check failed", lost, filter, 4},
	{1407, "IPSEC: IPsec dropped a clear text packet", lost, filter, 4},
	{1409, "IPSEC: IPsec dropped a packet due to DoS throttling", lost, filter, 4},
	{1503, "NETCX: Queue is being stopped or destroyed", lost, device, 4},
}

// byText and byNumber find a reason; built from the table, never changed.
var byText, byNumber = func() (map[string]*reason, map[uint32]*reason) {
	texts, numbers := make(map[string]*reason), make(map[uint32]*reason)
	for i := range reasons {
		texts[strings.ToLower(reasons[i].text)] = &reasons[i]
		numbers[reasons[i].number] = &reasons[i]
	}
	return texts, numbers
}()

// renumbered are the numbers that reasons had in 2018 and have since.
var renumbered = map[uint32]uint32{101: 201, 102: 202, 103: 203, 104: 204}

// find returns what is known of a reason; names are those of the capture. What is not known has the text only.
func find(number uint32, names map[uint32]string) reason {
	text := strings.TrimSpace(names[number])
	if text != "" {
		if r := byText[strings.ToLower(text)]; r != nil {
			return *r
		}
	} else if now, ok := renumbered[number]; ok {
		number = now
	}
	r := byNumber[number]
	if r == nil {
		r = &reason{number: number, class: unclear, place: protocol, rank: 1}
	}
	named := *r
	named.text = text
	if text == "" {
		if named.text = r.text; named.text == "" {
			named.text = fmt.Sprintf("reason %d", number)
		}
	}
	return named
}

//go:embed locations.txt
var locationTable string

var locations = func() map[uint32]string {
	all := make(map[uint32]string)
	for line := range strings.Lines(locationTable) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(number, 16, 32); ok && err == nil {
			all[uint32(n)] = name
		}
	}
	return all
}()

// location names a place.
func location(number uint32, names map[uint32]string) string {
	if name := names[number]; name != "" {
		return name
	}
	if name := locations[number]; name != "" {
		return name
	}
	if number == 0 {
		return ""
	}
	return "0x" + strconv.FormatUint(uint64(number), 16)
}
