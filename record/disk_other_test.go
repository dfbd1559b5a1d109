//go:build !windows

package record

import "syscall"

// errDiskFull is what a full disk answers.
const errDiskFull = syscall.ENOSPC
