package platform

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lostbeat/internal/cgroup"
)

func TestQuotas(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/self/mountinfo", "31 24 0:26 / "+dir+"/v1 rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"+
		"32 24 0:27 / "+dir+"/freezer rw - cgroup cgroup rw,freezer\n"+
		"33 24 0:28 /outer "+dir+"/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n")
	write("v2/a/b/cpu.max", "5000 100000\n")
	write("v2/a/b/cpu.stat", "usage_usec 10\nnr_throttled 3\nthrottled_usec 1500\n")
	write("v2/a/cpu.max", "max 100000\n")
	write("v2/a/cpu.stat", "throttled_usec 99\n")
	write("v1/x/cpu.cfs_quota_us", "-1\n")
	write("v1/x/cpu.cfs_period_us", "100000\n")
	write("v1/x/y/cpu.cfs_quota_us", "20000\n")
	write("v1/x/y/cpu.cfs_period_us", "10000\n")
	write("v1/x/y/cpu.stat", "nr_periods 4\nthrottled_time 7000000\n")
	for _, c := range []struct {
		name, groups string
		want         []Quota
	}{
		{"version 2, mounted below", "0::/outer/a/b\n", []Quota{{"/a/b", 0.05, 1500 * time.Microsecond}}},
		{"above the mount", "0::/elsewhere\n", nil},
		{"no limit", "0::/outer/a\n", nil},
		{"version 1", "3:cpu,cpuacct:/x/y\n2:freezer:/x/y\n", []Quota{{"/x/y", 2, 7 * time.Millisecond}}},
		{"both", "3:cpu:/x/y\n0::/outer/a/b\n", []Quota{
			{"/x/y", 2, 7 * time.Millisecond}, {"/a/b", 0.05, 1500 * time.Microsecond},
		}},
		{"nothing", "no line\n", nil},
	} {
		write("proc/self/cgroup", c.groups)
		proc := filepath.Join(dir, "proc")
		if got := Quotas(proc, cgroup.Mounted(proc)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
