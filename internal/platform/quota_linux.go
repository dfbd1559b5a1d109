package platform

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Quota is a limit on the CPU time of this process, set on a control group that it is in.
type Quota struct {
	// Group is the control group as it is seen here.
	Group string
	// CPUs is the limit in CPUs: 0.2 is a fifth of one.
	CPUs float64
	// Throttled is for how long the group has been stopped by it so far, added over CPUs.
	Throttled time.Duration
}

// Quotas reads the limits on the CPU time of this process, of its control group and those above it as far as they can
// be seen here. proc is /proc.
func Quotas(proc string) []Quota {
	groups, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return nil
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	var out []Quota
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		controllers, group := strings.Split(fields[1], ","), fields[2]
		kind, option := "cgroup2", ""
		if fields[1] != "" {
			if !slices.Contains(controllers, "cpu") {
				continue
			}
			kind, option = "cgroup", "cpu"
		}
		root, point := mountOf(string(mounts), kind, option)
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
		if point == "" || !ok {
			continue
		}
		for at := path.Join("/", below); ; at = path.Dir(at) {
			if q, ok := quotaOf(filepath.Join(point, at), option != ""); ok {
				q.Group = at
				out = append(out, q)
			}
			if at == "/" {
				break
			}
		}
	}
	return out
}

// mountOf finds where a tree of control groups is mounted, and which group that is: fields 4 and 5 of
// /proc/PID/mountinfo; type, source and options follow a lone dash.
func mountOf(mountinfo, kind, option string) (root, point string) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 || rest[0] != kind ||
			option != "" && !slices.Contains(strings.Split(rest[2], ","), option) {
			continue
		}
		return fields[3], fields[4]
	}
	return "", ""
}

// quotaOf reads the limit of a control group, of version 1 or 2; false when it has none.
func quotaOf(folder string, v1 bool) (q Quota, ok bool) {
	if v1 {
		quota, err1 := strconv.ParseFloat(word(filepath.Join(folder, "cpu.cfs_quota_us"), ""), 64)
		period, err2 := strconv.ParseFloat(word(filepath.Join(folder, "cpu.cfs_period_us"), ""), 64)
		if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
			return q, false
		}
		q.CPUs = quota / period
		ns, err := strconv.ParseInt(word(filepath.Join(folder, "cpu.stat"), "throttled_time"), 10, 64)
		q.Throttled = time.Duration(ns)
		return q, err == nil
	}
	quota, period, found := strings.Cut(strings.TrimSpace(text(filepath.Join(folder, "cpu.max"))), " ")
	limit, err1 := strconv.ParseFloat(quota, 64)
	length, err2 := strconv.ParseFloat(period, 64)
	if !found || err1 != nil || err2 != nil || limit <= 0 || length <= 0 {
		return q, false
	}
	q.CPUs = limit / length
	us, err := strconv.ParseInt(word(filepath.Join(folder, "cpu.stat"), "throttled_usec"), 10, 64)
	q.Throttled = time.Duration(us) * time.Microsecond
	return q, err == nil
}

// text is what a file holds, "" when it cannot be read.
func text(name string) string {
	content, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(content)
}

// word is the word after key in a file of lines with two words, or the file's only word where key is empty.
func word(name, key string) string {
	for line := range strings.Lines(text(name)) {
		fields := strings.Fields(line)
		switch {
		case key == "" && len(fields) > 0:
			return fields[0]
		case len(fields) > 1 && fields[0] == key:
			return fields[1]
		}
	}
	return ""
}
