package record

import (
	"errors"
	"syscall"
)

// isDiskFull says that err is for want of space: ERROR_DISK_FULL or ERROR_HANDLE_DISK_FULL.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.Errno(112)) || errors.Is(err, syscall.Errno(39))
}
