package port

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
)

const (
	// maxProcesses, maxModules and maxNamed bound what is kept for naming
	// stacks; a cache that is full is emptied.
	maxProcesses = 256
	maxModules   = 64
	maxNamed     = 4096
)

// symbolizer turns the ids of user stacks into named frames while the process
// still exists.
type symbolizer struct {
	stacks    *cebpf.Map
	proc      string
	processes map[int32]*addressSpace
	modules   map[moduleKey]*module
	named     map[namedKey]model.Stack
}

// namedKey identifies a stack that has been named: ids are shared between
// processes that have the same addresses.
type namedKey struct {
	id, pid int32
	started uint64
}

// addressSpace is the mapped files of one process.
type addressSpace struct {
	started  uint64 // in ticks since boot: tells a PID's processes apart
	mappings []mapping
}

func newSymbolizer(stacks *cebpf.Map) *symbolizer {
	return &symbolizer{
		stacks: stacks, proc: "/proc",
		processes: make(map[int32]*addressSpace),
		modules:   make(map[moduleKey]*module),
		named:     make(map[namedKey]model.Stack),
	}
}

// stack returns a stack with names, innermost frame first; nil when the kernel
// has not kept it. Frames have addresses only when the process has ended.
func (s *symbolizer) stack(id, pid int32) model.Stack {
	started := startTicks(s.proc, pid)
	key := namedKey{id, pid, started}
	if st, ok := s.named[key]; ok {
		return st
	}
	raw, err := s.stacks.LookupBytes(uint32(id))
	if err != nil || raw == nil {
		return nil
	}
	space := s.space(pid, started)
	var st model.Stack
	for ; len(raw) >= 8; raw = raw[8:] {
		addr := binary.NativeEndian.Uint64(raw)
		if addr == 0 {
			break
		}
		st = append(st, model.Frame{Addr: addr, Name: s.name(space, pid, addr)})
	}
	if len(s.named) >= maxNamed {
		clear(s.named)
	}
	s.named[key] = st
	return st
}

// space returns what is mapped in a process, nil when that is not known.
func (s *symbolizer) space(pid int32, started uint64) *addressSpace {
	if known := s.processes[pid]; known != nil && (known.started == started || started == 0) {
		return known
	}
	if started == 0 {
		return nil
	}
	if len(s.processes) >= maxProcesses {
		clear(s.processes)
	}
	space := &addressSpace{started: started, mappings: readMappings(s.proc, pid)}
	s.processes[pid] = space
	return space
}

// name names the function that contains the instruction before addr, which is
// a return address, or behind a system call.
func (s *symbolizer) name(space *addressSpace, pid int32, addr uint64) string {
	if space == nil {
		return ""
	}
	m := space.find(addr - 1)
	if m == nil {
		// Mapped since they were read.
		if fresh := readMappings(s.proc, pid); len(fresh) > 0 {
			space.mappings = fresh
		}
		if m = space.find(addr - 1); m == nil {
			return ""
		}
	}
	offset := addr - 1 - m.start + m.offset
	mod := s.module(pid, m)
	if mod != nil {
		if name := mod.function(offset); name != "" {
			return name
		}
	}
	return fmt.Sprintf("%s+%#x", filepath.Base(m.path), offset+1)
}

func (a *addressSpace) find(addr uint64) *mapping {
	i, _ := slices.BinarySearchFunc(a.mappings, addr, func(m mapping, addr uint64) int {
		if m.end <= addr {
			return -1
		}
		return 1
	})
	if i < len(a.mappings) && a.mappings[i].start <= addr {
		return &a.mappings[i]
	}
	return nil
}

// module returns the symbols of a mapped file, nil when it has none or cannot
// be read.
func (s *symbolizer) module(pid int32, m *mapping) *module {
	if m.file == (moduleKey{}) {
		return nil // the vDSO, or generated code
	}
	if mod, ok := s.modules[m.file]; ok {
		return mod
	}
	if len(s.modules) >= maxModules {
		clear(s.modules)
	}
	// The link in map_files leads to the file even when it has been replaced or
	// lies in another mount namespace.
	mod, err := openModule(fmt.Sprintf("%s/%d/map_files/%x-%x", s.proc, pid, m.start, m.end))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		mod, err = openModule(fmt.Sprintf("%s/%d/root%s", s.proc, pid, m.path))
	}
	if err != nil {
		mod = nil
	}
	s.modules[m.file] = mod
	return mod
}
