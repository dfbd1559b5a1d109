package ebpf

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"time"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Counted is an [Attached] probe whose own counters say how often its programs have run.
type Counted interface {
	// Runs is how often they have run, about, in the interval that was collected last.
	Runs() uint64
}

const (
	// firstWindow is when after the start the kernel measures the programs for the first time, windowEvery how often it
	// does for each class of load, and windowGap the least time between two windows.
	firstWindow = 3 * time.Second
	windowEvery = 5 * time.Minute
	windowGap   = 5 * time.Second
	// loads is the number of classes of load: each is four times the one below. A program that runs seldom is not in the
	// CPU's caches and takes several times as long as one that runs all the time.
	loads = 16
	// minRuns is how often a program must have run in a window to be measured by it.
	minRuns = 100
	// usualRun is what a run takes where the kernel does not measure it, and dispatch what it costs the host to call a
	// program, which the kernel does not count as its time (docs/PERFORMANCE.md).
	usualRun = 120 * time.Nanosecond
	dispatch = 50 * time.Nanosecond
	// clockRuns is how often an empty program runs to find out what measuring a run adds to it.
	clockRuns = 20000
)

// kernelCost estimates the CPU time that the BPF programs take of the host: how often they run, which the probes count
// anyway, times what a run takes, which the kernel measures for one interval now and then. Measuring all the time would
// cost more than the programs.
type kernelCost struct {
	programs []tracked
	probes   map[string]*probeCost
	// stats makes the kernel measure until it is closed; nil while it does not.
	stats io.Closer
	// refused is why it does not measure, nil where it does. clock is what measuring adds to a run.
	refused error
	clock   time.Duration
	// age is the time since the start, last when a window was opened last.
	age, last time.Duration
}

// tracked is a program whose running time is ours.
type tracked struct {
	probe, name string
	program     *cebpf.Program
	// own says that it runs within this process's own system calls, whose time is part of the process's.
	own bool
	// last is the reading of the interval before.
	last cebpf.ProgramStats
}

// probeCost is what is known of the programs of a probe.
type probeCost struct {
	// run is what a run takes by the class of load, 0 unknown.
	run [loads]time.Duration
	// other are the runs per second that the probe does not count, by the class of load.
	other [loads]float64
	// windows are when it was measured last, by the class of load, 0 never.
	windows [loads]time.Duration
	// runs and time are those of the interval, while the kernel measures.
	runs uint64
	time time.Duration
}

// calibrate finds out whether the kernel measures programs, and what that adds to a run.
func (c *kernelCost) calibrate() {
	c.probes = make(map[string]*probeCost)
	c.refused = c.measureClock()
}

// measureClock lets an empty program run while the kernel measures.
func (c *kernelCost) measureClock() (err error) {
	stats, err := cebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("measure BPF programs: %w", explain(err))
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	empty, err := cebpf.NewProgram(&cebpf.ProgramSpec{
		Name: "lb_empty", Type: cebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load an empty program: %w", err)
	}
	defer func() { err = errors.Join(err, empty.Close()) }()
	if _, err := empty.Run(&cebpf.RunOptions{Data: make([]byte, 64), Repeat: clockRuns}); err != nil {
		return fmt.Errorf("run an empty program: %w", err)
	}
	s, err := empty.Stats()
	if err != nil {
		return fmt.Errorf("read how long an empty program ran: %w", err)
	}
	if s.RunCount > 0 {
		c.clock = s.Runtime / time.Duration(s.RunCount)
	}
	return nil
}

// reason says why the cost is known less well than usual, empty when it is not.
func (c *kernelCost) reason() string {
	if c.refused == nil {
		return ""
	}
	return oneLine(fmt.Sprintf("what BPF programs cost is estimated from fewer measurements: %v", c.refused))
}

// track takes a program into account.
func (c *kernelCost) track(probe, name string, p *cebpf.Program, own bool) {
	c.programs = append(c.programs, tracked{probe: probe, name: name, program: p, own: own})
	if p := c.probes[probe]; p != nil {
		p.windows = [loads]time.Duration{}
	}
}

// read reads what the kernel knows of each program, and gives lost what it has not run.
func (c *kernelCost) read(lost func(program string, n uint64)) (measured time.Duration) {
	for _, p := range c.probes {
		p.runs, p.time = 0, 0
	}
	kept := c.programs[:0]
	for _, t := range c.programs {
		s, err := t.program.Stats()
		if errors.Is(err, unix.EBADF) {
			continue // it was unloaded
		}
		kept = append(kept, t)
		if err != nil {
			continue
		}
		if n := s.RecursionMisses - t.last.RecursionMisses; n > 0 {
			lost(t.name, n)
		}
		runs, took := s.RunCount-t.last.RunCount, s.Runtime-t.last.Runtime
		kept[len(kept)-1].last = *s
		measured += took
		if t.own {
			continue
		}
		p := c.probes[t.probe]
		if p == nil {
			p = new(probeCost)
			c.probes[t.probe] = p
		}
		p.runs += runs
		p.time += took
	}
	clear(c.programs[len(kept):])
	c.programs = kept
	return measured
}

// usage is how often programs ran in an interval, by probe.
type usage struct {
	interval time.Duration
	// counted are the runs that probes count themselves.
	counted map[string]uint64
	// idle says that a probe has no program attached, because nobody asks for what it sees.
	idle func(probe string) bool
}

// step ends an interval: it learns from a window that ends with it, opens and closes windows, and returns the share of
// a CPU that the programs took, all CPUs together.
func (c *kernelCost) step(u usage, log *slog.Logger) (share float64, err error) {
	c.age += u.interval
	var runs uint64
	for _, n := range u.counted {
		runs += n
	}
	load := loadOf(float64(runs) / u.interval.Seconds())
	switch {
	case c.stats != nil:
		for probe, p := range c.probes {
			if u.idle(probe) {
				continue
			}
			p.learn(load, u.interval, u.counted[probe], c.clock)
			p.windows[load] = c.age
			log.Debug("measured", "probe", probe, "load", load, "runs", p.runs, "counted", u.counted[probe], "run", p.run[load])
		}
		err = c.stats.Close()
		c.stats = nil
	case c.refused == nil && c.wanted(load, u.idle):
		c.last = c.age
		if c.stats, err = cebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME)); err != nil {
			c.stats, c.refused = nil, err
			err = nil
		}
	}
	var ns float64
	for probe, p := range c.probes {
		if !u.idle(probe) {
			ns += p.estimate(load, u.counted[probe], u.interval)
		}
	}
	return ns / float64(u.interval), err
}

// wanted says that a window is to be opened at a load.
func (c *kernelCost) wanted(load int, idle func(probe string) bool) bool {
	if c.age < firstWindow || c.last != 0 && c.age-c.last < windowGap {
		return false
	}
	for probe, p := range c.probes {
		if at := p.windows[load]; !idle(probe) && (at == 0 || c.age-at >= windowEvery) {
			return true
		}
	}
	return false
}

// loadOf is the class of a number of runs per second.
func loadOf(rate float64) int { return min(bits.Len64(uint64(rate))/2, loads-1) }

// learn takes what was measured in a window.
func (p *probeCost) learn(load int, window time.Duration, counted uint64, clock time.Duration) {
	p.other[load] = float64(p.runs-min(p.runs, counted)) / window.Seconds()
	if p.runs >= minRuns {
		p.run[load] = max(p.time/time.Duration(p.runs)-clock, 0) + dispatch
	}
}

// estimate is the time that the programs took in an interval.
func (p *probeCost) estimate(load int, counted uint64, interval time.Duration) (ns float64) {
	run := nearest(p.run[:], load)
	if run == 0 {
		run = usualRun + dispatch
	}
	return (float64(counted) + nearest(p.other[:], load)*interval.Seconds()) * float64(run)
}

// nearest is the value at a load, or that of the next class that has one: the lower one of two as near.
func nearest[T time.Duration | float64](values []T, load int) T {
	for distance := range values {
		for _, at := range [2]int{load - distance, load + distance} {
			if at >= 0 && at < len(values) && values[at] > 0 {
				return values[at]
			}
		}
	}
	return 0
}

// close ends a window that is open.
func (c *kernelCost) close() error {
	if c.stats == nil {
		return nil
	}
	return c.stats.Close()
}
