package sched

import (
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

// FuzzCgroups reads any text as each of the files about control groups.
func FuzzCgroups(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("0::/system.slice/a.service\n3:cpu,cpuacct:/a:b\n4:freezer:/x\n")
	f.Add("50000 100000\n")
	f.Add("max 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, text string) {
		var c cgroups
		c.parseMounts(strings.NewReader(text))
		g := parseGroups(text)
		for _, found := range []string{
			c.unified.root, c.unified.point, c.cpu.point, c.freezer.point, g.cpu, g.freezer, g.unified,
		} {
			if !strings.Contains(text, found) {
				t.Errorf("%q is not in %q", found, text)
			}
		}
		if limit, period, ok := parseLimit(text); ok && (limit < 0 || period <= 0) {
			t.Errorf("a limit of %v in %v from %q", limit, period, text)
		}
	})
}
