/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the program that follows flows and the one that finds them have in
 * common: the headers of a packet, and the sockets that processes have open.
 */
#ifndef LOSTBEAT_FLOW_H
#define LOSTBEAT_FLOW_H

#include "helpers.h"
#include "files.h"
#include <bpf/bpf_endian.h>

#define IP_OFFSET 0x1fff

/* A socket, and a process that holds it, from an iterator. */
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

/* What the headers of a packet say. */
struct hb_headers {
	u32 source[4], destination[4]; /* network byte order; IPv4 in the first */
	u32 length; /* of all headers */
	u32 ip_id;  /* identification of IPv4, 0 none */
	u8 protocol, family;
};

/*
 * Read the headers of a packet; false for one without: other protocols than IP,
 * and fragments but the first. t is left alone for other protocols than TCP and
 * UDP, and gets the ports of UDP alone. It is apart from h, whose fields cost
 * nothing where nobody reads them.
 */
static __always_inline bool hb_parse(struct __sk_buff *skb, struct hb_headers *h, struct hb_transport *t)
{
	u32 head;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct hb_ipv4 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return false;
		if (ip.fragment & bpf_htons(IP_OFFSET))
			return false; /* the first fragment has the ports */
		h->protocol = ip.protocol;
		h->family = AF_INET;
		head = 4 * (ip.words & 15);
		h->ip_id = bpf_ntohs(ip.id);
		h->source[0] = ip.source;
		h->destination[0] = ip.destination;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct hb_ipv6 ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return false;
		h->protocol = ip.protocol;
		h->family = AF_INET6;
		head = sizeof(ip);
		__builtin_memcpy(h->source, ip.source, sizeof(h->source));
		__builtin_memcpy(h->destination, ip.destination, sizeof(h->destination));
	} else {
		return false;
	}
	if (h->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, head, t, sizeof(*t)))
			return false;
		h->length = head + 4 * (t->words >> 4);
	} else if (h->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, head, t, 4))
			return false;
		h->length = head + 8;
	} else {
		h->length = head;
	}
	return true;
}

/* The IP socket that an iterator over the files of tasks is at, NULL for other files. */
static __always_inline struct sock *hb_open(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	u16 family;

	if (!task || !file)
		return NULL;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return NULL;
	sk = socket->sk;
	if (!sk)
		return NULL;
	family = sk->__sk_common.skc_family;
	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

/* Write a socket, and the process that the iterator is at, to its output;
 * the caller has set its cookie and local port. */
static __always_inline void hb_write(struct bpf_iter__task_file *ctx, struct sock *sk, struct socket_entry *e)
{
	struct task_struct *task = ctx->task;

	if (!task)
		return;
	e->family = (u8)sk->__sk_common.skc_family;
	e->protocol = (u8)sk->sk_protocol;
	e->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	e->state = sk->__sk_common.skc_state;
	e->netns = sk->__sk_common.skc_net.net->ns.inum;
	e->tgid = task->tgid;
	if (sk->sk_cgrp_data.cgroup)
		e->cgroup = sk->sk_cgrp_data.cgroup->kn->id;
	if (e->family == AF_INET) {
		e->local[0] = sk->__sk_common.skc_rcv_saddr;
		e->remote[0] = sk->__sk_common.skc_daddr;
	} else {
		__builtin_memcpy(e->local, &sk->__sk_common.skc_v6_rcv_saddr, sizeof(e->local));
		__builtin_memcpy(e->remote, &sk->__sk_common.skc_v6_daddr, sizeof(e->remote));
	}
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e));
}

#endif /* LOSTBEAT_FLOW_H */
