//go:build solaris || aix

package record

import "syscall"

func flock(int) error { return syscall.ENOSYS }
