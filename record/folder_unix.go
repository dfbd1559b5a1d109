//go:build unix

package record

import (
	"errors"
	"os"
	"syscall"
)

// syncFolder has the names in a folder survive a loss of power.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) { // a file system that has no such thing
		return err
	}
	return nil
}
