package deferred

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"

	"github.com/google/go-cmp/cmp"
)

// record is a run as the BPF program writes it; a comm makes it a long one.
func record(r deferredRun, comm string) []byte {
	raw := binary.LittleEndian.AppendUint64(nil, r.Head.TimeNs)
	raw = binary.LittleEndian.AppendUint16(raw, uint16(model.KindDeferredRun))
	raw = binary.LittleEndian.AppendUint16(raw, r.Head.Cpu)
	raw = binary.LittleEndian.AppendUint32(raw, r.Head.Pid)
	raw = binary.LittleEndian.AppendUint64(raw, r.RunNs)
	raw = binary.LittleEndian.AppendUint64(raw, r.WaitNs)
	raw = binary.LittleEndian.AppendUint32(raw, r.Tid)
	raw = binary.LittleEndian.AppendUint32(raw, r.Vector)
	if comm != "" {
		raw = append(raw, comm...)
		raw = append(raw, make([]byte, 16-len(comm))...)
	}
	return raw
}

func run(cpu uint16, pid uint32, end, ran, waited time.Duration, vector uint32) deferredRun {
	r := deferredRun{RunNs: uint64(ran), WaitNs: uint64(waited), Tid: pid, Vector: vector}
	r.Head.TimeNs, r.Head.Cpu, r.Head.Pid = uint64(end), cpu, pid
	return r
}

func decoder() *attached {
	process := model.NewInterned("process")
	a := newAttached(2)
	a.env = &ebpf.Env{
		Clock:           ebpf.Clock{Offset: 1000},
		InternedProcess: func(pid int32) *model.Interned { return &process },
		NamedProcess:    func(pid int32, comm string) string { return comm },
	}
	return a
}

func TestDecode(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		raw  []byte
		want model.DeferredRun
	}{
		{
			"short run", record(run(1, 42, 9*ms, 3, 5, 3), ""),
			model.DeferredRun{
				Time: model.Time(9*ms) + 1000, Dur: 3, CPU: 1, PID: 42, TID: 42, Class: model.ClassSoftirq, Wait: 5,
				Vector: 3, Name: "NET_RX", Task: "process",
			},
		},
		{
			"long run", record(run(0, 16, 9*ms, 3*ms, 5, 7), "ksoftirqd/0"),
			model.DeferredRun{
				Time: model.Time(9*ms) + 1000, Dur: 3 * ms, PID: 16, TID: 16, Class: model.ClassSoftirq, Wait: 5, Vector: 7,
				Name: "SCHED", Task: "ksoftirqd/0",
			},
		},
		{
			"idle", record(run(1, 0, 9*ms, 3, 5, 1), ""),
			model.DeferredRun{
				Time: model.Time(9*ms) + 1000, Dur: 3, CPU: 1, Class: model.ClassSoftirq, Wait: 5, Vector: 1, Name: "TIMER",
				Task: "swapper/1",
			},
		},
		{
			"unknown wait", record(run(1, 0, 9*ms, 3, 0, 1), ""),
			model.DeferredRun{
				Time: model.Time(9*ms) + 1000, Dur: 3, Flags: model.FlagWaitUnknown, CPU: 1, Class: model.ClassSoftirq,
				Vector: 1, Name: "TIMER", Task: "swapper/1",
			},
		},
		{
			"wait that cannot be", record(run(1, 0, 9*ms, 3, 2*time.Minute, 1), ""),
			model.DeferredRun{
				Time: model.Time(9*ms) + 1000, Dur: 3, Flags: model.FlagWaitUnknown, CPU: 1, Class: model.ClassSoftirq,
				Vector: 1, Name: "TIMER", Task: "swapper/1",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b model.Builder
			if err := decoder().decode(test.raw, &b); err != nil {
				t.Fatal(err)
			}
			batch := b.Take()
			got, ok := batch.DeferredRun(&batch.Events[0])
			if diff := cmp.Diff(test.want, got); !ok || diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	good := record(run(1, 42, 9, 3, 5, 3), "")
	var b model.Builder
	for n := range good {
		if err := decoder().decode(good[:n], &b); err == nil {
			t.Errorf("%d bytes are taken for a run", n)
		}
	}
	for name, raw := range map[string][]byte{
		"vector": record(run(1, 42, 9, 3, 5, 10), ""),
		"CPU":    record(run(2, 42, 9, 3, 5, 3), ""),
	} {
		if err := decoder().decode(raw, &b); err == nil {
			t.Errorf("a %s that does not exist is accepted", name)
		}
	}
	if b.Len() != 0 {
		t.Errorf("%d events from malformed records", b.Len())
	}
}

// A TIMER softirq that waited while NET_RX ran again and again names it.
func TestBefore(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		runs []deferredRun
		want string // of the last run
	}{
		{"alone", []deferredRun{run(0, 1, 10*ms, ms, 2*ms, 1)}, ""},
		{"after one run", []deferredRun{run(0, 1, 10*ms, 4*ms, 1, 3), run(0, 1, 11*ms, ms, 4*ms, 1)}, "NET_RX"},
		{
			"after many runs",
			[]deferredRun{
				run(0, 1, 10*ms, 2*ms, 1, 3), run(0, 1, 12*ms, 2*ms, 1, 3), run(0, 1, 14*ms, 2*ms, 1, 3),
				run(0, 1, 15*ms, ms, 6*ms, 1),
			},
			"NET_RX",
		},
		{"mostly something else", []deferredRun{run(0, 1, 10*ms, 2*ms, 1, 3), run(0, 1, 11*ms, ms, 9*ms, 1)}, ""},
		{"on another CPU", []deferredRun{run(1, 1, 10*ms, 4*ms, 1, 3), run(0, 1, 11*ms, ms, 4*ms, 1)}, ""},
		{"long ago", []deferredRun{run(0, 1, 10*ms, 4*ms, 1, 3), run(0, 1, 50*ms, ms, 4*ms, 1)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b model.Builder
			a := decoder()
			for _, r := range test.runs {
				if err := a.decode(record(r, "ksoftirqd/0"), &b); err != nil {
					t.Fatal(err)
				}
			}
			batch := b.Take()
			got, _ := batch.DeferredRun(&batch.Events[len(batch.Events)-1])
			if got.Before != test.want {
				t.Errorf("before is %q, want %q", got.Before, test.want)
			}
		})
	}
}

// A run in progress counts as busy with what it has taken, and never twice.
func TestBusyOfARunInProgress(t *testing.T) {
	a := &attached{
		env: &ebpf.Env{}, now: make([]deferredCpuCounters, 1), before: make([]deferredCpuCounters, 1),
		counted: make([][len(vectorNames)]time.Duration, 1),
	}
	v := &a.now[0].Vectors[3]
	busy := func(read int64) time.Duration {
		t.Helper()
		var b model.Builder
		a.add(model.Time(read), time.Second, 1, read, 0, 3, &b)
		batch := b.Take()
		if batch == nil {
			return 0
		}
		h, _ := batch.DeferredHist(&batch.Events[0])
		return h.Busy
	}
	a.now[0].Running = 3 + 1
	v.EnteredNs = 100
	if got := busy(400); got != 300 {
		t.Errorf("in progress: busy for %d ns, want 300", got)
	}
	if got := busy(1000); got != 600 {
		t.Errorf("still in progress: busy for %d ns, want 600", got)
	}
	v.Run.SumNs = 950 // it ended after 950 ns, and the next is 30 ns old
	v.EnteredNs = 1100
	if got := busy(1130); got != 80 {
		t.Errorf("ended: busy for %d ns, want 80", got)
	}
	v.EnteredNs = 0 // read between the end of the second and its being added
	if got := busy(1150); got != 0 {
		t.Errorf("torn reading: busy for %d ns, want 0", got)
	}
	v.Run.SumNs = 1000 // it took 50 ns, 30 of which have been reported
	if got := busy(1200); got != 20 {
		t.Errorf("after a torn reading: busy for %d ns, want 20", got)
	}
	v.EnteredNs, a.now[0].Running = 1200, 1+1 // its exit was not reported, and another vector runs
	if got := busy(9000); got != 0 {
		t.Errorf("a run whose exit was not reported: busy for %d ns, want 0", got)
	}
}

func TestLayout(t *testing.T) {
	var v deferredCpuCounters
	if got, want := unsafe.Sizeof(v.Vectors[0].Run), unsafe.Sizeof(ebpf.Hist{}); got != want {
		t.Errorf("struct lb_hist has %d bytes, ebpf.Hist %d", got, want)
	}
	v.Vectors[0].Run.SumNs = 1
	v.Vectors[0].Run.Peaks[1].Epoch, v.Vectors[0].Run.Peaks[1].MaxNs = 2, 3
	v.Vectors[0].Run.Buckets[7] = 4
	want := ebpf.Hist{SumNS: 1, Peaks: [2]ebpf.Peak{1: {Epoch: 2, MaxNS: 3}}}
	want.Buckets[7] = 4
	if diff := cmp.Diff(want, *ebpf.HistOf(&v.Vectors[0].Run)); diff != "" {
		t.Error(diff)
	}
	if size := unsafe.Sizeof(deferredRun{}); size > 40 {
		t.Errorf("a run takes %d bytes of the ringbuf, more than 40", size)
	}
}

func TestReadCPUTimes(t *testing.T) {
	const stat = "cpu  30 4 6 8 10 12 14 16 0 0\ncpu0 10 1 2 3 4 5 6 7 0 0\ncpu3 20 3 4 5 6 7 8 9 0 0\nintr " +
		"12345\ncpu9 not a CPU line\n"
	got, err := readCPUTimes(strings.NewReader(stat))
	if err != nil {
		t.Fatal(err)
	}
	want := map[int32]cpuTime{
		0: {user: 11 * tick, system: 2 * tick, idle: 7 * tick, irq: 5 * tick, softirq: 6 * tick, steal: 7 * tick},
		3: {user: 23 * tick, system: 4 * tick, idle: 11 * tick, irq: 7 * tick, softirq: 8 * tick, steal: 9 * tick},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(cpuTime{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"cpu0 1 2 3\n", "cpux 1 2 3 4 5 6 7 8\n", "cpu0 1 2 3 4 5 6 7 -8\n", "cpu99999999 1 " +
		"2 3 4 5 6 7 8\n"} {
		if _, err := readCPUTimes(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzReadCPUTimes(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("cpu  30 4 6 8 10 12 14 16 0 0\ncpu0 10 1 2 3 4 5 6 7 0 0\nintr 1\n")
	f.Add("cpu0 1\n")
	f.Fuzz(func(t *testing.T, stat string) {
		times, err := readCPUTimes(strings.NewReader(stat))
		if err == nil && len(times) > strings.Count(stat, "cpu") {
			t.Errorf("%d CPUs from %q", len(times), stat)
		}
	})
}

func TestCPUTimeSince(t *testing.T) {
	before := cpuTime{user: 10, system: 20, idle: 100, softirq: 1}
	now := cpuTime{user: 15, system: 20, idle: 90, softirq: 4}
	if got, want := now.since(before), (cpuTime{user: 5, softirq: 3}); got != want {
		t.Errorf("since: %+v, want %+v", got, want)
	}
}

// A CPU that goes offline has no time while it is away, and what passed
// meanwhile is not put down to the interval in which it comes back. Both are said.
func TestCPUOffline(t *testing.T) {
	changes := 0
	a := attached{env: &ebpf.Env{StatusChanged: func() { changes++ }}}
	read := func(at model.Time, stat string) []model.CPUTime {
		t.Helper()
		times, err := readCPUTimes(strings.NewReader(stat))
		if err != nil {
			t.Fatal(err)
		}
		if a.times != nil { // the first reading is that of the start
			a.follow(times)
		}
		var b model.Builder
		a.addCPUTimes(times, at, time.Second, &b)
		batch := b.Take()
		if batch == nil {
			return nil
		}
		var got []model.CPUTime
		for i := range batch.Events {
			v, _ := batch.CPUTime(&batch.Events[i])
			got = append(got, v)
		}
		return got
	}
	second := model.Time(time.Second)
	offline := []model.Probe{{Name: name, Part: "CPU 1", State: model.ProbeOff, Reason: "the CPU went offline"}}
	online := []model.Probe{{Name: name, Part: "CPU 1", State: model.ProbeOn, Reason: "the CPU came online"}}
	for i, step := range []struct {
		stat    string
		want    []model.CPUTime // by CPU, only the user time of which is told
		status  []model.Probe
		changes int
	}{
		{"cpu0 10 0 0 0 0 0 0 0\ncpu1 10 0 0 0 0 0 0 0\n", nil, nil, 0},
		{
			"cpu0 20 0 0 0 0 0 0 0\ncpu1 15 0 0 0 0 0 0 0\n",
			[]model.CPUTime{{CPU: 0, User: 10 * tick}, {CPU: 1, User: 5 * tick}}, nil, 0,
		},
		{"cpu0 30 0 0 0 0 0 0 0\n", []model.CPUTime{{CPU: 0, User: 10 * tick}}, offline, 1},
		{"cpu0 40 0 0 0 0 0 0 0\n", []model.CPUTime{{CPU: 0, User: 10 * tick}}, offline, 1},
		{"cpu0 50 0 0 0 0 0 0 0\ncpu1 99 0 0 0 0 0 0 0\n", []model.CPUTime{{CPU: 0, User: 10 * tick}}, online, 2},
		{
			"cpu0 60 0 0 0 0 0 0 0\ncpu1 109 0 0 0 0 0 0 0\n",
			[]model.CPUTime{{CPU: 0, User: 10 * tick}, {CPU: 1, User: 10 * tick}}, online, 2,
		},
	} {
		at := model.Time(i+1) * second
		for j := range step.want {
			step.want[j].Time, step.want[j].Dur = at, time.Second
		}
		if diff := cmp.Diff(step.want, read(at, step.stat)); diff != "" {
			t.Errorf("reading %d: %s", i, diff)
		}
		if diff := cmp.Diff(step.status, a.status); diff != "" || changes != step.changes {
			t.Errorf("reading %d: status changed %d times: %s", i, changes, diff)
		}
	}
}

// BenchmarkDecode decodes runs of all vectors, by idle CPUs and processes, into
// batches of the engine's size.
func BenchmarkDecode(b *testing.B) {
	var raws [][]byte
	for i := range 64 {
		raws = append(
			raws,
			record(
				run(
					uint16(i%2),
					uint32(i%3),
					time.Duration(i)*time.Microsecond,
					500,
					time.Duration(i),
					uint32(i%len(vectorNames)),
				),
				"",
			),
		)
	}
	a := decoder()
	var builder model.Builder
	memory := make([]model.Event, 0, 4096)
	for i := 0; b.Loop(); i++ {
		if err := a.decode(raws[i%len(raws)], &builder); err != nil {
			b.Fatal(err)
		}
		if builder.Len() == cap(memory) {
			builder.Take()
			builder.Reuse(memory)
		}
	}
}
