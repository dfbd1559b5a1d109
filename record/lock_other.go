//go:build !unix && !windows

package record

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.ErrUnsupported }

func removeLock(f *os.File, name string) {
	_ = os.Remove(name)
	f.Close()
}
