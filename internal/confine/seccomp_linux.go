package confine

import (
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// baseCalls are the system calls of any Go program that reads and writes files and a terminal. What is in none of the
// lists is refused with EPERM: new calls of later kernels, too. Names that a processor does not have are left out.
var baseCalls = []string{
	// Files that are open, and opening and naming files, which Landlock bounds.
	"read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "close",
	"close_range", "lseek", "fstat", "fstatfs", "fsync", "fdatasync", "sync_file_range", "fallocate", "ftruncate",
	"fadvise64", "flock", "fcntl", "dup", "dup2", "dup3", "pipe", "pipe2", "copy_file_range", "sendfile", "splice",
	"getdents", "getdents64", "open", "openat", "openat2", "stat", "lstat", "newfstatat", "statx", "statfs", "access",
	"faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir",
	"rename", "renameat", "renameat2", "utimensat", "umask", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
	// Waiting.
	"poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "eventfd", "eventfd2", "futex", "nanosleep", "clock_nanosleep", "pause", "restart_syscall",
	"timerfd_create", "timerfd_settime", "timerfd_gettime", "timer_create", "timer_settime", "timer_gettime",
	"timer_delete", "timer_getoverrun", "setitimer", "getitimer",
	// Memory and threads.
	"mmap", "munmap", "mprotect", "mremap", "madvise", "mincore", "brk", "membarrier", "rseq", "set_robust_list",
	"get_robust_list", "set_tid_address", "arch_prctl", "prctl", "exit", "exit_group", "sched_yield",
	"sched_getaffinity", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
	"rt_sigsuspend", "sigaltstack",
	// What the process may know of itself and the system.
	"getpid", "getppid", "gettid", "getpgrp", "getpgid", "getsid", "getuid", "geteuid", "getgid", "getegid", "getgroups",
	"getresuid", "getresgid", "getrlimit", "getrusage", "times", "sysinfo", "uname", "clock_gettime", "clock_getres",
	"gettimeofday", "time", "getrandom", "capget", "getcpu", "getpriority", "sched_getparam", "sched_getscheduler",
	// Messages to and from a helper process over a connection that is open, and its end.
	"sendmsg", "recvmsg", "shutdown", "wait4", "waitid",
}

// tracerExtra are the calls of a tracer beside those: descriptors of sockets of others, the files of a network
// namespace, clocks.
var tracerExtra = []string{
	"connect", "bind", "sendto", "recvfrom", "sendmmsg", "recvmmsg", "getsockname", "getpeername", "setsockopt",
	"getsockopt", "perf_event_open", "pidfd_open", "pidfd_getfd", "fsopen", "fsconfig", "fsmount", "adjtimex",
	"clock_adjtime", "mlock", "munlock", "sched_setaffinity",
}

// Commands of bpf(2) by number, see linux/bpf.h: those of what is loaded, and those that load and attach.
var (
	bpfUse = []uint64{
		1, 2, 3, 4, // map elements: look up, update, delete, next key
		15, 16, // information about a descriptor, programs of a hook
		21, 22, 24, 25, 26, 27, // look up and delete, freeze, batches
		23, 32, 33, 34, // BTF by ID, measure programs, make an iterator, detach a link
	}
	bpfLoad = []uint64{
		0, 5, 18, // make a map, load a program, load BTF
		8, 9, 17, 28, 29, 35, // attach, detach, raw tracepoint, make and change a link, bind a map
	}
)

// socketFamilies are those that a tracer uses: netlink, requests of drivers and the port mapper, name servers.
var socketFamilies = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// condition is an allowed form of a system call.
type condition = seccomp.NameWithConditions

func when(name string, of ...seccomp.Condition) condition {
	return condition{Name: name, Conditions: of}
}

func equal(argument uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
}

// callSet is what a filter lets through.
type callSet struct {
	names      []string
	conditions []condition
}

// newThreads lets the process start threads, but no processes, and no namespaces.
func newThreads() condition {
	return when("clone",
		seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
		seccomp.Condition{Argument: 0, Operation: seccomp.BitsNotSet, Value: namespaces})
}

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// base returns what all processes may do. Requests to a terminal that type into it for others are refused.
func base() callSet {
	own := uint64(os.Getpid())
	return callSet{names: baseCalls, conditions: []condition{
		newThreads(),
		when("tgkill", equal(0, own)),
		when("kill", equal(0, own)),
		when("kill", equal(0, 0)),
		when("kill", equal(1, 0)),
		when("prlimit64", equal(0, 0)),
		when("ioctl",
			// The kernel looks at the lower half only.
			seccomp.Condition{Argument: 1, Operation: seccomp.LessOrEqual, Value: math.MaxUint32},
			seccomp.Condition{Argument: 1, Operation: seccomp.NotEqual, Value: unix.TIOCSTI},
			seccomp.Condition{Argument: 1, Operation: seccomp.NotEqual, Value: unix.TIOCLINUX}),
	}}
}

// clientCalls are those of a process that asks servers.
func clientCalls() callSet {
	s := base()
	s.names = slices.Concat(s.names, []string{
		"connect", "bind", "sendto", "recvfrom", "sendmmsg", "recvmmsg", "getsockname", "getpeername", "setsockopt",
		"getsockopt",
	})
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		s.conditions = append(s.conditions, when("socket", equal(0, family)))
	}
	return s
}

// converterCalls are those of a process that runs programs.
func converterCalls() callSet {
	s := base()
	s.names = slices.Concat(s.names, []string{
		"execve", "vfork", "fork", "setpgid", "getsockopt", "pidfd_open", "pidfd_send_signal", "kill", "tgkill", "prlimit64",
		"setrlimit", "chdir", "fchdir",
	})
	s.conditions = slices.DeleteFunc(s.conditions, func(c condition) bool { return slices.Contains(s.names, c.Name) })
	s.conditions = append(s.conditions,
		when("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsNotSet, Value: namespaces}))
	return s
}

// tracerCalls are those of a process that traces this host.
func tracerCalls(t Tracing) callSet {
	s := base()
	s.names = slices.Concat(s.names, tracerExtra)
	if t.Accepts {
		s.names = append(s.names, "accept4")
	}
	if t.SetsModes {
		s.names = append(s.names, "fchmod")
	}
	s.conditions = append(s.conditions, when("setns", equal(1, unix.CLONE_NEWNET)))
	for _, family := range socketFamilies {
		s.conditions = append(s.conditions, when("socket", equal(0, family)))
	}
	commands := bpfUse
	if t.Loads {
		commands = slices.Concat(bpfUse, bpfLoad)
	}
	for _, command := range commands {
		s.conditions = append(s.conditions, when("bpf", equal(0, command)))
	}
	return s
}

// loadFilter allows all threads only the given system calls.
func loadFilter(calls callSet) error {
	native, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("no filter for this processor: %w", err)
	}
	group := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for _, name := range calls.names {
		if _, ok := native.SyscallNames[name]; ok {
			group.Names = append(group.Names, name)
		}
	}
	for _, c := range calls.conditions {
		if _, ok := native.SyscallNames[c.Name]; ok {
			group.NamesWithCondtions = append(group.NamesWithCondtions, c)
		}
	}
	// The library of C falls back to clone when it hears that there is no clone3, whose flags are out of a filter's reach.
	absent := seccomp.SyscallGroup{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls:      []seccomp.SyscallGroup{group, absent},
		},
	})
}
