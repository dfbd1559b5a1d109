package deferred

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

// Another parser reads the same CPU times of this kernel's /proc/stat.
func TestCPUTimesAgainstProcfs(t *testing.T) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "stat"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	fs, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fs.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readCPUTimes(bytes.NewReader(data))
	if err != nil || len(got) != len(want.CPU) || len(got) == 0 {
		t.Fatalf("%d CPUs, procfs has %d; %v", len(got), len(want.CPU), err)
	}
	same := func(d time.Duration, seconds float64) bool {
		return (d - time.Duration(seconds*float64(time.Second))).Abs() < time.Millisecond
	}
	for cpu, w := range want.CPU {
		g := got[int32(cpu)]
		if !same(g.user, w.User+w.Nice) || !same(g.system, w.System) || !same(g.idle, w.Idle+w.Iowait) ||
			!same(g.irq, w.IRQ) || !same(g.softirq, w.SoftIRQ) || !same(g.steal, w.Steal) {
			t.Errorf("CPU %d: %+v, procfs has %+v", cpu, g, w)
		}
	}
}
