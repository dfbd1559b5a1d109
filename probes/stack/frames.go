package stack

import (
	"slices"
	"strings"
)

// wrappers are functions that every path of their kind passes: they do not say
// what for. Those that end in * stand for all that begin so.
var wrappers = []string{
	// system calls
	"entry_*", "do_syscall_*", "x64_sys_call", "ia32_sys_call", "__x64_sys_*", "__ia32_sys_*", "__se_sys_*", "__do_sys_*",
	"__arm64_sys_*", "ksys_*", "el0*", "el1*", "invoke_syscall*", "do_el0_svc*", "syscall_return_slowpath",
	"syscall_exit_to_user_mode*",
	// kernel threads
	"ret_from_fork*", "kthread", "kthread_worker_fn", "worker_thread", "process_one_work", "process_scheduled_works",
	"smpboot_thread_fn",
	// interrupts and exceptions
	"asm_*", "common_interrupt*", "__common_interrupt*", "sysvec_*", "__sysvec_*", "__irq_exit_rcu", "irq_exit_rcu",
	"irq_exit", "handle_irq_desc", "generic_handle_*", "do_interrupt_handler", "gic_handle_irq", "call_on_irq_stack",
	"do_IRQ", "__do_irq", "error_entry",
	// idle
	"secondary_startup_64*", "common_startup_64", "start_secondary", "cpu_startup_entry", "do_idle", "x86_64_start_*",
	"start_kernel", "rest_init", "secondary_start_kernel", "__secondary_switched",
}

// softirqLoops run the handlers of softirqs: what they call is the entry.
var softirqLoops = []string{"handle_softirqs", "__do_softirq", "___do_softirq"}

// deferredThreads do the work of NET_RX in a thread.
var deferredThreads = []string{"napi_threaded_poll", "napi_threaded_poll_loop", "backlog_napi_run"}

// isWrapper says whether a function says nothing about what is done.
func isWrapper(function string) bool {
	for _, w := range wrappers {
		if prefix, ok := strings.CutSuffix(w, "*"); ok && strings.HasPrefix(function, prefix) || function == w {
			return true
		}
	}
	return false
}

// baseName returns a function's name without what the compiler appends to the
// parts and copies that it makes: "handle_softirqs.constprop.0".
func baseName(function string) string {
	base, _, _ := strings.Cut(function, ".")
	return base
}

// entryOf returns the outermost function that says what a stack ran for, empty
// when none does, and whether that was deferred work. The innermost function
// comes first.
func entryOf(functions []string) (entry string, softirq bool) {
	for i, f := range functions {
		if base := baseName(f); slices.Contains(softirqLoops, base) {
			if i > 0 {
				return functions[i-1], true
			}
			return "", true // between two handlers, or interrupts were off until now
		} else if slices.Contains(deferredThreads, base) {
			return f, true
		}
	}
	fallback := ""
	for i := len(functions) - 1; i >= 0; i-- {
		f := functions[i]
		switch {
		case f == "":
			continue
		case !isWrapper(f):
			return f, false
		case strings.Contains(f, "_sys_"):
			fallback = f // a system call that is nothing but itself
		}
	}
	return fallback, false
}
