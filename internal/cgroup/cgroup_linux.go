// Package cgroup reads where the trees of control groups are mounted, which groups processes are in, and how much CPU
// time these may take, in versions 1 and 2.
package cgroup

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

// Tree is one mounted tree of control groups; the zero value is one that is not mounted.
type Tree struct {
	// Root is the group that is mounted, Point where.
	Root, Point string
}

// Folder returns the folder of a group, "" when it cannot be seen here.
func (t Tree) Folder(group string) string {
	if t.Point == "" {
		return ""
	}
	below, ok := strings.CutPrefix(group, strings.TrimSuffix(t.Root, "/"))
	if !ok {
		return ""
	}
	return filepath.Join(t.Point, below)
}

// Upwards calls visit for a group and all above it with their folders, the innermost first.
func (t Tree) Upwards(group string, visit func(group, folder string)) {
	for group != "" {
		folder := t.Folder(group)
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

// Mounts are the mounted trees: CPU and Freezer are those of version 1, Unified that of version 2. Both versions may be
// mounted at once.
type Mounts struct{ CPU, Freezer, Unified Tree }

// Mounted reads the trees that this process sees. proc is /proc.
func Mounted(proc string) Mounts {
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return Mounts{}
	}
	defer f.Close()
	return parseMounts(f)
}

// parseMounts reads /proc/PID/mountinfo: the root and the mount point are fields 4 and 5; type, source and options
// follow a lone dash.
func parseMounts(r io.Reader) (m Mounts) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		t := Tree{Root: fields[3], Point: fields[4]}
		switch rest[0] {
		case "cgroup2":
			m.Unified = t
		case "cgroup":
			options := strings.Split(rest[2], ",")
			if slices.Contains(options, "cpu") {
				m.CPU = t
			}
			if slices.Contains(options, "freezer") {
				m.Freezer = t
			}
		}
	}
	return m
}

// Groups are the control groups of a process, "" where a tree has none.
type Groups struct{ CPU, Freezer, Unified string }

// Of reads the groups of a process, whose PID may be "self". proc is /proc.
func Of(proc, pid string) Groups {
	content, err := os.ReadFile(filepath.Join(proc, pid, "cgroup"))
	if err != nil {
		return Groups{}
	}
	return parseGroups(string(content))
}

// parseGroups parses /proc/PID/cgroup: "ID:controllers:path", without controllers for version 2.
func parseGroups(content string) (g Groups) {
	for line := range strings.Lines(content) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers := strings.Split(fields[1], ",")
		switch {
		case fields[0] == "0" && fields[1] == "":
			g.Unified = fields[2]
		case slices.Contains(controllers, "cpu"):
			g.CPU = fields[2]
		}
		if slices.Contains(controllers, "freezer") {
			g.Freezer = fields[2]
		}
	}
	return g
}

// Limit reads the CPU time per period that a group may take, of cpu.max, or cpu.cfs_quota_us and cpu.cfs_period_us of
// version 1; ok is false without a limit.
func Limit(folder string) (limit, period time.Duration, ok bool) {
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

// parseLimit parses quota and period in microseconds; "max" and -1 mean no limit.
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

// ThrottledNS reads for how long a group was held back in all, from cpu.stat: 0 where that is not known.
func ThrottledNS(folder string) uint64 {
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
