package sched

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/cgroup"
)

// cgroups reads the control groups of watched processes: which one throttles or
// freezes them, and its limit. Both versions of control groups may be mounted at once.
type cgroups struct {
	proc string // "/proc"
	cgroup.Mounts
	// throttledNS are the readings of the groups with a quota, by folder.
	throttledNS map[string]uint64
	// names are the groups of processes in the interval.
	names map[int32]string
}

func newCgroups(proc string) *cgroups {
	return &cgroups{
		proc: proc, Mounts: cgroup.Mounted(proc), throttledNS: make(map[string]uint64), names: make(map[int32]string),
	}
}

// of reads the groups of a process.
func (c *cgroups) of(pid int32) cgroup.Groups { return cgroup.Of(c.proc, strconv.Itoa(int(pid))) }

// name returns the group of a process for display, "" for the root or unknown:
// that in which its CPU time is shared out.
func (c *cgroups) name(pid int32) string {
	if name, ok := c.names[pid]; ok {
		return name
	}
	g := c.of(pid)
	name := g.Unified
	if g.CPU != "" && g.CPU != "/" {
		name = g.CPU
	}
	if name == "/" {
		name = ""
	}
	c.names[pid] = name
	return name
}

// ended forgets what is only valid within an interval.
func (c *cgroups) ended() { clear(c.names) }

// forget drops the readings when nothing is watched any more.
func (c *cgroups) forget() { clear(c.throttledNS) }

// quota is a limit of CPU time.
type quota struct {
	// group is the control group that has it, "" none.
	group string
	// limit is the CPU time per period.
	limit, period time.Duration
	// grown is for how long it has held tasks back since the reading before.
	grown time.Duration
}

// readQuotas reads the limits that hold for a process and returns the one that
// held it back most since it was read last; the innermost while none has.
func (c *cgroups) readQuotas(pid int32) (most quota) {
	g := c.of(pid)
	visit := func(group, folder string) {
		limit, period, ok := cgroup.Limit(folder)
		if !ok {
			return
		}
		q := quota{group: group, limit: limit, period: period}
		now := cgroup.ThrottledNS(folder)
		if before, known := c.throttledNS[folder]; known && now > before {
			q.grown = time.Duration(now - before)
		}
		c.throttledNS[folder] = now
		if most.group == "" || q.grown > most.grown {
			most = q
		}
	}
	c.CPU.Upwards(g.CPU, visit)
	c.Unified.Upwards(g.Unified, visit)
	return most
}

// frozenBy returns the group that freezes a process, "" unknown or none: the
// outermost that was told to.
func (c *cgroups) frozenBy(pid int32) (by string) {
	g := c.of(pid)
	visit := func(files ...string) func(group, folder string) {
		return func(group, folder string) {
			for _, file := range files {
				content, err := os.ReadFile(filepath.Join(folder, file))
				if err == nil && strings.TrimSpace(string(content)) == "1" {
					by = group
				}
			}
		}
	}
	c.Unified.Upwards(g.Unified, visit("cgroup.freeze"))
	if by == "" {
		c.Freezer.Upwards(g.Freezer, visit("freezer.self_freezing"))
	}
	return by
}
