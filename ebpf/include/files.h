/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What programs need that walk over the open files of tasks, to find sockets. */
#ifndef LOSTBEAT_FILES_H
#define LOSTBEAT_FILES_H

#include "sock.h"

struct socket { struct sock *sk; } __core;
struct file;
struct task_struct { int tgid; } __core;
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } __core;
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; } __core;

#endif /* LOSTBEAT_FILES_H */
