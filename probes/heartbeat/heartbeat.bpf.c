//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packets of followed flows: when they reach their socket, how long they
 * had been in the host before, and when a program reads them. Attached to the
 * control groups in which the followed sockets were made, so that packets of
 * others do not run the programs for packets; reads of other sockets cost a
 * look at a bitmap.
 */
#include "helpers.h"
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_VRRP 112
#define TCP_LISTEN 10
#define MSG_PEEK 2
#define IP_OFFSET 0x1fff
/* More packets of followed flows than this in a second and CPU are counted as lost. */
#define HB_PER_SECOND 20000
/* An age above this is a clock that was set, and not an age. */
#define HB_LONGEST_NS (60ULL * 1000 * 1000 * 1000)

#define HB_UNKNOWN ((u32)~0)
/* How many bytes of the payload tell packets apart. */
#define HB_HASHED 128

/* Whether the kernel says to programs of control groups which task sends. */
const volatile bool hb_names_sender;
/* Whether the kernel lets programs read its memory by a helper. */
const volatile bool hb_can_read;

struct ns_common { unsigned int inum; } __core;
struct net { struct ns_common ns; } __core;
typedef struct { struct net *net; } __core possible_net_t;
typedef struct { s64 counter; } __core atomic64_t;
struct in6_addr { union { __be32 u6_addr32[4]; } in6_u; } __core;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
} __core;

struct kernfs_node { u64 id; } __core;
struct cgroup { struct kernfs_node *kn; } __core;
struct sock_cgroup_data { struct cgroup *cgroup; } __core;
struct sk_buff_head { u32 qlen; } __core;

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	struct sock_cgroup_data sk_cgrp_data;
	u16 sk_protocol;
} __core;

struct udp_sock { struct sk_buff_head reader_queue; } __core;
struct tcp_sock { u32 copied_seq; } __core;
struct socket { struct sock *sk; } __core;
struct file;
struct task_struct { int tgid; } __core;
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } __core;
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; } __core;

/* Ports that are followed, local or remote: one bit each. User space writes them. */
u8 hb_udp_ports[8192];
u8 hb_tcp_ports[8192];
/* Whether VRRP is followed, which has no ports. */
u8 hb_vrrp;
/* What is to be taken from TAI to have the wall clock. */
s64 hb_tai_ahead_ns;

/* What a record is about. */
enum hb_what {
	HB_ARRIVED, /* reached its socket */
	HB_SENT,    /* reached the IP layer on its way out */
	HB_REFUSED, /* had reached its socket, and did not get into the queue */
	HB_CLOSED,  /* no packet: the socket is closed */
	HB_WINDOW,  /* no payload: the peer's receive window is closed, or open again */
};

/* One packet, in the ringbuf. */
struct packet {
	struct lb_record head;
	u64 cookie;  /* socket, 0 unknown */
	u64 age_ns;  /* since it arrived at the host, 0 unknown */
	u32 local[4], remote[4]; /* network byte order; IPv4 in the first */
	u32 size;    /* payload */
	u32 end_seq; /* TCP: sequence number behind its last byte */
	u32 tid;     /* the thread that sends, 0 unknown */
	u32 ip_id;   /* identification of IPv4, 0 none */
	u32 hash;    /* of the first HB_HASHED bytes of the payload */
	u16 local_port, remote_port; /* host byte order */
	u8 protocol; /* IPPROTO_* */
	u8 family;   /* AF_INET or AF_INET6 */
	u8 what;     /* enum hb_what */
	u8 pad;
	u16 window;  /* TCP, received: the peer's receive window, not scaled; 0 is closed */
	u8 pad2[2];
};

/* A read of a program, in the ringbuf. */
struct read {
	struct lb_record head;
	u64 cookie;
	u32 tid;
	u32 size;     /* bytes that it was given */
	u32 left;     /* packets left in the queue, HB_UNKNOWN */
	u32 read_seq; /* TCP: sequence number of the first byte that was not read */
	u8 protocol;
	u8 pad[7];
};

/* A socket whose port is followed, from the iterator. */
struct socket_entry {
	u64 cookie;
	u64 cgroup; /* id of the control group in which it was made, 0 unknown */
	u32 local[4], remote[4];
	u32 netns;
	u32 tgid;
	u16 local_port, remote_port;
	u8 protocol;
	u8 family;
	u8 state; /* TCP_* */
	u8 pad;
};

struct packet *unused_packet __attribute__((unused));
struct read *unused_read __attribute__((unused));
struct socket_entry *unused_entry __attribute__((unused));

/* How many records a CPU has written in a second. */
struct hb_rate {
	u64 second;
	u64 n;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct hb_rate);
} hb_rates SEC(".maps");

/* The sockets that user space follows, by cookie: 1, or HB_SHUT while the peer's receive window is closed. */
#define HB_SHUT 2
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u8);
} hb_known SEC(".maps");

/* Reserve a record unless this CPU has written too many in this second. */
static __always_inline void *hb_reserve(u16 kind, u64 size, u64 now)
{
	u32 zero = 0;
	struct hb_rate *rate = bpf_map_lookup_elem(&hb_rates, &zero);
	u64 second = now >> 30;

	if (!rate)
		return NULL;
	if (rate->second != second) {
		rate->second = second;
		rate->n = 0;
	}
	if (++rate->n > HB_PER_SECOND) {
		lb_count_lost(kind);
		return NULL;
	}
	return lb_reserve(kind, size);
}

static __always_inline bool hb_bit(const u8 *ports, u16 port)
{
	u32 i = port >> 3;

	asm volatile("" : "+r"(i)); /* the verifier of 6.1 has to see the bound, which the compiler knows */
	if (i >= 8192)
		return false;
	return ports[i] & (1 << (port & 7));
}

/* Whether a flow is followed. */
static __always_inline bool hb_followed(u8 protocol, u16 local, u16 remote)
{
	switch (protocol) {
	case IPPROTO_UDP:
		return hb_bit(hb_udp_ports, local) || hb_bit(hb_udp_ports, remote);
	case IPPROTO_TCP:
		return hb_bit(hb_tcp_ports, local) || hb_bit(hb_tcp_ports, remote);
	case IPPROTO_VRRP:
		return hb_vrrp;
	}
	return false;
}

struct hb_ipv4 {
	u8 words, tos;
	__be16 length, id, fragment;
	u8 ttl, protocol;
	__be16 check;
	u32 source, destination;
};

struct hb_ipv6 {
	u32 flow;
	__be16 length;
	u8 protocol, hops;
	u32 source[4], destination[4];
};

/* The start of a TCP header; UDP has the same ports. */
struct hb_transport {
	__be16 source, destination;
	__be32 seq, ack;
	u8 words, flags;
	__be16 window;
};

/* A hash of the first bytes of the payload: FNV-1a, eight bytes at a time. */
static __always_inline u32 hb_hash(struct __sk_buff *skb, u32 offset, u32 size)
{
	u64 words[HB_HASHED / 8] = {};
	u64 hash = 0xcbf29ce484222325ULL ^ size;
	u32 last = (size < HB_HASHED ? size : HB_HASHED) - 1;

	if (!size)
		return 0;
	asm volatile("" : "+r"(last)); /* as in hb_bit */
	last &= HB_HASHED - 1;         /* 6.1 bounds no length from below by a comparison with 0 */
	if (bpf_skb_load_bytes(skb, offset, words, last + 1))
		return 0;
#pragma unroll
	for (int i = 0; i < HB_HASHED / 8; i++)
		hash = (hash ^ words[i] ^ (hash >> 29)) * 0x100000001b3ULL;
	return (u32)(hash >> 32) ^ (u32)hash;
}

#define TCP_SYN_OR_RST 6

/* Whether a segment closes the peer's receive window, or opens one that was closed. */
static __always_inline bool hb_window_says(u64 cookie, const struct hb_transport *t)
{
	u8 *known;

	if (t->flags & TCP_SYN_OR_RST)
		return false;
	known = bpf_map_lookup_elem(&hb_known, &cookie);
	if (!known || (t->window && *known != HB_SHUT))
		return false;
	*known = t->window ? 1 : HB_SHUT;
	return true;
}

static __always_inline int hb_packet(struct __sk_buff *skb, u8 what)
{
	u32 source[4] = {}, destination[4] = {};
	struct hb_transport t = {};
	u32 head, size, length, hash, ip_id = 0;
	struct packet *p;
	u8 protocol, family;
	u16 local, remote;
	u64 now;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct hb_ipv4 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		if (ip.fragment & bpf_htons(IP_OFFSET))
			return 1; /* the first fragment has the ports */
		protocol = ip.protocol;
		family = AF_INET;
		head = 4 * (ip.words & 15);
		ip_id = bpf_ntohs(ip.id);
		source[0] = ip.source;
		destination[0] = ip.destination;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct hb_ipv6 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		protocol = ip.protocol;
		family = AF_INET6;
		head = sizeof(ip);
		__builtin_memcpy(source, ip.source, sizeof(source));
		__builtin_memcpy(destination, ip.destination, sizeof(destination));
	} else {
		return 1;
	}
	if (protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, head, &t, sizeof(t)))
			return 1;
		length = head + 4 * (t.words >> 4);
	} else if (protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, head, &t, 4))
			return 1;
		length = head + 8;
	} else {
		length = head;
	}
	size = skb->len > length ? skb->len - length : 0;
	local = bpf_ntohs(what == HB_SENT ? t.source : t.destination);
	remote = bpf_ntohs(what == HB_SENT ? t.destination : t.source);
	if (!hb_followed(protocol, local, remote))
		return 1;
	if (protocol == IPPROTO_TCP && !size) {
		/* An acknowledgement: nobody reads it. */
		if (what == HB_SENT || !hb_window_says(bpf_get_socket_cookie(skb), &t))
			return 1;
		what = HB_WINDOW;
	} else if (protocol == IPPROTO_TCP && what == HB_ARRIVED) {
		hb_window_says(bpf_get_socket_cookie(skb), &t);
	}
	hash = hb_hash(skb, length, size);
	now = bpf_ktime_get_boot_ns();
	p = hb_reserve(LB_KIND_PACKET, sizeof(*p), now);
	if (!p)
		return 1;
	p->head.time_ns = now;
	p->head.kind = LB_KIND_PACKET;
	p->head.cpu = (u16)bpf_get_smp_processor_id();
	p->head.pid = 0;
	p->tid = 0;
	if (hb_names_sender && what == HB_SENT) {
		u64 id = bpf_get_current_pid_tgid();

		p->head.pid = id >> 32;
		p->tid = (u32)id;
	}
	p->cookie = bpf_get_socket_cookie(skb);
	p->age_ns = 0;
	if (what == HB_ARRIVED && skb->tstamp) {
		u64 age = bpf_ktime_get_tai_ns() - hb_tai_ahead_ns - skb->tstamp;

		if (age < HB_LONGEST_NS)
			p->age_ns = age ? age : 1;
	}
	if (what == HB_SENT) {
		__builtin_memcpy(p->local, source, sizeof(source));
		__builtin_memcpy(p->remote, destination, sizeof(destination));
	} else {
		__builtin_memcpy(p->local, destination, sizeof(destination));
		__builtin_memcpy(p->remote, source, sizeof(source));
	}
	p->size = size;
	p->end_seq = bpf_ntohl(t.seq) + size;
	p->ip_id = ip_id;
	p->hash = hash;
	p->local_port = local;
	p->remote_port = remote;
	p->protocol = protocol;
	p->family = family;
	p->what = what;
	p->pad = 0;
	p->window = bpf_ntohs(t.window);
	__builtin_memset(p->pad2, 0, sizeof(p->pad2));
	lb_submit(p);
	return 1;
}

SEC("cgroup_skb/ingress")
int hb_ingress(struct __sk_buff *skb)
{
	return hb_packet(skb, HB_ARRIVED);
}

SEC("cgroup_skb/egress")
int hb_egress(struct __sk_buff *skb)
{
	return hb_packet(skb, HB_SENT);
}

static __always_inline bool hb_followed_sock(const struct sock *sk)
{
	return hb_followed((u8)sk->sk_protocol, sk->__sk_common.skc_num, bpf_ntohs(sk->__sk_common.skc_dport));
}

/* A word about a socket without a packet. */
static __always_inline void hb_about(u64 cookie, u8 what)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct packet *p = hb_reserve(LB_KIND_PACKET, sizeof(*p), now);

	if (!p)
		return;
	__builtin_memset(p, 0, sizeof(*p));
	p->head.time_ns = now;
	p->head.kind = LB_KIND_PACKET;
	p->head.cpu = (u16)bpf_get_smp_processor_id();
	p->cookie = cookie;
	p->what = what;
	lb_submit(p);
}

/* A datagram has passed hb_ingress and found the queue full. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(hb_refused, int rc, struct sock *sk)
{
	if (hb_followed_sock(sk))
		hb_about(bpf_get_socket_cookie(sk), HB_REFUSED);
	return 0;
}

SEC("cgroup/sock_release")
int hb_closed(struct bpf_sock *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);

	if (bpf_map_lookup_elem(&hb_known, &cookie))
		hb_about(cookie, HB_CLOSED);
	return 1;
}

/* Since 6.3: the program has taken something out of a socket's queue. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(hb_read, struct sock *sk, int ret, int flags)
{
	struct tcp_sock *tcp;
	struct read *r;
	u64 now, id;

	if (ret < 0 || flags & MSG_PEEK || !hb_followed_sock(sk))
		return 0;
	now = bpf_ktime_get_boot_ns();
	r = hb_reserve(LB_KIND_PACKET_READ, sizeof(*r), now);
	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	lb_head(&r->head, LB_KIND_PACKET_READ, now);
	id = bpf_get_current_pid_tgid();
	r->cookie = bpf_get_socket_cookie(sk);
	r->tid = (u32)id;
	r->size = ret;
	r->left = sk->sk_receive_queue.qlen;
	r->protocol = (u8)sk->sk_protocol;
	if (r->protocol == IPPROTO_TCP) {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (tcp)
			r->read_seq = tcp->copied_seq;
	} else if (r->protocol == IPPROTO_UDP) {
		u32 taken = 0;

		/* What a reader has taken over from the queue and not read yet waits in a queue of its own. */
		if (!hb_can_read || bpf_probe_read_kernel(&taken, sizeof(taken),
				(void *)sk + bpf_core_field_offset(struct udp_sock, reader_queue.qlen)))
			r->left = HB_UNKNOWN;
		else
			r->left += taken;
	}
	lb_submit(r);
	return 0;
}

/* Every open socket of a followed port, in all network namespaces, with a process that holds it. */
SEC("iter/task_file")
int hb_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_entry e = {};
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	e.family = (u8)sk->__sk_common.skc_family;
	if (e.family != AF_INET && e.family != AF_INET6)
		return 0;
	e.protocol = (u8)sk->sk_protocol;
	e.local_port = e.protocol == IPPROTO_VRRP ? 0 : sk->__sk_common.skc_num;
	e.remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	e.state = sk->__sk_common.skc_state;
	if (!hb_followed(e.protocol, e.local_port, e.remote_port) ||
	    (e.protocol == IPPROTO_TCP && e.state == TCP_LISTEN))
		return 0;
	e.cookie = bpf_get_socket_cookie(sk);
	e.netns = sk->__sk_common.skc_net.net->ns.inum;
	e.tgid = task->tgid;
	if (sk->sk_cgrp_data.cgroup)
		e.cgroup = sk->sk_cgrp_data.cgroup->kn->id;
	if (e.family == AF_INET) {
		e.local[0] = sk->__sk_common.skc_rcv_saddr;
		e.remote[0] = sk->__sk_common.skc_daddr;
	} else {
		__builtin_memcpy(e.local, &sk->__sk_common.skc_v6_rcv_saddr, sizeof(e.local));
		__builtin_memcpy(e.remote, &sk->__sk_common.skc_v6_daddr, sizeof(e.remote));
	}
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}
