package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

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

func TestParseGroups(t *testing.T) {
	hybrid := "6:freezer:/f\n4:memory:/m\n2:cpu,cpuacct:/c/d\n1:name=systemd:/\n0::/u\n"
	if got, want := parseGroups(hybrid), (groups{cpu: "/c/d", freezer: "/f", unified: "/u"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := parseGroups("0::/system.slice/corosync.service\n"),
		(groups{unified: "/system.slice/corosync.service"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := parseGroups("broken\n:\n\n"); got != (groups{}) {
		t.Errorf("%+v of a broken file", got)
	}
}

func TestParseLimit(t *testing.T) {
	for _, test := range []struct {
		text          string
		limit, period time.Duration
		ok            bool
	}{
		{"20000 100000\n", 20 * time.Millisecond, 100 * time.Millisecond, true},
		{"max 100000\n", 0, 0, false},
		{"-1\n 100000\n", 0, 0, false},
		{"", 0, 0, false},
		{"5000", 0, 0, false},
		{"5000 x", 0, 0, false},
	} {
		limit, period, ok := parseLimit(test.text)
		if limit != test.limit || period != test.period || ok != test.ok {
			t.Errorf("%q: %v of %v, %v", test.text, limit, period, ok)
		}
	}
}

func TestParseMounts(t *testing.T) {
	var c cgroups
	c.parseMounts(strings.NewReader(`24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 /pod /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/freezer rw,relatime shared:1 - cgroup cgroup rw,freezer
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
broken line
`))
	if got := c.cpu.folder("/pod/a"); got != "/sys/fs/cgroup/cpu/a" {
		t.Errorf("%q: the mount begins at /pod", got)
	}
	if got := c.cpu.folder("/other"); got != "" {
		t.Errorf("%q is not mounted", got)
	}
	if got := c.freezer.folder("/x/y"); got != "/sys/fs/cgroup/freezer/x/y" {
		t.Error(got)
	}
	var visited []string
	c.unified.upwards("/a/b", func(group, folder string) { visited = append(visited, group+"="+folder) })
	want := "/a/b=/sys/fs/cgroup/unified/a/b /a=/sys/fs/cgroup/unified/a /=/sys/fs/cgroup/unified"
	if got := strings.Join(visited, " "); got != want {
		t.Errorf("%q, want %q", got, want)
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
