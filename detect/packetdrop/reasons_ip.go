package packetdrop

// reasonHeader is the reason of a malformed IP header, and of a packet whose time to live ran out.
const reasonHeader = "IP_INHDR"

// reasonIncomplete is the reason of fragments whose packet was not complete in time.
const reasonIncomplete = "FRAG_REASM_TIMEOUT"

// functionIncomplete is the function of the same on kernels that give no reason.
const functionIncomplete = "ip_expire"

// ttlIn is what reasonHeader means in a function that forwards packets.
func ttlIn(function string) Reason {
	return Reason{
		Name:     reasonHeader,
		In:       function,
		Meaning:  "The packet's time to live (IPv6: hop limit) ran out before this host could forward it.",
		Cause:    CauseRouting,
		Counters: []string{"Ip.InHdrErrors", "Ip6.InHdrErrors"},
		Advice: "Look for a routing loop: traceroute to the destination shows the same hops again and again. Without one, " +
			"the sender sets a small TTL (tcpdump -v): raise it there. Traceroute through this router is normal.",
		Healthy: true,
	}
}

// ipReasons are the reasons of IP, routes, fragments and neighbours.
var ipReasons = []Reason{
	{
		Name:    "OTHERHOST",
		Meaning: "The packet was addressed to another host's MAC address.",
		Cause:   CauseNormal,
		Advice: "Compare the MAC address that the sender has for this host (ip neigh there) with that of the device " +
			"(ip link). No action is needed if the packets are not meant for this host.",
		Healthy: true,
		Proven:  "other_host",
	},
	{
		Name:     "IP_CSUM",
		Meaning:  "The checksum of the IP header was wrong.",
		Cause:    CauseCorruption,
		Counters: []string{"IpExt.InCsumErrors"},
		Advice: "Compare with checksum offload off (ethtool -K DEVICE rx off); if that does not help, suspect " +
			"cable, card or a faulty device on the path.",
		Proven: "ip_checksum",
	},
	{
		Name:     reasonHeader,
		Meaning:  "The IP header was malformed: its version, its length or its options were wrong.",
		Cause:    CauseCorruption,
		Counters: []string{"Ip.InHdrErrors", "Ip6.InHdrErrors"},
		Advice:   "Find the sender (tcpdump); suspect a faulty driver or tunnel.",
		Proven:   "ip_header",
	},
	{
		Name:     "IP_NOPROTO",
		Meaning:  "Nothing on this host handled the packet's IP protocol.",
		Cause:    CauseConfiguration,
		Counters: []string{"Ip.InUnknownProtos", "Ip6.InUnknownProtos"},
		Advice: "Load the protocol's module (SCTP, GRE, ...) or start its daemon if the host should speak it. " +
			"Otherwise it is a scan or a wrong address.",
		Healthy: true,
		Proven:  "ip_protocol",
		Noise:   true,
	},
	{
		Name:     "IP_INADDRERRORS",
		Meaning:  "The packet was for an address that this host neither has nor forwards to.",
		Cause:    CauseRouting,
		Counters: []string{"Ip.InAddrErrors", "Ip6.InAddrErrors"},
		Advice: "Check that the address is configured on the device, and that forwarding is on (ip_forward) if " +
			"this host is a router.",
		Healthy: true,
		Proven:  "wrong_address",
		Noise:   true,
	},
	{
		Name:     "IP_INNOROUTES",
		Meaning:  "This host had no route to the packet's destination.",
		Cause:    CauseRouting,
		Counters: []string{"IpExt.InNoRoutes", "Ip6.InNoRoutes"},
		Advice: "Add the route, or remove the one that forbids it (ip route get ADDRESS). If this host " +
			"should have the address itself, add it (ip addr). Leave it if the host is not a router: then the sender's " +
			"gateway is wrong.",
		Healthy: true,
		Proven:  "no_route",
	},
	{
		Name:     "IP_OUTNOROUTES",
		Meaning:  "This host had no route for a packet of its own.",
		Cause:    CauseRouting,
		Counters: []string{"Ip.OutNoRoutes", "Ip6.OutNoRoutes"},
		Advice: "Add the route (ip route get ADDRESS); check whether a device or VPN went down and took the " +
			"route with it.",
	},
	{
		Name:    "IP_LOCAL_SOURCE",
		Meaning: "A packet from the network had one of this host's own addresses as its source.",
		Cause:   CauseRouting,
		Advice: "Look for the same address on another host, or for a loop. Set accept_local on the device only " +
			"if the packets come back on purpose.",
		Proven: "own_source",
	},
	{
		Name:     "IP_INVALID_SOURCE",
		Meaning:  "The source address was one that no host may use there: multicast, broadcast, 0.0.0.0.",
		Cause:    CauseRouting,
		Counters: []string{"Ip.InAddrErrors"},
		Advice:   "Find the sender by its MAC address (tcpdump -e). A few are normal where hosts start up.",
		Healthy:  true,
		Proven:   "martian_source",
		Noise:    true,
	},
	{
		Name:     "IP_INVALID_DEST",
		Meaning:  "The destination address was one that may not be received from the network.",
		Cause:    CauseRouting,
		Counters: []string{"Ip.InAddrErrors"},
		Advice:   "Find the sender by its MAC address (tcpdump -e) and correct it.",
		Healthy:  true,
		Proven:   "martian_destination",
		Noise:    true,
	},
	{
		Name:    "IP_LOCALNET",
		Meaning: "A packet from the network claimed an address of 127.0.0.0/8.",
		Cause:   CauseRouting,
		Advice: "Find the sender. Set route_localnet on the device only if packets are redirected to the " +
			"loopback on purpose.",
		Proven: "loopback_address",
	},
	{
		Name:    "UNICAST_IN_L2_MULTICAST",
		Meaning: "A packet for one host came in a frame for many.",
		Cause:   CauseConfiguration,
		Advice: "Look for a switch or cluster that floods (network load balancing, a wrong static ARP entry). A " +
			"few are normal.",
		Healthy: true,
		Proven:  "flooded",
		Noise:   true,
	},
	{
		Name:     "PKT_TOO_SMALL",
		Meaning:  "The packet was shorter than its headers said.",
		Cause:    CauseCorruption,
		Counters: []string{"IpExt.InTruncatedPkts", "Ip6.InTruncatedPkts"},
		Advice: "Find the sender (tcpdump); suspect a faulty driver or tunnel. Compare with offloads off " +
			"(ethtool -K).",
		Proven: "too_short",
	},
	{
		Name: "PKT_TOO_BIG",
		Meaning: "The packet was larger than the MTU of the device that should carry it, and was not allowed " +
			"to be fragmented.",
		Cause:    CauseConfiguration,
		Confirm:  []string{ReadMTU},
		Counters: []string{"Ip.FragFails", "Ip6.InTooBigErrors", "Ip6.FragFails"},
		Advice: "Set the same MTU on all devices of the path (ip link), or let ICMP \"fragmentation needed\" " +
			"reach the sender. A few at the start of a connection are how the path's MTU is found.",
		Healthy: true,
		Proven:  "mtu",
	},
	{
		Name:    "HDR_TRUNC",
		Meaning: "The packet ended before its header did.",
		Cause:   CauseCorruption,
		Advice:  "Find the sender (tcpdump); suspect a faulty driver or tunnel.",
	},
	{
		Name:     "DUP_FRAG",
		Meaning:  "A fragment arrived twice.",
		Cause:    CauseNormal,
		Counters: []string{"Ip.ReasmFails", "Ip6.ReasmFails"},
		Advice:   "No action is needed if few: the network duplicated it. Many that overlap can be an attack.",
		Healthy:  true,
	},
	{
		Name:     reasonIncomplete,
		Meaning:  "Not all fragments of a packet arrived in time, so the others were thrown away.",
		Cause:    CauseNetwork,
		Counters: []string{"Ip.ReasmTimeout", "Ip.ReasmFails", "Ip6.ReasmTimeout", "Ip6.ReasmFails"},
		Advice: "Find what loses the other fragments on their way: a firewall that drops fragments, or a full link. " +
			"If packet-drop also reports ip_defrag, the memory for fragments is full: compare /proc/net/sockstat (FRAG) " +
			"with net.ipv4.ipfrag_high_thresh. Better send packets that fit the MTU. A few are normal on the Internet.",
		Healthy: true,
		Proven:  "reassembly",
	},
	{
		Name:     "FRAG_TOO_FAR",
		Meaning:  "Fragments of one sender arrived too far out of order, so those that waited were thrown away.",
		Cause:    CauseNetwork,
		Counters: []string{"Ip.ReasmFails"},
		Advice: "Find what reorders packets (links in parallel). Raise net.ipv4.ipfrag_max_dist only if the " +
			"order cannot be kept.",
		Healthy: true,
	},
	{
		Name:     "ICMP_CSUM",
		Meaning:  "The checksum of an ICMP message was wrong.",
		Cause:    CauseCorruption,
		Counters: []string{"Icmp.InCsumErrors", "Icmp6.InCsumErrors"},
		Advice:   "Find the sender (tcpdump); compare with checksum offload off (ethtool -K DEVICE rx off).",
		Proven:   "icmp_checksum",
	},
	{
		Name:    "INVALID_PROTO",
		Meaning: "The packet was of a kind that is not valid where it arrived, such as a ping to a broadcast address.",
		Cause:   CauseNormal,
		Advice: "No action is needed if few: pings to broadcast addresses are ignored (icmp_echo_ignore_broadcasts). " +
			"Otherwise find the sender (tcpdump -e); on a TUN device, suspect the program that writes to it.",
		Healthy: true,
	},
	{
		Name:     "IPV6DISABLED",
		Meaning:  "An IPv6 packet arrived where IPv6 is switched off.",
		Cause:    CauseConfiguration,
		Counters: []string{"Ip6.InDiscards"},
		Advice:   "No action is needed if that is meant. Otherwise set disable_ipv6 to 0 for the device.",
		Healthy:  true,
		Proven:   "ipv6_off",
		Noise:    true,
	},
	{
		Name:     "IPV6_BAD_EXTHDR",
		Meaning:  "An extension header of an IPv6 packet was malformed or not allowed.",
		Cause:    CauseCorruption,
		Counters: []string{"Ip6.InHdrErrors"},
		Advice:   "Find the sender (tcpdump).",
	},
	{
		Name:    "IPV6_NDISC_FRAG",
		Meaning: "A neighbour discovery message came in fragments, which the standard forbids.",
		Cause:   CauseFilter,
		Advice:  "Find the sender (tcpdump): a fault or an attack.",
	},
	{
		Name:    "IPV6_NDISC_HOP_LIMIT",
		Meaning: "A neighbour discovery message was routed (hop limit below 255), which the standard forbids.",
		Cause:   CauseFilter,
		Advice:  "Find the sender (tcpdump): a fault or an attack from another network.",
	},
	{
		Name:    "IPV6_NDISC_BAD_CODE",
		Meaning: "A neighbour discovery message had a code that is not valid.",
		Cause:   CauseCorruption,
		Advice:  "Find the sender (tcpdump).",
	},
	{
		Name:    "IPV6_NDISC_BAD_OPTIONS",
		Meaning: "A neighbour discovery message had options that are not valid.",
		Cause:   CauseCorruption,
		Advice:  "Find the sender (tcpdump).",
	},
	{
		Name:    "IPV6_NDISC_NS_OTHERHOST",
		Meaning: "A neighbour asked for an address that this host does not have.",
		Cause:   CauseNormal,
		Advice:  "Nothing: on a shared network everybody hears such questions.",
		Healthy: true,
	},
	{
		Name:    "NEIGH_CREATEFAIL",
		Meaning: "The neighbour table was full, so the packet's next hop could not be entered.",
		Cause:   CauseMemory,
		Confirm: []string{ReadNeighbours},
		Advice: "Raise net.ipv4.neigh.default.gc_thresh3 (ipv6 likewise) if the network really has so many " +
			"hosts. Otherwise find the scan that fills it (ip neigh).",
		Proven: "neighbour_table",
	},
	{
		Name:    "NEIGH_FAILED",
		Meaning: "The next hop did not answer when it was asked for its MAC address.",
		Cause:   CauseRouting,
		Confirm: []string{ReadNeighbours},
		Advice: "Check that the host is up and on the same network and VLAN (ip neigh, arping). No action is needed if it " +
			"is switched off on purpose: find the program that still sends to it.",
		Healthy: true,
		Proven:  "no_neighbour",
		Gone:    true,
	},
	{
		Name:    "NEIGH_QUEUEFULL",
		Meaning: "More packets waited for the MAC address of the next hop than the queue takes.",
		Cause:   CauseBuffer,
		Confirm: []string{ReadNeighbours},
		Advice: "Check that the host is up and on the same network and VLAN (ip neigh, arping). Raise " +
			"unres_qlen_bytes only if it answers and the burst is meant.",
		Healthy: true,
		Proven:  "neighbour_queue",
		Gone:    true,
		With:    reasonNextHop,
	},
	{
		Name:    "NEIGH_DEAD",
		Meaning: "The entry of the next hop was removed while a packet waited for it.",
		Cause:   CauseNormal,
		Confirm: []string{ReadNeighbours},
		Advice:  "No action is needed if few. Many: the neighbour table is under pressure; compare its size with gc_thresh2.",
		Healthy: true,
		Gone:    true,
		With:    reasonNextHop,
	},
	{
		Name:    "NEIGH_HH_FILLFAIL",
		Meaning: "The link-layer header could not be built for the packet's next hop.",
		Cause:   CauseDevice,
		Advice:  "Check the state of the device (ip -d link) and of its neighbours (ip neigh).",
		Gone:    true,
	},
	{
		Name:    "IP_TUNNEL_ECN",
		Meaning: "The congestion marks of inner and outer header of a tunnel contradicted each other.",
		Cause:   CauseConfiguration,
		Advice:  "Check that both ends of the tunnel treat ECN alike. A few are normal on the Internet.",
		Healthy: true,
	},
	{
		Name:    "TUNNEL_TXINFO",
		Meaning: "A tunnel without a fixed other end got a packet that did not say where to.",
		Cause:   CauseConfiguration,
		Advice:  "Check what feeds the tunnel (routes with encap, Open vSwitch, a CNI).",
	},
	{
		Name:    "VXLAN_INVALID_HDR",
		Meaning: "A VXLAN header was malformed or had flags that were not expected.",
		Cause:   CauseCorruption,
		Advice:  "Check that both ends use the same VXLAN extensions and that nothing else sends to the port.",
	},
	{
		Name:    "VXLAN_VNI_NOT_FOUND",
		Meaning: "No VXLAN device on this host had the packet's network number.",
		Cause:   CauseConfiguration,
		Advice:  "Compare the VNI of both ends (ip -d link). Nothing while a network is set up or removed.",
		Proven:  "vxlan",
	},
	{
		Name:    "VXLAN_ENTRY_EXISTS",
		Meaning: "A host seemed to be at another VXLAN end than a fixed entry says.",
		Cause:   CauseConfiguration,
		Advice:  "Correct the fixed forwarding entry (bridge fdb), or find the duplicate MAC address.",
		Healthy: true,
	},
}
