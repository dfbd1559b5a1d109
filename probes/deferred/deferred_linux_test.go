package deferred

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
)

// key is a vector on a CPU.
type key struct {
	cpu    int32
	vector string
}

// procSoftirqs reads how often each vector has run, from /proc/softirqs.
func procSoftirqs(t *testing.T) map[key]uint64 {
	t.Helper()
	content, err := os.ReadFile("/proc/softirqs")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	cpus := strings.Fields(lines[0])
	counts := make(map[key]uint64)
	for _, line := range lines[1:] {
		vector, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		for i, field := range strings.Fields(rest) {
			cpu, err := strconv.Atoi(strings.TrimPrefix(cpus[i], "CPU"))
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			counts[key{int32(cpu), vector}] = n
		}
	}
	return counts
}

// udpLoad sends datagrams to itself over the loopback device, pausing after
// each burst, until the test or stop ends it.
func udpLoad(t *testing.T, burst int, pause time.Duration) (stop func()) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		buffer := make([]byte, 64)
		for {
			for range burst {
				if _, err := conn.WriteTo(buffer, conn.LocalAddr()); err != nil {
					t.Errorf("send: %v", err)
					return
				}
				if _, _, err := conn.ReadFrom(buffer); err != nil {
					t.Errorf("receive: %v", err)
					return
				}
			}
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		conn.Close()
	}
}

// unseen is how many runs of a vector on a CPU may go unseen, see BUG in the
// package documentation.
const unseen = 20

// The runs that are counted lie between those that the kernel counts from just
// after the start to just before the end, and those that it counts from before
// the start to after the end.
func TestCountsEqualTheKernels(t *testing.T) {
	before := procSoftirqs(t)
	s := ebpftest.Start(t, ebpf.Options{}, New())
	started := procSoftirqs(t)
	stop := udpLoad(t, 500, time.Millisecond)
	s.Intervals(3)
	stop()
	ending := procSoftirqs(t)
	batches := s.Stop()
	after := procSoftirqs(t)

	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	counted := make(map[key]uint64)
	raised := make(map[key]uint64)
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if loss, ok := b.Loss(e); ok {
			t.Errorf("%+v", loss)
		}
		h, ok := b.DeferredHist(e)
		if !ok {
			return
		}
		k := key{h.CPU, h.Name}
		counted[k] += h.Count
		raised[k] += h.Raised
		if h.RunHist == nil && h.Count > 0 || h.RunHist != nil && h.RunHist.Count != h.Count {
			t.Errorf("%v: %d runs, histogram %v", k, h.Count, h.RunHist)
		}
		if h.WaitHist != nil && h.WaitHist.Count > h.Count+1 {
			t.Errorf("%v: %d waits of %d runs", k, h.WaitHist.Count, h.Count)
		}
		if h.Busy > h.Dur || h.MaxRun > h.Busy && h.Count == 1 {
			t.Errorf("%v: busy for %v of %v, longest run %v", k, h.Busy, h.Dur, h.MaxRun)
		}
	})
	var total, possible uint64
	for k := range after {
		// A run that has begun but not ended at either edge is in one count only.
		low, high := ending[k]-started[k], after[k]-before[k]+1
		if counted[k]+1+unseen < low || counted[k] > high {
			t.Errorf("%v: %d runs counted, the kernel says %d to %d", k, counted[k], low, high)
		}
		if counted[k]+1 < low {
			t.Logf("%v: %d of %d runs not seen", k, low-counted[k], low)
		}
		total += counted[k]
		possible += high - low
	}
	if net := counted[key{0, "NET_RX"}] + counted[key{1, "NET_RX"}]; net < 10000 {
		t.Errorf("only %d NET_RX runs under load", net)
	}
	if possible > total/5 {
		t.Errorf("the kernel's count is uncertain by %d of %d runs: this shows little", possible, total)
	}
	t.Logf("%d runs; the kernel's count is known to within %d", total, possible)
}

// perfRun is a line of perf kwork timehist.
type perfRun struct {
	key
	end       time.Duration // CLOCK_MONOTONIC, to the microsecond
	run, wait time.Duration
}

// perfKwork records softirqs for a time and returns the runs.
func perfKwork(t *testing.T, seconds string) []perfRun {
	t.Helper()
	if _, err := exec.LookPath("perf"); err != nil {
		testutil.Unavailable(t, "perf is not installed")
	}
	data := filepath.Join(t.TempDir(), "perf.data")
	record := exec.CommandContext(
		t.Context(),
		"perf",
		"kwork",
		"-k",
		"softirq",
		"record",
		"--clockid",
		"CLOCK_MONOTONIC",
		"-m",
		"2048",
		"-o",
		data,
		"--",
		"sleep",
		seconds,
	)
	if out, err := record.CombinedOutput(); err != nil {
		t.Fatalf("perf kwork record: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "perf", "kwork", "-k", "softirq", "timehist", "-i", data).Output()
	if err != nil {
		t.Fatalf("perf kwork timehist: %v", err)
	}
	var runs []perfRun
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		// start end [cpu] (s)NAME:NUMBER runtime delay
		f := strings.Fields(lines.Text())
		if len(f) < 6 || !strings.HasPrefix(f[3], "(s)") {
			continue
		}
		cpu, err := strconv.Atoi(strings.Trim(f[2], "[]"))
		if err != nil {
			t.Fatalf("perf kwork timehist: %q", lines.Text())
		}
		vector, _, _ := strings.Cut(strings.TrimPrefix(f[3], "(s)"), ":")
		runs = append(
			runs,
			perfRun{
				key{int32(cpu), vector},
				duration(t, f[1], time.Second),
				duration(t, f[4], time.Millisecond),
				duration(t, f[5], time.Millisecond),
			},
		)
	}
	return runs
}

func duration(t *testing.T, text string, unit time.Duration) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text + map[time.Duration]string{time.Second: "s", time.Millisecond: "ms"}[unit])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Every run that perf kwork sees is there with the same wait and run time.
func TestAgreesWithPerfKwork(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{Trace: true}, New())
	stop := udpLoad(t, 20, 5*time.Millisecond)
	want := perfKwork(t, "2")
	stop()
	batches := s.Stop()
	if len(want) < 1000 {
		t.Fatalf("perf kwork saw %d runs only", len(want))
	}
	var offset time.Duration
	ours := make(map[key][]model.DeferredRun)
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if c, ok := b.Clock(e); ok && offset == 0 {
			offset = time.Duration(c.Wall) - c.Mono
		}
		if run, ok := b.DeferredRun(e); ok {
			k := key{run.CPU, run.Name}
			ours[k] = append(ours[k], run)
		}
	})
	var missing, unknown, runDiffers, waitDiffers int
	var runDiffs, waitDiffs []time.Duration
	const near = 50 * time.Microsecond
	for _, p := range want {
		end := model.Time(p.end + offset)
		runs := ours[p.key]
		i, _ := slices.BinarySearchFunc(
			runs,
			end,
			func(r model.DeferredRun, t model.Time) int { return cmp.Compare(r.Time, t) },
		)
		if i > 0 && (i == len(runs) || end.Sub(runs[i-1].Time) < runs[i].Time.Sub(end)) {
			i--
		}
		if i == len(runs) || runs[i].Time.Sub(end).Abs() > near {
			missing++
			continue
		}
		run := runs[i]
		d := (run.Dur - p.run).Abs()
		runDiffs = append(runDiffs, d)
		if d > near {
			runDiffers++
		}
		if run.Flags&model.FlagWaitUnknown != 0 {
			unknown++
			continue
		}
		d = (run.Wait - p.wait).Abs()
		waitDiffs = append(waitDiffs, d)
		if d > near {
			waitDiffers++
		}
	}
	t.Logf(
		"%d runs: %d missing, %d of unknown wait; run differs by %v in the median, wait by %v",
		len(want),
		missing,
		unknown,
		median(runDiffs),
		median(waitDiffs),
	)
	few := len(want) / 50
	if missing > few || unknown > few || runDiffers > few || waitDiffers > few {
		t.Errorf(
			"of %d runs %d are missing, %d have no wait, %d differ in their run and %d in their wait by more than %v",
			len(want),
			missing,
			unknown,
			runDiffers,
			waitDiffers,
			near,
		)
	}
	const typical = 5 * time.Microsecond // two tracers time the same tracepoint one after the other
	if r, w := median(runDiffs), median(waitDiffs); r > typical || w > typical {
		t.Errorf("in the median the run differs by %v and the wait by %v", r, w)
	}
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}

// With a threshold of one nanosecond every run is emitted singly, with its task.
func TestThreshold(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{RunThreshold: 1}, New())
	stop := udpLoad(t, 20, 5*time.Millisecond)
	s.Intervals(1)
	stop()
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	var runs, counted uint64
	var busy, ran time.Duration
	named := make(map[string]bool)
	processes := make(map[int32]string)
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if p, ok := b.Process(e); ok {
			processes[p.PID] = p.Name
		}
		if run, ok := b.DeferredRun(e); ok {
			runs++
			ran += run.Dur
			named[run.Task] = true
			if run.Name != vectorNames[run.Vector] || run.Class != model.ClassSoftirq {
				t.Errorf("run %+v", run)
			}
			if run.PID > 0 && processes[run.PID] == "" {
				t.Errorf("no process event before the run %+v", run)
			}
		}
		if h, ok := b.DeferredHist(e); ok {
			counted += h.Count
			busy += h.Busy
		}
	})
	// What ends between the last interval and the detaching is emitted, not counted.
	if runs < counted || runs > counted+counted/20+10 {
		t.Errorf("%d runs emitted, %d counted", runs, counted)
	}
	if d := ran - busy; d < -time.Millisecond || d > busy/10+time.Millisecond {
		t.Errorf("runs of %v emitted, busy for %v", ran, busy)
	}
	if named[""] || len(named) < 2 {
		t.Errorf("tasks %v", named)
	}
}

// Above the default thresholds nothing short is emitted.
func TestQuietByDefault(t *testing.T) {
	s := ebpftest.Start(t, ebpf.Options{}, New())
	stop := udpLoad(t, 20, 5*time.Millisecond)
	s.Intervals(1)
	stop()
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if run, ok := b.DeferredRun(e); ok && run.Dur < defaultThreshold && run.Wait < defaultThreshold {
			t.Errorf("a run of %v after %v was emitted", run.Dur, run.Wait)
		}
	})
}

// The CPU times of the intervals add up to what /proc/stat says, and each CPU's
// to the interval.
func TestCPUTime(t *testing.T) {
	if vmtest.Guest() {
		t.Skip("an emulated CPU that stands still misses ticks, and the kernel counts those")
	}
	s := ebpftest.Start(t, ebpf.Options{}, New())
	s.Intervals(2)
	var n int
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		c, ok := b.CPUTime(e)
		if !ok || c.Dur < time.Second {
			return
		}
		n++
		// The kernel counts ticks of 10 ms in each state, and an idle CPU's when it wakes.
		if sum := c.User + c.System + c.Softirq + c.IRQ + c.Idle + c.Steal; (sum - c.Dur).Abs() > c.Dur/5 {
			t.Errorf("CPU %d: %v of %v accounted for: %+v", c.CPU, sum, c.Dur, c)
		}
	})
	if n == 0 {
		t.Error("no cpu.time events")
	}
}

func TestVectorNames(t *testing.T) {
	content, err := os.ReadFile("/proc/softirqs")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(content)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			names = append(names, name)
		}
	}
	if !slices.Equal(names, vectorNames[:]) {
		t.Errorf("vectors %v, the kernel has %v", vectorNames, names)
	}
}

// BenchmarkDatagram measures what the probe adds to a datagram sent and
// received over the loopback device: compare the ns/op of its parts, from runs
// that alternate (-count).
func BenchmarkDatagram(b *testing.B) {
	b.Run("none", func(b *testing.B) { datagrams(b) })
	b.Run("histograms", func(b *testing.B) {
		ebpftest.Start(b, ebpf.Options{}, New())
		datagrams(b)
	})
	b.Run("trace", func(b *testing.B) {
		ebpftest.Start(b, ebpf.Options{Trace: true}, New())
		datagrams(b)
	})
}

// BenchmarkPrograms measures the BPF programs under the same load. The kernel's
// measuring is part of the figures.
func BenchmarkPrograms(b *testing.B) {
	for name, options := range map[string]ebpf.Options{"histograms": {}, "trace": {Trace: true}} {
		b.Run(name, func(b *testing.B) {
			read := ebpftest.Costs(b, "deferred_")
			ebpftest.Start(b, options, New())
			datagrams(b)
			ebpftest.ReportCosts(b, read(), "deferred_")
		})
	}
}

// datagrams sends one to itself per operation.
func datagrams(b *testing.B) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, 64)
	for b.Loop() {
		if _, err := conn.WriteTo(buffer, conn.LocalAddr()); err != nil {
			b.Fatal(err)
		}
		if _, _, err := conn.ReadFrom(buffer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCollect(b *testing.B) {
	for _, cpus := range []int{2, 128} {
		b.Run(fmt.Sprintf("cpus=%d", cpus), func(b *testing.B) {
			a := &attached{
				env: &ebpf.Env{}, now: make([]deferredCpuCounters, cpus), before: make([]deferredCpuCounters, cpus),
				counted: make([][len(vectorNames)]time.Duration, cpus),
			}
			for cpu := range a.now {
				for v := range vectorNames {
					counters := &a.now[cpu].Vectors[v]
					counters.Run.SumNs = 1 << 20
					for i := range 20 {
						counters.Run.Buckets[20+i] = 100
						counters.Wait.Buckets[30+i] = 100
					}
				}
			}
			b.ReportAllocs()
			var builder model.Builder
			for b.Loop() {
				clear(a.counted)
				for cpu := range a.now {
					for v := range vectorNames {
						a.add(1, time.Second, 1, 1, cpu, v, &builder)
					}
				}
				builder.Take()
			}
		})
	}
}
