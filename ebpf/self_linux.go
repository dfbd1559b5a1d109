package ebpf

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"lostbeat/internal/platform"
	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// selfUsage measures what this process costs the host.
type selfUsage struct {
	proc string // "/proc/self"
	cpu  time.Duration
	cost kernelCost
	// quotas are the control groups that limit this process.
	quotas quotas
	// bound decides what is left out when too much is taken; steps are what it can leave out, in its order.
	bound bound
	steps [][]shedPart
	// quotaStatus, ownStatus and costStatus are what was written last.
	quotaStatus, ownStatus, costStatus string
}

// shedPart is a part that is left out, with its probe.
type shedPart struct {
	model.ShedPart
	by *attachedProbe
}

// start takes the first reading.
func (s *selfUsage) start() {
	s.cpu = cpuTime()
	s.cost.read(func(string, uint64) {})
}

// spent is the CPU time since the last call.
func (s *selfUsage) spent() time.Duration {
	cpu := cpuTime()
	spent := cpu - s.cpu
	s.cpu = cpu
	return spent
}

// write writes self.cpu and self.kernel_cpu (shares of one processor),
// self.rss_bytes and, while kernel.bpf_stats_enabled is set or the programs are
// measured for the estimate, self.bpf_ns_per_s.
func (s *selfUsage) write(
	end model.Time, interval, spent, bpf time.Duration, kernel float64, b *model.Builder,
) {
	add := func(name, unit string, mode model.CounterMode, value float64) {
		b.AddCounter(model.Counter{Time: end, Dur: interval, CPU: -1, Name: name, Unit: unit, Mode: mode, Value: value})
	}
	add("self.cpu", "cpus", model.CounterShare, float64(spent)/float64(interval))
	add("self.kernel_cpu", "cpus", model.CounterShare, kernel)
	if rss, err := residentBytes(s.proc); err == nil {
		add("self.rss_bytes", "bytes", model.CounterGauge, float64(rss))
	}
	if bpf > 0 {
		add("self.bpf_ns_per_s", "ns/s", model.CounterRate, float64(bpf)/interval.Seconds())
	}
}

// cpuTime is the user and system time of this process.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil { // cannot fail with these arguments
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// residentBytes reads the resident set size from /proc/self/statm.
func residentBytes(proc string) (uint64, error) {
	content, err := os.ReadFile(filepath.Join(proc, "statm"))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(content)
	if len(fields) < 2 {
		return 0, fmt.Errorf("parse memory use %q: too few fields", content)
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse memory use: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// facts are the keys and values of the meta events at the start of a stream.
func facts(h platform.Host, start model.Time, tool string) [][2]string {
	list := [][2]string{
		{"host", h.Name}, {"os", h.OS}, {"kernel", h.Kernel}, {"arch", h.Arch}, {"cpus", strconv.Itoa(h.CPUs)},
		{"boot_id", h.BootID}, {"tool", cmp.Or(tool, "lostbeat")}, {"source", "live"}, {"clock", "CLOCK_BOOTTIME"},
		{"start_wall", start.String()},
	}
	if h.Emulated {
		list = append(list, [2]string{"processor", "emulated"})
	}
	return list
}
