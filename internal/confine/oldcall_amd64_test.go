package confine

import "syscall"

// int80 makes a system call of the 32-bit kind.
func int80(number uint32) int32

// oldCall makes socketcall by the 32-bit way, around a filter that looks at 64-bit numbers only.
func oldCall() error {
	const socketcall = 102
	if errno := int80(socketcall); errno < 0 {
		return syscall.Errno(-errno)
	}
	return nil
}
