//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packets of followed flows: when they reach their socket, how long they
 * had been in the host before, and when a program reads them. Attached to the
 * control groups in which the followed sockets were made, so that packets of
 * others do not run the programs for packets; reads of other sockets cost a
 * look at a bitmap.
 */
#include "flow.h"
#include "follow.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TCP_ESTABLISHED 1
#define TCP_LISTEN 10
/* An age above this is a clock that was set, and not an age. */
#define HB_LONGEST_NS (60ULL * 1000 * 1000 * 1000)

/* Bytes of the name of a device, or of the kind of a queueing discipline. */
#define HB_NAME 16
/* How many bytes of the payload tell packets apart. */
#define HB_HASHED 128

/* Whether the kernel says to programs of control groups which task sends. */
const volatile bool hb_names_sender;
/* Whether the kernel lets programs read its memory by a helper. */
const volatile bool hb_can_read;

/* Whether hb_received is attached. User space writes it. */
u8 hb_zoomed;
/* What is to be taken from TAI to have the wall clock. */
s64 hb_tai_ahead_ns;

/* What a record is about. */
enum hb_what {
	HB_ARRIVED, /* reached its socket */
	HB_SENT,    /* reached the IP layer on its way out */
	HB_REFUSED, /* had reached its socket, and did not get into the queue */
	HB_CLOSED,  /* no packet: the socket is closed */
	HB_WINDOW,  /* no payload: the peer's receive window is closed, or open again */
	HB_RESET,   /* a segment that resets a connection which neither end had closed */
};

/* One packet, in the ringbuf. */
struct packet {
	struct lb_record head;
	u64 cookie;  /* socket, 0 unknown */
	u64 age_ns;  /* since it arrived at the host, 0 unknown */
	u64 early_ns; /* of it, until deferred work took it up, 0 unknown */
	u32 local[4], remote[4]; /* network byte order; IPv4 in the first */
	u32 size;    /* payload; closed by the end of the process: its status as wait has it */
	u32 end_seq; /* TCP: sequence number behind its last byte */
	u32 tid;     /* the thread that sends, 0 unknown */
	u32 ip_id;   /* identification of IPv4, 0 none */
	u32 hash;    /* of the first HB_HASHED bytes of the payload */
	u32 ifindex; /* the device that it came from last, or goes to first; 0 unknown */
	u16 local_port, remote_port; /* host byte order */
	u8 protocol; /* IPPROTO_* */
	u8 family;   /* AF_INET or AF_INET6 */
	u8 what;     /* enum hb_what */
	u8 exiting;  /* closed: by the end of the process */
	u16 window;  /* TCP, received: the peer's receive window, not scaled; 0 is closed */
	u8 pad2[6];
};

struct packet *unused_packet __attribute__((unused));
struct lb_read *unused_read __attribute__((unused));
struct socket_entry *unused_entry __attribute__((unused));
struct lb_return *unused_return __attribute__((unused));
struct lb_followed *unused_followed __attribute__((unused));

/* A received packet, by the time of its arrival and its ports. */
struct hb_arrival {
	u64 tstamp; /* wall clock */
	u16 source, destination; /* host byte order */
	u32 pad;
};

/* When deferred work took up packets of followed flows, boot clock; while hb_received is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hb_arrival);
	__type(value, u64);
} hb_taken_up SEC(".maps");

/* The sockets that user space follows, by cookie: 1, or HB_SHUT while the peer's receive window is closed. */
#define HB_SHUT 2
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u8);
} hb_known SEC(".maps");

/* A hash of the first bytes of the payload: FNV-1a, eight bytes at a time. */
static __always_inline u32 hb_hash(struct __sk_buff *skb, u32 offset, u32 size)
{
	u64 words[HB_HASHED / 8] = {};
	u64 hash = 0xcbf29ce484222325ULL ^ size;
	u32 last = (size < HB_HASHED ? size : HB_HASHED) - 1;

	if (!size)
		return 0;
	asm volatile("" : "+r"(last)); /* as in lb_follow_bit */
	last &= HB_HASHED - 1;         /* 6.1 bounds no length from below by a comparison with 0 */
	if (bpf_skb_load_bytes(skb, offset, words, last + 1))
		return 0;
#pragma unroll
	for (int i = 0; i < HB_HASHED / 8; i++)
		hash = (hash ^ words[i] ^ (hash >> 29)) * 0x100000001b3ULL;
	return (u32)(hash >> 32) ^ (u32)hash;
}

#define TCP_SYN_OR_RST 6

/* Whether a segment closes the peer's receive window, or opens one that was closed. */
static __always_inline bool hb_window_says(u64 cookie, const struct hb_transport *t)
{
	u8 *known;

	if (t->flags & TCP_SYN_OR_RST)
		return false;
	known = bpf_map_lookup_elem(&hb_known, &cookie);
	if (!known || (t->window && *known != HB_SHUT))
		return false;
	*known = t->window ? 1 : HB_SHUT;
	return true;
}

#define TCP_RST 4

/* Whether a segment that has arrived resets a connection which neither end had closed. */
static __always_inline bool hb_resets(struct __sk_buff *skb, const struct hb_transport *t)
{
	struct bpf_sock *sk = skb->sk;

	return (t->flags & TCP_RST) && sk && sk->state == TCP_ESTABLISHED;
}

static __always_inline int hb_packet(struct __sk_buff *skb, u8 what)
{
	struct hb_headers h = {};
	struct hb_transport t = {};
	struct packet *p;
	u32 size, hash;
	u16 local, remote;
	u64 now;

	if (!hb_parse(skb, &h, &t))
		return 1;
	size = skb->len > h.length ? skb->len - h.length : 0;
	local = bpf_ntohs(what == HB_SENT ? t.source : t.destination);
	remote = bpf_ntohs(what == HB_SENT ? t.destination : t.source);
	if (!lb_follows(h.protocol, local, remote))
		return 1;
	if (h.protocol == IPPROTO_TCP && what == HB_ARRIVED && hb_resets(skb, &t)) {
		what = HB_RESET;
	} else if (h.protocol == IPPROTO_TCP && !size) {
		/* An acknowledgement: nobody reads it. */
		if (what == HB_SENT || !hb_window_says(bpf_get_socket_cookie(skb), &t))
			return 1;
		what = HB_WINDOW;
	} else if (h.protocol == IPPROTO_TCP && what == HB_ARRIVED) {
		hb_window_says(bpf_get_socket_cookie(skb), &t);
	}
	hash = hb_hash(skb, h.length, size);
	now = bpf_ktime_get_boot_ns();
	p = lb_follow_reserve(LB_KIND_PACKET, sizeof(*p), now);
	if (!p)
		return 1;
	p->head.time_ns = now;
	p->head.kind = LB_KIND_PACKET;
	p->head.cpu = (u16)bpf_get_smp_processor_id();
	p->head.pid = 0;
	p->tid = 0;
	if (hb_names_sender && what == HB_SENT) {
		u64 id = bpf_get_current_pid_tgid();

		p->head.pid = id >> 32;
		p->tid = (u32)id;
	}
	p->cookie = bpf_get_socket_cookie(skb);
	p->age_ns = 0;
	if (what == HB_ARRIVED && skb->tstamp) {
		u64 age = bpf_ktime_get_tai_ns() - hb_tai_ahead_ns - skb->tstamp;

		if (age < HB_LONGEST_NS)
			p->age_ns = age ? age : 1;
	}
	p->early_ns = 0;
	if (hb_zoomed && p->age_ns) {
		struct hb_arrival key = { .tstamp = skb->tstamp, .source = remote, .destination = local };
		u64 *taken_up = bpf_map_lookup_elem(&hb_taken_up, &key);

		if (taken_up) {
			u64 arrived = now - p->age_ns;

			p->early_ns = *taken_up > arrived ? *taken_up - arrived : 1;
			bpf_map_delete_elem(&hb_taken_up, &key);
		}
	}
	if (what == HB_SENT) {
		__builtin_memcpy(p->local, h.source, sizeof(h.source));
		__builtin_memcpy(p->remote, h.destination, sizeof(h.destination));
	} else {
		__builtin_memcpy(p->local, h.destination, sizeof(h.destination));
		__builtin_memcpy(p->remote, h.source, sizeof(h.source));
	}
	p->size = size;
	p->end_seq = bpf_ntohl(t.seq) + size;
	p->ip_id = h.ip_id;
	p->hash = hash;
	p->ifindex = what == HB_SENT ? skb->ifindex : skb->ingress_ifindex;
	p->local_port = local;
	p->remote_port = remote;
	p->protocol = h.protocol;
	p->family = h.family;
	p->what = what;
	p->exiting = 0;
	p->window = bpf_ntohs(t.window);
	__builtin_memset(p->pad2, 0, sizeof(p->pad2));
	lb_submit(p);
	return 1;
}

SEC("cgroup_skb/ingress")
int hb_ingress(struct __sk_buff *skb)
{
	return hb_packet(skb, HB_ARRIVED);
}

SEC("cgroup_skb/egress")
int hb_egress(struct __sk_buff *skb)
{
	return hb_packet(skb, HB_SENT);
}

/* A word about a socket without a packet. */
static __always_inline void hb_about(u64 cookie, u8 what, u8 exiting, u32 status)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct packet *p = lb_follow_reserve(LB_KIND_PACKET, sizeof(*p), now);

	if (!p)
		return;
	__builtin_memset(p, 0, sizeof(*p));
	p->head.time_ns = now;
	p->head.kind = LB_KIND_PACKET;
	p->head.cpu = (u16)bpf_get_smp_processor_id();
	p->cookie = cookie;
	p->what = what;
	p->exiting = exiting;
	p->size = status;
	p->head.pid = bpf_get_current_pid_tgid() >> 32;
	lb_submit(p);
}

/* A datagram has passed hb_ingress and found the queue full. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(hb_refused, int rc, struct sock *sk)
{
	if (lb_follows_sock(sk))
		hb_about(bpf_get_socket_cookie(sk), HB_REFUSED, 0, 0);
	return 0;
}

#define PF_EXITING 4
#define SIGNAL_GROUP_EXIT 4
struct signal_struct {
	int group_exit_code;
	unsigned int flags;
} __core;
struct task_struct___exit {
	unsigned int flags;
	int exit_code;
	struct signal_struct *signal;
} __core;

SEC("cgroup/sock_release")
int hb_closed(struct bpf_sock *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct task_struct___exit *task;

	if (!bpf_map_lookup_elem(&hb_known, &cookie))
		return 1;
	task = (void *)bpf_get_current_task_btf();
	if (!(task->flags & PF_EXITING))
		hb_about(cookie, HB_CLOSED, 0, 0);
	else if (task->signal->flags & SIGNAL_GROUP_EXIT)
		hb_about(cookie, HB_CLOSED, 1, task->signal->group_exit_code);
	else
		hb_about(cookie, HB_CLOSED, 1, task->exit_code);
	return 1;
}

/* The program has taken something out of a socket's queue. Not attached where the drop probe sees reads. */
static __always_inline int hb_taken(struct sock *sk, int ret, int flags)
{
	if (ret >= 0 && !(flags & MSG_PEEK))
		lb_follow_read(sk, ret, hb_can_read);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(hb_read, struct sock *sk, int ret, int flags) { return hb_taken(sk, ret, flags); }

/* Before 6.3, where fexit is allowed. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(hb_read4, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return hb_taken(socket->sk, ret, flags);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(hb_read6, struct socket *socket, void *msg, u64 size, int flags, int ret)
{
	return hb_taken(socket->sk, ret, flags);
}

struct qdisc_skb_head { u32 qlen; } __core;
struct Qdisc_ops { char id[HB_NAME]; } __core;
struct Qdisc {
	struct Qdisc_ops *ops;
	struct qdisc_skb_head q;
} __core;
struct net_device {
	char name[HB_NAME];
	int ifindex;
} __core;
struct netdev_queue { struct net_device *dev; } __core;
struct sk_buff {
	struct sk_buff *next;
	struct sock *sk;
	s64 tstamp;
	unsigned char *head, *data;
	u16 network_header;
} __core;

/* A packet in the queueing discipline of a device, or one that has left it, in the ringbuf. */
struct hb_queued {
	struct lb_record head;
	u64 cookie;
	u64 since_ns;  /* when it was put in */
	u32 remote[4]; /* network byte order; IPv4 in the first */
	u32 ifindex;
	u32 backlog;   /* packets in the queueing discipline */
	u16 local_port, remote_port; /* host byte order */
	u8 protocol;   /* IPPROTO_* */
	u8 family;     /* AF_INET or AF_INET6 */
	u8 left;       /* whether it has left */
	u8 pad;
	char device[HB_NAME];
	char qdisc[HB_NAME]; /* kind */
};

struct hb_queued *unused_queued __attribute__((unused));

/* Packets of followed flows in queueing disciplines, by address. One that is dropped there stays until others need its place. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct hb_queued);
} hb_in_qdisc SEC(".maps");

/* Read from its headers whose packet it is; false for one without payload. */
static __always_inline bool hb_read_headers(const unsigned char *network, struct hb_queued *q)
{
	struct hb_transport t = {};
	u8 first = 0;
	u32 size;

	if (bpf_probe_read_kernel(&first, sizeof(first), network))
		return false;
	if (first >> 4 == 4) {
		struct hb_ipv4 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.fragment & bpf_htons(IP_OFFSET))
			return false;
		q->family = AF_INET;
		q->protocol = ip.protocol;
		q->remote[0] = ip.destination;
		network += 4 * (ip.words & 15);
		size = bpf_ntohs(ip.length) - 4 * (ip.words & 15);
	} else {
		struct hb_ipv6 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), network))
			return false;
		q->family = AF_INET6;
		q->protocol = ip.protocol;
		__builtin_memcpy(q->remote, ip.destination, sizeof(q->remote));
		network += sizeof(ip);
		size = bpf_ntohs(ip.length);
	}
	if (q->protocol == IPPROTO_VRRP)
		return true;
	if (bpf_probe_read_kernel(&t, q->protocol == IPPROTO_TCP ? sizeof(t) : 4, network))
		return false;
	q->local_port = bpf_ntohs(t.source);
	q->remote_port = bpf_ntohs(t.destination);
	return q->protocol != IPPROTO_TCP || size > 4 * (t.words >> 4);
}

/* Write a packet that was put into a queueing discipline, or has left it. */
static __always_inline void hb_write_queued(const struct hb_queued *q, u64 now, u32 backlog, u8 left)
{
	struct hb_queued *r = lb_follow_reserve(LB_KIND_PACKET_QDISC, sizeof(*r), now);

	if (!r)
		return;
	__builtin_memcpy(r, q, sizeof(*r));
	r->head.time_ns = now;
	r->head.kind = LB_KIND_PACKET_QDISC;
	r->head.cpu = (u16)bpf_get_smp_processor_id();
	r->head.pid = 0;
	r->backlog = backlog;
	r->left = left;
	lb_submit(r);
}

SEC("tp_btf/qdisc_enqueue")
int BPF_PROG(hb_enqueue, struct Qdisc *qdisc, const struct netdev_queue *txq, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct hb_queued q = {};
	u64 key = (u64)skb;

	if (!sk || !lb_follows_sock(sk) || !hb_read_headers(skb->head + skb->network_header, &q) ||
	    !lb_follows(q.protocol, q.local_port, q.remote_port))
		return 0;
	q.cookie = sk->__sk_common.skc_cookie.counter;
	q.since_ns = bpf_ktime_get_boot_ns();
	q.ifindex = txq->dev->ifindex;
	bpf_probe_read_kernel(q.device, sizeof(q.device), txq->dev->name);
	bpf_probe_read_kernel(q.qdisc, sizeof(q.qdisc), qdisc->ops->id);
	bpf_map_update_elem(&hb_in_qdisc, &key, &q, BPF_ANY);
	hb_write_queued(&q, q.since_ns, qdisc->q.qlen, 0);
	return 0;
}

/*
 * Deferred work has taken a packet up: out of the backlog of a CPU, if it was in
 * one. It runs for each packet of the host, and is attached on request only.
 */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(hb_received, struct sk_buff *skb)
{
	struct hb_queued q = {};
	struct hb_arrival key = {};
	u64 now;

	if (!skb->tstamp || !hb_read_headers(skb->data, &q) || !lb_follows(q.protocol, q.remote_port, q.local_port))
		return 0;
	key.tstamp = skb->tstamp;
	key.source = q.local_port; /* as of a packet that is sent */
	key.destination = q.remote_port;
	now = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&hb_taken_up, &key, &now, BPF_ANY);
	return 0;
}

/* How many packets a queueing discipline may give to the driver at a time, of which only the first is told. */
#define HB_BULK 16

/*
 * Not tp_btf: there is no packet where the queueing discipline holds all of them
 * back, which older kernels do not tell the verifier, so that it takes the check away.
 */
SEC("raw_tp/qdisc_dequeue")
int hb_dequeue(struct bpf_raw_tracepoint_args *ctx)
{
	struct Qdisc *qdisc = (void *)ctx->args[0];
	int packets = (int)ctx->args[2];
	struct sk_buff *skb = (void *)ctx->args[3];

	for (int i = 0; i < HB_BULK && skb; i++) {
		u64 key = (u64)skb;
		struct hb_queued *q = bpf_map_lookup_elem(&hb_in_qdisc, &key);

		if (q) {
			hb_write_queued(q, bpf_ktime_get_boot_ns(), BPF_CORE_READ(qdisc, q.qlen), 1);
			bpf_map_delete_elem(&hb_in_qdisc, &key);
		}
		if (i + 1 >= packets)
			break;
		skb = BPF_CORE_READ(skb, next);
	}
	return 0;
}

/* Every open socket of a followed port, in all network namespaces, with a process that holds it. */
SEC("iter/task_file")
int hb_sockets(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = hb_open(ctx);
	struct socket_entry e = {};
	u8 protocol;

	if (!sk)
		return 0;
	protocol = (u8)sk->sk_protocol;
	e.local_port = protocol == IPPROTO_VRRP ? 0 : sk->__sk_common.skc_num;
	if (!lb_follows(protocol, e.local_port, bpf_ntohs(sk->__sk_common.skc_dport)) ||
	    (protocol == IPPROTO_TCP && sk->__sk_common.skc_state == TCP_LISTEN))
		return 0;
	e.cookie = bpf_get_socket_cookie(sk);
	hb_write(ctx, sk, &e);
	return 0;
}
