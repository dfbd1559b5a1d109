package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingCapabilities(t *testing.T) {
	for _, test := range []struct {
		name, status string
		want         []string
	}{
		{"root", "Name:\tx\nCapEff:\t000001ffffffffff\n", nil},
		{"nobody", "CapEff:\t0000000000000000\n", []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}},
		{"old root in a container", "CapEff:\t0000003fffffffff\n", nil}, // Linux 5.7: up to CAP_AUDIT_READ
		{"administrator without network", "CapEff:\t0000000000200000\n", []string{"CAP_NET_ADMIN"}},
		{"exactly enough", "CapEff:\t000000c000001000\n", nil},
		{"no perfmon", "CapEff:\t0000008000001000\n", []string{"CAP_PERFMON"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			effective, err := effectiveCapabilities(strings.NewReader(test.status))
			if err != nil {
				t.Fatal(err)
			}
			if got := missingCapabilities(effective); !slices.Equal(got, test.want) {
				t.Errorf("missing %q, want %q", got, test.want)
			}
		})
	}
	for _, bad := range []string{"", "Name:\tx\n", "CapEff:\tnot hexadecimal\n"} {
		if _, err := effectiveCapabilities(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestFindMounts(t *testing.T) {
	const mounts = `proc /proc proc rw,nosuid 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup2 /second cgroup2 rw 0 0
tracefs /mnt/with\040space tracefs rw 0 0
malformed
`
	for fstype, want := range map[string][]string{
		"cgroup2": {"/sys/fs/cgroup/unified", "/second"},
		"tracefs": {"/mnt/with space"},
		"bpf":     nil,
	} {
		got, err := findMounts(strings.NewReader(mounts), fstype)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", fstype, got, err, want)
		}
	}
}

// TestHiddenCgroup gives mount points at which there is no hierarchy, as when
// a directory is mounted over it.
func TestHiddenCgroup(t *testing.T) {
	for name, roots := range map[string][]string{
		"none": nil, "hidden": {t.TempDir()}, "gone": {filepath.Join(t.TempDir(), "absent")},
	} {
		root, err := visibleCgroup(roots)
		var missing *MissingError
		if root != "" || !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "mount -t cgroup2") ||
			(name == "hidden") != strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %q, %v", name, root, err)
		}
	}
	if root, err := CgroupRoot(); err == nil {
		if got, err := visibleCgroup([]string{t.TempDir(), root}); err != nil || got != root {
			t.Errorf("behind a hidden one: %q, %v", got, err)
		}
	}
}

func TestCheckOf(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		state State
		hint  bool
	}{
		{"there", nil, StateYes, false},
		{"not there", &MissingError{What: "x", Advice: "get it"}, StateNo, true},
		{"could not tell", &MissingError{What: "x", Advice: "get it", Err: fs.ErrPermission}, StateUnknown, true},
		{"no privileges", &PrivilegeError{Missing: []string{"CAP_BPF"}, Advice: "be root"}, StateNo, true},
		{"something else", errors.New("broken"), StateUnknown, false},
	} {
		got := checkOf("x", "found", true, test.err)
		if got.State != test.state || (got.Hint != "") != test.hint || (got.Detail == "found") != (test.err == nil) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func TestLockdownMode(t *testing.T) {
	for modes, want := range map[string]State{
		"[none] integrity confidentiality\n": StateYes,
		"none [integrity] confidentiality\n": StateNo,
		"none integrity [confidentiality]\n": StateNo,
		"something else\n":                   StateUnknown,
		"[":                                  StateUnknown,
	} {
		if got := lockdownMode(modes); got.State != want {
			t.Errorf("%q: %+v, want %v", modes, got, want)
		}
	}
}

func TestChecksOfThisHost(t *testing.T) {
	checks := Checks()
	names := make(map[string]bool)
	for _, c := range checks {
		if c.Name == "" || c.Detail == "" || names[c.Name] {
			t.Errorf("check %+v has no name, no detail or comes twice", c)
		}
		names[c.Name] = true
		if c.State == StateNo && c.Required && c.Hint == "" {
			t.Errorf("%s is missing and there is no hint", c.Name)
		}
	}
	for _, name := range []string{"privileges", "kernel BTF", "cgroup2", "tracefs", "kernel symbols"} {
		if !names[name] {
			t.Errorf("no check of %s", name)
		}
	}
	if root, err := CgroupRoot(); err == nil {
		if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
			t.Errorf("%s is no cgroup2 root: %v", root, err)
		}
	}
}

func TestThisHost(t *testing.T) {
	h := ThisHost()
	if h.Name == "" || h.OS != "linux" || h.Arch == "" || h.Kernel == "" || h.BootID == "" || h.CPUs < 1 {
		t.Errorf("host %+v", h)
	}
	online, err := OnlineCPUs()
	if err != nil || len(online) < 1 || len(online) > h.CPUs {
		t.Errorf("online CPUs %v, %v; %d possible", online, err, h.CPUs)
	}
}

func TestIsPreemptRT(t *testing.T) {
	for version, want := range map[string]bool{
		"#1 SMP PREEMPT_RT Debian 6.12.117-1~deb12u1 (2026-11-01)": true,
		"#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-3 (2026-11-20)":     false,
		"#1 SMP PREEMPT Debian":                                    false,
		"":                                                         false,
	} {
		if got := isPreemptRT(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// Processors are emulated where QEMU's emulator has named them; an accelerated guest has other names.
func TestEmulated(t *testing.T) {
	for content, want := range map[string]bool{
		"processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\nflags\t\t: fpu hypervisor\n":                  true,
		"processor\t: 0\nmodel name\t: QEMU Virtual CPU version 2.5+\nflags\t\t: fpu hypervisor\n":              false,
		"processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu hypervisor\n":                 false,
		"processor\t: 0\nCPU implementer\t: 0x00\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0x051\n": true,
		"processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n": false,
		"": false,
	} {
		if got := emulated(strings.NewReader(content)); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
}
