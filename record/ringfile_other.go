//go:build !linux

package record

import "os"

// allocate gives a file its size.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }

// syncData returns once a file survives a loss of power: FlushFileBuffers on Windows, fsync elsewhere.
func syncData(f *os.File) error { return f.Sync() }
