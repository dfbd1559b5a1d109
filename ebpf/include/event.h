/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records that BPF programs put into the shared ringbuf. Every record starts
 * with struct lb_record; what follows belongs to the probe that owns the kind.
 * Go types are generated from these structs by bpf2go, never written by hand.
 */
#ifndef LOSTBEAT_EVENT_H
#define LOSTBEAT_EVENT_H

#include "types.h"
#include "kinds.h"

#define LB_COMM_LEN 16

/* Head of every record in the ringbuf. */
struct lb_record {
	__u64 time_ns; /* when it was complete, bpf_ktime_get_boot_ns() */
	__u16 kind;    /* enum lb_kind */
	__u16 cpu;     /* processor on which it happened */
	__u32 pid;     /* process (tgid) of the current task */
};

#endif /* LOSTBEAT_EVENT_H */
