//go:build !windows

package record

import (
	"errors"
	"syscall"
)

// isDiskFull says that err is for want of space or quota.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
