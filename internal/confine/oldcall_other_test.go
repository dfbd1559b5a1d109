//go:build linux && !amd64

package confine

import "syscall"

func oldCall() error { return syscall.EPERM }
