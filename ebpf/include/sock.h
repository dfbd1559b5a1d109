/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What programs read of sockets: only those fields, found on the running kernel
 * by their names.
 */
#ifndef LOSTBEAT_SOCK_H
#define LOSTBEAT_SOCK_H

#include "types.h"

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_VRRP 112
#define MSG_PEEK 2

struct ns_common { unsigned int inum; } __core;
struct net { struct ns_common ns; } __core;
typedef struct { struct net *net; } __core possible_net_t;
typedef struct { int counter; } __core atomic_t;
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
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	struct sock_cgroup_data sk_cgrp_data;
	u16 sk_protocol;
} __core;

struct udp_sock {
	int forward_deficit;
	struct sk_buff_head reader_queue;
} __core;
struct tcp_sock { u32 copied_seq; } __core;

#endif /* LOSTBEAT_SOCK_H */
