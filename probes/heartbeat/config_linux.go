package heartbeat

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// programOf describes a process: its files are those of its own mount namespace, which is that of its container.
func programOf(proc string, pid int32) *program {
	folder := filepath.Join(proc, fmt.Sprint(pid))
	list := func(name string) []string {
		text := limited(filepath.Join(folder, name))
		return strings.Split(strings.TrimRight(text, "\x00"), "\x00")
	}
	return &program{
		args: list("cmdline"), env: list("environ"),
		read: func(name string) string {
			if !filepath.IsAbs(name) {
				cwd, err := os.Readlink(filepath.Join(folder, "cwd"))
				if err != nil {
					return ""
				}
				name = filepath.Join(cwd, name)
			}
			return readIn(filepath.Join(folder, "root"), name)
		},
	}
}

func limited(name string) string {
	file, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	return readAll(file)
}

func readAll(file *os.File) string {
	text, err := io.ReadAll(io.LimitReader(file, maxConfig))
	if err != nil {
		return "" // what is read in part may lack what overrides it
	}
	return string(text)
}

// readIn reads a file below a root that its links do not leave. What is no plain file is not read: it could block.
func readIn(root, name string) string {
	folder, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(folder)
	fd, err := unix.Openat2(folder, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return ""
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return readAll(file)
}

// alive says that a process is there.
func alive(pid int32) bool { return unix.Kill(int(pid), 0) != unix.ESRCH }
