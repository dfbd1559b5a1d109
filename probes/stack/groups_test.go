package stack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/model"
)

func TestEntry(t *testing.T) {
	for name, c := range map[string]struct {
		frames  string // innermost first
		entry   string
		softirq bool
	}{
		"ksoftirqd": {
			"nft_do_chain nft_do_chain_ipv4 nf_hook_slow ip_rcv process_backlog net_rx_action handle_softirqs " +
				"run_ksoftirqd smpboot_thread_fn kthread ret_from_fork ret_from_fork_asm",
			"net_rx_action", true,
		},
		"softirq at the end of an interrupt of a system call": {
			"rcu_core rcu_core_si handle_softirqs.constprop.0 __irq_exit_rcu sysvec_apic_timer_interrupt " +
				"asm_sysvec_apic_timer_interrupt read_zero vfs_read ksys_read do_syscall_64",
			"rcu_core_si", true,
		},
		"softirq of an older kernel": {
			"net_rx_action __do_softirq irq_exit_rcu common_interrupt",
			"net_rx_action", true,
		},
		"threaded NAPI": {
			"virtnet_poll __napi_poll napi_threaded_poll kthread ret_from_fork",
			"napi_threaded_poll", true,
		},
		"between softirqs": {
			"handle_softirqs run_ksoftirqd smpboot_thread_fn kthread",
			"", true,
		},
		"read": {
			"read_zero vfs_read ksys_read do_syscall_64 entry_SYSCALL_64_after_hwframe",
			"vfs_read", false,
		},
		"read on arm64": {
			"read_zero vfs_read ksys_read __arm64_sys_read invoke_syscall.constprop.0 do_el0_svc el0_svc el0t_64_sync",
			"vfs_read", false,
		},
		"send": {
			"udp_sendmsg __sys_sendto __x64_sys_sendto x64_sys_call do_syscall_64",
			"__sys_sendto", false,
		},
		"a system call and no more": {
			"__x64_sys_getppid do_syscall_64 entry_SYSCALL_64_after_hwframe",
			"__x64_sys_getppid", false,
		},
		"page fault": {
			"clear_page_erms handle_mm_fault do_user_addr_fault exc_page_fault asm_exc_page_fault",
			"exc_page_fault", false,
		},
		"kernel thread": {
			"memcpy shrink_lruvec shrink_node balance_pgdat kswapd kthread ret_from_fork",
			"kswapd", false,
		},
		"work": {
			"memset wb_workfn process_one_work worker_thread kthread",
			"wb_workfn", false,
		},
		"nothing but wrappers": {
			"do_syscall_64 entry_SYSCALL_64_after_hwframe",
			"", false,
		},
		"user code": {
			"",
			"", false,
		},
		"cut before the outermost name": {
			"memcpy - -",
			"memcpy", false,
		},
	} {
		functions := strings.Fields(c.frames)
		for i := range functions {
			functions[i] = strings.TrimPrefix(functions[i], "-")
		}
		if entry, softirq := entryOf(functions); entry != c.entry || softirq != c.softirq {
			t.Errorf("%s: %q, %v; want %q, %v", name, entry, softirq, c.entry, c.softirq)
		}
	}
}

// symbols names the functions at 100, 200, ...
func symbols(addr uint64) string {
	return [...]string{"", "leaf_a", "leaf_b", "vfs_read", "net_rx_action", "handle_softirqs"}[addr/100]
}

func emitted(t *testing.T, s *samples) (list []string) {
	t.Helper()
	var b model.Builder
	s.emit(model.Time(time.Second), time.Second, &b)
	batch := b.Take()
	if batch == nil {
		return nil
	}
	if err := model.Validate(batch); err != nil {
		t.Error(err)
	}
	for i := range batch.Events {
		v, ok := batch.StackSample(&batch.Events[i])
		if !ok {
			t.Fatal("another kind")
		}
		list = append(list, fmt.Sprintf("%d: %d/%d %s < %s of %s %d %v, %d frames",
			v.CPU, v.Samples, v.Of, v.Function, v.Entry, v.Task, v.TID, v.Softirq, len(v.Stack)))
	}
	return list
}

func TestSamplesAreAddedUp(t *testing.T) {
	var s samples
	a, b := task{1, 11, "a"}, task{2, 22, "b"}
	s.add(1, a, []uint64{110, 301}, symbols)
	s.add(1, a, []uint64{120, 350}, symbols) // the same functions
	s.add(1, a, []uint64{120, 150, 350}, symbols)
	s.add(1, b, []uint64{110, 301}, symbols)
	s.add(1, a, nil, symbols)
	for range 2 { // deferred work, whoever is interrupted
		s.add(0, b, []uint64{210, 410, 510}, symbols)
		s.add(0, a, []uint64{220, 410, 510}, symbols)
	}
	s.add(0, b, []uint64{220, 410, 510, 350}, symbols)
	s.add(0, b, []uint64{220, 300}, symbols) // returns to just behind leaf_b
	got := emitted(t, &s)
	want := []string{
		"0: 5/6 leaf_b < net_rx_action of b 22 true, 3 frames",
		"0: 1/6 leaf_b < leaf_b of b 22 false, 2 frames",
		"1: 3/5 leaf_a < vfs_read of a 11 false, 2 frames",
		"1: 1/5  <  of a 11 false, 0 frames",
		"1: 1/5 leaf_a < vfs_read of b 22 false, 2 frames",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if rest := emitted(t, &s); rest != nil {
		t.Errorf("the next interval begins with %q", rest)
	}
}

func TestOnlyTheMostFrequentAreEmitted(t *testing.T) {
	var s samples
	for i := range Top + 5 {
		for range i + 1 {
			s.add(0, task{int32(i), int32(i), fmt.Sprint(i)}, nil, symbols)
		}
	}
	got := emitted(t, &s)
	if len(got) != Top || !strings.HasPrefix(got[0], "0: 15/120 ") || !strings.HasPrefix(got[Top-1], "0: 6/120 ") {
		t.Errorf("got %q", got)
	}
}
