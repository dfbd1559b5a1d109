//go:build unix

package record

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks f, or returns ErrLocked when another has done so.
func lockFile(f *os.File) error {
	switch err := flock(int(f.Fd())); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrLocked
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
		return errors.ErrUnsupported
	default:
		return err
	}
}

// removeLock removes a lock file that is held and gives the lock back: in this
// order, so that whoever waits for it finds that its file is gone.
func removeLock(f *os.File, name string) {
	_ = os.Remove(name) // one that is left behind locks nothing
	f.Close()
}
