package cgroup

import (
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
)

func TestParseGroups(t *testing.T) {
	hybrid := "6:freezer:/f\n4:memory:/m\n2:cpu,cpuacct:/c/d\n1:name=systemd:/\n0::/u\n"
	if got, want := parseGroups(hybrid), (Groups{CPU: "/c/d", Freezer: "/f", Unified: "/u"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := parseGroups("0::/system.slice/corosync.service\n"),
		(Groups{Unified: "/system.slice/corosync.service"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := parseGroups("broken\n:\n\n"); got != (Groups{}) {
		t.Errorf("%+v of a broken file", got)
	}
}

func TestParseLimit(t *testing.T) {
	for _, test := range []struct {
		text          string
		limit, period time.Duration
		ok            bool
	}{
		{"20000 100000\n", 20 * time.Millisecond, 100 * time.Millisecond, true},
		{"max 100000\n", 0, 0, false},
		{"-1\n 100000\n", 0, 0, false},
		{"", 0, 0, false},
		{"5000", 0, 0, false},
		{"5000 x", 0, 0, false},
	} {
		limit, period, ok := parseLimit(test.text)
		if limit != test.limit || period != test.period || ok != test.ok {
			t.Errorf("%q: %v of %v, %v", test.text, limit, period, ok)
		}
	}
}

func TestParseMounts(t *testing.T) {
	m := parseMounts(strings.NewReader(`24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 /pod /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/freezer rw,relatime shared:1 - cgroup cgroup rw,freezer
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
broken line
`))
	if got := m.CPU.Folder("/pod/a"); got != "/sys/fs/cgroup/cpu/a" {
		t.Errorf("%q: the mount begins at /pod", got)
	}
	if got := m.CPU.Folder("/other"); got != "" {
		t.Errorf("%q is not mounted", got)
	}
	if got := m.Freezer.Folder("/x/y"); got != "/sys/fs/cgroup/freezer/x/y" {
		t.Error(got)
	}
	var visited []string
	m.Unified.Upwards("/a/b", func(group, folder string) { visited = append(visited, group+"="+folder) })
	want := "/a/b=/sys/fs/cgroup/unified/a/b /a=/sys/fs/cgroup/unified/a /=/sys/fs/cgroup/unified"
	if got := strings.Join(visited, " "); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzCgroups reads any text as each of the files about control groups.
func FuzzCgroups(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("0::/system.slice/a.service\n3:cpu,cpuacct:/a:b\n4:freezer:/x\n")
	f.Add("50000 100000\n")
	f.Add("max 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, text string) {
		m := parseMounts(strings.NewReader(text))
		g := parseGroups(text)
		for _, found := range []string{
			m.Unified.Root, m.Unified.Point, m.CPU.Point, m.Freezer.Point, g.CPU, g.Freezer, g.Unified,
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
