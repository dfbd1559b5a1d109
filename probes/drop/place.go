package drop

import (
	"slices"
	"strings"

	"lostbeat/model"
)

// PlaceOf returns where a packet was lost, from the reason as the kernel's BTF
// names it (without "SKB_DROP_REASON_") and the kernel function that freed it,
// "" when unknown. Reasons that say nothing by themselves are decided by the
// function. A reason that this version does not know is a matter of the
// protocol: most are, and no alarm rests on that place.
func PlaceOf(reason, function string) model.Place {
	if reason == reasonNotSpecified || reason == reasonNoMemory {
		return placeOfFunction(function)
	}
	if place, ok := placeOfReason[reason]; ok {
		return place
	}
	for _, p := range placeOfPrefix {
		if strings.HasPrefix(reason, p.prefix) {
			return p.place
		}
	}
	return model.PlaceProtocol
}

const (
	reasonNotSpecified = "NOT_SPECIFIED"
	// reasonNoMemory happens at every layer.
	reasonNoMemory = "NOMEM"
)

// placeOfReason lists the reasons whose place is not PlaceProtocol. What TCP
// throws away because it has it already, closes, or refuses, is no fault of the
// host and stays with the protocol.
var placeOfReason = map[string]model.Place{
	"CPU_BACKLOG": model.PlaceBacklog,

	// The receive queue, the accept queue or the memory behind them is full.
	"SOCKET_RCVBUFF":      model.PlaceSocket,
	"SOCKET_BACKLOG":      model.PlaceSocket,
	"PROTO_MEM":           model.PlaceSocket,
	"PACKET_SOCK_ERROR":   model.PlaceSocket,
	"TCP_LISTEN_OVERFLOW": model.PlaceSocket,
	"TCP_ZEROWINDOW":      model.PlaceSocket,
	"TCP_OFO_QUEUE_PRUNE": model.PlaceSocket,

	"CAKE_FLOOD":         model.PlaceQdisc,
	"DUALPI2_STEP_DROP":  model.PlaceQdisc,
	"FQ_BAND_LIMIT":      model.PlaceQdisc,
	"FQ_HORIZON_LIMIT":   model.PlaceQdisc,
	"FQ_FLOW_LIMIT":      model.PlaceQdisc,
	"IP_RPFILTER":        model.PlaceFilter,
	"NETFILTER_DROP":     model.PlaceFilter,
	"SECURITY_HOOK":      model.PlaceFilter,
	"SOCKET_FILTER":      model.PlaceFilter,
	"BPF_CGROUP_EGRESS":  model.PlaceFilter,
	"TAP_FILTER":         model.PlaceFilter,
	"TAP_TXFILTER":       model.PlaceFilter,
	"XDP":                model.PlaceFilter,
	"XFRM_POLICY":        model.PlaceFilter,
	"ARP_PVLAN_DISABLE":  model.PlaceFilter,
	"MAC_INVALID_SOURCE": model.PlaceFilter,

	"FULL_RING":       model.PlaceDevice,
	"DEV_HDR":         model.PlaceDevice,
	"DEV_READY":       model.PlaceDevice,
	"NO_TX_TARGET":    model.PlaceDevice,
	"PFMEMALLOC":      model.PlaceDevice,
	"RECURSION_LIMIT": model.PlaceDevice,
	"SKB_GSO_SEG":     model.PlaceDevice,
}

// placeOfPrefix lists families of reasons, of which new members appear.
var placeOfPrefix = []struct {
	prefix string
	place  model.Place
}{
	{"QDISC_", model.PlaceQdisc},
	{"TC_", model.PlaceFilter},
	{"BRIDGE_INGRESS_", model.PlaceFilter},
	{"OVS_DROP_", model.PlaceFilter},
}

// placeOfFunctionPrefix decides by the function that freed the packet; the
// first match wins.
var placeOfFunctionPrefix = []struct {
	prefix string
	place  model.Place
}{
	{"enqueue_to_backlog", model.PlaceBacklog},
	{"netif_rx", model.PlaceBacklog},
	{"flush_backlog", model.PlaceBacklog},
	{"nf_", model.PlaceFilter},
	{"nft_", model.PlaceFilter},
	{"ipt_", model.PlaceFilter},
	{"tcf_", model.PlaceFilter},
	{"sch_handle_", model.PlaceFilter},
	{"do_xdp_generic", model.PlaceFilter},
	{"veth_xdp_rcv", model.PlaceFilter},
	{"netif_receive_generic_xdp", model.PlaceFilter},
	{"sk_filter", model.PlaceFilter},
	{"__dev_xmit_skb", model.PlaceQdisc},
	{"__dev_queue_xmit", model.PlaceQdisc},
	{"qdisc_", model.PlaceQdisc},
	{"__qdisc_", model.PlaceQdisc},
	{"sch_", model.PlaceQdisc},
	{"dev_deactivate", model.PlaceQdisc},
	{"__rtnl_unlock", model.PlaceQdisc}, // queueing disciplines leave it what they throw away when they change
	{"dev_hard_start_xmit", model.PlaceDevice},
	{"__dev_forward_skb", model.PlaceDevice},
	{"____dev_forward_skb", model.PlaceDevice},
	{"br_", model.PlaceDevice},
	{"macvlan_", model.PlaceDevice},
	{"ipvlan_", model.PlaceDevice},
	{"bond_", model.PlaceDevice},
	{"vlan_", model.PlaceDevice},
	{"validate_xmit_skb", model.PlaceDevice},
	{"__sock_queue_rcv_skb", model.PlaceSocket},
	{"sock_queue_rcv_skb", model.PlaceSocket},
	{"packet_rcv", model.PlaceSocket},
	{"tpacket_rcv", model.PlaceSocket},
	{"raw_rcv", model.PlaceSocket},
	{"ip_", model.PlaceProtocol},
	{"ip6_", model.PlaceProtocol},
	{"ipv6_", model.PlaceProtocol},
	{"__ip", model.PlaceProtocol},
	{"icmp", model.PlaceProtocol},
	{"igmp", model.PlaceProtocol},
	{"mld_", model.PlaceProtocol},
	{"ndisc_", model.PlaceProtocol},
	{"arp_", model.PlaceProtocol},
	{"neigh_", model.PlaceProtocol},
	{"__neigh_", model.PlaceProtocol},
	{"tcp_", model.PlaceProtocol},
	{"__tcp_", model.PlaceProtocol},
	{"udp", model.PlaceProtocol},
	{"__udp", model.PlaceProtocol},
	{"inet", model.PlaceProtocol},
	{"sk_stream_kill_queues", model.PlaceProtocol},
	{"skb_queue_purge", model.PlaceProtocol},
	{"skb_rbtree_purge", model.PlaceProtocol},
	{"skb_release_data", model.PlaceProtocol},
	{"__netif_receive_skb_core", model.PlaceProtocol},
}

// placeOfFunctionSuffix decides by the usual names of a driver's transmit
// function (veth_xmit, e1000_xmit_frame, virtnet start_xmit) and of a qdisc's
// enqueue function (tbf_enqueue, netem_enqueue).
var placeOfFunctionSuffix = []struct {
	suffix string
	place  model.Place
}{
	{"_enqueue", model.PlaceQdisc},
	{"_dequeue", model.PlaceQdisc},
	{"_xmit", model.PlaceDevice},
	{"_xmit_frame", model.PlaceDevice},
	{"_rx_poll", model.PlaceDevice},
}

func placeOfFunction(function string) model.Place {
	// The compiler names parts of a function "name.isra.0", "name.part.1".
	function, _, _ = strings.Cut(function, ".")
	for _, p := range placeOfFunctionPrefix {
		if strings.HasPrefix(function, p.prefix) {
			return p.place
		}
	}
	for _, s := range placeOfFunctionSuffix {
		if strings.HasSuffix(function, s.suffix) {
			return s.place
		}
	}
	return model.PlaceUnknown
}

// Direction returns whether packets lost for a reason in a function were being
// sent or received, and false where neither says so: the packet decides then.
func Direction(reason, function string) (direction model.Direction, known bool) {
	function, _, _ = strings.Cut(function, ".")
	for _, prefix := range sendingReasons {
		if strings.HasPrefix(reason, prefix) {
			return model.DirectionTX, true
		}
	}
	if isEarly(reason) || slices.Contains(receivingReasons, reason) {
		return model.DirectionRX, true
	}
	switch PlaceOf(reason, function) {
	case model.PlaceSocket, model.PlaceBacklog:
		return model.DirectionRX, true
	case model.PlaceQdisc:
		return model.DirectionTX, true
	}
	for _, prefix := range receivingFunctions {
		if strings.HasPrefix(function, prefix) {
			return model.DirectionRX, true
		}
	}
	for _, prefix := range sendingFunctions {
		if strings.HasPrefix(function, prefix) {
			return model.DirectionTX, true
		}
	}
	// A veth whose peer has no room gives the packet to the peer first.
	if strings.HasSuffix(function, "_xmit") && function != "veth_xmit" {
		return model.DirectionTX, true
	}
	return 0, false
}

// isEarly says that only packets which were received and which IP has not
// taken yet are lost for a reason.
func isEarly(reason string) bool {
	switch reason {
	case "CPU_BACKLOG", "XDP", "TC_INGRESS", "UNHANDLED_PROTO", "PTYPE_ABSENT", "OTHERHOST":
		return true
	}
	return strings.HasPrefix(reason, "BRIDGE_INGRESS_")
}

// sendingReasons and receivingReasons are reasons of one direction only, the
// former by prefix.
var (
	sendingReasons = []string{
		"QDISC_", "TC_EGRESS", "FQ_", "CAKE_", "DUALPI2_", "NEIGH_", "BPF_CGROUP_EGRESS", "IP_OUTNOROUTES",
	}
	receivingReasons = []string{
		"NO_SOCKET", "UDP_CSUM", "TCP_CSUM", "SOCKET_FILTER", "IP_RPFILTER", "IP_INHDR", "IP_CSUM", "IP_INADDRERRORS",
		"IP_INNOROUTES", "IP_LOCALNET", "IP_INVALID_SOURCE", "IP_INVALID_DEST", "IP_LOCAL_SOURCE", "UNICAST_IN_L2_MULTICAST",
		"FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR", "DUP_FRAG", "SKB_UCOPY_FAULT",
	}
)

// sendingFunctions and receivingFunctions are prefixes of functions that only
// see packets of one direction.
var (
	sendingFunctions = []string{
		"__dev_queue_xmit", "__dev_xmit_skb", "dev_hard_start_xmit", "validate_xmit_skb", "sch_handle_egress", "neigh_",
		"__neigh_", "ip_finish_output", "__ip_finish_output", "ip_output", "ip_mc_output", "ip_queue_xmit",
		"__ip_queue_xmit", "ip_local_out", "ip_send_skb", "ip_fragment", "ip_do_fragment", "ip6_finish_output",
		"__ip6_finish_output", "ip6_output", "ip6_xmit", "ip6_fragment", "tun_net_xmit",
	}
	receivingFunctions = []string{
		"enqueue_to_backlog", "netif_rx", "flush_backlog", "netif_receive_", "__netif_receive_", "do_xdp_generic",
		"sch_handle_ingress", "ip_rcv", "ip_local_deliver", "ip_forward", "ip_error", "ipv6_rcv", "ip6_rcv", "ip6_input",
		"ip6_forward", "ip_defrag", "tcp_v4_rcv", "tcp_v6_rcv", "udp_rcv", "__udp4_lib_rcv", "udpv6_rcv", "__udp6_lib_rcv",
		"icmp_rcv", "icmpv6_rcv", "packet_rcv", "tpacket_rcv", "raw_rcv", "br_handle_frame", "veth_xdp_rcv", "veth_poll",
		"tun_get_user",
	}
)
