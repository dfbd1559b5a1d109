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

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// selfUsage measures what this process costs the host.
type selfUsage struct {
	proc     string // "/proc/self"
	cpu      time.Duration
	programs []tracked
	bpf      time.Duration
}

// tracked is a program whose running time is ours.
type tracked struct {
	name    string
	program *cebpf.Program
	// misses is how often the kernel has not run it, because it was running
	// already on that processor.
	misses uint64
}

func (s *selfUsage) track(name string, p *cebpf.Program) {
	s.programs = append(s.programs, tracked{name: name, program: p})
}

// start takes the first reading.
func (s *selfUsage) start() {
	s.cpu = cpuTime()
	s.bpf = s.bpfTime()
}

// collect writes self.cpu (share of one processor), self.rss_bytes and, while
// kernel.bpf_stats_enabled is set, self.bpf_ns_per_s.
func (s *selfUsage) collect(end model.Time, interval time.Duration, b *model.Builder) {
	if interval <= 0 {
		return
	}
	cpu := cpuTime()
	b.AddCounter(
		model.Counter{
			Time:  end,
			Dur:   interval,
			CPU:   -1,
			Name:  "self.cpu",
			Unit:  "cpus",
			Mode:  model.CounterShare,
			Value: float64(cpu-s.cpu) / float64(interval),
		},
	)
	s.cpu = cpu
	if rss, err := residentBytes(s.proc); err == nil {
		b.AddCounter(
			model.Counter{
				Time:  end,
				Dur:   interval,
				CPU:   -1,
				Name:  "self.rss_bytes",
				Unit:  "bytes",
				Mode:  model.CounterGauge,
				Value: float64(rss),
			},
		)
	}
	bpf := s.bpfTime()
	if d := bpf - s.bpf; d > 0 {
		b.AddCounter(
			model.Counter{
				Time:  end,
				Dur:   interval,
				CPU:   -1,
				Name:  "self.bpf_ns_per_s",
				Unit:  "ns/s",
				Mode:  model.CounterRate,
				Value: float64(d) / interval.Seconds(),
			},
		)
	}
	s.bpf = bpf
}

// bpfTime is how long the tracked programs have run, as far as the kernel
// counts it.
func (s *selfUsage) bpfTime() time.Duration {
	var total time.Duration
	for _, p := range s.programs {
		stats, err := p.program.Stats()
		if err == nil {
			total += stats.Runtime
		}
	}
	return total
}

// reportMisses writes a loss event for each program that the kernel has not run
// every time, because an interrupt came while it ran.
func (s *selfUsage) reportMisses(end model.Time, interval time.Duration, b *model.Builder) {
	for i := range s.programs {
		p := &s.programs[i]
		stats, err := p.program.Stats()
		if err != nil {
			continue
		}
		if lost := stats.RecursionMisses - p.misses; lost > 0 {
			b.AddLoss(model.Loss{Time: end, Dur: interval, CPU: -1, Lost: lost, Origin: "recursion", Detail: p.name})
		}
		p.misses = stats.RecursionMisses
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
	return [][2]string{
		{"host", h.Name}, {"os", h.OS}, {"kernel", h.Kernel}, {"arch", h.Arch}, {"cpus", strconv.Itoa(h.CPUs)},
		{"boot_id", h.BootID}, {"tool", cmp.Or(tool, "lostbeat")}, {"source", "live"}, {"clock", "CLOCK_BOOTTIME"},
		{"start_wall", start.String()},
	}
}
