package ebpf

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/internal/unit"
	"lostbeat/model"
)

const (
	// processTrust is for how long a cached name is used before /proc is asked
	// again whether the PID still belongs to the same process.
	processTrust = time.Second
	// processForget is how long a process is remembered without being used.
	processForget = time.Minute
	// maxCmdline bounds the command line that is kept of a process.
	maxCmdline = 512
	// maxUnits is of how many control groups the unit is remembered.
	maxUnits = 4096
)

// process is what is known of one PID.
type process struct {
	pid        int32
	name       model.Interned
	startTicks uint64 // since boot; 0 unknown: the process had gone when it was looked up
	checked    model.Time
	used       model.Time
}

// processes names processes and writes a process event when a PID first
// appears, belongs to another process than before, or has changed its name.
type processes struct {
	proc  string // "/proc"
	clock Clock
	known map[int32]*process
	// recent are some of known by the low bits of their PID: most records are
	// about few processes.
	recent [256]*process
	// none stands for no process.
	none process
	// names finds the names of containers, units are those found by control group, at most maxUnits.
	names unit.Names
	units map[string]string
}

func newProcesses(proc string, clock Clock) *processes {
	return &processes{proc: proc, clock: clock, known: make(map[int32]*process), units: make(map[string]string)}
}

// name returns the name of pid at time at. comm is used when the process has
// gone already; it may be empty.
func (ps *processes) name(pid int32, comm string, at model.Time, b *model.Builder) string {
	return ps.find(pid, comm, at, b).name.String()
}

// find returns what is known of pid at time at; for pid <= 0 that is nothing.
func (ps *processes) find(pid int32, comm string, at model.Time, b *model.Builder) *process {
	if pid <= 0 {
		return &ps.none
	}
	recent := &ps.recent[pid&int32(len(ps.recent)-1)]
	p := *recent
	if p == nil || p.pid != pid {
		p = ps.known[pid]
	}
	if p == nil || at.Sub(p.checked) >= processTrust {
		p = ps.check(p, pid, comm, at, b)
	}
	p.used = max(p.used, at)
	*recent = p
	return p
}

// check asks /proc about pid. p is what was known of it so far, nil for nothing.
func (ps *processes) check(p *process, pid int32, comm string, at model.Time, b *model.Builder) *process {
	stat, err := readStat(ps.proc, pid)
	switch {
	case err != nil && p != nil: // gone since; late events still mean the one that was known
		p.checked = at
		return p
	case err != nil:
		p = &process{pid: pid, name: model.NewInterned(comm), checked: at}
		b.AddProcess(model.Process{Time: at, PID: pid, TID: pid, Name: comm})
	case p != nil && p.startTicks == stat.startTicks && p.name.String() == stat.name:
		p.checked = at
		return p
	default:
		p = &process{pid: pid, name: model.NewInterned(stat.name), startTicks: stat.startTicks, checked: at}
		group := readCgroup(ps.proc, pid)
		b.AddProcess(model.Process{
			Time: at, PID: pid, TID: pid, State: model.ProcessActive, PPID: int64(stat.ppid),
			Started: ps.clock.Time(stat.startTicks * uint64(time.Second/platform.TicksPerSecond)),
			Name:    stat.name, Cmdline: readCmdline(ps.proc, pid), Cgroup: group, Unit: ps.unit(group),
		})
	}
	ps.known[pid] = p
	return p
}

// forget drops what was not used for a while, so that memory stays bounded on
// hosts that start many processes. It writes the end of those that have ended,
// so that others forget them as well.
func (ps *processes) forget(now model.Time, b *model.Builder) {
	for _, pid := range slices.Sorted(maps.Keys(ps.known)) {
		p := ps.known[pid]
		if now.Sub(p.used) <= processForget {
			continue
		}
		delete(ps.known, pid)
		if stat, err := readStat(ps.proc, pid); err != nil || stat.startTicks != p.startTicks {
			b.AddProcess(model.Process{
				Time: now, PID: pid, TID: pid, State: model.ProcessExited, Name: p.name.String(),
			})
		}
	}
	clear(ps.recent[:])
}

// procStat is the part of /proc/PID/stat that is used.
type procStat struct {
	name       string
	ppid       int32
	startTicks uint64
}

func readStat(proc string, pid int32) (procStat, error) {
	content, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(pid)), "stat"))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(content)
}

// parseStat parses /proc/PID/stat. The name stands in parentheses and may
// itself contain anything, parentheses included.
func parseStat(content []byte) (procStat, error) {
	open, end := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("parse process status %.64q: no name", content)
	}
	fields := strings.Fields(string(content[end+1:])) // from field 3, the state, on
	const ppidField, startField = 4 - 3, 22 - 3
	if len(fields) <= startField {
		return procStat{}, fmt.Errorf("parse process status %.64q: too few fields", content)
	}
	ppid, err := strconv.ParseInt(fields[ppidField], 10, 32)
	if err != nil {
		return procStat{}, fmt.Errorf("parse process status: parent: %w", err)
	}
	start, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("parse process status: start time: %w", err)
	}
	return procStat{name: string(content[open+1 : end]), ppid: int32(ppid), startTicks: start}, nil
}

// readCmdline returns the command line with spaces between the arguments.
func readCmdline(proc string, pid int32) string {
	content, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(pid)), "cmdline"))
	if err != nil {
		return ""
	}
	content = content[:min(len(content), maxCmdline)]
	return string(bytes.ReplaceAll(bytes.TrimRight(content, "\x00"), []byte{0}, []byte{' '}))
}

// unit returns what a control group is of. A container whose name is not noted yet is looked up again.
func (ps *processes) unit(group string) string {
	if known, ok := ps.units[group]; ok {
		return known
	}
	of := unit.Of(group)
	name := ps.names.Of(of)
	if of.Container == "" || name != of.String() {
		if len(ps.units) >= maxUnits {
			clear(ps.units)
		}
		ps.units[group] = name
	}
	return name
}

// readCgroup returns the path of the process in the unified hierarchy, in systemd's own where that is another one
// (the hybrid layout).
func readCgroup(proc string, pid int32) string {
	content, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(pid)), "cgroup"))
	if err != nil {
		return ""
	}
	unified, systemd := "", ""
	for line := range strings.Lines(string(content)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			unified = strings.TrimSpace(path)
		}
		if _, path, ok := strings.Cut(line, ":name=systemd:"); ok {
			systemd = strings.TrimSpace(path)
		}
	}
	if systemd != "" && (unified == "" || unified == "/") {
		return systemd
	}
	return unified
}
