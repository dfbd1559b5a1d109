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

// withFolders returns files with the folders that they are in, each before what is in it.
func withFolders(files []cpioFile) (out []cpioFile) {
	made := make(map[string]bool)
	for _, f := range files {
		for i, c := range f.name {
			if parent := f.name[:i]; c == '/' && !made[parent] {
				made[parent] = true
				out = append(out, cpioFile{parent, folder, nil})
			}
		}
		out = append(out, f)
	}
	return out
}
