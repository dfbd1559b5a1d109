package record

import "syscall"

// errDiskFull is what a full disk answers: ERROR_DISK_FULL.
const errDiskFull = syscall.Errno(112)
