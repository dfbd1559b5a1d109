package sched

import (
	"slices"
	"strings"
	"testing"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

func TestClassify(t *testing.T) {
	const (
		interruptible   = 1
		uninterruptible = 2
	)
	for _, test := range []struct {
		name     string
		place    place
		stack    string
		want     model.SchedState
		function string
	}{
		{
			"a datagram", place{state: interruptible, syscall: unix.SYS_RECVFROM},
			"__skb_wait_for_more_packets __skb_recv_udp udp_recvmsg", model.SchedInput, "__skb_wait_for_more_packets",
		},
		{
			"room to send", place{state: interruptible, syscall: unix.SYS_SENDTO},
			"sk_stream_wait_memory tcp_sendmsg_locked", model.SchedSleeping, "sk_stream_wait_memory",
		},
		{
			"a journal", place{state: uninterruptible, syscall: unix.SYS_FSYNC},
			"jbd2_log_wait_commit ext4_sync_file", model.SchedDisk, "jbd2_log_wait_commit",
		},
		{
			"a file system's lock", place{state: uninterruptible, syscall: unix.SYS_WRITE},
			"rwsem_down_write_slowpath down_write ext4_buffered_write_iter", model.SchedLock, "rwsem_down_write_slowpath",
		},
		{
			"a page that has to be read", place{state: uninterruptible, syscall: -1, flags: schedSiteFlagsSITE_IOWAIT},
			"io_schedule folio_wait_bit_common filemap_fault handle_mm_fault exc_page_fault",
			model.SchedMemory, "io_schedule",
		},
		{
			"the lock of an address space", place{state: uninterruptible, syscall: -1},
			"rwsem_down_read_slowpath down_read do_user_addr_fault exc_page_fault",
			model.SchedLock, "rwsem_down_read_slowpath",
		},
		{
			"the penalty of memory.high", place{state: 0x102, syscall: -1, flags: schedSiteFlagsSITE_MEMSTALL},
			"__mem_cgroup_handle_over_high resume_user_mode_work", model.SchedMemory, "__mem_cgroup_handle_over_high",
		},
		{
			"an unknown file system", place{state: uninterruptible, flags: schedSiteFlagsSITE_IOWAIT, syscall: unix.SYS_READ},
			"newfs_wait newfs_read", model.SchedDisk, "newfs_wait",
		},
		{
			"an unknown wait", place{state: uninterruptible, syscall: unix.SYS_IOCTL},
			"gpu_wait gpu_ioctl", model.SchedSleeping, "gpu_wait",
		},
		{"no stack, by the call", place{state: interruptible, syscall: unix.SYS_PPOLL}, "", model.SchedInput, ""},
		{"version 2", place{state: 0x2001, flags: schedSiteFlagsSITE_FROZEN}, "get_signal", model.SchedFrozen, ""},
		{"stopped", place{state: 0x104}, "do_signal_stop get_signal", model.SchedStopped, ""},
		{"traced", place{state: taskTraced}, "ptrace_stop", model.SchedStopped, ""},
		{
			"ksoftirqd", place{state: interruptible, syscall: -1},
			"smpboot_thread_fn kthread", model.SchedSleeping, "smpboot_thread_fn",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.place.functions = strings.Fields(test.stack)
			state, function := classify(test.place)
			if state != test.want || function != test.function {
				t.Errorf("%v %q, want %v %q", state, function, test.want, test.function)
			}
		})
	}
}

func TestTrim(t *testing.T) {
	for _, test := range []struct{ name, stack, want string }{
		{"the tracer", "bpf_prog_1 bpf_trampoline_2 __traceiter_sched_switch __schedule schedule futex_wait", "futex_wait"},
		{"generic waits", "__schedule schedule schedule_timeout wait_woken sk_wait_data", "sk_wait_data"},
		{"nothing else", "__schedule schedule", ""},
		{"no switch on top", "futex_wait do_futex", "futex_wait do_futex"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stack model.Stack
			for _, name := range strings.Fields(test.stack) {
				stack = append(stack, model.Frame{Name: name})
			}
			got := strings.Join(functionsOf(trim(stack)), " ")
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// Each name of the tables can be reached: none is hidden by one before it.
func TestWaitsAreReachable(t *testing.T) {
	for _, w := range waits {
		for _, pattern := range w.functions {
			name := strings.ReplaceAll(pattern, "*", "_x")
			if state, _ := classifyStack([]string{name}); state != w.state {
				t.Errorf("%q is %v, listed as %v", pattern, state, w.state)
			}
		}
	}
}

// Of a process with more threads than are reported, those that were asked for
// come first, then those that did most.
func TestThreadsAskedForComeFirst(t *testing.T) {
	a := accounts{named: []uint32{3}}
	var all []*threadStays
	for tid := range uint32(4) {
		s := &threadStays{watched: &watched{tid: tid, pid: 9}}
		s.states[model.SchedRunning].total = uint64(tid) % 3
		all = append(all, s)
	}
	a.sortThreads(all)
	var got []uint32
	for _, s := range all {
		got = append(got, s.tid)
	}
	if want := []uint32{3, 2, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
