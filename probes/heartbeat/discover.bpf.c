//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which ports have packets at regular intervals. Attached to the root control
 * group for a few seconds in a minute, and only when somebody asked for flows
 * to be found. One slot for each port bounds the memory, and the time that a
 * flood takes: a port with many packets is not looked at any more.
 */
#include "flow.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";


/* Ports: those of this host that receive, and behind them those that it sends to. */
#define HB_PORTS 65536
/* More packets of a port than this in a second are no heartbeats. */
#define HB_BUSY 64
/* A socket that has been silent for this long makes room for another one of its port. */
#define HB_STALE_NS (3ULL * 1000 * 1000 * 1000)

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

struct hb_slot *unused_slot __attribute__((unused));

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

static __always_inline int hb_look(struct __sk_buff *skb, bool egress)
{
	struct hb_headers h = {};
	struct hb_transport t = {};
	struct hb_slot *slot;
	u32 key, second;
	u64 now, cookie, gap;

	if (!hb_parse(skb, &h, &t) || (h.protocol != IPPROTO_TCP && h.protocol != IPPROTO_UDP))
		return 1;
	if (h.protocol == IPPROTO_TCP && skb->len <= h.length)
		return 1; /* an acknowledgement */
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
	if (slot->cookie != cookie || slot->protocol != h.protocol) {
		if (slot->cookie && now - slot->last_ns < HB_STALE_NS)
			return 1; /* one socket of each port: their cadences would mix */
		slot->cookie = cookie;
		slot->protocol = h.protocol;
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
	struct sock *sk = hb_open(ctx);
	struct socket_entry e = {};

	if (!sk)
		return 0;
	e.cookie = bpf_get_socket_cookie(sk);
	if (!bpf_map_lookup_elem(&hb_wanted, &e.cookie))
		return 0;
	e.local_port = sk->__sk_common.skc_num;
	hb_write(ctx, sk, &e);
	return 0;
}
