/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which flows are followed, and the reads of their sockets. The program that
 * sees reads may belong to another probe: one that does a little more costs the
 * host less than a second one at the same tracepoint.
 */
#ifndef LOSTBEAT_FOLLOW_H
#define LOSTBEAT_FOLLOW_H

#include "helpers.h"
#include "sock.h"
#include <bpf/bpf_endian.h>

/* More records of followed flows than this in a second and CPU are counted as lost. */
#define LB_FOLLOW_PER_SECOND 20000
/* How many packets are left in a queue is unknown. */
#define LB_UNKNOWN ((u32)~0)

/* The ports that are followed, local or remote: one bit each. */
struct lb_followed {
	u8 udp[8192];
	u8 tcp[8192];
	u8 vrrp; /* whether VRRP is followed, which has no ports */
	u8 any;  /* whether anything is followed */
	u8 unnamed; /* whether followed flows may be missing in lb_flows */
	u8 pad[5];
};

/* One entry, which the engine shares between all objects; user space writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct lb_followed);
} lb_follow SEC(".maps");

/*
 * The ends of a followed flow; addresses in network byte order with IPv4 in the
 * first word, ports in host byte order. Without local address and remote port:
 * any flow between a socket's port, in its network namespace, and a peer.
 */
struct lb_flow_ends {
	u32 local[4], remote[4];
	u32 netns; /* inode of the network namespace, 0 any */
	u16 local_port, remote_port;
	u8 protocol; /* IPPROTO_* */
	u8 pad[3];
};

struct lb_flow {
	u64 cookie; /* its socket */
	u32 id;     /* as long as a session lasts; not LB_FLOW_NONE; 0 where several namespaces have such a flow */
	u32 netns;  /* of its socket */
};

/* The id for packets of a followed port which are of no followed flow. */
#define LB_FLOW_NONE ((u32)~0)

/* Every followed flow that had a packet, by its ends, and by its peer alone; the engine shares it between all objects. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lb_flow_ends);
	__type(value, struct lb_flow);
} lb_flows SEC(".maps");

/* How many records of followed flows a CPU has written in a second. */
struct lb_follow_rate {
	u64 second; /* in units of 2^30 ns */
	u64 n;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct lb_follow_rate);
} lb_follow_rates SEC(".maps");

/* A read of a program, in the ringbuf. */
struct lb_read {
	struct lb_record head;
	u64 cookie;
	u32 tid;
	u32 size;     /* bytes that it was given */
	u32 left;     /* packets left in the queue, LB_UNKNOWN */
	u32 read_seq; /* TCP: sequence number of the first byte that was not read */
	u8 protocol;  /* IPPROTO_* */
	u8 pad[7];
};

/* A thread that has read from a followed socket. */
struct lb_reading {
	u64 cookie;
	u64 read_ns; /* boot clock */
	u64 ip;      /* where its program called the kernel from */
	s64 call;    /* number of the system call */
};

/* The threads that read followed sockets, by tid; the engine shares it between all objects. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct lb_reading);
} lb_readings SEC(".maps");

/* A thread that has read a packet, and could not return to its program with it for a while, in the ringbuf. */
struct lb_return {
	struct lb_record head; /* when it went on */
	u64 cookie;
	u64 since_ns; /* boot clock: when it lost the CPU */
	u32 tid;
	u32 state;    /* enum lb_schedstate */
};

struct pt_regs___x86_call { unsigned long orig_ax, ip; } __core;
struct pt_regs___arm64_call { s32 syscallno; u64 pc; } __core;
struct pt_regs;
struct task_struct;

/* The system call that a task is in, and where its program called it from; call is below 0 for none. */
static __always_inline void lb_call_of(struct task_struct *task, s64 *call, u64 *ip)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct pt_regs___x86_call *x86 = (void *)regs;
	struct pt_regs___arm64_call *arm64 = (void *)regs;

	*call = -1;
	*ip = 0;
	if (!regs)
		return;
	if (bpf_core_field_exists(x86->orig_ax)) {
		*call = (s64)x86->orig_ax;
		*ip = x86->ip;
	} else if (bpf_core_field_exists(arm64->syscallno)) {
		*call = arm64->syscallno;
		*ip = arm64->pc;
	}
}

/* Reserve a record of a followed flow unless this CPU has written too many in this second. */
static __always_inline void *lb_follow_reserve(u16 kind, u64 size, u64 now)
{
	u32 zero = 0;
	struct lb_follow_rate *rate = bpf_map_lookup_elem(&lb_follow_rates, &zero);
	u64 second = now >> 30;

	if (!rate)
		return NULL;
	if (rate->second != second) {
		rate->second = second;
		rate->n = 0;
	}
	if (++rate->n > LB_FOLLOW_PER_SECOND) {
		lb_count_lost(kind);
		return NULL;
	}
	return lb_reserve(kind, size);
}

static __always_inline bool lb_follow_bit(const u8 *ports, u16 port)
{
	u32 i = port >> 3;

	asm volatile("" : "+r"(i)); /* the verifier of 6.1 has to see the bound, which the compiler knows */
	if (i >= 8192)
		return false;
	return ports[i] & (1 << (port & 7));
}

/* Whether a flow is followed; ports in host byte order. */
static __always_inline bool lb_follows(u8 protocol, u16 local, u16 remote)
{
	u32 zero = 0;
	const struct lb_followed *f = bpf_map_lookup_elem(&lb_follow, &zero);

	if (!f || !f->any)
		return false;
	switch (protocol) {
	case IPPROTO_UDP:
		return lb_follow_bit(f->udp, local) || lb_follow_bit(f->udp, remote);
	case IPPROTO_TCP:
		return lb_follow_bit(f->tcp, local) || lb_follow_bit(f->tcp, remote);
	case IPPROTO_VRRP:
		return f->vrrp;
	}
	return false;
}

static __always_inline bool lb_follows_sock(const struct sock *sk)
{
	return lb_follows((u8)sk->sk_protocol, sk->__sk_common.skc_num, bpf_ntohs(sk->__sk_common.skc_dport));
}

/*
 * At sock_recv_length, of a call that is not a peek and has not failed: record
 * the read of a followed socket. can_read says that programs may read the
 * kernel's memory by a helper.
 */
static __always_inline void lb_follow_read(struct sock *sk, int size, bool can_read)
{
	struct tcp_sock *tcp;
	struct lb_reading reading = {};
	struct lb_read *r;
	u64 now;
	u32 tid;

	if (!lb_follows_sock(sk))
		return;
	now = bpf_ktime_get_boot_ns();
	r = lb_follow_reserve(LB_KIND_PACKET_READ, sizeof(*r), now);
	if (!r)
		return;
	__builtin_memset(r, 0, sizeof(*r));
	lb_head(&r->head, LB_KIND_PACKET_READ, now);
	r->cookie = bpf_get_socket_cookie(sk);
	r->tid = (u32)bpf_get_current_pid_tgid();
	r->size = size;
	r->left = sk->sk_receive_queue.qlen;
	r->protocol = (u8)sk->sk_protocol;
	if (r->protocol == IPPROTO_TCP) {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (tcp)
			r->read_seq = tcp->copied_seq;
	} else if (r->protocol == IPPROTO_UDP) {
		u32 taken = 0;

		/* What a reader has taken over from the queue and not read yet waits in a queue of its own. */
		if (!can_read || bpf_probe_read_kernel(&taken, sizeof(taken),
				(void *)sk + bpf_core_field_offset(struct udp_sock, reader_queue.qlen)))
			r->left = LB_UNKNOWN;
		else
			r->left += taken;
	}
	reading.cookie = r->cookie;
	tid = r->tid;
	lb_submit(r);
	reading.read_ns = now;
	lb_call_of(bpf_get_current_task_btf(), &reading.call, &reading.ip);
	bpf_map_update_elem(&lb_readings, &tid, &reading, BPF_ANY);
}

#endif /* LOSTBEAT_FOLLOW_H */
