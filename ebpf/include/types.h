/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Basic types and the UAPI constants in use, so that no vmlinux.h is needed.
 * Kernel structs are declared beside their use with only the fields that are
 * read, marked preserve_access_index for CO-RE.
 */
#ifndef LOSTBEAT_TYPES_H
#define LOSTBEAT_TYPES_H

#include <linux/types.h>
#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#ifndef bool
typedef _Bool bool;
#define true 1
#define false 0
#endif

#define __core __attribute__((preserve_access_index))

#endif /* LOSTBEAT_TYPES_H */
