package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lockExtension is what the name of a recording's lock file ends with.
const lockExtension = ".lock"

// lock keeps a name for one recorder. The system gives it back when the process
// ends, however it ends: a lock file that was left behind locks nothing.
type lock struct{ file *os.File }

// lockName locks the name of a recording. The file beside it holds the PID of
// the recorder, and is removed by release.
func lockName(path string) (*lock, error) {
	name := path + lockExtension
	const tries = 10 // a recorder that ends meanwhile takes its file with it
	for range tries {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			holder := lockedBy(f)
			f.Close()
			if errors.Is(err, errors.ErrUnsupported) {
				return &lock{}, nil // this file system or platform has no locks
			}
			if errors.Is(err, ErrLocked) {
				err = fmt.Errorf("%w%s", ErrLocked, holder)
			}
			return nil, err
		}
		ours, err := f.Stat()
		if err == nil {
			var there fs.FileInfo
			if there, err = os.Lstat(name); err == nil && os.SameFile(ours, there) {
				// A disk that is full does not take the PID: the lock holds without it.
				_ = f.Truncate(0)
				_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
				return &lock{f}, nil
			}
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, ErrLocked
}

// lockedBy reads who holds a lock, " (PID 123)" or "".
func lockedBy(f *os.File) string {
	text := make([]byte, 20)
	n, err := f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (PID %d)", pid)
}

// release gives the name back.
func (l *lock) release() {
	if l == nil || l.file == nil {
		return
	}
	removeLock(l.file, filepath.Clean(l.file.Name()))
	l.file = nil
}

// Lock keeps a name for this process until it ends, or calls the returned function. It returns [ErrLocked] where
// another process has the name.
func Lock(path string) (unlock func(), err error) {
	l, err := lockName(path)
	if err != nil {
		return nil, err
	}
	return l.release, nil
}
