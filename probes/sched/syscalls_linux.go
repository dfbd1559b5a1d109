package sched

import (
	"fmt"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// systemCall is what is known of a system call.
type systemCall struct {
	name string
	// descriptor says that the first argument is a file descriptor.
	descriptor bool
	// waits is what a thread that blocks in it waits for, where its stack was not taken.
	waits model.SchedState
}

// systemCalls are those in which programs block, by the number that this
// architecture gives them; legacyCalls are added where it has them.
var systemCalls = merge(map[int32]systemCall{
	unix.SYS_READ:              {"read", true, model.SchedInput},
	unix.SYS_READV:             {"readv", true, model.SchedInput},
	unix.SYS_PREAD64:           {"pread64", true, model.SchedDisk},
	unix.SYS_PREADV:            {"preadv", true, model.SchedDisk},
	unix.SYS_PREADV2:           {"preadv2", true, model.SchedDisk},
	unix.SYS_WRITE:             {"write", true, model.SchedUnknown},
	unix.SYS_WRITEV:            {"writev", true, model.SchedUnknown},
	unix.SYS_PWRITE64:          {"pwrite64", true, model.SchedDisk},
	unix.SYS_PWRITEV:           {"pwritev", true, model.SchedDisk},
	unix.SYS_PWRITEV2:          {"pwritev2", true, model.SchedDisk},
	unix.SYS_FSYNC:             {"fsync", true, model.SchedDisk},
	unix.SYS_FDATASYNC:         {"fdatasync", true, model.SchedDisk},
	unix.SYS_SYNCFS:            {"syncfs", true, model.SchedDisk},
	unix.SYS_SYNC:              {"sync", false, model.SchedDisk},
	unix.SYS_FTRUNCATE:         {"ftruncate", true, model.SchedDisk},
	unix.SYS_FALLOCATE:         {"fallocate", true, model.SchedDisk},
	unix.SYS_OPENAT:            {"openat", false, model.SchedUnknown},
	unix.SYS_OPENAT2:           {"openat2", false, model.SchedUnknown},
	unix.SYS_CLOSE:             {"close", true, model.SchedUnknown},
	unix.SYS_FSTAT:             {"fstat", true, model.SchedDisk},
	unix.SYS_STATX:             {"statx", false, model.SchedDisk},
	unix.SYS_UNLINKAT:          {"unlinkat", false, model.SchedDisk},
	unix.SYS_RENAMEAT2:         {"renameat2", false, model.SchedDisk},
	unix.SYS_GETDENTS64:        {"getdents64", true, model.SchedDisk},
	unix.SYS_IOCTL:             {"ioctl", true, model.SchedUnknown},
	unix.SYS_FCNTL:             {"fcntl", true, model.SchedLock},
	unix.SYS_FLOCK:             {"flock", true, model.SchedLock},
	unix.SYS_FUTEX:             {"futex", false, model.SchedLock},
	unix.SYS_SEMTIMEDOP:        {"semtimedop", false, model.SchedLock},
	unix.SYS_SEMOP:             {"semop", false, model.SchedLock},
	unix.SYS_RECVFROM:          {"recvfrom", true, model.SchedInput},
	unix.SYS_RECVMSG:           {"recvmsg", true, model.SchedInput},
	unix.SYS_RECVMMSG:          {"recvmmsg", true, model.SchedInput},
	unix.SYS_ACCEPT:            {"accept", true, model.SchedInput},
	unix.SYS_ACCEPT4:           {"accept4", true, model.SchedInput},
	unix.SYS_SENDTO:            {"sendto", true, model.SchedUnknown},
	unix.SYS_SENDMSG:           {"sendmsg", true, model.SchedUnknown},
	unix.SYS_SENDMMSG:          {"sendmmsg", true, model.SchedUnknown},
	unix.SYS_SENDFILE:          {"sendfile", true, model.SchedUnknown},
	unix.SYS_CONNECT:           {"connect", true, model.SchedUnknown},
	unix.SYS_SPLICE:            {"splice", true, model.SchedUnknown},
	unix.SYS_PPOLL:             {"ppoll", false, model.SchedInput},
	unix.SYS_PSELECT6:          {"pselect6", false, model.SchedInput},
	unix.SYS_EPOLL_PWAIT:       {"epoll_pwait", true, model.SchedInput},
	unix.SYS_EPOLL_PWAIT2:      {"epoll_pwait2", true, model.SchedInput},
	unix.SYS_IO_URING_ENTER:    {"io_uring_enter", true, model.SchedInput},
	unix.SYS_IO_GETEVENTS:      {"io_getevents", false, model.SchedInput},
	unix.SYS_MSGRCV:            {"msgrcv", false, model.SchedInput},
	unix.SYS_MQ_TIMEDRECEIVE:   {"mq_timedreceive", false, model.SchedInput},
	unix.SYS_RT_SIGTIMEDWAIT:   {"rt_sigtimedwait", false, model.SchedInput},
	unix.SYS_RT_SIGSUSPEND:     {"rt_sigsuspend", false, model.SchedSleeping},
	unix.SYS_NANOSLEEP:         {"nanosleep", false, model.SchedSleeping},
	unix.SYS_CLOCK_NANOSLEEP:   {"clock_nanosleep", false, model.SchedSleeping},
	unix.SYS_WAIT4:             {"wait4", false, model.SchedSleeping},
	unix.SYS_WAITID:            {"waitid", false, model.SchedSleeping},
	unix.SYS_CLONE:             {"clone", false, model.SchedUnknown},
	unix.SYS_CLONE3:            {"clone3", false, model.SchedUnknown},
	unix.SYS_EXECVE:            {"execve", false, model.SchedUnknown},
	unix.SYS_SCHED_YIELD:       {"sched_yield", false, model.SchedUnknown},
	unix.SYS_RESTART_SYSCALL:   {"restart_syscall", false, model.SchedUnknown},
	unix.SYS_MMAP:              {"mmap", false, model.SchedUnknown},
	unix.SYS_MUNMAP:            {"munmap", false, model.SchedUnknown},
	unix.SYS_MPROTECT:          {"mprotect", false, model.SchedUnknown},
	unix.SYS_MADVISE:           {"madvise", false, model.SchedUnknown},
	unix.SYS_MSYNC:             {"msync", false, model.SchedDisk},
	unix.SYS_MEMBARRIER:        {"membarrier", false, model.SchedUnknown},
	unix.SYS_RT_SIGRETURN:      {"rt_sigreturn", false, model.SchedUnknown},
	unix.SYS_EXIT:              {"exit", false, model.SchedUnknown},
	unix.SYS_EXIT_GROUP:        {"exit_group", false, model.SchedUnknown},
	unix.SYS_PERF_EVENT_OPEN:   {"perf_event_open", false, model.SchedUnknown},
	unix.SYS_BPF:               {"bpf", false, model.SchedUnknown},
	unix.SYS_SETSOCKOPT:        {"setsockopt", true, model.SchedUnknown},
	unix.SYS_GETSOCKOPT:        {"getsockopt", true, model.SchedUnknown},
	unix.SYS_SHUTDOWN:          {"shutdown", true, model.SchedUnknown},
	unix.SYS_PROCESS_VM_READV:  {"process_vm_readv", false, model.SchedUnknown},
	unix.SYS_COPY_FILE_RANGE:   {"copy_file_range", true, model.SchedDisk},
	unix.SYS_SYNC_FILE_RANGE:   {"sync_file_range", true, model.SchedDisk},
	unix.SYS_QUOTACTL:          {"quotactl", false, model.SchedDisk},
	unix.SYS_NAME_TO_HANDLE_AT: {"name_to_handle_at", false, model.SchedDisk},
}, legacyCalls)

func merge(a, b map[int32]systemCall) map[int32]systemCall {
	for number, call := range b {
		a[number] = call
	}
	return a
}

// syscallName returns the name of a system call, its number where it is not in
// the table, "" for none.
func syscallName(number int32) string {
	if number < 0 {
		return ""
	}
	if call, ok := systemCalls[number]; ok {
		return call.name
	}
	return fmt.Sprintf("system call %d", number)
}
