/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The exits of system calls, where what attempt.bpf.h needs is missing. As soon as
 * one of these is attached every system call of the host takes the kernel's
 * slow path.
 */

struct port_sys_exit {
	u64 common;
	long number;
	long ret;
};

/* The internet socket of a file descriptor of the current task. */
static __always_inline struct sock *port_socket_of(struct task_struct *task, u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct socket *socket;
	struct sock *sk;
	u16 family;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return NULL;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

/* An error that says something about ports, rather than about the call. */
static __always_inline bool port_error(long ret)
{
	return ret == -EADDRINUSE || ret == -EADDRNOTAVAIL || ret == -EACCES || ret == -EPERM || ret == -EAGAIN || ret == -ENOBUFS || ret == -ENOMEM;
}

/* Reads the address that a call was given, from the program or the kernel's copy; returns its port. */
static __always_inline u16 port_asked(u8 addr[16], const void *from, bool user)
{
	struct { u16 family; __be16 port; __be32 word[6]; } address = {};

	if (user)
		bpf_probe_read_user(&address, 8, from);
	else
		bpf_probe_read_kernel(&address, 8, from);
	if (address.family == AF_INET6) {
		if (user)
			bpf_probe_read_user(&address, sizeof(address), from);
		else
			bpf_probe_read_kernel(&address, sizeof(address), from);
		port_set_v6(addr, address.word[1], address.word[2], address.word[3], address.word[4]);
	} else if (address.family == AF_INET) {
		port_set_v4(addr, address.word[0]);
	}
	return bpf_ntohs(address.port);
}

/*
 * asked is the address that the call was given, NULL for none: of bind
 * the local one, of connect the remote one, which the socket of a failed
 * attempt does not keep.
 */
static __always_inline void port_failed(struct task_struct *task, struct sock *sk, u8 how, long ret, const void *asked, bool user, s32 stack)
{
	struct port_socket *known;
	struct port_record *r;
	u64 cookie;

	if (!port_protocol(BPF_CORE_READ(sk, sk_protocol)))
		return;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	r = port_begin(LB_KIND_PORT_FAIL, cookie, known, task);
	if (!r)
		return;
	port_fill(r, sk, how);
	r->error = -ret;
	r->stack = stack;
	if (asked && how == LB_HOW_CONNECT) {
		r->remote_port = port_asked(r->remote_addr, asked, user);
	} else if (asked) {
		r->local_port = port_asked(r->local_addr, asked, user);
		r->how = r->local_port ? LB_HOW_BIND_PORT : LB_HOW_BIND_ANY;
	}
	lb_submit(r);
}

SEC("tracepoint/syscalls/sys_exit_bind")
int port_exit_bind(struct port_sys_exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct port_socket *known;
	struct pt_regs *regs;
	struct port_record *r;
	struct sock *sk;
	u64 cookie;
	s32 stack;

	if (ctx->ret == 0 && !port_without_cgroup)
		return 0;
	stack = port_user_stack(task);
	if (ctx->ret && !port_error(ctx->ret))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	sk = port_socket_of(task, SYSCALL_ARG1(regs));
	if (!sk)
		return 0;
	if (ctx->ret) {
		port_failed(task, sk, LB_HOW_BIND_PORT, ctx->ret, (void *)SYSCALL_ARG2(regs), true, stack);
		return 0;
	}
	if (!port_protocol(BPF_CORE_READ(sk, sk_protocol)) || !BPF_CORE_READ(sk, __sk_common.skc_num))
		return 0;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return 0;
	port_fill(r, sk, port_how_bound(task, known, cookie));
	r->stack = stack;
	if (known)
		known->port = r->local_port;
	lb_submit(r);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_listen")
int port_exit_listen(struct port_sys_exit *ctx)
{
	struct task_struct *task;
	struct sock *sk;
	s32 stack;

	if (!ctx->ret)
		return 0;
	task = bpf_get_current_task_btf();
	stack = port_user_stack(task);
	if (!port_error(ctx->ret))
		return 0;
	sk = port_socket_of(task, SYSCALL_ARG1((struct pt_regs *)bpf_task_pt_regs(task)));
	if (sk)
		port_failed(task, sk, LB_HOW_LISTEN, ctx->ret, NULL, true, stack);
	return 0;
}

/*
 * UDP's implicit allocation by connect and its release by connect to AF_UNSPEC
 * are visible nowhere else; of TCP only the failures are taken from here.
 */
SEC("tracepoint/syscalls/sys_exit_connect")
int port_exit_connect(struct port_sys_exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct port_socket *known;
	struct port_record *r;
	struct pt_regs *regs;
	struct sock *sk;
	u16 port;
	u64 cookie;
	s32 stack = port_user_stack(task);

	if (ctx->ret && !port_error(ctx->ret))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	sk = port_socket_of(task, SYSCALL_ARG1(regs));
	if (!sk)
		return 0;
	if (ctx->ret) {
		port_failed(task, sk, LB_HOW_CONNECT, ctx->ret, (void *)SYSCALL_ARG2(regs), true, stack);
		return 0;
	}
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_UDP)
		return 0;
	port = BPF_CORE_READ(sk, __sk_common.skc_num);
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (known && known->port == port)
		return 0;
	if (!port) {
		port_release(cookie, BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum), known ? known->port : 0, LB_HOW_DISCONNECT, 0);
		if (known)
			known->port = 0;
		port_not_recent(cookie);
		return 0;
	}
	r = port_begin(LB_KIND_PORT_ACQUIRE, cookie, known, task);
	if (!r)
		return 0;
	port_fill(r, sk, LB_HOW_CONNECT);
	r->stack = stack;
	if (known)
		known->port = port;
	else
		port_remember(cookie, task, r->netns, port);
	lb_submit(r);
	return 0;
}

