package sched

import (
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// legacyCalls are system calls that newer architectures do without.
var legacyCalls = map[int32]systemCall{
	unix.SYS_POLL:       {"poll", false, model.SchedInput},
	unix.SYS_SELECT:     {"select", false, model.SchedInput},
	unix.SYS_EPOLL_WAIT: {"epoll_wait", true, model.SchedInput},
	unix.SYS_PAUSE:      {"pause", false, model.SchedSleeping},
	unix.SYS_OPEN:       {"open", false, model.SchedUnknown},
	unix.SYS_STAT:       {"stat", false, model.SchedDisk},
	unix.SYS_LSTAT:      {"lstat", false, model.SchedDisk},
	unix.SYS_UNLINK:     {"unlink", false, model.SchedDisk},
	unix.SYS_RENAME:     {"rename", false, model.SchedDisk},
	unix.SYS_MKDIR:      {"mkdir", false, model.SchedDisk},
	unix.SYS_FORK:       {"fork", false, model.SchedUnknown},
	unix.SYS_VFORK:      {"vfork", false, model.SchedUnknown},
}
