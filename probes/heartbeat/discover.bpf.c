//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which ports have packets at regular intervals. Attached to the root control
 * group for a few seconds in a minute, and only when somebody asked for flows
 * to be found. One slot for each port bounds the memory, and the time that a
 * flood takes: a port with many packets is not looked at any more.
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
#define IP_OFFSET 0x1fff

/* Ports: those of this host that receive, and behind them those that it sends to. */
#define HB_PORTS 65536
/* More packets of a port than this in a second are no heartbeats. */
#define HB_BUSY 64
/* A socket that has been silent for this long makes room for another one of its port. */
#define HB_STALE_NS (3ULL * 1000 * 1000 * 1000)

struct ns_common { unsigned int inum; } __core;
struct net { struct ns_common ns; } __core;
typedef struct { struct net *net; } __core possible_net_t;
struct in6_addr { union { __be32 u6_addr32[4]; } in6_u; } __core;
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} __core;
struct sock { struct sock_common __sk_common; u16 sk_protocol; } __core;
struct socket { struct sock *sk; } __core;
struct file;
struct task_struct { int tgid; } __core;
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } __core;
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; } __core;

/* The gaps between the packets of one socket, in one direction. */
struct hb_slot {
	u64 last_ns;   /* boot clock: when its last packet came, 0 none */
	u64 cookie;    /* its socket */
	u64 square_us; /* sum of the squares of the gaps, in microseconds */
	u32 sum_us;    /* sum of the gaps */
	u32 max_us;    /* the longest gap */
	u32 second;    /* of the last packet, in units of 2^30 ns */
	u16 n;         /* gaps; 0xffff: the port is too busy */
	u8 rate;       /* packets in that second */
	u8 protocol;   /* IPPROTO_* */
};

/* A socket, and a process that holds it, from the iterator. */
struct hb_owner {
	u64 cookie;
	u32 local[4], remote[4]; /* network byte order; IPv4 in the first */
	u32 netns;
	u32 tgid;
	u16 local_port, remote_port; /* host byte order */
	u8 protocol;
	u8 family;
	u8 pad[2];
};

struct hb_slot *unused_slot __attribute__((unused));
struct hb_owner *unused_owner __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * HB_PORTS);
	__uint(map_flags, 1024 /* BPF_F_MMAPABLE */);
	__type(key, u32);
	__type(value, struct hb_slot);
} hb_slots SEC(".maps");

/* The sockets whose owners are wanted, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u64);
	__type(value, u8);
} hb_wanted SEC(".maps");

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
};

static __always_inline int hb_look(struct __sk_buff *skb, bool egress)
{
	struct hb_transport t = {};
	struct hb_slot *slot;
	u32 head, key, second;
	u64 now, cookie, gap;
	u8 protocol;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct hb_ipv4 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		if (ip.fragment & bpf_htons(IP_OFFSET))
			return 1;
		protocol = ip.protocol;
		head = 4 * (ip.words & 15);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct hb_ipv6 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return 1;
		protocol = ip.protocol;
		head = sizeof(ip);
	} else {
		return 1;
	}
	if (protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, head, &t, sizeof(t)))
			return 1;
		if (skb->len <= head + 4 * (t.words >> 4))
			return 1; /* an acknowledgement */
	} else if (protocol != IPPROTO_UDP || bpf_skb_load_bytes(skb, head, &t, 4)) {
		return 1;
	}
	key = bpf_ntohs(t.destination) + (egress ? HB_PORTS : 0);
	slot = bpf_map_lookup_elem(&hb_slots, &key);
	if (!slot || slot->n == 0xffff)
		return 1;
	now = bpf_ktime_get_boot_ns();
	second = now >> 30;
	if (slot->second != second) {
		slot->second = second;
		slot->rate = 0;
	}
	if (++slot->rate > HB_BUSY) {
		slot->n = 0xffff;
		return 1;
	}
	cookie = bpf_get_socket_cookie(skb);
	if (slot->cookie != cookie || slot->protocol != protocol) {
		if (slot->cookie && now - slot->last_ns < HB_STALE_NS)
			return 1; /* one socket of each port: their cadences would mix */
		slot->cookie = cookie;
		slot->protocol = protocol;
		slot->square_us = 0;
		slot->sum_us = 0;
		slot->max_us = 0;
		slot->n = 0;
	} else if (now > slot->last_ns && slot->n < 0xfffe) {
		gap = (now - slot->last_ns) / 1000;
		slot->n++;
		slot->sum_us += gap;
		slot->square_us += gap * gap;
		if (gap > slot->max_us)
			slot->max_us = gap;
	}
	slot->last_ns = now;
	return 1;
}

SEC("cgroup_skb/ingress")
int hb_look_in(struct __sk_buff *skb)
{
	return hb_look(skb, false);
}

SEC("cgroup_skb/egress")
int hb_look_out(struct __sk_buff *skb)
{
	return hb_look(skb, true);
}

/* The sockets that are wanted, in all network namespaces. */
SEC("iter/task_file")
int hb_owners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct hb_owner e = {};
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
	e.cookie = bpf_get_socket_cookie(sk);
	if (!bpf_map_lookup_elem(&hb_wanted, &e.cookie))
		return 0;
	e.protocol = (u8)sk->sk_protocol;
	e.local_port = sk->__sk_common.skc_num;
	e.remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	e.netns = sk->__sk_common.skc_net.net->ns.inum;
	e.tgid = task->tgid;
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
