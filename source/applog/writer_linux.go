package applog

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lostbeat/model"
)

const (
	// lookAgain is how long after one search for the writer the next one begins, lookEvery after it has been found.
	lookAgain = 10 * time.Second
	lookEvery = time.Second
	// maxLooked bounds the descriptors of one search.
	maxLooked = 50000
)

// writer is the process that has a log open for writing.
type writer struct {
	pid  int32
	name string
	// link is its descriptor, next when to look again.
	link string
	next model.Time
	id   [2]uint64
}

// look finds the process, or sees whether it is still there. Of several, it is the oldest.
func (w *writer) look(now model.Time, in input) {
	switch in := in.(type) {
	case *journal:
		w.pid, w.name = in.writer()
		return
	case *fileTail:
		if in.open == nil {
			w.pid, w.name, w.link = -1, "", ""
			return
		}
		s, ok := in.open.info.Sys().(*syscall.Stat_t)
		if !ok {
			w.pid = -1
			return
		}
		id := [2]uint64{uint64(s.Dev), s.Ino} //nolint:unconvert // of another type on other architectures
		if id != w.id {
			w.id, w.link, w.next = id, "", 0
		}
	}
	if now < w.next {
		return
	}
	w.next = now.Add(lookEvery)
	if w.link != "" && w.writes(w.link) {
		return
	}
	w.next = now.Add(lookAgain)
	w.find()
}

func (w *writer) find() {
	w.pid, w.name, w.link = -1, "", ""
	started := uint64(0)
	self := strconv.Itoa(os.Getpid())
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	looked := 0
	for _, d := range dirs {
		pid, err := strconv.ParseInt(d.Name(), 10, 32)
		if err != nil || d.Name() == self {
			continue
		}
		var fds []fs.DirEntry
		if fds, err = os.ReadDir(filepath.Join("/proc", d.Name(), "fd")); err != nil {
			continue
		}
		for _, fd := range fds {
			if looked++; looked > maxLooked {
				return
			}
			link := filepath.Join("/proc", d.Name(), "fd", fd.Name())
			if !w.writes(link) {
				continue
			}
			if at := startOf(d.Name()); w.pid < 0 || at < started {
				comm, _ := os.ReadFile(filepath.Join("/proc", d.Name(), "comm"))
				w.pid, w.link, started = int32(pid), link, at
				w.name = strings.TrimSpace(string(comm))
			}
			break
		}
	}
}

// writes reports whether a descriptor is that of the log, and open for writing.
func (w *writer) writes(link string) bool {
	var s syscall.Stat_t
	if syscall.Stat(link, &s) != nil || [2]uint64{uint64(s.Dev), s.Ino} != w.id { //nolint:unconvert // as above
		return false
	}
	info, err := os.ReadFile(strings.Replace(link, "/fd/", "/fdinfo/", 1))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(info, []byte("flags:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return err == nil && flags&syscall.O_ACCMODE != syscall.O_RDONLY
}

// startOf is when a process was started, in ticks.
func startOf(pid string) uint64 {
	stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, after, _ := bytes.Cut(stat, []byte(") "))
	if f := bytes.Fields(after); len(f) > 19 {
		n, _ := strconv.ParseUint(string(f[19]), 10, 64)
		return n
	}
	return 0
}
