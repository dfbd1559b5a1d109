//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * NAPI polls, counted per device and CPU. Only running totals are kept, except
 * for the largest poll, which has a slot for the interval that runs and one for
 * the interval that user space is reading.
 *
 * A device is polled by one CPU at a time and a poll is never interrupted by
 * another on the same CPU, so that the counts need no atomic operations.
 */
#include "helpers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define IFNAMSIZ 16

struct ns_common { unsigned int inum; } __core;
struct net { struct ns_common ns; } __core;
typedef struct { struct net *net; } __core possible_net_t;

struct net_device {
	char name[IFNAMSIZ];
	int ifindex;
	possible_net_t nd_net;
} __core;

struct task_struct;

struct napi_struct {
	struct net_device *dev;
	struct task_struct *thread;
} __core;

/* Number of the interval that runs; user space counts it up. */
u32 nic_interval;

struct nic_key {
	u32 ifindex; /* 0 for the polls of a CPU's backlog, which has no device */
	u32 netns;   /* inode of the device's network namespace */
	u32 cpu;     /* processor that polled */
};

struct nic_largest {
	u32 interval; /* to which interval packets belongs */
	u32 packets;  /* most packets in one poll of that interval */
};

struct nic_polls {
	u64 polls;                     /* running total */
	u64 packets;                   /* running total of the work done */
	u64 full_polls;                /* polls that used their whole budget */
	u64 threaded_polls;            /* polls by the device's own NAPI thread */
	struct nic_largest largest[2]; /* by the lowest bit of the interval's number */
	u8 device[IFNAMSIZ];           /* name when the entry was made */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct nic_key);
	__type(value, struct nic_polls);
} nic_polled SEC(".maps");

SEC("tp_btf/napi_poll")
int BPF_PROG(nic_napi_poll, struct napi_struct *napi, int work, int budget)
{
	struct net_device *dev = napi->dev;
	struct nic_key key = { .cpu = bpf_get_smp_processor_id() };
	struct nic_largest *largest;
	struct nic_polls *polls;
	u32 interval = nic_interval;

	if (dev) {
		key.ifindex = dev->ifindex;
		key.netns = dev->nd_net.net->ns.inum;
	}
	polls = bpf_map_lookup_elem(&nic_polled, &key);
	if (!polls) {
		struct nic_polls new = {};

		if (dev) {
			*(u64 *)&new.device[0] = *(u64 *)&dev->name[0];
			*(u64 *)&new.device[8] = *(u64 *)&dev->name[8];
		}
		bpf_map_update_elem(&nic_polled, &key, &new, BPF_NOEXIST);
		polls = bpf_map_lookup_elem(&nic_polled, &key);
		if (!polls) {
			lb_count_lost(LB_KIND_NAPI);
			return 0;
		}
	}
	polls->polls++;
	if (work > 0) {
		polls->packets += work;
		if (work >= budget)
			polls->full_polls++;
	}
	if (bpf_core_field_exists(napi->thread) && (u64)napi->thread == bpf_get_current_task())
		polls->threaded_polls++;
	largest = &polls->largest[interval & 1];
	if (largest->interval != interval) {
		largest->interval = interval;
		largest->packets = 0;
	}
	if (work > 0 && (u32)work > largest->packets)
		largest->packets = work;
	return 0;
}
