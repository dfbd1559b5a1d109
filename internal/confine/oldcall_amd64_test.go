package confine

import (
	"runtime/debug"
	"syscall"
)

// int80 makes a system call of the 32-bit kind.
func int80(number uint32) int32

// oldCall makes socketcall by the 32-bit way, around a filter that looks at 64-bit numbers only. A kernel without it
// (ia32_emulation=off) lets the instruction fault: nothing gets through there.
func oldCall() (err error) {
	const socketcall = 102
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = syscall.EPERM
		}
	}()
	if errno := int80(socketcall); errno < 0 {
		return syscall.Errno(-errno)
	}
	return nil
}
