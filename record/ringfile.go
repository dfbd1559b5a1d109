package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ringFile is a ring on disk.
type ringFile struct {
	*os.File
	path string
}

// createRing makes a file of the given size, all of it on disk, which must not exist.
func createRing(path string, size int64, mode fs.FileMode) (ringStorage, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	r := &ringFile{f, path}
	if err := r.fill(size); err != nil {
		return nil, errors.Join(fmt.Errorf("a ring of %d MiB: %w", size>>20, cause(err)), f.Close(), os.Remove(path))
	}
	return r, nil
}

// fill gives the file its size, and blocks that have been written: a sync has then no more to do than the data.
func (f *ringFile) fill(size int64) error {
	if err := allocate(f.File, size); err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if err := writeAll(f, zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return errors.Join(f.File.Sync(), f.Sync(), syncFolder(filepath.Dir(f.path)))
}

// Sync implements ringStorage.
func (f *ringFile) Sync() error { return syncData(f.File) }

// Removed implements ringStorage.
func (f *ringFile) Removed() bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, there)
}
