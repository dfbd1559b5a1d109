//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How local ports are taken and given back; doc.go has the matrix of what each
 * hook sees. The programs of the first half need neither kprobes nor fentry;
 * those in fentry.bpf.h replace some of them where the kernel has it.
 */
#include "port.h"
#include "attempt.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Sockets: who made them, and the end of the last reference. */

/* A socket has a port that no hook has shown. */
static __always_inline void port_found(struct bpf_sock *ctx, u64 cookie, struct port_socket *known)
{
	struct port_record *r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, bpf_get_current_task_btf());

	if (!r)
		return;
	port_fill(r, (struct sock *)ctx, LB_HOW_UNKNOWN);
	r->tid = 0;
	known->port = r->local_port;
	lb_submit(r);
}

SEC("cgroup/sock_create")
int port_sock_create(struct bpf_sock *ctx)
{
	struct task_struct *task;
	u64 cookie;

	if (!port_protocol(ctx->protocol))
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	task = bpf_get_current_task_btf();
	port_remember(cookie, task, task->nsproxy->net_ns->ns.inum, 0);
	return 1;
}

SEC("cgroup/sock_release")
int port_sock_release(struct bpf_sock *ctx)
{
	struct port_socket *known;
	u8 how = LB_HOW_CLOSE;
	u64 cookie;
	u16 port;

	if (!port_protocol(ctx->protocol))
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known)
		port_settled(known, cookie);
	if (known && port_may_probe && ctx->protocol == IPPROTO_UDP) {
		/* The port is still there, though the verifier keeps src_port from this hook. */
		port = BPF_CORE_READ((struct sock *)ctx, __sk_common.skc_num);
		if (!port && known->port)
			how = LB_HOW_DISCONNECT; /* by connect to AF_UNSPEC, since */
		else if (port && known->port != port)
			port_found(ctx, cookie, known);
	}
	if (ctx->protocol == IPPROTO_TCP && ctx->state != TCP_CLOSE && ctx->state != TCP_LISTEN) {
		if (known)
			known->closing = true; /* port_set_state sees the connection's end */
		return 1;
	}
	port_release(cookie, known ? known->netns : 0, known ? known->port : 0, how, known && known->rests ? PORT_RESTS : 0);
	if (known)
		bpf_map_delete_elem(&port_sockets, &cookie);
	return 1;
}

/* Bind. */

static __always_inline u8 port_how_bound(struct task_struct *task, struct port_socket *known, u64 cookie)
{
	struct pt_regs *regs;
	__be16 port = 0;
	u8 how = known ? port_bind_ended(known, cookie) : LB_HOW_UNKNOWN;

	if (how != LB_HOW_UNKNOWN)
		return how;
	if (port_syscall(task) != SYS_BIND)
		return known ? LB_HOW_UNKNOWN : LB_HOW_KERNEL; /* io_uring does not say what was asked for */
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	bpf_probe_read_user(&port, sizeof(port), (void *)SYSCALL_ARG2(regs) + 2);
	return port ? LB_HOW_BIND_PORT : LB_HOW_BIND_ANY;
}

/* v6 is a constant: each hook may read the addresses of its own family only. */
static __always_inline int port_bound(struct bpf_sock *ctx, bool v6)
{
	struct port_socket *known;
	struct port_record *r;
	struct task_struct *task;
	u64 cookie;

	if (!port_protocol(ctx->protocol))
		return 1;
	task = bpf_get_current_task_btf();
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return 1;
	r->how = port_how_bound(task, known, cookie);
	r->protocol = port_protocol(ctx->protocol);
	r->local_port = ctx->src_port;
	if (v6)
		port_set_v6(r->local_addr, ctx->src_ip6[0], ctx->src_ip6[1], ctx->src_ip6[2], ctx->src_ip6[3]);
	else
		port_set_v4(r->local_addr, ctx->src_ip4);
	__builtin_memset(r->remote_addr, 0, sizeof(r->remote_addr));
	if (port_may_probe) {
		struct sock *sk = (struct sock *)ctx; /* the kernel's own pointer: only for probe reads */

		r->flags = port_probe_flags(sk);
		r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	}
	r->stack = port_user_stack(task);
	if (known)
		known->port = r->local_port;
	lb_submit(r);
	return 1;
}

SEC("cgroup/post_bind4")
int port_post_bind4(struct bpf_sock *ctx) { return port_bound(ctx, false); }

SEC("cgroup/post_bind6")
int port_post_bind6(struct bpf_sock *ctx) { return port_bound(ctx, true); }

/* TCP connect and listen, with or without bind. */

SEC("sockops")
int port_sockops(struct bpf_sock_ops *ctx)
{
	struct port_socket *known;
	struct port_record *r;
	struct task_struct *task;
	u16 port = ctx->local_port;
	u64 cookie;

	/* reply is left alone: it belongs to programs that tune connections. */
	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known)
		known->calling = 0; /* it has got its port */
	if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB && known && known->port == port)
		return 1;
	task = bpf_get_current_task_btf();
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return 1;
	r->how = ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB ? LB_HOW_LISTEN : LB_HOW_CONNECT;
	r->protocol = LB_PROTOCOL_TCP;
	r->local_port = port;
	/* A 32-bit load: narrower ones of this member are read from the wrong half. */
	r->remote_port = bpf_ntohl(ctx->remote_port);
	if (ctx->family == AF_INET6) {
		port_set_v6(r->local_addr, ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3]);
		port_set_v6(r->remote_addr, ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3]);
	} else {
		port_set_v4(r->local_addr, ctx->local_ip4);
		port_set_v4(r->remote_addr, ctx->remote_ip4);
	}
	if (known) {
		if (known->port == port)
			r->flags = PORT_KNOWN;
		known->port = port;
		known->rests = false;
	} else {
		r->how = LB_HOW_KERNEL;
		r->flags = PORT_KERNEL;
	}
	if (!r->netns)
		r->netns = task->nsproxy->net_ns->ns.inum;
	r->stack = port_user_stack(task);
	lb_submit(r);
	return 1;
}

/* An acquisition by the current task, from a socket that may be dereferenced. */
static __always_inline void port_acquired(struct sock *sk, u64 cookie, struct port_socket *known, u8 how, s32 stack)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct port_record *r;

	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return;
	r->how = how;
	r->protocol = port_protocol(sk->sk_protocol);
	r->local_port = sk->__sk_common.skc_num;
	r->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	port_addresses(sk, r->local_addr, r->remote_addr);
	r->flags = port_flags(sk);
	r->netns = sk->__sk_common.skc_net.net->ns.inum;
	r->stack = stack;
	if (known)
		known->port = r->local_port;
	else if (how != LB_HOW_ACCEPT)
		port_remember(cookie, task, r->netns, r->local_port);
	if (known && known->port == 0)
		known->rests = false;
	lb_submit(r);
}

static __always_inline bool port_is_udp(struct sock *sk)
{
	u16 family = sk->__sk_common.skc_family;

	return sk->sk_protocol == IPPROTO_UDP && (family == AF_INET || family == AF_INET6);
}

/* The end of every send, failed ones included (since Linux 6.3). */
SEC("tp_btf/sock_send_length")
int BPF_PROG(port_send, struct sock *sk, int ret, int flags)
{
	struct port_socket *known;
	struct port_record *r;
	u16 port;
	u64 cookie;

	if (!port_is_udp(sk))
		return 0;
	port = sk->__sk_common.skc_num;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (port_just_used(cookie, port) || (!port && ret != -EAGAIN))
		return 0;
	cookie = port_new_cookie(sk);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known)
		port_settled(known, cookie);
	if (port) {
		/* A port of the caller's choice was told when it was bound. */
		if ((!known || known->port != port) && !(BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK)) {
			if (known && known->port)
				port_no_port(known, cookie, IPPROTO_UDP); /* it has had another since */
			port_acquired(sk, cookie, known, BPF_CORE_READ_BITFIELD(sk, sk_kern_sock) ? LB_HOW_KERNEL : LB_HOW_SEND,
				      port_user_stack(bpf_get_current_task_btf()));
		}
		port_note_use(known, cookie, port);
		return 0;
	}
	r = port_begin(LB_KIND_PORT_FAIL, cookie, known, bpf_get_current_task_btf());
	if (!r)
		return 0;
	r->how = LB_HOW_SEND;
	r->protocol = LB_PROTOCOL_UDP;
	r->local_port = 0;
	r->error = EAGAIN;
	port_addresses(sk, r->local_addr, r->remote_addr);
	r->netns = sk->__sk_common.skc_net.net->ns.inum;
	r->stack = port_user_stack(bpf_get_current_task_btf());
	lb_submit(r);
	return 0;
}

/*
 * Uses of UDP sockets, attached only while a process holds many of them: what it
 * receives, and where port_send is not attached what it sends.
 */
static __always_inline int port_used(struct sock *sk)
{
	struct port_socket *known;
	u16 port;
	u64 cookie;

	if (!port_is_udp(sk))
		return 0;
	port = sk->__sk_common.skc_num;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (port_just_used(cookie, port))
		return 0;
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known && known->port == port)
		port_note_use(known, cookie, port);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(port_use_receive, struct sock *sk, int ret, int flags) { return ret < 0 ? 0 : port_used(sk); }

SEC("tp_btf/sock_send_length")
int BPF_PROG(port_use_send, struct sock *sk, int ret, int flags) { return port_used(sk); }

/* Before 6.3, where fexit is allowed. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(port_use_receive4, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return ret < 0 ? 0 : port_used(socket->sk);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(port_use_receive6, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return ret < 0 ? 0 : port_used(socket->sk);
}

SEC("fexit/inet_sendmsg")
int BPF_PROG(port_use_send4, struct socket *socket) { return port_used(socket->sk); }

SEC("fexit/inet6_sendmsg")
int BPF_PROG(port_use_send6, struct socket *socket) { return port_used(socket->sk); }

/* Stands in for port_send before Linux 6.3: sends of unconnected UDP sockets. */
static __always_inline int port_sent(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct port_socket *known;
	struct port_record *r;
	u64 cookie;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (!known)
		return 1;
	port_settled(known, cookie);
	if (known->port == sk->src_port)
		return 1;
	if (known->port)
		port_no_port(known, cookie, IPPROTO_UDP); /* it has had another since */
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, bpf_get_current_task_btf());
	if (!r)
		return 1;
	r->how = LB_HOW_SEND;
	r->protocol = LB_PROTOCOL_UDP;
	r->local_port = sk->src_port;
	if (sk->family == AF_INET6)
		port_set_v6(r->local_addr, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
	else
		port_set_v4(r->local_addr, sk->src_ip4);
	__builtin_memset(r->remote_addr, 0, sizeof(r->remote_addr));
	r->stack = port_user_stack(bpf_get_current_task_btf());
	known->port = r->local_port;
	lb_submit(r);
	return 1;
}

SEC("cgroup/sendmsg4")
int port_sendmsg4(struct bpf_sock_addr *ctx) { return port_sent(ctx); }

SEC("cgroup/sendmsg6")
int port_sendmsg6(struct bpf_sock_addr *ctx) { return port_sent(ctx); }

/*
 * A connect or listen of TCP that gets no port goes to its state and back without
 * passing port_sockops.
 */
static __always_inline void port_refused(struct sock *sk, u64 cookie, struct port_socket *known, u8 state)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct port_record *r = port_begin(LB_KIND_PORT_FAIL, cookie, known, task);

	if (!r)
		return;
	r->how = state == TCP_LISTEN ? LB_HOW_LISTEN : LB_HOW_CONNECT;
	r->protocol = LB_PROTOCOL_TCP;
	r->local_port = sk->__sk_common.skc_num;
	r->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	port_addresses(sk, r->local_addr, r->remote_addr);
	r->flags = port_flags(sk);
	r->netns = sk->__sk_common.skc_net.net->ns.inum;
	r->error = state == TCP_LISTEN ? EADDRINUSE : EADDRNOTAVAIL; /* what these two say at that point */
	r->stack = port_user_stack(task);
	lb_submit(r);
}

/* TCP's states: accepted connections, failed calls, and every end of a connection. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(port_set_state, struct sock *sk, int oldstate, int newstate)
{
	struct port_socket *known;
	u8 how = LB_HOW_CLOSE, rests;
	u16 port;
	u64 cookie;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_ESTABLISHED && oldstate == TCP_SYN_RECV) {
		cookie = port_new_cookie(sk);
		known = bpf_map_lookup_elem(&port_sockets, &cookie);
		if (!known) /* a simultaneous open is known from its connect */
			port_acquired(sk, cookie, NULL, LB_HOW_ACCEPT, -1);
		return 0;
	}
	if (port_without_cgroup && newstate == TCP_ESTABLISHED && oldstate == TCP_SYN_SENT) {
		cookie = port_new_cookie(sk);
		known = bpf_map_lookup_elem(&port_sockets, &cookie);
		if (!known || !known->port)
			port_acquired(sk, cookie, known, LB_HOW_CONNECT, -1);
		return 0;
	}
	if (port_by_state && oldstate == TCP_CLOSE && (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN)) {
		cookie = sk->__sk_common.skc_cookie.counter;
		known = bpf_map_lookup_elem(&port_sockets, &cookie);
		if (known)
			known->calling = newstate;
		return 0;
	}
	if (newstate != TCP_CLOSE)
		return 0;
	cookie = port_new_cookie(sk);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known && known->calling) {
		rests = known->calling;
		known->calling = 0;
		/* Closed without a call to port_sockops: a connect that waits for data to send (TCP_FASTOPEN_CONNECT). */
		if (port_by_state && rests == oldstate && !known->closing && !sk->sk_err) {
			port_refused(sk, cookie, known, oldstate);
			return 0;
		}
	}
	/* The closing of an idle socket was told by sock_release, but for the kernel's own. */
	if (!known && (oldstate == TCP_CLOSE || oldstate == TCP_LISTEN) && !BPF_CORE_READ_BITFIELD(sk, sk_kern_sock) && !port_without_cgroup)
		return 0;
	/* TIME_WAIT takes over without a trace of its own: an error means a reset instead. */
	rests = (oldstate == TCP_FIN_WAIT2 || oldstate == TCP_CLOSING) && !sk->sk_err ? PORT_RESTS : 0;
	port = sk->__sk_common.skc_num;
	if (port && known && !known->closing && !(sk->__sk_common.skc_flags & (1 << SOCK_DEAD))) {
		known->rests = rests != 0; /* bound to a port of its choice: keeps it until the close */
		return 0;
	}
	if (known && !known->closing) {
		if (!rests && !sk->sk_err && port_syscall(bpf_get_current_task_btf()) == SYS_CONNECT)
			how = LB_HOW_DISCONNECT;
		known->port = 0;
	} else if (known) {
		bpf_map_delete_elem(&port_sockets, &cookie);
	}
	port_release(cookie, sk->__sk_common.skc_net.net->ns.inum, port, how, rests);
	return 0;
}

#include "syscalls.bpf.h"
#include "fentry.bpf.h"
#include "iter.bpf.h"
