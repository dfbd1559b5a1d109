package sched

import (
	"bufio"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hierarchy is one mounted tree of control groups; the zero value is one that
// is not mounted.
type hierarchy struct {
	// root is the group that is mounted, point where.
	root, point string
}

// folder returns the folder of a group, "" when it cannot be seen here.
func (h hierarchy) folder(group string) string {
	if h.point == "" {
		return ""
	}
	below, ok := strings.CutPrefix(group, strings.TrimSuffix(h.root, "/"))
	if !ok {
		return ""
	}
	return filepath.Join(h.point, below)
}

// cgroups reads the control groups of watched processes: which one throttles or
// freezes them, and its limit. Both versions of control groups may be mounted at once.
type cgroups struct {
	proc string // "/proc"
	// cpu and freezer are those of version 1, unified that of version 2.
	cpu, freezer, unified hierarchy
	// throttledNS are the readings of the groups with a quota, by folder.
	throttledNS map[string]uint64
	// names are the groups of processes in the interval.
	names map[int32]string
}

func newCgroups(proc string) *cgroups {
	c := &cgroups{proc: proc, throttledNS: make(map[string]uint64), names: make(map[int32]string)}
	if f, err := os.Open(filepath.Join(proc, "self/mountinfo")); err == nil {
		defer f.Close()
		c.parseMounts(f)
	}
	return c
}

// parseMounts reads /proc/PID/mountinfo: the root and the mount point are
// fields 4 and 5; type, source and options follow a lone dash.
func (c *cgroups) parseMounts(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		h := hierarchy{root: fields[3], point: fields[4]}
		switch rest[0] {
		case "cgroup2":
			c.unified = h
		case "cgroup":
			options := strings.Split(rest[2], ",")
			if slices.Contains(options, "cpu") {
				c.cpu = h
			}
			if slices.Contains(options, "freezer") {
				c.freezer = h
			}
		}
	}
}

// groups are the control groups of a process, "" where a hierarchy has none.
type groups struct{ cpu, freezer, unified string }

// of reads the groups of a process.
func (c *cgroups) of(pid int32) groups {
	content, err := os.ReadFile(filepath.Join(c.proc, strconv.Itoa(int(pid)), "cgroup"))
	if err != nil {
		return groups{}
	}
	return parseGroups(string(content))
}

// parseGroups parses /proc/PID/cgroup: "ID:controllers:path", without
// controllers for version 2.
func parseGroups(content string) (g groups) {
	for line := range strings.Lines(content) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers := strings.Split(fields[1], ",")
		switch {
		case fields[0] == "0" && fields[1] == "":
			g.unified = fields[2]
		case slices.Contains(controllers, "cpu"):
			g.cpu = fields[2]
		}
		if slices.Contains(controllers, "freezer") {
			g.freezer = fields[2]
		}
	}
	return g
}

// name returns the group of a process for display, "" for the root or unknown:
// that in which its CPU time is shared out.
func (c *cgroups) name(pid int32) string {
	if name, ok := c.names[pid]; ok {
		return name
	}
	g := c.of(pid)
	name := g.unified
	if g.cpu != "" && g.cpu != "/" {
		name = g.cpu
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

// upwards calls visit for a group and all above it with their folders, the
// innermost first.
func (h hierarchy) upwards(group string, visit func(group, folder string)) {
	for group != "" {
		folder := h.folder(group)
		if folder == "" {
			return
		}
		visit(group, folder)
		if group == "/" {
			return
		}
		group = path.Dir(group)
	}
}

// readQuotas reads the limits that hold for a process and returns the one that
// held it back most since it was read last; the innermost while none has.
func (c *cgroups) readQuotas(pid int32) (most quota) {
	g := c.of(pid)
	visit := func(group, folder string) {
		limit, period, ok := readLimit(folder)
		if !ok {
			return
		}
		q := quota{group: group, limit: limit, period: period}
		now := readThrottled(folder)
		if before, known := c.throttledNS[folder]; known && now > before {
			q.grown = time.Duration(now - before)
		}
		c.throttledNS[folder] = now
		if most.group == "" || q.grown > most.grown {
			most = q
		}
	}
	c.cpu.upwards(g.cpu, visit)
	c.unified.upwards(g.unified, visit)
	return most
}

// readLimit reads the limit of a group: cpu.max, or cpu.cfs_quota_us and
// cpu.cfs_period_us of version 1.
func readLimit(folder string) (limit, period time.Duration, ok bool) {
	if content, err := os.ReadFile(filepath.Join(folder, "cpu.max")); err == nil {
		return parseLimit(string(content))
	}
	quota, err := os.ReadFile(filepath.Join(folder, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, 0, false
	}
	length, err := os.ReadFile(filepath.Join(folder, "cpu.cfs_period_us"))
	if err != nil {
		return 0, 0, false
	}
	return parseLimit(string(quota) + " " + string(length))
}

// parseLimit parses quota and period in microseconds; "max" and -1 are no limit.
func parseLimit(text string) (limit, period time.Duration, ok bool) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, 0, false
	}
	const most = math.MaxInt64 / int64(time.Microsecond)
	quotaUS, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || quotaUS < 0 || quotaUS > most {
		return 0, 0, false
	}
	periodUS, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || periodUS <= 0 || periodUS > most {
		return 0, 0, false
	}
	return time.Duration(quotaUS) * time.Microsecond, time.Duration(periodUS) * time.Microsecond, true
}

// readThrottled reads for how long a group was held back in all, from cpu.stat.
func readThrottled(folder string) uint64 {
	content, err := os.ReadFile(filepath.Join(folder, "cpu.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		value, err := strconv.ParseUint(fields[1], 10, 64)
		switch {
		case err != nil:
		case fields[0] == "throttled_time":
			return value
		case fields[0] == "throttled_usec":
			return value * 1000
		}
	}
	return 0
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
	c.unified.upwards(g.unified, visit("cgroup.freeze"))
	if by == "" {
		c.freezer.upwards(g.freezer, visit("freezer.self_freezing"))
	}
	return by
}
