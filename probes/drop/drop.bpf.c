//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Packets that the host lost, counted in the kernel: one entry per socket,
 * reason, kernel function, device and CPU. Only running totals are kept; user
 * space takes the differences, so nothing is lost between two readings.
 *
 * Where the kernel hands the receiving socket to kfree_skb (rx_sk), that one
 * program does everything. Elsewhere udp_fail_queue_rcv_skb and
 * sock_rcvqueue_full, which fire just before the free on the same CPU, note the
 * socket: they attribute, kfree_skb counts. Where the former fires just after
 * the free (6.1), kfree_skb leaves the count to it.
 *
 * Pointers are dereferenced directly, so that the programs load under
 * lockdown=confidentiality; only what has no type (packet headers, and what UDP
 * keeps behind struct sock) needs a helper, and user space turns it off where
 * that is refused.
 */
#include "files.h"
#include "follow.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_UNIX 1
#define AF_NETLINK 16
#define TCP_TIME_WAIT 6
#define TCP_NEW_SYN_RECV 12
#define IFNAMSIZ 16

struct net_device {
	char name[IFNAMSIZ];
	int ifindex;
	possible_net_t nd_net;
} __core;

struct sk_buff;

/* What frees a packet that is charged to the socket that is to receive it. */
extern void sock_rfree __ksym __weak;
extern void sock_efree __ksym __weak;
extern void sock_pfree __ksym __weak;
extern void sock_edemux __ksym __weak;

/* What takes a packet that is routed to another host, as in dst_entry. */
extern void ip_forward __ksym __weak;
extern void ip6_forward __ksym __weak;
struct dst_entry { int (*input)(struct sk_buff *skb); } __core;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	__be16 protocol;
	u16 mac_header;
	u16 network_header;
	int skb_iif;
	unsigned int len, data_len;
	unsigned char *head, *data;
	void (*destructor)(struct sk_buff *skb);
} __core;

/* What user space says about a reason, by its number. */
enum drop_reason_flag {
	DROP_IGNORE = 1,      /* no loss: SKB_NOT_DROPPED_YET, SKB_CONSUMED */
	DROP_BY_INPUT_IF = 2, /* skb->dev is reused by the socket layer: take skb_iif */
	DROP_HEADERS = 4,     /* no socket is known: take protocol and port from the packet */
	DROP_QUEUE = 8,       /* a receive queue was full: udp_fail_queue_rcv_skb fires for UDP */
	DROP_ANONYMOUS = 16,  /* healthy connections do this too: not counted by socket */
	DROP_UNSPECIFIED = 32, /* nothing is said: as DROP_ANONYMOUS for TCP */
	DROP_FORWARDED = 128,  /* with DROP_HEADERS: packets to other hosts meet it too */
	DROP_EARLY = 64,       /* received, and not yet with IP: a socket is that of a sender on this host */
};

const volatile u8 drop_reason_flags[256];
/* Whether the kernel lets programs read its memory by a helper. */
const volatile bool drop_can_read;

/* Whether udp_fail_queue_rcv_skb is attached and follows the free of its packet. */
const volatile bool drop_udp_fail_follows;

/* Whether drop_recv records the reads of followed flows (follow.h). */
const volatile bool drop_records_reads;

/*
 * The code of functions that free packets in the name of their caller, where the
 * compiler has them call rather than jump (as on arm64): the caller is meant.
 */
#define DROP_WRAPPERS 4
struct drop_code {
	u64 begin, size;
};
const volatile struct drop_code drop_wrappers[DROP_WRAPPERS];
/* How many frames of the stack are searched for the caller. */
#define DROP_FRAMES 12

/* Set while drop_sockets may hold something, so that reads of other sockets cost one load. */
u32 drop_tracking;

/* Identity of one count. */
struct drop_key {
	u64 cookie;     /* socket, 0 unknown */
	u64 location;   /* address in the function that freed the packet */
	u32 reason;     /* enum skb_drop_reason of the running kernel */
	u32 ifindex;    /* device, 0 unknown */
	u32 netns;      /* inode of the network namespace of device or socket, 0 unknown */
	u32 cpu;        /* processor */
	u16 local_port; /* host byte order, 0 unknown */
	u8 protocol;    /* enum lb_protocol */
	u8 received;    /* whether the packet has come in through a device */
	u32 flow;       /* followed flow (lb_flow), LB_FLOW_NONE of a followed port and none of them, 0 unknown */
};

/* The followed flow of a packet. */
struct drop_flow {
	u64 cookie;       /* its socket */
	u32 remote[4];    /* its peer; network byte order, IPv4 in the first */
	u16 remote_port;  /* host byte order */
	u8 family;        /* AF_INET or AF_INET6 */
	u8 transmit;      /* whether it is what the socket sends */
	u8 pad[4];
};

struct drop_count {
	u64 packets;           /* running total */
	u8 device[IFNAMSIZ]; /* name when the entry was made */
	struct drop_flow flow; /* that of the key */
};

/*
 * What a CPU has dropped most of in the last interval, as user space says: those
 * packets are counted without a look-up. Two tables, so that user space never
 * writes what a program counts.
 */
struct drop_hot {
	struct drop_key key;
	u64 armed; /* whether key is whole; the last to be written */
};

/* A socket that has lost packets or was seen with a queue more than half full. */
struct drop_socket {
	u64 since_ns;     /* boot clock: when it was first seen here */
	u64 last_read_ns; /* boot clock: when the program last took something out, 0 not seen */
	u64 cookie;       /* of the socket */
	u32 queued_bytes; /* receive queue, overhead included, when it was noted */
	u32 limit_bytes;  /* sk_rcvbuf when it was noted */
	u32 tgid;         /* process that holds it, 0 unknown */
	u32 reader;       /* thread that last took something out, 0 not seen */
	u32 reader_tgid;  /* its process */
	u32 netns;        /* inode of its network namespace */
	u32 addr[4];      /* local address, network byte order; IPv4 in the first */
	u16 local_port;   /* host byte order */
	u8 protocol;      /* enum lb_protocol */
	u8 family;        /* AF_INET or AF_INET6 */
	u8 pad[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
} drop_counts SEC(".maps");

/* The same without socket and port, for what drop_counts has no room for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
} drop_folded SEC(".maps");

/* By CPU, one for each of them: user space sets how many. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct drop_hot);
} drop_hots SEC(".maps");

/* Running totals of what drop_hots told apart, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} drop_hot_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct drop_socket);
} drop_sockets SEC(".maps");

/* The socket of the packet that this CPU is about to free. */
struct drop_note {
	u64 skb; /* the packet */
	u64 cookie;
	u32 netns;
	u16 local_port;
	u8 protocol;
	u8 armed; /* whether the note waits for its packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct drop_note);
} drop_notes SEC(".maps");

/* A packet that this CPU has freed, to be counted by drop_udp_failed. */
struct drop_left {
	struct drop_key key;
	struct drop_flow flow;
	u8 armed; /* whether it waits to be counted */
	u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct drop_left);
} drop_lefts SEC(".maps");

static __always_inline bool drop_is_full_sock(const struct sock *sk)
{
	unsigned char state = sk->__sk_common.skc_state;

	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

static __always_inline u8 drop_protocol(u16 protocol)
{
	if (protocol == IPPROTO_UDP)
		return LB_PROTOCOL_UDP;
	if (protocol == IPPROTO_TCP)
		return LB_PROTOCOL_TCP;
	return LB_PROTOCOL_OTHER;
}

static __always_inline u8 drop_sock_protocol(const struct sock *sk)
{
	/* A request or TIME_WAIT socket has no sk_protocol, and is TCP. */
	return drop_is_full_sock(sk) ? drop_protocol(sk->sk_protocol) : LB_PROTOCOL_TCP;
}

/* Bytes in the receive queue, overhead included. */
static __always_inline u32 drop_queued(const struct sock *sk)
{
	int queued = sk->sk_backlog.rmem_alloc.counter, deficit = 0;

	/* As /proc/net/udp: without what was read but is not uncharged yet. */
	if (drop_can_read && sk->sk_protocol == IPPROTO_UDP)
		bpf_probe_read_kernel(&deficit, sizeof(deficit), (void *)sk + bpf_core_field_offset(struct udp_sock, forward_deficit));
	queued -= deficit;
	return queued > 0 ? queued : 0;
}

/* Describe a full socket. */
static __always_inline void drop_describe(struct drop_socket *s, const struct sock *sk)
{
	s->queued_bytes = drop_queued(sk);
	s->limit_bytes = (u32)sk->sk_rcvbuf;
	s->netns = sk->__sk_common.skc_net.net->ns.inum;
	s->local_port = sk->__sk_common.skc_num;
	s->protocol = drop_protocol(sk->sk_protocol);
	s->family = (u8)sk->__sk_common.skc_family;
	if (s->family == AF_INET6) {
		s->addr[0] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		s->addr[1] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		s->addr[2] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		s->addr[3] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
	} else {
		s->addr[0] = sk->__sk_common.skc_rcv_saddr;
	}
}

/* Follow a socket from now on; the table being full only costs its details. */
static __always_inline void drop_track(const struct sock *sk, u64 cookie)
{
	struct drop_socket s = {};

	if (!cookie || !drop_is_full_sock(sk))
		return;
	drop_describe(&s, sk);
	s.since_ns = bpf_ktime_get_boot_ns();
	s.cookie = cookie;
	bpf_map_update_elem(&drop_sockets, &cookie, &s, BPF_NOEXIST);
	drop_tracking = 1;
}

#define DROP_NO_HEADER ((u16)~0)
#define DROP_ETH_LENGTH 14

/*
 * Whether a packet has come in through a device. Then it has passed
 * __netif_receive_skb_core, or is on its way there: its link-layer header is
 * behind it. A packet that is sent either has none yet or begins with it. One
 * that is forwarded counts as received until a device is to send it.
 */
static __always_inline bool drop_is_received(const struct sk_buff *skb)
{
	u16 mac = skb->mac_header;
	u64 offset = (u64)skb->data - (u64)skb->head;

	/* A device without a link-layer header leaves the same mark. */
	if (mac == offset && skb->network_header != offset)
		return false;
	return skb->skb_iif || (mac != DROP_NO_HEADER && mac + DROP_ETH_LENGTH == offset);
}

/* Whether a received packet is charged to the socket that is to receive it. */
static __always_inline bool drop_is_receivers(const struct sk_buff *skb)
{
	const void *destructor = skb->destructor;

	if (!&sock_rfree)
		return true; /* this kernel hides its addresses */
	return destructor && (destructor == &sock_rfree || destructor == &sock_efree ||
			      destructor == &sock_pfree || destructor == &sock_edemux);
}

/* The start of an IPv4 or IPv6 header, with the ports that follow one without options. */
union drop_headers {
	struct {
		u8 length; /* in words of 4 bytes, in the lower half */
		u8 unused1[5];
		__be16 fragment;
		u8 unused2;
		u8 protocol;
		u8 unused3[10];
		__be16 ports[2];
	} v4;
	struct {
		u8 unused1[6];
		u8 protocol;
		u8 unused2[33];
		__be16 ports[2];
	} v6;
};

/* Where the network header of a received packet begins: only what has passed __netif_receive_skb_core has it marked. */
static __always_inline u64 drop_network_of(const struct sk_buff *skb)
{
	return skb->skb_iif ? skb->network_header : (u64)skb->data - (u64)skb->head;
}

/* Take protocol and destination port from a packet that is received, and return its source port. */
static __always_inline u16 drop_read_headers(const struct sk_buff *skb, struct drop_key *key)
{
	u64 network = drop_network_of(skb);
	union drop_headers h;
	__be16 ports[2];
	u32 length;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_probe_read_kernel(&h.v4, sizeof(h.v4), skb->head + network))
			return 0;
		key->protocol = drop_protocol(h.v4.protocol);
		if (key->protocol == LB_PROTOCOL_OTHER || h.v4.fragment & bpf_htons(0x1fff))
			return 0;
		length = 4 * (h.v4.length & 15);
		ports[0] = h.v4.ports[0];
		ports[1] = h.v4.ports[1];
		if (length != sizeof(h.v4) - sizeof(ports) &&
		    bpf_probe_read_kernel(ports, sizeof(ports), skb->head + network + length))
			return 0;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_probe_read_kernel(&h.v6, sizeof(h.v6), skb->head + network))
			return 0;
		key->protocol = drop_protocol(h.v6.protocol);
		if (key->protocol == LB_PROTOCOL_OTHER)
			return 0;
		length = sizeof(h.v6) - sizeof(ports);
		ports[0] = h.v6.ports[0];
		ports[1] = h.v6.ports[1];
	} else {
		return 0;
	}
	/* Behind what is in one piece are other bytes. */
	if ((u64)skb->data + skb->len - skb->data_len < (u64)skb->head + network + length + sizeof(ports))
		return 0;
	key->local_port = bpf_ntohs(ports[1]);
	return bpf_ntohs(ports[0]);
}

struct drop_ipv4 {
	u8 length; /* in words of 4 bytes, in the lower half */
	u8 unused1[5];
	__be16 fragment;
	u8 unused2;
	u8 protocol;
	u8 unused3[2];
	u32 source, destination;
};

struct drop_ipv6 {
	u8 unused1[6];
	u8 protocol;
	u8 unused2;
	u32 source[4], destination[4];
};

/* Read the ends of a packet, from its source to its destination as from a remote to a local end. */
static __always_inline bool drop_read_ends(const unsigned char *network, struct lb_flow_ends *e, u8 *family)
{
	__be16 ports[2] = {};
	u8 first = 0;

	if (bpf_probe_read_kernel(&first, sizeof(first), network))
		return false;
	if (first >> 4 == 4) {
		struct drop_ipv4 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.fragment & bpf_htons(0x1fff))
			return false;
		*family = AF_INET;
		e->protocol = ip.protocol;
		e->remote[0] = ip.source;
		e->local[0] = ip.destination;
		network += 4 * (ip.length & 15);
	} else if (first >> 4 == 6) {
		struct drop_ipv6 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network))
			return false;
		*family = AF_INET6;
		e->protocol = ip.protocol;
		__builtin_memcpy(e->remote, ip.source, sizeof(e->remote));
		__builtin_memcpy(e->local, ip.destination, sizeof(e->local));
		network += sizeof(ip);
	} else {
		return false;
	}
	if (e->protocol == IPPROTO_VRRP)
		return true;
	if ((e->protocol != IPPROTO_UDP && e->protocol != IPPROTO_TCP) || bpf_probe_read_kernel(ports, sizeof(ports), network))
		return false;
	e->remote_port = bpf_ntohs(ports[0]);
	e->local_port = bpf_ntohs(ports[1]);
	return true;
}

/* Exchange the ends of a flow. */
static __always_inline void drop_turn(struct lb_flow_ends *e)
{
	u16 port = e->local_port;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		u32 word = e->local[i];

		e->local[i] = e->remote[i];
		e->remote[i] = word;
	}
	e->local_port = e->remote_port;
	e->remote_port = port;
}

/* Whether an address is one of several hosts. */
static __always_inline bool drop_is_group(const u32 *addr, u8 family)
{
	u8 first = *(const u8 *)addr;

	return family == AF_INET ? first >= 224 : first == 0xff;
}

/*
 * Which followed flow a packet is of: its id as in drop_key. Of what is sent to
 * several hosts, another network namespace may drop a copy, which is no loss.
 */
static __noinline u32 drop_find_flow(const unsigned char *network, struct drop_key *key, struct drop_flow *flow)
{
	struct lb_flow_ends e = {};
	const struct lb_flow *known;
	u8 transmit = !key->received;
	u32 zero = 0;
	const struct lb_followed *f = bpf_map_lookup_elem(&lb_follow, &zero);
	bool group;

	if (!f || !drop_read_ends(network, &e, &flow->family))
		return 0;
	group = drop_is_group(e.local, flow->family);
	if (transmit)
		drop_turn(&e);
	known = bpf_map_lookup_elem(&lb_flows, &e);
	if (!known) {
		drop_turn(&e);
		known = bpf_map_lookup_elem(&lb_flows, &e);
		if (known)
			transmit = !transmit;
		else
			drop_turn(&e);
	}
	if (!known) {
		struct lb_flow_ends peer = {
			.netns = key->netns, .local_port = e.local_port, .protocol = e.protocol,
		};

		__builtin_memcpy(peer.remote, e.remote, sizeof(peer.remote));
		known = bpf_map_lookup_elem(&lb_flows, &peer);
		e.remote_port = 0;
	}
	if (!known)
		return f->unnamed || !key->netns ? 0 : LB_FLOW_NONE;
	if (group && known->netns != key->netns)
		return 0;
	/* Of what is sent to several hosts, several sockets may have a copy each. */
	flow->cookie = !transmit && key->cookie ? key->cookie : known->cookie;
	__builtin_memcpy(flow->remote, e.remote, sizeof(flow->remote));
	flow->remote_port = e.remote_port;
	flow->transmit = transmit;
	return known->id;
}

/* Whether a packet is on its way to another host. */
static __always_inline bool drop_is_forwarded(const struct sk_buff *skb)
{
	u64 dst = skb->_skb_refdst & ~1UL;
	const void *input = NULL;

	if (!dst || !&ip_forward)
		return false;
	bpf_probe_read_kernel(&input, sizeof(input), (void *)dst + bpf_core_field_offset(struct dst_entry, input));
	return input == &ip_forward || input == &ip6_forward;
}

/* What user space says about a reason. */
static __always_inline u8 drop_flags(u32 reason)
{
	u64 index = reason;

	/* Keep the check and the use in one register, for the verifier. */
	asm volatile("" : "+r"(index));
	return index < sizeof(drop_reason_flags) ? drop_reason_flags[index] : 0;
}

/* Count one packet without a look-up, when it is of those that user space expects. */
static __always_inline bool drop_add_hot(const struct drop_key *key)
{
	const u64 *have = (const u64 *)key, *want;
	struct drop_hot *hot;
	u32 cpu = key->cpu;
	u64 *count;

	hot = bpf_map_lookup_elem(&drop_hots, &cpu);
	if (!hot || !hot->armed)
		return false;
	want = (const u64 *)&hot->key;
	if (have[0] != want[0] || have[1] != want[1] || have[2] != want[2] || have[3] != want[3] || have[4] != want[4])
		return false;
	count = bpf_map_lookup_elem(&drop_hot_counts, &cpu);
	if (!count)
		return false;
	__sync_fetch_and_add(count, 1);
	return true;
}

/* Count one packet; returns true when the entry is new. */
static __always_inline bool drop_add(struct drop_key *key, const struct drop_flow *flow, const struct net_device *dev)
{
	struct drop_count *count, new = { .packets = 1 };

	_Static_assert(sizeof(*key) == 40, "drop_add_hot compares five words");
	if (drop_add_hot(key))
		return false;
	count = bpf_map_lookup_elem(&drop_counts, key);
	if (count) {
		__sync_fetch_and_add(&count->packets, 1);
		return false;
	}
	if (dev) {
		*(u64 *)&new.device[0] = *(u64 *)&dev->name[0];
		*(u64 *)&new.device[8] = *(u64 *)&dev->name[8];
	}
	if (flow)
		new.flow = *flow;
	if (!bpf_map_update_elem(&drop_counts, key, &new, BPF_NOEXIST))
		return true;
	/* Either a softirq made the entry in between, or the table is full. */
	count = bpf_map_lookup_elem(&drop_counts, key);
	if (count) {
		__sync_fetch_and_add(&count->packets, 1);
		return false;
	}
	key->cookie = 0;
	key->local_port = 0;
	key->flow = 0;
	count = bpf_map_lookup_elem(&drop_folded, key);
	if (!count) {
		if (!bpf_map_update_elem(&drop_folded, key, &new, BPF_NOEXIST))
			return false;
		count = bpf_map_lookup_elem(&drop_folded, key);
	}
	if (count)
		__sync_fetch_and_add(&count->packets, 1);
	else
		lb_count_lost(LB_KIND_DROP);
	return false;
}

static __always_inline struct drop_left *drop_left(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&drop_lefts, &zero);
}

/* Whether a port or protocol is followed. */
static __always_inline bool drop_follows(u8 protocol, u16 local, u16 remote)
{
	switch (protocol) {
	case LB_PROTOCOL_UDP:
		return lb_follows(IPPROTO_UDP, local, remote);
	case LB_PROTOCOL_TCP:
		return lb_follows(IPPROTO_TCP, local, remote);
	case LB_PROTOCOL_OTHER:
		return lb_follows(IPPROTO_VRRP, 0, 0);
	}
	return false;
}

/* Leave a packet of a full UDP queue to the tracepoint that follows. */
static __always_inline bool drop_leave(const struct drop_key *key, const struct drop_flow *flow, u8 flags)
{
	struct drop_left *left;

	if (!drop_udp_fail_follows || !(flags & DROP_QUEUE) || (drop_can_read && key->protocol != LB_PROTOCOL_UDP))
		return false;
	left = drop_left();
	if (!left)
		return false;
	left->key = *key;
	left->flow = *flow;
	left->armed = 1;
	return true;
}

/*
 * rx_sk is the socket that was to receive the packet where the kernel tells,
 * note the same from an earlier tracepoint; either may be absent.
 */
static __always_inline int drop_packet(struct sk_buff *skb, u64 location, u32 reason, struct sock *rx_sk, struct drop_note *note)
{
	u8 flags = drop_flags(reason);
	struct drop_key key = { .location = location, .reason = reason };
	struct net_device *dev = NULL;
	struct sock *sk = skb->sk;
	struct drop_flow flow = {};
	unsigned short family = 0;
	u16 local, remote = 0;
	bool received, headers = false;

	if (flags & DROP_IGNORE)
		return 0;
	if (rx_sk)
		family = rx_sk->__sk_common.skc_family;
	else if (sk)
		family = sk->__sk_common.skc_family;
	/* Messages of UNIX and netlink sockets travel in sk_buffs too, but are no packets. */
	if (family == AF_UNIX || family == AF_NETLINK)
		return 0;
	if (flags & DROP_BY_INPUT_IF) {
		key.ifindex = skb->skb_iif;
		if (!rx_sk && !note) {
			/* It may be the device still: then it has that number. */
			dev = skb->dev;
			if ((u64)dev >> 56 == 0xff && dev->ifindex == key.ifindex)
				key.netns = dev->nd_net.net->ns.inum;
			else
				dev = NULL;
		}
	} else {
		dev = skb->dev;
		if (dev) {
			key.ifindex = dev->ifindex;
			key.netns = dev->nd_net.net->ns.inum;
		} else if (!skb->protocol && !family && !note) {
			return 0;
		}
	}
	key.cpu = bpf_get_smp_processor_id();
	received = rx_sk || note || flags & DROP_EARLY || drop_is_received(skb);
	key.received = received;
	/* Until IP takes a packet that came through a veth, it is still charged to its sender. */
	if (received && sk && (flags & DROP_EARLY || !drop_is_receivers(skb))) {
		sk = NULL;
		if (!rx_sk)
			family = 0;
		flags |= DROP_HEADERS;
	}
	if (note) {
		key.cookie = note->cookie;
		key.netns = note->netns;
		key.local_port = note->local_port;
		key.protocol = note->protocol;
	} else if (rx_sk) {
		key.local_port = rx_sk->__sk_common.skc_num;
		remote = bpf_ntohs(rx_sk->__sk_common.skc_dport);
		key.protocol = drop_sock_protocol(rx_sk);
		key.netns = rx_sk->__sk_common.skc_net.net->ns.inum;
		key.cookie = rx_sk->__sk_common.skc_cookie.counter;
		if (!key.cookie)
			key.cookie = bpf_get_socket_cookie(rx_sk);
	} else if (family == AF_INET || family == AF_INET6) {
		key.local_port = sk->__sk_common.skc_num;
		remote = bpf_ntohs(sk->__sk_common.skc_dport);
		key.protocol = drop_sock_protocol(sk);
		key.cookie = sk->__sk_common.skc_cookie.counter;
		if (!key.netns)
			key.netns = sk->__sk_common.skc_net.net->ns.inum;
	} else if (drop_can_read && flags & DROP_HEADERS && (received || skb->skb_iif)) {
		headers = true;
		remote = drop_read_headers(skb, &key);
	}
	local = key.local_port;
	if (headers && flags & DROP_FORWARDED && drop_is_forwarded(skb))
		key.local_port = 0;
	/* A raw socket has its protocol where others have their port. */
	if (key.protocol == LB_PROTOCOL_OTHER)
		key.local_port = local = remote = 0;
	if (flags & DROP_ANONYMOUS || (flags & DROP_UNSPECIFIED && key.protocol == LB_PROTOCOL_TCP)) {
		key.cookie = 0;
		key.local_port = 0;
	} else if (drop_can_read && drop_follows(key.protocol, local, remote)) {
		key.flow = drop_find_flow(skb->head + (headers ? drop_network_of(skb) : skb->network_header), &key, &flow);
	}
	if (!rx_sk && !note && drop_leave(&key, &flow, flags))
		return 0;
	if (drop_add(&key, &flow, dev)) {
		if (rx_sk)
			drop_track(rx_sk, key.cookie);
		else if (sk && !note)
			drop_track(sk, key.cookie);
	}
	return 0;
}

static __always_inline bool drop_in_wrapper(u64 address)
{
#pragma unroll
	for (int i = 0; i < DROP_WRAPPERS; i++) {
		if (address - drop_wrappers[i].begin < drop_wrappers[i].size)
			return true;
	}
	return false;
}

/* The address in the function that meant to free the packet. */
static __always_inline u64 drop_freed_by(void *ctx, u64 location)
{
	u64 frames[DROP_FRAMES] = {};
	bool found = false;

	if (!drop_in_wrapper(location) || bpf_get_stack(ctx, frames, sizeof(frames), 0) < 0)
		return location;
#pragma unroll
	for (int i = 0; i < DROP_FRAMES; i++) {
		if (found && frames[i] && !drop_in_wrapper(frames[i]))
			return frames[i];
		found = found || frames[i] == location;
	}
	return location;
}

/* Since 6.11: the tracepoint tells the receiving socket. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_kfree_skb_rx_sk, struct sk_buff *skb, void *location, u32 reason, struct sock *rx_sk)
{
	return drop_packet(skb, drop_freed_by(ctx, (u64)location), reason, rx_sk, NULL);
}

/* Since 5.17: reason, without the socket. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_kfree_skb, struct sk_buff *skb, void *location, u32 reason)
{
	struct drop_note *note;
	u32 zero = 0;

	if (drop_udp_fail_follows) {
		struct drop_left *left = drop_left();

		if (left && left->armed) {
			/* The tracepoint did not follow: the queue was not one of UDP. */
			struct drop_key key = left->key;
			struct drop_flow flow = left->flow;

			left->armed = 0;
			drop_add(&key, &flow, NULL);
		}
	}
	note = bpf_map_lookup_elem(&drop_notes, &zero);
	if (note && note->armed && note->skb == (u64)skb)
		note->armed = 0;
	else
		note = NULL;
	return drop_packet(skb, drop_freed_by(ctx, (u64)location), reason, NULL, note);
}

static __always_inline int drop_note_socket(struct sock *sk, struct sk_buff *skb)
{
	struct drop_note *note;
	unsigned short family = sk->__sk_common.skc_family;
	u32 zero = 0;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	note = bpf_map_lookup_elem(&drop_notes, &zero);
	if (!note)
		return 0;
	note->cookie = bpf_get_socket_cookie(sk);
	note->netns = sk->__sk_common.skc_net.net->ns.inum;
	note->local_port = sk->__sk_common.skc_num;
	note->protocol = drop_sock_protocol(sk);
	note->skb = (u64)skb;
	note->armed = 1;
	if (!bpf_map_lookup_elem(&drop_sockets, &note->cookie))
		drop_track(sk, note->cookie);
	return 0;
}

/* With the packet, before it is freed. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(drop_udp_fails, int rc, struct sock *sk, struct sk_buff *skb)
{
	return drop_note_socket(sk, skb);
}

/* Without the packet, after it was freed. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(drop_udp_failed, int rc, struct sock *sk)
{
	struct drop_left *left = drop_left();
	struct drop_flow flow;
	struct drop_key key;

	if (!left || !left->armed)
		return 0;
	left->armed = 0;
	key = left->key;
	flow = left->flow;
	key.cookie = bpf_get_socket_cookie(sk);
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	key.local_port = sk->__sk_common.skc_num;
	key.protocol = LB_PROTOCOL_UDP;
	if (drop_add(&key, &flow, NULL))
		drop_track(sk, key.cookie);
	return 0;
}

SEC("tp_btf/sock_rcvqueue_full")
int BPF_PROG(drop_rcvqueue_full, struct sock *sk, struct sk_buff *skb)
{
	return drop_note_socket(sk, skb);
}

/* The program has taken something out of a socket's queue. */
static __always_inline int drop_received(struct sock *sk, int ret, int flags)
{
	struct drop_socket *s;
	u64 cookie;

	if (ret < 0 || flags & MSG_PEEK)
		return 0;
	if (drop_records_reads)
		lb_follow_read(sk, ret, drop_can_read);
	if (!drop_tracking)
		return 0;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (!cookie)
		return 0;
	s = bpf_map_lookup_elem(&drop_sockets, &cookie);
	if (s) {
		u64 id = bpf_get_current_pid_tgid();

		s->last_read_ns = bpf_ktime_get_boot_ns();
		s->reader = (u32)id;
		s->reader_tgid = id >> 32;
	}
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(drop_recv, struct sock *sk, int ret, int flags) { return drop_received(sk, ret, flags); }

/* Before 6.3, where fexit is allowed. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(drop_recv4, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return drop_received(socket->sk, ret, flags);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(drop_recv6, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return drop_received(socket->sk, ret, flags);
}

/*
 * Look at every open socket of every network namespace: write those whose queue
 * is more than half full, and those that are followed already, with a process
 * that holds them. Sockets without a file, which the kernel holds, are not seen.
 */
SEC("iter/task_file")
int drop_queues(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct drop_socket s = {}, *known;
	struct socket *socket;
	struct sock *sk;
	unsigned short family;
	bool filling;
	u64 cookie;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	filling = drop_queued(sk) > (u32)sk->sk_rcvbuf / 2;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (!cookie && filling)
		cookie = bpf_get_socket_cookie(sk);
	known = cookie ? bpf_map_lookup_elem(&drop_sockets, &cookie) : NULL;
	if (!filling && !known)
		return 0;
	drop_describe(&s, sk);
	s.since_ns = known ? known->since_ns : bpf_ktime_get_boot_ns();
	if (known) {
		s.last_read_ns = known->last_read_ns;
		s.reader = known->reader;
		s.reader_tgid = known->reader_tgid;
	} else {
		bpf_map_update_elem(&drop_sockets, &cookie, &s, BPF_NOEXIST);
		drop_tracking = 1;
	}
	s.cookie = cookie;
	s.tgid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}
