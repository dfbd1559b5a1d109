/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attempts to take a port whose outcome no hook shows: a bind that fails, and a
 * UDP connect without bind. A hook sees each begin and notes it; what became of
 * it is read from the socket by whatever comes first: the socket's next call
 * that has a hook, its last close, or a timer some 1 ms later. No system call is
 * watched for it, so that those of others cost nothing.
 */

/* A timer looks at what is older than half of this. */
#define PORT_LOOK_NS 1000000
/*
 * A socket that has no port then is looked at again when it is this old: its
 * thread may have lost its processor in the middle of the call.
 */
#define PORT_SECOND_LOOK_NS 1000000000
/* An event that is told later than this gets the time at which it is told: the engine's order holds less long. */
#define PORT_LATE_NS 20000000

struct port_timer {
	struct bpf_timer timer;
	u32 ready; /* its callback is set */
	u32 armed;
	u32 head; /* attempts begun on this processor; the next one's place */
	u32 tail; /* the first that the timer has not looked at */
	u32 second_head; /* the same of those that wait for the second look */
	u32 second_tail;
};

/* By CPU; user space sets the number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_timer);
} port_timers SEC(".maps");

/* The attempt that a socket is in, NULL for none. */
static __always_inline struct port_attempt *port_attempt_of(struct port_socket *known, u64 cookie)
{
	struct port_attempt *attempt;
	u32 index = known->attempt;

	if (!index)
		return NULL;
	index--;
	attempt = bpf_map_lookup_elem(&port_attempts, &index);
	return attempt && attempt->cookie == cookie ? attempt : NULL;
}

/* True for one caller only, which may then say what became of the attempt. */
static __always_inline bool port_claim(struct port_attempt *attempt, u64 cookie)
{
	return __sync_val_compare_and_swap(&attempt->cookie, cookie, 0) == cookie;
}

/* A bind with port 0 that leaves the port to the connect: it succeeds without one. */
static __always_inline bool port_binds_no_port(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct inet_sock___before_6_6 *older = (struct inet_sock___before_6_6 *)sk;

	if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDADDR_LOCK)
		return true;
	if (bpf_core_field_exists(inet->inet_flags))
		return BPF_CORE_READ(inet, inet_flags) >> INET_FLAGS_BIND_ADDRESS_NO_PORT & 1;
	if (bpf_core_field_exists(older->bind_address_no_port))
		return BPF_CORE_READ_BITFIELD_PROBED(older, bind_address_no_port);
	return false;
}

enum port_outcome {
	PORT_OPEN,  /* the call may go on */
	PORT_SAID,  /* it was said, or there is nothing to say */
	PORT_TAKEN, /* another has claimed the attempt */
};

/*
 * Say what became of an attempt. Its socket is read before the attempt is
 * claimed: the last close claims it, too, and only after that can the socket be
 * freed (its cookie stays in the memory and proves nothing).
 *
 * ended: the call is over. Otherwise a socket without a port says nothing yet.
 */
static __always_inline enum port_outcome port_settle(struct port_attempt *attempt, u64 cookie, struct port_socket *known, bool ended)
{
	struct sock *sk = (struct sock *)attempt->sk;
	u16 port = 0, kind = LB_KIND_PORT_FAIL;
	bool connect = attempt->connect;
	struct port_record *r;
	u64 now;

	if (connect) {
		port = BPF_CORE_READ(sk, __sk_common.skc_num);
		if (port ? port == known->port : BPF_CORE_READ(sk, sk_txhash) != attempt->txhash) {
			port_claim(attempt, cookie); /* it is known; or it was taken, and given back since by connect to AF_UNSPEC */
			return PORT_SAID;
		}
		if (port)
			kind = LB_KIND_PORT_ACQUIRE;
	} else if (!attempt->port && port_binds_no_port(sk)) {
		port_claim(attempt, cookie);
		return PORT_SAID;
	}
	if (!port && !ended)
		return PORT_OPEN;
	r = lb_reserve(kind, sizeof(*r));
	if (!r) {
		port_claim(attempt, cookie);
		return PORT_SAID;
	}
	now = bpf_ktime_get_boot_ns();
	r->head.time_ns = now - attempt->time_ns > PORT_LATE_NS ? now : attempt->time_ns;
	r->head.kind = kind;
	r->head.cpu = (u16)bpf_get_smp_processor_id();
	r->head.pid = attempt->pid;
	r->cookie = cookie;
	r->owner = known->pid;
	__builtin_memcpy(r->comm, known->comm, LB_COMM_LEN);
	port_fill(r, sk, LB_HOW_CONNECT);
	r->tid = attempt->tid;
	r->stack = attempt->stack;
	r->error = 0;
	if (connect) {
		if (!port) {
			r->error = EAGAIN; /* what is left to fail once the hook has let it pass */
			r->local_port = 0;
		}
		r->remote_port = attempt->port;
		__builtin_memcpy(r->remote_addr, attempt->addr, sizeof(r->remote_addr));
	} else {
		r->how = attempt->port ? LB_HOW_BIND_PORT : LB_HOW_BIND_ANY;
		r->local_port = attempt->port;
		__builtin_memcpy(r->local_addr, attempt->addr, sizeof(r->local_addr));
	}
	if (!port_claim(attempt, cookie)) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return PORT_TAKEN;
	}
	if (port)
		known->port = port;
	lb_submit(r);
	return PORT_SAID;
}

/* A further call on a socket, or its last close: what was attempted before is over. */
static __always_inline void port_settled(struct port_socket *known, u64 cookie)
{
	struct port_attempt *attempt;
	int i;

	if (!port_may_probe || !known->attempt)
		return;
	for (i = 0; i < 2; i++) { /* once more where the timer has moved it meanwhile */
		attempt = port_attempt_of(known, cookie);
		if (!attempt || port_settle(attempt, cookie, known, true) != PORT_TAKEN)
			break;
	}
	known->attempt = 0;
}

/* A bind has succeeded; how it asked, or LB_HOW_UNKNOWN. */
static __always_inline u8 port_bind_ended(struct port_socket *known, u64 cookie)
{
	struct port_attempt *attempt;
	u8 how = LB_HOW_UNKNOWN;
	int i;

	for (i = 0; i < 2; i++) { /* once more where the timer has moved it meanwhile */
		attempt = port_attempt_of(known, cookie);
		if (!attempt || attempt->connect)
			break;
		how = attempt->port ? LB_HOW_BIND_PORT : LB_HOW_BIND_ANY;
		if (port_claim(attempt, cookie))
			break;
	}
	known->attempt = 0;
	return how;
}

struct port_look {
	u32 cpu;
	u64 now;
	u64 next; /* time to the next second look, 0 none */
};

/*
 * Move an attempt to those that wait for the second look. Until the old one is
 * claimed the last close may claim either.
 */
static __always_inline void port_wait(struct port_timer *timer, u32 cpu, struct port_attempt *attempt, u64 cookie, struct port_socket *known)
{
	u32 index = cpu * PORT_SLOTS + PORT_ATTEMPTS + timer->second_head % PORT_SECOND;
	struct port_attempt *waiting = bpf_map_lookup_elem(&port_attempts, &index);

	/* With so many that have failed on this processor, this one has, too. */
	if (!waiting || timer->second_head - timer->second_tail >= PORT_SECOND) {
		port_settle(attempt, cookie, known, true);
		return;
	}
	__builtin_memcpy(waiting, attempt, sizeof(*waiting));
	known->attempt = index + 1;
	timer->second_head++;
	if (!port_claim(attempt, cookie))
		port_claim(waiting, cookie);
}

static long port_look_again(u32 i, struct port_look *look)
{
	struct port_timer *timer = bpf_map_lookup_elem(&port_timers, &look->cpu);
	struct port_attempt *attempt;
	struct port_socket *known;
	u32 index;
	u64 cookie;

	if (!timer || timer->second_tail == timer->second_head)
		return 1;
	index = look->cpu * PORT_SLOTS + PORT_ATTEMPTS + timer->second_tail % PORT_SECOND;
	attempt = bpf_map_lookup_elem(&port_attempts, &index);
	if (!attempt)
		return 1;
	cookie = attempt->cookie;
	if (cookie) {
		if (look->now - attempt->time_ns < PORT_SECOND_LOOK_NS) {
			look->next = attempt->time_ns + PORT_SECOND_LOOK_NS - look->now;
			return 1;
		}
		known = bpf_map_lookup_elem(&port_sockets, &cookie);
		if (known)
			port_settle(attempt, cookie, known, true);
		else
			port_claim(attempt, cookie);
	}
	timer->second_tail++;
	return 0;
}

static long port_look_at(u32 i, struct port_look *look)
{
	struct port_timer *timer = bpf_map_lookup_elem(&port_timers, &look->cpu);
	struct port_attempt *attempt;
	struct port_socket *known;
	u32 index;
	u64 cookie;

	if (!timer || timer->tail == timer->head)
		return 1;
	index = look->cpu * PORT_SLOTS + timer->tail % PORT_ATTEMPTS;
	attempt = bpf_map_lookup_elem(&port_attempts, &index);
	if (!attempt || attempt->sequence != timer->tail + 1)
		return 1; /* it is being written */
	cookie = attempt->cookie;
	if (cookie) {
		if (look->now - attempt->time_ns < PORT_LOOK_NS / 2)
			return 1;
		known = bpf_map_lookup_elem(&port_sockets, &cookie);
		if (!known)
			port_claim(attempt, cookie);
		else if (port_settle(attempt, cookie, known, false) == PORT_OPEN)
			port_wait(timer, look->cpu, attempt, cookie, known);
	}
	timer->tail++;
	return 0;
}

static int port_timer_fired(void *map, u32 *cpu, struct port_timer *timer)
{
	struct port_look look = { .cpu = *cpu, .now = bpf_ktime_get_boot_ns() };

	bpf_loop(PORT_ATTEMPTS, port_look_at, &look, 0);
	bpf_loop(PORT_SECOND, port_look_again, &look, 0);
	/* A further attempt that does not find it armed sets it to its own time. */
	__sync_lock_test_and_set(&timer->armed, 0);
	if (look.next)
		bpf_timer_start(&timer->timer, look.next, 0);
	if (*(volatile u32 *)&timer->tail != *(volatile u32 *)&timer->head) {
		timer->armed = 1;
		bpf_timer_start(&timer->timer, PORT_LOOK_NS, 0);
	}
	return 0;
}

/* Note an attempt. addr is a socket address's, in the form of records. */
static __always_inline void port_attempted(struct bpf_sock *sock, u64 cookie, struct port_socket *known, bool connect, u8 addr[16], u16 port)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 cpu = bpf_get_smp_processor_id(), place, index;
	struct port_attempt *attempt;
	struct port_timer *timer;
	struct sock *sk;

	timer = bpf_map_lookup_elem(&port_timers, &cpu);
	/* Where the timer is late the socket's next call or its close tells. */
	if (!timer || timer->head - timer->tail >= PORT_ATTEMPTS - 8)
		return;
	place = __sync_fetch_and_add(&timer->head, 1);
	index = cpu * PORT_SLOTS + place % PORT_ATTEMPTS;
	attempt = bpf_map_lookup_elem(&port_attempts, &index);
	if (!attempt)
		return;
	attempt->cookie = 0;
	attempt->sk = (u64)sock;
	sk = (struct sock *)*(volatile u64 *)&attempt->sk; /* a number now: the verifier lets no one look behind a socket's pointer */
	if (!BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock)) { /* the kernel's own end without a hook */
		attempt->time_ns = bpf_ktime_get_boot_ns();
		attempt->pid = task->tgid;
		attempt->tid = task->pid;
		attempt->connect = connect;
		attempt->port = port;
		__builtin_memcpy(attempt->addr, addr, sizeof(attempt->addr));
		attempt->txhash = connect ? BPF_CORE_READ(sk, sk_txhash) : 0;
		attempt->stack = port_user_stack(task);
		known->attempt = index + 1;
		attempt->cookie = cookie;
	}
	__sync_lock_test_and_set(&attempt->sequence, place + 1);
	if (timer->armed)
		return;
	if (!timer->ready) {
		bpf_timer_init(&timer->timer, &port_timers, 1 /* CLOCK_MONOTONIC */);
		bpf_timer_set_callback(&timer->timer, port_timer_fired);
		timer->ready = 1;
	}
	timer->armed = 1;
	bpf_timer_start(&timer->timer, PORT_LOOK_NS, 0);
}

/* v6 is a constant: each hook may read the addresses of its own family only. */
static __always_inline int port_tries(struct bpf_sock_addr *ctx, bool connect, bool v6)
{
	struct bpf_sock *sock = ctx->sk;
	struct port_socket *known;
	u8 addr[16];
	u64 cookie;

	if (!sock || !port_protocol(ctx->protocol) || (connect && ctx->protocol != IPPROTO_UDP))
		return 1;
	if (sock->src_port || ctx->user_family != (v6 ? AF_INET6 : AF_INET) || bpf_get_retval() < 0)
		return 1; /* it takes none, or will not be allowed to */
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (!known)
		return 1; /* the kernel's own, or one that no process had open at the start */
	port_settled(known, cookie);
	port_no_port(known, cookie, ctx->protocol);
	if (v6)
		port_set_v6(addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	else
		port_set_v4(addr, ctx->user_ip4);
	port_attempted(sock, cookie, known, connect, addr, bpf_ntohs(ctx->user_port));
	return 1;
}

SEC("cgroup/connect4")
int port_connect4(struct bpf_sock_addr *ctx) { return port_tries(ctx, true, false); }

SEC("cgroup/connect6")
int port_connect6(struct bpf_sock_addr *ctx) { return port_tries(ctx, true, true); }

SEC("cgroup/bind4")
int port_bind4(struct bpf_sock_addr *ctx) { return port_tries(ctx, false, false); }

SEC("cgroup/bind6")
int port_bind6(struct bpf_sock_addr *ctx) { return port_tries(ctx, false, true); }

/* Who connects to learn the own address asks for it next: then the port is told at once. */
static __always_inline int port_asked_name(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sock = ctx->sk;
	struct port_socket *known;
	u64 cookie;

	if (!sock || ctx->protocol != IPPROTO_UDP)
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	known = bpf_map_lookup_elem(&port_sockets, &cookie);
	if (!known)
		return 1;
	port_settled(known, cookie);
	if (!sock->src_port)
		port_no_port(known, cookie, IPPROTO_UDP);
	return 1;
}

SEC("cgroup/getsockname4")
int port_getsockname4(struct bpf_sock_addr *ctx) { return port_asked_name(ctx); }

SEC("cgroup/getsockname6")
int port_getsockname6(struct bpf_sock_addr *ctx) { return port_asked_name(ctx); }
