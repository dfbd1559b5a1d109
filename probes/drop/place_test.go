package drop

import (
	"testing"

	"lostbeat/model"
)

func TestPlaceOf(t *testing.T) {
	tests := []struct {
		reason, function string
		want             model.Place
	}{
		{"CPU_BACKLOG", "enqueue_to_backlog", model.PlaceBacklog},
		{"NOT_SPECIFIED", "enqueue_to_backlog", model.PlaceBacklog},
		{"SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", model.PlaceSocket},
		{"SOCKET_RCVBUFF", "", model.PlaceSocket},
		{"PROTO_MEM", "tcp_data_queue", model.PlaceSocket},
		{"SOCKET_BACKLOG", "tcp_v4_rcv", model.PlaceSocket},
		{"TCP_LISTEN_OVERFLOW", "tcp_conn_request", model.PlaceSocket},
		{"QDISC_DROP", "__dev_xmit_skb", model.PlaceQdisc},
		{"QDISC_NEW_IN_SOME_LATER_KERNEL", "", model.PlaceQdisc},
		{"FQ_FLOW_LIMIT", "fq_enqueue", model.PlaceQdisc},
		{"NOT_SPECIFIED", "tbf_enqueue", model.PlaceQdisc},
		{"NETFILTER_DROP", "nf_hook_slow", model.PlaceFilter},
		{"TC_INGRESS", "", model.PlaceFilter},
		{"TC_EGRESS", "", model.PlaceFilter},
		{"XDP", "", model.PlaceFilter},
		{"NOT_SPECIFIED", "nf_hook_slow", model.PlaceFilter},
		{"SOCKET_FILTER", "", model.PlaceFilter},
		{"NOT_SPECIFIED", "veth_xmit", model.PlaceDevice},
		{"NOT_SPECIFIED", "veth_xmit.part.0", model.PlaceDevice},
		{"FULL_RING", "tun_net_xmit", model.PlaceDevice},
		{"NOMEM", "veth_xmit", model.PlaceDevice},
		{"NOMEM", "some_function", model.PlaceUnknown},
		{"NO_SOCKET", "__udp4_lib_rcv", model.PlaceProtocol},
		{"UDP_CSUM", "udp_recvmsg", model.PlaceProtocol},
		{"IP_INHDR", "ip_rcv_core", model.PlaceProtocol},
		{"TCP_OLD_DATA", "tcp_data_queue", model.PlaceProtocol},
		{"TCP_RESET", "tcp_rcv_state_process", model.PlaceProtocol},
		{"SOCKET_CLOSE", "udp_destroy_sock", model.PlaceProtocol},
		{"QUEUE_PURGE", "skb_queue_purge_reason", model.PlaceProtocol},
		{"UNHANDLED_PROTO", "__netif_receive_skb_core", model.PlaceProtocol},
		{"NEIGH_QUEUEFULL", "__neigh_event_send", model.PlaceProtocol},
		{"NOT_SPECIFIED", "tcp_v4_rcv", model.PlaceProtocol},
		{"NOT_SPECIFIED", "some_function", model.PlaceUnknown},
		{"NOT_SPECIFIED", "", model.PlaceUnknown},
		{"A_REASON_OF_A_LATER_KERNEL", "some_function", model.PlaceProtocol},
	}
	for _, test := range tests {
		if got := PlaceOf(test.reason, test.function); got != test.want {
			t.Errorf("PlaceOf(%q, %q) = %v, want %v", test.reason, test.function, got, test.want)
		}
	}
}

func TestDirection(t *testing.T) {
	const unknown = model.Direction(255)
	for _, test := range []struct {
		reason, function string
		want             model.Direction
	}{
		{"CPU_BACKLOG", "enqueue_to_backlog", model.DirectionRX},
		{"NOT_SPECIFIED", "enqueue_to_backlog", model.DirectionRX},
		{"XDP", "veth_xdp_rcv_skb", model.DirectionRX},
		{"TC_INGRESS", "", model.DirectionRX},
		{"TC_EGRESS", "", model.DirectionTX},
		{"SOCKET_RCVBUFF", "", model.DirectionRX},
		{"QDISC_DROP", "__dev_xmit_skb", model.DirectionTX},
		{"NOT_SPECIFIED", "tbf_enqueue", model.DirectionTX},
		{"NEIGH_FAILED", "neigh_invalidate", model.DirectionTX},
		{"NO_SOCKET", "__udp4_lib_rcv", model.DirectionRX},
		{"NOT_SPECIFIED", "ip_rcv_core.isra.0", model.DirectionRX},
		{"NOT_SPECIFIED", "ip_finish_output2", model.DirectionTX},
		// A full ring of the peer and a peer that is down look different in the packet only.
		{"NOT_SPECIFIED", "veth_xmit", unknown},
		{"NO_TX_TARGET", "br_dev_xmit", model.DirectionTX},
		{"NETFILTER_DROP", "nf_hook_slow", unknown},
		{"A_REASON_OF_A_LATER_KERNEL", "some_function", unknown},
	} {
		got, known := Direction(test.reason, test.function)
		if known != (test.want != unknown) || known && got != test.want {
			t.Errorf("Direction(%q, %q) = %v, %v, want %v", test.reason, test.function, got, known, test.want)
		}
	}
}
