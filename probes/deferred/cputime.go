package deferred

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/platform"
)

// tick is the unit of /proc/stat.
const tick = time.Second / platform.TicksPerSecond

// cpuTime is how long a CPU has been in each state since the boot.
type cpuTime struct {
	user, system, softirq, irq, idle, steal time.Duration
}

// readCPUTimes reads the per-CPU lines of /proc/stat. CPUs that are offline are
// missing.
func readCPUTimes(r io.Reader) (map[int32]cpuTime, error) {
	times := make(map[int32]cpuTime)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "cpu")
		if !ok {
			break // the CPUs come first
		}
		if strings.HasPrefix(rest, " ") {
			continue // the total
		}
		fields := strings.Fields(rest)
		// user nice system idle iowait irq softirq steal; the last since Linux 2.6.11.
		var ticks [8]uint64
		if len(fields) <= len(ticks) {
			return nil, fmt.Errorf("CPU times %q: too few fields", lines.Text())
		}
		cpu, err := strconv.ParseUint(fields[0], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("CPU times %q: %w", lines.Text(), err)
		}
		for i := range ticks {
			if ticks[i], err = strconv.ParseUint(fields[i+1], 10, 64); err != nil {
				return nil, fmt.Errorf("CPU times %q: %w", lines.Text(), err)
			}
		}
		times[int32(cpu)] = cpuTime{
			user:    time.Duration(ticks[0]+ticks[1]) * tick,
			system:  time.Duration(ticks[2]) * tick,
			idle:    time.Duration(ticks[3]+ticks[4]) * tick,
			irq:     time.Duration(ticks[5]) * tick,
			softirq: time.Duration(ticks[6]) * tick,
			steal:   time.Duration(ticks[7]) * tick,
		}
	}
	return times, lines.Err()
}

// since returns what was added after prev was read; the kernel may correct idle
// time downwards, which counts as nothing.
func (t cpuTime) since(prev cpuTime) cpuTime {
	return cpuTime{
		user:    max(t.user-prev.user, 0),
		system:  max(t.system-prev.system, 0),
		softirq: max(t.softirq-prev.softirq, 0),
		irq:     max(t.irq-prev.irq, 0),
		idle:    max(t.idle-prev.idle, 0),
		steal:   max(t.steal-prev.steal, 0),
	}
}
