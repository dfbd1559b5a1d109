/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the port programs share: kernel types, records, maps, and how a record
 * is filled from a socket.
 */
#ifndef LOSTBEAT_PORT_H
#define LOSTBEAT_PORT_H

#include "helpers.h"
#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT2 5
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define TCP_CLOSING 11

#define SOCK_BINDADDR_LOCK 4
#define SOCK_BINDPORT_LOCK 8
#define INET_FLAGS_BIND_ADDRESS_NO_PORT 18 /* bit number in inet_flags */
#define SOCK_DEAD 0 /* bit number in sk_flags */
#define PF_KTHREAD 0x00200000

#define EPERM 1
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EADDRINUSE 98
#define EADDRNOTAVAIL 99
#define ENOBUFS 105

struct ns_common { unsigned int inum; } __core;
struct net { struct ns_common ns; } __core;
typedef struct { struct net *net; } __core possible_net_t;
typedef struct { s64 counter; } __core atomic64_t;

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} __core;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuse : 4;
	unsigned char skc_reuseport : 1;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
} __core;

struct sock {
	struct sock_common __sk_common;
	u8 sk_userlocks : 4;
	u8 sk_kern_sock : 1;
	u16 sk_protocol;
	u32 sk_txhash;
	int sk_err;
} __core;

struct inet_sock {
	unsigned long inet_flags; /* since Linux 6.6 */
} __core;

struct inet_sock___before_6_6 {
	u8 bind_address_no_port : 1;
} __core;

struct inet_connection_sock {
	struct {
		u32 lrcvtime;
	} icsk_ack;
} __core;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 lsndtime;
} __core;

struct inode { unsigned long i_ino; unsigned short i_mode; } __core;
struct file { struct inode *f_inode; void *private_data; } __core;
struct socket { struct sock *sk; } __core;
struct fdtable { unsigned int max_fds; struct file **fd; } __core;
struct files_struct { struct fdtable *fdt; } __core;
struct nsproxy { struct net *net_ns; } __core;

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	char comm[LB_COMM_LEN];
	struct files_struct *files;
	struct nsproxy *nsproxy;
} __core;

/* The system call that the current task is in, and its arguments. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bp;
	unsigned long di;
	unsigned long si;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
} __core;
#define USER_CS 0x33 /* of 64-bit programs */
#define USER_IP(regs) ((regs)->ip)
#define USER_FRAME(regs) (((regs)->cs & 0xffff) == USER_CS ? (regs)->bp : 0)
#define SYSCALL_NUMBER(regs) ((long)(regs)->orig_ax)
#define SYSCALL_ARG1(regs) ((regs)->di)
#define SYSCALL_ARG2(regs) ((regs)->si)
#define SYS_CONNECT 42
#define SYS_BIND 49
#define SYS_LISTEN 50
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 pc;
	u64 orig_x0;
	s32 syscallno;
} __core;
#define USER_IP(regs) ((regs)->pc)
#define USER_FRAME(regs) ((regs)->regs[29])
#define SYSCALL_NUMBER(regs) ((long)(regs)->syscallno)
#define SYSCALL_ARG1(regs) ((regs)->orig_x0)
#define SYSCALL_ARG2(regs) ((regs)->regs[1])
#define SYS_BIND 200
#define SYS_LISTEN 201
#define SYS_CONNECT 203
#else
#error "the system call numbers of this architecture are not known"
#endif

/* Bits of the flags members below. */
#define PORT_REUSE 1   /* SO_REUSEPORT or SO_REUSEADDR */
#define PORT_V6ONLY 2  /* IPV6_V6ONLY */
#define PORT_RESTS 4   /* TIME_WAIT takes the port over */
#define PORT_KNOWN 8   /* the port was reported before: only the addresses are news */
#define PORT_KERNEL 16 /* a socket of the kernel's own */

/*
 * A port was taken (LB_KIND_PORT_ACQUIRE), or could not be (LB_KIND_PORT_FAIL).
 * Addresses are IPv6; those of IPv4 sockets are mapped (::ffff:0:0/96).
 */
struct port_record {
	struct lb_record head;
	__u64 cookie;           /* socket cookie, 0 when it has none yet */
	__u32 netns;            /* inode number of the socket's network namespace, 0 unknown */
	__u32 owner;            /* process that created the socket, 0 the kernel or unknown */
	__u8 local_addr[16];
	__u8 remote_addr[16];
	__u16 local_port;       /* a failed attempt: the port asked for, 0 any */
	__u16 remote_port;      /* 0 none */
	__u8 protocol;          /* enum lb_protocol */
	__u8 how;               /* enum lb_how */
	__u8 flags;             /* PORT_* */
	__u8 error;             /* errno of a failed attempt, 0 unknown */
	char comm[LB_COMM_LEN]; /* the owner's name */
	__u32 tid;              /* thread that took the port, 0 unknown */
	__s32 stack;            /* id in port_stacks, negative for none */
};

/* A port was given back (LB_KIND_PORT_RELEASE). */
struct port_release_record {
	struct lb_record head;
	__u64 cookie;
	__u32 netns;
	__u16 port;  /* 0 where the hook does not say: the cookie tells */
	__u8 how;    /* enum lb_how */
	__u8 flags;  /* PORT_RESTS */
};

/* One open socket, as iter/task_file shows it. */
struct port_open_socket {
	__u64 cookie;
	__u64 inode; /* of its file: what sock_diag calls idiag_inode */
	__u32 netns;
	__u32 pid;
	__u8 local_addr[16];
	__u8 remote_addr[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol; /* enum lb_protocol */
	__u8 state;    /* TCP_* */
	__u8 flags;    /* PORT_* */
	__u8 pad;
	__u32 used;    /* jiffies at its last use, 0 none is known */
	__u32 now;     /* jiffies */
	char comm[LB_COMM_LEN];
};

/* What is remembered of a socket until its last close. */
struct port_socket {
	__u32 pid;   /* creator */
	__u32 netns;
	__u16 port;  /* port reported as taken, 0 none */
	__u8 closing; /* the last reference is gone, TCP is still ending the connection */
	__u8 rests;   /* the connection has gone to TIME_WAIT while the socket keeps its port */
	__u32 used;   /* jiffies of the tick (PORT_TICK) of its last use, 0 none; of UDP only */
	char comm[LB_COMM_LEN];
	__u32 attempt; /* index in port_attempts plus 1, 0 none; counts while that has this cookie */
	__u8 calling;  /* TCP_SYN_SENT in a connect that has no port yet, TCP_LISTEN in such a listen */
	__u8 pad[3];
};

/* An attempt to take a port (attempt.bpf.h). */
struct port_attempt {
	__u64 cookie;    /* of its socket, 0 once its outcome is known */
	__u64 sk;        /* the kernel's address of the socket */
	__u64 time_ns;   /* when it began, bpf_ktime_get_boot_ns() */
	__u32 sequence;  /* place among the attempts of its CPU plus 1, written last */
	__u32 pid;       /* process and thread that made it */
	__u32 tid;
	__u32 txhash;    /* of a connect: the socket's hash before, which a success replaces */
	__s32 stack;     /* id in port_stacks, negative for none */
	__u16 port;      /* bind: the local port asked for, 0 any; connect: the remote port */
	__u8 connect;    /* else bind */
	__u8 pad;
	__u8 addr[16];   /* the address that the call was given */
};

/* Attempts are kept in a ring for each CPU: a UDP socket takes 4 us or more from its making to its close. */
#define PORT_ATTEMPTS 256
/* Those that the timer has seen without a port are kept apart for a second look. */
#define PORT_SECOND 64
#define PORT_SLOTS (PORT_ATTEMPTS + PORT_SECOND)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORT_SLOTS); /* user space sets it to that of all CPUs */
	__type(key, __u32);
	__type(value, struct port_attempt);
} port_attempts SEC(".maps");

/* Keeps the records' types in the object's BTF, from which the Go types are made. */
const struct port_record *port_record_type __attribute__((unused));
const struct port_release_record *port_release_record_type __attribute__((unused));
const struct port_open_socket *port_open_socket_type __attribute__((unused));

/* By socket cookie. An entry goes with its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct port_socket);
} port_sockets SEC(".maps");

/* A use is noted once in 1 << PORT_TICK jiffies: 0.25 to 2.5 s. */
#define PORT_TICK 8

/*
 * UDP sockets that were used in the present tick and whose port is known: such
 * a use needs nothing more, and no look into port_sockets. Cookies are given out
 * in sequence, so that those of one time hardly meet in a place. Torn writes by
 * two processors lose no more than a note: all that is written in one tick is
 * true in it.
 */
struct port_recent {
	__u64 socket; /* cookie << 16 | port */
	__u64 tick;
};

#define PORT_RECENTS 4096
struct port_recent port_recents[PORT_RECENTS];

/* User stacks of allocations, innermost frame first, by a hash of them; grow only when they are asked for. */
#define PORT_STACK_DEPTH 64
struct port_stack {
	__u64 frames[PORT_STACK_DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_stack);
} port_stacks SEC(".maps");

/* Where the stack of a thread is put together, by TID. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_stack);
} port_walks SEC(".maps");

const struct port_stack port_no_stack = {};

/* Set by user space before loading. */
const volatile bool port_stacks_wanted = false;
const volatile bool port_may_probe = true;      /* bpf_probe_read_kernel is allowed */
const volatile bool port_without_cgroup = false; /* the cgroup hooks are absent: the tracepoints stand in */

/* Set by user space once attached: TCP's failures are told by its states, and by no system call. */
volatile bool port_by_state = false;

static __always_inline u64 port_new_cookie(struct sock *sk)
{
	u64 cookie = sk->__sk_common.skc_cookie.counter;

	return cookie ? cookie : bpf_get_socket_cookie(sk);
}

static __always_inline bool port_just_used(u64 cookie, u16 port)
{
	struct port_recent *recent = &port_recents[cookie % PORT_RECENTS];

	return recent->socket == (cookie << 16 | port) && recent->tick == bpf_jiffies64() >> PORT_TICK;
}

/* Note a use of a socket; its port has been reported. */
static __always_inline void port_note_use(struct port_socket *known, u64 cookie, u16 port)
{
	struct port_recent *recent = &port_recents[cookie % PORT_RECENTS];
	u64 now = bpf_jiffies64();

	if (known)
		known->used = (u32)now ?: 1;
	recent->tick = now >> PORT_TICK;
	recent->socket = cookie << 16 | port;
}

/* The socket has given its port back and may take another. */
static __always_inline void port_not_recent(u64 cookie)
{
	port_recents[cookie % PORT_RECENTS].socket = 0;
}

static __always_inline u8 port_protocol(u32 protocol)
{
	return protocol == IPPROTO_TCP ? LB_PROTOCOL_TCP : protocol == IPPROTO_UDP ? LB_PROTOCOL_UDP : LB_PROTOCOL_UNKNOWN;
}

static __always_inline void port_set_v4(u8 addr[16], __be32 v4)
{
	__be32 *word = (__be32 *)addr;

	word[0] = word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = v4;
}

static __always_inline void port_set_v6(u8 addr[16], __be32 a, __be32 b, __be32 c, __be32 d)
{
	__be32 *word = (__be32 *)addr;

	word[0] = a;
	word[1] = b;
	word[2] = c;
	word[3] = d;
}

/* Addresses of a socket whose pointer may be dereferenced. */
static __always_inline void port_addresses(struct sock *sk, u8 local[16], u8 remote[16])
{
	if (sk->__sk_common.skc_family == AF_INET6) {
		struct in6_addr *l = &sk->__sk_common.skc_v6_rcv_saddr, *r = &sk->__sk_common.skc_v6_daddr;

		port_set_v6(local, l->in6_u.u6_addr32[0], l->in6_u.u6_addr32[1], l->in6_u.u6_addr32[2], l->in6_u.u6_addr32[3]);
		port_set_v6(remote, r->in6_u.u6_addr32[0], r->in6_u.u6_addr32[1], r->in6_u.u6_addr32[2], r->in6_u.u6_addr32[3]);
	} else {
		port_set_v4(local, sk->__sk_common.skc_rcv_saddr);
		port_set_v4(remote, sk->__sk_common.skc_daddr);
	}
}

static __always_inline u8 port_flags(struct sock *sk)
{
	u8 flags = 0;

	if (BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_reuse) || BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_reuseport))
		flags |= PORT_REUSE;
	if (BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only))
		flags |= PORT_V6ONLY;
	if (BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		flags |= PORT_KERNEL;
	return flags;
}

/* The same through bpf_probe_read_kernel. */
static __always_inline void port_probe_addresses(struct sock *sk, u8 local[16], u8 remote[16])
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)remote, sk, __sk_common.skc_v6_daddr);
	} else {
		port_set_v4(local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		port_set_v4(remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
}

static __always_inline u8 port_probe_flags(struct sock *sk)
{
	u8 flags = 0;

	if (BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuse) || BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuseport))
		flags |= PORT_REUSE;
	if (BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_ipv6only))
		flags |= PORT_V6ONLY;
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock))
		flags |= PORT_KERNEL;
	return flags;
}

/* Number of the system call that the current task is in, -1 in a kernel thread. */
static __always_inline long port_syscall(struct task_struct *task)
{
	struct pt_regs *regs;

	if (task->flags & PF_KTHREAD)
		return -1;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	return regs ? SYSCALL_NUMBER(regs) : -1;
}

/*
 * The user stack of the system call that the current task is in, by its frame
 * pointers; -1 for none. Most types of programs here have no helper for it.
 */
static __always_inline s32 port_user_stack(struct task_struct *task)
{
	u64 frame, pair[2], hash = 0xcbf29ce484222325;
	u32 tid = task->pid, id;
	struct port_stack *walk;
	struct pt_regs *regs;

	if (!port_stacks_wanted || task->flags & PF_KTHREAD)
		return -1;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if (!regs)
		return -1;
	bpf_map_update_elem(&port_walks, &tid, &port_no_stack, BPF_ANY);
	walk = bpf_map_lookup_elem(&port_walks, &tid);
	if (!walk)
		return -1;
	walk->frames[0] = USER_IP(regs);
	frame = USER_FRAME(regs);
	for (u32 i = 1; i < PORT_STACK_DEPTH; i++) {
		if (!frame || bpf_probe_read_user(pair, sizeof(pair), (void *)frame) || !pair[1])
			break;
		walk->frames[i] = pair[1];
		hash = (hash ^ pair[1]) * 0x100000001b3;
		if (pair[0] <= frame)
			break; /* stacks grow down: callers lie above */
		frame = pair[0];
	}
	hash = (hash ^ walk->frames[0]) * 0x100000001b3;
	id = (u32)(hash ^ hash >> 32) & 0x7fffffff;
	return bpf_map_update_elem(&port_stacks, &id, walk, BPF_ANY) ? -1 : (s32)id;
}

/* Byte by byte: the verifier takes no wider loads from a char array. */
static __always_inline void port_comm(char comm[LB_COMM_LEN], struct task_struct *task)
{
#pragma unroll
	for (int i = 0; i < LB_COMM_LEN; i++)
		comm[i] = task->comm[i];
}

/* Remember the current task as the creator of a socket that takes the port. */
static __always_inline void port_remember(u64 cookie, struct task_struct *task, u32 netns, u16 port)
{
	struct port_socket socket = {};

	if (!cookie)
		return;
	socket.netns = netns;
	socket.port = port;
	if (!(task->flags & PF_KTHREAD)) {
		socket.pid = task->tgid;
		port_comm(socket.comm, task);
	}
	bpf_map_update_elem(&port_sockets, &cookie, &socket, BPF_ANY);
}

/*
 * Reserve a record for the current task; the caller adds addresses and ports.
 * Not every program type has bpf_get_current_pid_tgid, so the task is asked.
 */
static __always_inline struct port_record *port_begin(u16 kind, u64 cookie, struct port_socket *known, struct task_struct *task)
{
	struct port_record *r = lb_reserve(kind, sizeof(*r));

	if (!r)
		return NULL;
	r->head.time_ns = bpf_ktime_get_boot_ns();
	r->head.kind = kind;
	r->head.cpu = (u16)bpf_get_smp_processor_id();
	r->head.pid = task->tgid;
	r->cookie = cookie;
	r->error = 0;
	r->flags = 0;
	r->remote_port = 0;
	r->tid = task->pid;
	r->stack = -1;
	if (known) {
		r->owner = known->pid;
		r->netns = known->netns;
		__builtin_memcpy(r->comm, known->comm, LB_COMM_LEN);
	} else if (task->flags & PF_KTHREAD) {
		r->owner = 0;
		r->netns = 0;
		__builtin_memset(r->comm, 0, LB_COMM_LEN);
	} else {
		r->owner = task->tgid;
		r->netns = 0;
		port_comm(r->comm, task);
	}
	return r;
}

/* What of a record the socket says; addresses and port may be those of before a failed attempt. */
static __always_inline void port_fill(struct port_record *r, struct sock *sk, u8 how)
{
	r->how = how;
	r->protocol = port_protocol(BPF_CORE_READ(sk, sk_protocol));
	r->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	r->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	port_probe_addresses(sk, r->local_addr, r->remote_addr);
	r->flags = port_probe_flags(sk);
	r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline void port_release(u64 cookie, u32 netns, u16 port, u8 how, u8 flags)
{
	struct port_release_record *r = lb_reserve(LB_KIND_PORT_RELEASE, sizeof(*r));

	if (!r)
		return;
	r->head.time_ns = bpf_ktime_get_boot_ns();
	r->head.kind = LB_KIND_PORT_RELEASE;
	r->head.cpu = (u16)bpf_get_smp_processor_id();
	r->head.pid = 0;
	r->cookie = cookie;
	r->netns = netns;
	r->port = port;
	r->how = how;
	r->flags = flags;
	lb_submit(r);
}

/* A UDP socket has no port: if it had one, connect to AF_UNSPEC has given it back. */
static __always_inline void port_no_port(struct port_socket *known, u64 cookie, u32 protocol)
{
	if (!known->port || protocol != IPPROTO_UDP)
		return;
	port_release(cookie, known->netns, known->port, LB_HOW_DISCONNECT, 0);
	known->port = 0;
	port_not_recent(cookie);
}

#endif /* LOSTBEAT_PORT_H */
