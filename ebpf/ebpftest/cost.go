//go:build linux

package ebpftest

import (
	"strings"
	"testing"
	"time"

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Cost is what a BPF program has taken while it was measured.
type Cost struct {
	// Runs is how often it ran.
	Runs uint64
	// Time is how long it ran in all, the measuring itself included: the kernel
	// reads the clock twice per run.
	Time time.Duration
}

// Costs makes the kernel measure BPF programs until the test ends and returns
// a function that reads the costs, so far, of the programs whose names begin
// with prefix and that were loaded after the call of Costs.
func Costs(t testing.TB, prefix string) (read func() map[string]Cost) {
	t.Helper()
	stats, err := cebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Skipf("the kernel does not measure BPF programs: %v", err)
	}
	t.Cleanup(func() { stats.Close() })
	var last cebpf.ProgramID
	for id, err := cebpf.ProgramGetNextID(0); err == nil; id, err = cebpf.ProgramGetNextID(id) {
		last = id
	}
	return func() map[string]Cost {
		costs := make(map[string]Cost)
		for id, err := cebpf.ProgramGetNextID(last); err == nil; id, err = cebpf.ProgramGetNextID(id) {
			program, err := cebpf.NewProgramFromID(id)
			if err != nil {
				continue // unloaded in the meantime
			}
			info, err := program.Info()
			stats, statsErr := program.Stats()
			program.Close()
			if err == nil && statsErr == nil && strings.HasPrefix(info.Name, prefix) {
				costs[info.Name] = Cost{Runs: stats.RunCount, Time: stats.Runtime}
			}
		}
		return costs
	}
}

// ReportCosts reports the time per run of the programs whose names begin with
// prefix as metrics of a benchmark.
func ReportCosts(b *testing.B, costs map[string]Cost, prefix string) {
	b.Helper()
	for name, cost := range costs {
		if cost.Runs > 0 {
			b.ReportMetric(float64(cost.Time)/float64(cost.Runs), strings.TrimPrefix(name, prefix)+"-ns/run")
		}
	}
}
