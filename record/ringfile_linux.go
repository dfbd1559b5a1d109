package record

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// allocate has the file system set size bytes aside. One that cannot do that shows a full disk when they are written.
func allocate(f *os.File, size int64) error {
	for {
		switch err := syscall.Fallocate(int(f.Fd()), 0, 0, size); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return nil
		default:
			return err
		}
	}
}

// syncData returns once the data of a file survives a loss of power, whose length has not changed. It then gives back
// the page cache: it counts to the service's memory, and a write to a part of a large folio, in which the file was
// filled, counts to the process as one of the whole folio.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err == nil:
			_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // nothing depends on it
		}
		return err
	}
}
