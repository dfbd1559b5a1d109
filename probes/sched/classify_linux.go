package sched

import (
	"slices"
	"strings"

	"lostbeat/model"
)

// Task states, as the kernel numbers them.
const (
	taskStopped = 0x4
	taskTraced  = 0x8
	taskFrozen  = 0x8000
)

// place is where a thread blocks, as far as the kernel says.
type place struct {
	state   uint32
	flags   schedSiteFlags
	syscall int32
	// functions is the kernel stack, innermost first, without what switches threads; nil when it was not taken.
	functions []string
}

// waits are the functions by which a stay is classified: the innermost of a
// stack that is listed says what it is. A name ends in * where only its
// beginning has to agree.
var waits = []struct {
	state     model.SchedState
	functions []string
}{
	{model.SchedFrozen, []string{"__refrigerator", "do_freezer_trap", "cgroup_enter_frozen"}},
	{model.SchedStopped, []string{"do_signal_stop", "do_jobctl_trap", "ptrace_stop", "ptrace_do_notify"}},
	{model.SchedMemory, []string{
		"shrink_*", "try_to_free_*", "__alloc_pages_direct_*", "__alloc_pages_slowpath*", "reclaim_throttle",
		"throttle_direct_reclaim", "mem_cgroup_handle_over_high", "__mem_cgroup_handle_over_high", "mem_cgroup_oom*",
		"mem_cgroup_out_of_memory", "out_of_memory", "try_charge_memcg", "compact_zone*", "try_to_compact_pages",
		"do_swap_page", "swapin_*", "read_swap_cache_async", "handle_userfault", "migration_entry_wait*",
		"too_many_isolated",
	}},
	{model.SchedLock, []string{
		"rwsem_*", "down_read*", "down_write*", "down_interruptible", "down_killable", "down_timeout", "__down*",
		"__mutex_lock*", "mutex_lock*", "ww_mutex_lock*", "rt_mutex_*", "__rt_mutex_*", "rtlock_*", "rt_spin_lock*",
		"rt_read_lock", "rt_write_lock", "futex_*", "__futex_*", "do_futex", "percpu_down_write", "percpu_rwsem_*",
		"__percpu_down_read", "__lock_sock", "lock_sock_nested", "locks_lock_inode_wait", "flock_lock_inode_wait",
		"posix_lock_inode_wait", "fcntl_setlk", "fcntl_setlk64", "do_lock_file_wait", "__do_sys_flock",
		"__x64_sys_flock", "__arm64_sys_flock", "nlmclnt_*", "do_semtimedop", "__do_semtimedop",
	}},
	{model.SchedDisk, []string{
		"io_schedule*", "blk_*", "__blk_*", "blkdev_*", "__blkdev_*", "rq_qos_wait", "wbt_wait", "bio_*",
		"submit_bio_wait", "folio_wait_*", "wait_on_page_*", "__wait_on_buffer", "wait_on_buffer", "sync_dirty_buffer",
		"__sync_dirty_buffer", "filemap_*", "__filemap_*", "generic_file_*", "iomap_*", "__iomap_*", "jbd2_*",
		"start_this_handle", "add_transaction_credits", "do_get_write_access", "ext4_*", "__ext4_*", "xfs_*", "xlog_*",
		"btrfs_*", "f2fs_*", "nfs_*", "nfs4_*", "nfs3_*", "rpc_wait_*", "__rpc_wait_*", "fuse_*", "__fuse_*",
		"request_wait_answer", "cifs_*", "smb2_*", "ceph_*", "balance_dirty_pages*", "writeback_*", "wb_wait_*",
		"sync_inodes_*", "dm_*", "__dm_*", "md_*", "raid*", "nbd_*", "scsi_*", "nvme_*", "loop_*", "exportfs_*",
	}},
	{model.SchedInput, []string{
		"__skb_wait_for_more_packets", "__skb_recv_*", "skb_recv_datagram", "udp_recvmsg*", "udpv6_recvmsg*",
		"tcp_recvmsg*", "sk_wait_data", "tcp_splice_read", "inet_csk_accept", "unix_stream_*recv*",
		"unix_stream_read_*", "unix_stream_data_wait", "unix_accept", "__unix_dgram_recvmsg", "unix_dgram_recvmsg",
		"raw_recvmsg", "rawv6_recvmsg", "packet_recvmsg", "netlink_recvmsg", "vsock_*recv*", "do_poll*", "do_sys_poll",
		"poll_schedule_timeout*", "do_select", "ep_poll", "do_epoll_wait", "io_cqring_wait", "io_wqe_worker",
		"pipe_read", "anon_pipe_read", "fifo_pipe_read", "pipe_wait_readable", "eventfd_read", "signalfd_read*",
		"timerfd_read*", "inotify_read", "fanotify_read", "n_tty_read", "tty_read", "do_sigtimedwait",
		"wq_sleep", "do_mq_timedreceive", "do_msgrcv", "aio_read_events", "read_events",
	}},
	{model.SchedSleeping, []string{
		"do_nanosleep", "hrtimer_nanosleep", "sk_stream_wait_memory", "sock_wait_for_wmem", "sock_alloc_send_pskb",
		"unix_wait_for_peer", "pipe_write", "anon_pipe_write", "fifo_pipe_write", "do_wait", "kernel_wait4",
		"sigsuspend", "__do_sys_pause", "kthread*", "worker_thread", "smpboot_thread_fn", "rcu_gp_kthread",
		"wait_for_vfork_done", "kernel_clone", "inet_wait_for_connect", "__inet_stream_connect", "do_exit",
	}},
}

// faults are the outer functions of a page fault: what the thread waits for
// inside of one is its own memory, whatever it has to be read from.
var faults = []string{"handle_mm_fault", "exc_page_fault", "do_user_addr_fault", "do_page_fault", "do_mem_abort"}

// listedIn says whether name is in a list of names and beginnings of names.
func listedIn(list []string, name string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		if before, after, ok := strings.Cut(pattern, "*"); ok {
			return strings.HasPrefix(name, before) && strings.Contains(name[len(before):], strings.TrimSuffix(after, "*"))
		}
		return name == pattern
	})
}

// classify says what a blocked thread waits for, and the function that says so,
// or the innermost one where none does.
func classify(p place) (state model.SchedState, function string) {
	if p.flags&schedSiteFlagsSITE_FROZEN != 0 {
		return model.SchedFrozen, ""
	}
	if p.state&(taskStopped|taskTraced) != 0 {
		return model.SchedStopped, ""
	}
	state, function = classifyStack(p.functions)
	fault := slices.IndexFunc(p.functions, func(name string) bool { return slices.Contains(faults, name) })
	switch {
	case fault >= 0 && state != model.SchedLock:
		return model.SchedMemory, function
	case p.flags&schedSiteFlagsSITE_MEMSTALL != 0:
		return model.SchedMemory, function
	case state != model.SchedUnknown:
		return state, function
	}
	if len(p.functions) > 0 {
		function = p.functions[0]
	}
	if p.flags&schedSiteFlagsSITE_IOWAIT != 0 {
		return model.SchedDisk, function
	}
	if call, ok := systemCalls[p.syscall]; ok && call.waits != model.SchedUnknown && len(p.functions) == 0 {
		return call.waits, function
	}
	return model.SchedSleeping, function
}

// classifyStack finds the innermost function that says what a thread waits for.
func classifyStack(functions []string) (model.SchedState, string) {
	for _, name := range functions {
		for _, w := range waits {
			if listedIn(w.functions, name) {
				return w.state, name
			}
		}
	}
	return model.SchedUnknown, ""
}

// switching are the functions at the top of a stack that say nothing but that
// the thread gave its CPU away.
var switching = []string{
	"__schedule", "schedule", "schedule_rtlock", "preempt_schedule*", "schedule_preempt_disabled", "schedule_timeout*",
	"schedule_hrtimeout*", "wait_woken", "bit_wait", "__wait_on_bit*", "wait_for_common", "wait_for_completion*",
	"__wait_for_common", "do_wait_for_common", "prepare_to_wait*",
}

// trim cuts what belongs to the tracer and to the switch itself off the top of
// a stack. What waits in generic code is named by its caller; where nothing is
// left, the stack is given as it is.
func trim(stack model.Stack) model.Stack {
	top := min(len(stack), 12)
	for i := top - 1; i >= 0; i-- {
		if stack[i].Name == "__schedule" || stack[i].Name == "schedule" {
			stack = stack[i+1:]
			break
		}
	}
	rest := stack
	for len(rest) > 0 && listedIn(switching, rest[0].Name) {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return stack
	}
	return rest
}

// functionsOf returns the names of a stack.
func functionsOf(stack model.Stack) []string {
	var names []string
	for _, frame := range stack {
		if frame.Name != "" {
			names = append(names, strings.TrimSuffix(cutSuffixes(frame.Name), "."))
		}
	}
	return names
}

// cutSuffixes removes what compilers append to the names of functions that they
// have changed: ".isra.0", ".constprop.0", ".part.0", ".cold".
func cutSuffixes(name string) string {
	before, _, _ := strings.Cut(name, ".")
	return before
}
