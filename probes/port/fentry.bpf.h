/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The functions of the kernel that take and give back ports, where fentry is
 * allowed: they also see the kernel's own sockets (SunRPC, NFS), and spare
 * every send its check.
 */

static __always_inline u8 port_how_called(struct sock *sk, unsigned short asked)
{
	if (BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return LB_HOW_KERNEL;
	switch (port_syscall(bpf_get_current_task_btf())) {
	case SYS_BIND:
		return asked ? LB_HOW_BIND_PORT : LB_HOW_BIND_ANY;
	case SYS_CONNECT:
		return LB_HOW_CONNECT;
	case SYS_LISTEN:
		return LB_HOW_LISTEN;
	}
	return asked ? LB_HOW_BIND_PORT : LB_HOW_SEND;
}

static __always_inline int port_got(struct sock *sk, u8 how, s32 stack)
{
	u64 cookie = port_new_cookie(sk);
	struct port_socket *known = bpf_map_lookup_elem(&port_sockets, &cookie);

	if (!known || known->port != sk->__sk_common.skc_num)
		port_acquired(sk, cookie, known, how, stack);
	return 0;
}

#define PORT_STACK(ctx) port_user_stack(bpf_get_current_task_btf())

SEC("fexit/udp_lib_get_port")
int BPF_PROG(port_fn_udp_get, struct sock *sk, unsigned short snum, unsigned int hash, int ret)
{
	struct port_record *r;
	u64 cookie;
	u8 how;

	if (!port_is_udp(sk))
		return 0;
	how = port_how_called(sk, snum);
	if (!ret)
		return port_got(sk, how, PORT_STACK(ctx));
	if (how != LB_HOW_SEND && how != LB_HOW_KERNEL)
		return 0; /* the end of the call tells it, with its errno */
	cookie = port_new_cookie(sk);
	r = port_begin(LB_KIND_PORT_FAIL, cookie, bpf_map_lookup_elem(&port_sockets, &cookie), bpf_get_current_task_btf());
	if (!r)
		return 0;
	r->how = how;
	r->protocol = LB_PROTOCOL_UDP;
	r->local_port = snum;
	r->error = how == LB_HOW_SEND ? EAGAIN : EADDRINUSE;
	port_addresses(sk, r->local_addr, r->remote_addr);
	r->netns = sk->__sk_common.skc_net.net->ns.inum;
	r->stack = PORT_STACK(ctx);
	lb_submit(r);
	return 0;
}

SEC("fexit/inet_csk_get_port")
int BPF_PROG(port_fn_tcp_get, struct sock *sk, unsigned short snum, int ret)
{
	if (ret || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	return port_got(sk, port_how_called(sk, snum), PORT_STACK(ctx));
}

/* The addresses are complete here, so a socket that was bound before is told again. */
static __always_inline int port_connected(struct sock *sk, int ret, s32 stack)
{
	struct port_socket *known;
	struct task_struct *task;
	struct port_record *r;
	u64 cookie;

	if (ret || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	cookie = port_new_cookie(sk);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (!known || known->port != sk->__sk_common.skc_num) {
		port_acquired(sk, cookie, known, BPF_CORE_READ_BITFIELD(sk, sk_kern_sock) ? LB_HOW_KERNEL : LB_HOW_CONNECT, stack);
		return 0;
	}
	task = bpf_get_current_task_btf();
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return 0;
	r->how = LB_HOW_CONNECT;
	r->protocol = LB_PROTOCOL_TCP;
	r->local_port = sk->__sk_common.skc_num;
	r->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	port_addresses(sk, r->local_addr, r->remote_addr);
	r->flags = port_flags(sk) | PORT_KNOWN;
	r->netns = sk->__sk_common.skc_net.net->ns.inum;
	lb_submit(r);
	return 0;
}

SEC("fexit/inet_hash_connect")
int BPF_PROG(port_fn_connect4, void *death_row, struct sock *sk, int ret) { return port_connected(sk, ret, PORT_STACK(ctx)); }

SEC("fexit/inet6_hash_connect")
int BPF_PROG(port_fn_connect6, void *death_row, struct sock *sk, int ret) { return port_connected(sk, ret, PORT_STACK(ctx)); }

/* The ends of the calls of programs, for what has failed in them. */

static __always_inline int port_call_ended(struct socket *socket, void *addr, u8 how, int ret)
{
	struct sock *sk = socket->sk;

	if (!ret || !port_error(ret) || !sk || BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return 0;
	port_failed(bpf_get_current_task_btf(), sk, how, ret, addr, false, port_user_stack(bpf_get_current_task_btf()));
	return 0;
}

SEC("fexit/inet_bind")
int BPF_PROG(port_fn_bind4, struct socket *socket, void *addr, int len, int ret) { return port_call_ended(socket, addr, LB_HOW_BIND_PORT, ret); }

SEC("fexit/inet6_bind")
int BPF_PROG(port_fn_bind6, struct socket *socket, void *addr, int len, int ret) { return port_call_ended(socket, addr, LB_HOW_BIND_PORT, ret); }

SEC("fexit/inet_listen")
int BPF_PROG(port_fn_listen, struct socket *socket, int backlog, int ret) { return port_call_ended(socket, NULL, LB_HOW_LISTEN, ret); }

SEC("fexit/inet_stream_connect")
int BPF_PROG(port_fn_stream_connect, struct socket *socket, void *addr, int len, int flags, int ret)
{
	return port_call_ended(socket, addr, LB_HOW_CONNECT, ret);
}

SEC("fexit/inet_dgram_connect")
int BPF_PROG(port_fn_dgram_connect, struct socket *socket, void *addr, int len, int flags, int ret)
{
	return port_call_ended(socket, addr, LB_HOW_CONNECT, ret);
}

SEC("fentry/udp_lib_unhash")
int BPF_PROG(port_fn_udp_put, struct sock *sk)
{
	struct port_socket *known;
	u16 port = sk->__sk_common.skc_num;
	u64 cookie;
	u8 how;

	if (!port || !port_is_udp(sk))
		return 0;
	how = port_syscall(bpf_get_current_task_btf()) == SYS_CONNECT ? LB_HOW_DISCONNECT : LB_HOW_CLOSE;
	cookie = port_new_cookie(sk);
	port_release(cookie, sk->__sk_common.skc_net.net->ns.inum, port, how, 0);
	if (BPF_CORE_READ_BITFIELD(sk, sk_kern_sock)) {
		bpf_map_delete_elem(&port_sockets, &cookie);
		return 0;
	}
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known)
		known->port = 0;
	port_not_recent(cookie);
	return 0;
}

/* Only the kernel's own sockets: port_set_state and sock_release tell the others. */
SEC("fentry/inet_put_port")
int BPF_PROG(port_fn_tcp_put, struct sock *sk)
{
	u64 cookie;
	u8 state;

	if (!BPF_CORE_READ_BITFIELD(sk, sk_kern_sock) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	cookie = port_new_cookie(sk);
	state = sk->__sk_common.skc_state;
	port_release(cookie, sk->__sk_common.skc_net.net->ns.inum, sk->__sk_common.skc_num, LB_HOW_CLOSE,
		     (state == TCP_FIN_WAIT2 || state == TCP_CLOSING) && !sk->sk_err ? PORT_RESTS : 0);
	bpf_map_delete_elem(&port_sockets, &cookie);
	return 0;
}
