/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Listings: every open socket of every process, in all network namespaces. */

struct seq_file;

struct bpf_iter_meta {
	union {
		struct seq_file *seq;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;

struct bpf_iter__task_file {
	union {
		struct bpf_iter_meta *meta;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		struct task_struct *task;
		__u64 : 64;
	} __attribute__((aligned(8)));
	u32 fd;
	union {
		struct file *file;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;

struct bpf_iter__tcp {
	union {
		struct bpf_iter_meta *meta;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		struct sock_common *sk_common;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;

struct bpf_iter__udp {
	union {
		struct bpf_iter_meta *meta;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		struct udp_sock *udp_sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
} __core;

/* Jiffies at the last data that a TCP connection sent or received, 0 for none. */
static __always_inline u32 port_tcp_used(struct sock *sk)
{
	u8 state = sk->__sk_common.skc_state;
	struct tcp_sock *tcp;
	u32 sent, received, now;

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_CLOSE || state == TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	sent = tcp->lsndtime;
	received = tcp->inet_conn.icsk_ack.lrcvtime;
	now = (u32)bpf_jiffies64();
	return (now - sent < now - received ? sent : received) ?: 1;
}

/*
 * Sockets without a port are told too: they get their cookie here, without
 * which later events could not be joined.
 */
SEC("iter/task_file")
int port_list_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct port_open_socket open = {};
	struct port_socket fresh = {}, *known;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	u16 family;
	u8 protocol;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	protocol = port_protocol(sk->sk_protocol);
	if (protocol) {
		open.cookie = port_new_cookie(sk);
		open.local_port = sk->__sk_common.skc_num;
		open.remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
		open.state = sk->__sk_common.skc_state;
		open.flags = port_flags(sk);
		port_addresses(sk, open.local_addr, open.remote_addr);
	}
	open.protocol = protocol; /* unknown: MPTCP, whose subflows share its inode */
	open.inode = file->f_inode->i_ino;
	open.netns = sk->__sk_common.skc_net.net->ns.inum;
	open.pid = task->tgid;
	port_comm(open.comm, task);
	if (protocol) {
		known = bpf_map_lookup_elem(&port_sockets, &open.cookie);
		if (sk->sk_protocol == IPPROTO_TCP)
			open.used = port_tcp_used(sk);
		else if (known)
			open.used = known->used;
		open.now = (u32)bpf_jiffies64(); /* after the use was read */
		if (!known) {
			fresh.pid = open.pid;
			fresh.netns = open.netns;
			fresh.port = open.local_port;
			__builtin_memcpy(fresh.comm, open.comm, LB_COMM_LEN);
			bpf_map_update_elem(&port_sockets, &open.cookie, &fresh, BPF_NOEXIST);
		}
	}
	bpf_seq_write(ctx->meta->seq, &open, sizeof(open));
	return 0;
}

/*
 * The kernel's own sockets (SunRPC, NFS, tunnels) in the network namespace of the
 * reader: their cookies. No file of a process leads to them.
 */
static __always_inline int port_list_kernel(struct seq_file *seq, struct sock *sk)
{
	u64 cookie;

	if (!sk || !BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return 0;
	cookie = port_new_cookie(sk);
	bpf_seq_write(seq, &cookie, sizeof(cookie));
	return 0;
}

SEC("iter/tcp")
int port_list_kernel_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	/* What is at rest, or half open, is no full socket: the cast is refused. */
	return common ? port_list_kernel(ctx->meta->seq, (struct sock *)bpf_skc_to_tcp_sock(common)) : 0;
}

SEC("iter/udp")
int port_list_kernel_udp(struct bpf_iter__udp *ctx) { return port_list_kernel(ctx->meta->seq, (struct sock *)ctx->udp_sk); }
