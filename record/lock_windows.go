package record

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockedByte lies beyond the PID, which others may read.
const lockedByte = 1 << 20

// lockFile locks f, or returns ErrLocked when another has done so.
func lockFile(f *os.File) error {
	err := windows.LockFileEx(
		windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		&windows.Overlapped{Offset: lockedByte},
	)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

// removeLock gives the lock back and removes its file, which is possible only
// once it is closed: another that has opened it by then keeps it.
func removeLock(f *os.File, name string) {
	f.Close()
	_ = os.Remove(name)
}
