package vmtest

import (
	"fmt"
	"io"
)

// cpioFile is one entry of an initial RAM file system.
type cpioFile struct {
	name string
	mode uint32
	data []byte
}

// writeCPIO writes a "newc" archive, the form that the kernel unpacks.
func writeCPIO(w io.Writer, files []cpioFile) error {
	for i, f := range append(files, cpioFile{name: "TRAILER!!!"}) {
		header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
			i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		for _, part := range [][]byte{[]byte(header + f.name + "\x00"), f.data} {
			// Headers with names, and data, are padded to 4 bytes.
			if _, err := w.Write(append(part[:len(part):len(part)], make([]byte, -len(part)&3)...)); err != nil {
				return err
			}
		}
	}
	return nil
}
