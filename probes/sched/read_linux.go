package sched

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// reading is what the kernel has counted at one moment.
type reading struct {
	listed  []*schedListed
	threads []entry[uint32, schedThread]
	sites   []entry[schedSite, schedAmount]
	rivals  []entry[schedRival, schedRivalAmount]
	// stack returns a stack of sched_stacks.
	stack func(id int32) []uint64
}

// entry is one entry of a map.
type entry[K, V any] struct {
	key   K
	value V
}

// startInterval begins a new interval: maxima are kept by interval.
func (a *attached) startInterval() error {
	a.account.epoch++
	if err := a.epoch.Set(a.account.epoch); err != nil {
		return fmt.Errorf("start an interval: %w", err)
	}
	return nil
}

// read lists the watched threads, which puts right what was missed, and reads
// what was counted. ends says that an interval ends with it.
func (a *attached) read(ends bool) (reading, error) {
	r := reading{stack: a.readStack}
	var err error
	if r.listed, err = a.readList(); err != nil {
		return r, fmt.Errorf("list the watched threads: %w", err)
	}
	if ends {
		if err := a.startInterval(); err != nil {
			return r, err
		}
	}
	if r.threads, err = readAll[uint32, schedThread](a.threads); err != nil {
		return r, fmt.Errorf("read the watched threads: %w", err)
	}
	if r.sites, err = readAll[schedSite, schedAmount](a.sites); err != nil {
		return r, fmt.Errorf("read where threads block: %w", err)
	}
	if r.rivals, err = readAll[schedRival, schedRivalAmount](a.rivals); err != nil {
		return r, fmt.Errorf("read who ran: %w", err)
	}
	return r, nil
}

// readList runs the listing. It sleeps for a moment first: the program takes
// the scheduler's clock from when the reader was last given a CPU.
func (a *attached) readList() ([]*schedListed, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	reader, err := a.list.Open()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	_ = unix.Nanosleep(&unix.Timespec{Nsec: 1000}, nil)
	content, err := io.ReadAll(reader)
	if err != nil {
		return nil, err
	}
	var list []*schedListed
	for size := int(unsafe.Sizeof(schedListed{})); len(content) >= size; content = content[size:] {
		listed, _ := ebpf.Record[schedListed](content)
		list = append(list, listed)
	}
	return list, nil
}

// readAll reads all entries of a map.
func readAll[K, V any](m *cebpf.Map) ([]entry[K, V], error) {
	var all []entry[K, V]
	keys, values := make([]K, batch), make([]V, batch)
	var cursor cebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			all = append(all, entry[K, V]{keys[i], values[i]})
		}
		if errors.Is(err, cebpf.ErrKeyNotExist) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// readStack returns the addresses of a stack that was taken at a switch.
func (a *attached) readStack(id int32) []uint64 {
	if id < 0 {
		return nil
	}
	raw, err := a.stacks.LookupBytes(uint32(id))
	if err != nil {
		return nil
	}
	var stack []uint64
	for ; len(raw) >= 8; raw = raw[8:] {
		address := binary.NativeEndian.Uint64(raw)
		if address == 0 {
			break
		}
		stack = append(stack, address)
	}
	return stack
}

// targets says which processes and threads a request is about.
func targets(proc string, r model.Request) (watch, error) {
	w := watch{request: r}
	switch {
	case r.TID > 0:
		w.tids = []uint32{uint32(r.TID)}
	case r.PID > 0:
		if _, err := os.Stat(filepath.Join(proc, strconv.Itoa(int(r.PID)))); err != nil {
			return w, fmt.Errorf("process %d: %w", r.PID, err)
		}
		w.pids = []uint32{uint32(r.PID)}
	case r.Name != "":
		w.tids = kernelThreads(proc, func(name string) bool {
			before, star := strings.CutSuffix(r.Name, "*")
			return name == r.Name || star && strings.HasPrefix(name, before)
		})
	case r.CPU >= 0:
		w.tids = kernelThreads(proc, func(name string) bool { return name == fmt.Sprintf("ksoftirqd/%d", r.CPU) })
	default:
		return w, errors.New("the request names no process, thread or CPU")
	}
	if len(w.pids)+len(w.tids) == 0 {
		return w, fmt.Errorf("no kernel thread is named %q or is ksoftirqd of CPU %d", r.Name, r.CPU)
	}
	return w, nil
}

// kernelThreadParent is the process that starts the kernel's threads.
const kernelThreadParent = "2"

// kernelThreads lists the kernel's threads by name.
func kernelThreads(proc string, wanted func(name string) bool) (tids []uint32) {
	folders, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	for _, folder := range folders {
		pid, err := strconv.ParseUint(folder.Name(), 10, 32)
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(proc, folder.Name(), "comm"))
		if err != nil || !wanted(strings.TrimSpace(string(comm))) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(proc, folder.Name(), "stat"))
		if err != nil {
			continue
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // state, parent
		if len(fields) > 1 && string(fields[1]) == kernelThreadParent {
			tids = append(tids, uint32(pid))
		}
	}
	return tids
}
