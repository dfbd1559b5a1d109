package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/source"
)

var _ source.Seekable = (*Reader)(nil)

const start = model.Time(1_795_356_189_000_000_000)

// trace makes a stream as a host under load gives it with every softirq run as
// an event: rate runs a second on four CPUs, durations log-normally
// distributed, tasks and vectors as they occur, and the interval events of each second.
type trace struct {
	random *rand.Rand
	now    model.Time
	second model.Time
	rate   int
	ports  uint64
}

func newTrace(rate int) *trace {
	return &trace{random: rand.New(rand.NewPCG(1, 2)), now: start, second: start, rate: rate}
}

var tasks = []struct {
	name string
	pid  int32
}{
	{"swapper", 0}, {"ksoftirqd", 15}, {"asterisk", 4711}, {"nginx", 812},
	{"kworker/u8:1", 90}, {"postgres", 2100}, {"sshd", 3021}, {"node", 5120},
}

// lognormal gives durations in nanoseconds with the given median and spread.
func (g *trace) lognormal(median, sigma float64) time.Duration {
	return time.Duration(median * math.Exp(g.random.NormFloat64()*sigma))
}

func (g *trace) head(b *model.Builder) {
	for _, m := range [][2]string{
		{"host", "voice-1"}, {"os", "linux"}, {"kernel", "6.18.0"}, {"arch", "amd64"}, {"cpus", "4"},
		{"tool", "lostbeat test"},
	} {
		b.AddMeta(model.Meta{Time: g.now, Key: m[0], Value: m[1]})
	}
	b.AddClock(model.Clock{Time: g.now, Boot: time.Hour, Mono: time.Hour, Wall: g.now, Bracket: 90})
	b.AddProbe(model.Probe{Time: g.now, State: model.ProbeOn, Name: "deferred"})
	b.AddProbe(
		model.Probe{Time: g.now, State: model.ProbeOff, Name: "drop", Part: "reasons", Reason: "no BTF", Hint: "install it"},
	)
	b.AddPortPool(
		model.PortPool{Time: g.now, Protocol: model.ProtocolUDP, Low: 32768, High: 60999, Size: 28232, Name: "ephemeral"},
	)
}

// batch gives the next n runs, with what else happens between them.
func (g *trace) batch(n int) *model.Batch {
	var b model.Builder
	if g.now == start {
		g.head(&b)
	}
	vectors := []string{"TIMER", "NET_RX", "SCHED", "RCU", "HRTIMER"}
	numbers := []int64{1, 3, 7, 9, 8}
	for range n {
		g.now += model.Time(g.random.ExpFloat64()*float64(time.Second)/float64(g.rate)) + 1
		for g.now-g.second >= model.Time(time.Second) {
			g.second += model.Time(time.Second)
			g.interval(&b)
		}
		// Mostly NET_RX, in the context of few tasks, as under load.
		v := []int{1, 1, 1, 1, 1, 0, 2, 3, 3, 4}[g.random.IntN(10)]
		task := tasks[min(int(g.random.ExpFloat64()*1.5), len(tasks)-1)]
		cpu := int32(g.random.IntN(4))
		name, pid := task.name, task.pid
		if pid == 0 || task.name == "ksoftirqd" {
			name = fmt.Sprint(task.name, "/", cpu)
			pid += cpu * min(pid, 1)
		}
		run := model.DeferredRun{
			Time:   g.now,
			Dur:    g.lognormal(2500, 0.9),
			CPU:    cpu,
			PID:    pid,
			TID:    pid,
			Class:  model.ClassSoftirq,
			Wait:   g.lognormal(1200, 1),
			Vector: numbers[v],
			Name:   vectors[v],
			Task:   name,
		}
		if g.random.IntN(50) == 0 {
			run.Flags, run.Wait = model.FlagWaitUnknown, 0
		}
		b.AddDeferredRun(run)
	}
	return b.Take()
}

func (g *trace) interval(b *model.Builder) {
	for cpu := range int32(4) {
		for _, name := range []string{"TIMER", "NET_RX", "SCHED", "RCU"} {
			run, wait := new(model.Histogram), new(model.Histogram)
			for range 1000 {
				run.Observe(uint64(g.lognormal(2500, 0.9)))
				wait.Observe(uint64(g.lognormal(1200, 1)))
			}
			b.AddDeferredHist(
				model.DeferredHist{
					Time:     g.second,
					Dur:      time.Second,
					CPU:      cpu,
					Class:    model.ClassSoftirq,
					Count:    1000,
					Busy:     time.Duration(run.Sum),
					MaxRun:   time.Duration(run.Max),
					MaxWait:  time.Duration(wait.Max),
					Raised:   1010,
					Name:     name,
					RunHist:  run,
					WaitHist: wait,
				},
			)
		}
		b.AddSoftnet(
			model.Softnet{
				Time:        g.second,
				Dur:         time.Second,
				CPU:         cpu,
				Processed:   100000 + g.random.Uint64N(1000),
				TimeSqueeze: g.random.Uint64N(3),
			},
		)
		b.AddCounter(
			model.Counter{
				Time:  g.second,
				Dur:   time.Second,
				CPU:   cpu,
				Value: float64(g.random.IntN(100)) / 100,
				Mode:  model.CounterShare,
				Name:  "Processor/% DPC Time",
			},
		)
	}
	g.ports++
	b.AddPortAcquire(
		model.PortAcquire{
			Time:      g.second,
			PID:       4711,
			TID:       4712,
			Cookie:    1000 + g.ports,
			Protocol:  model.ProtocolUDP,
			LocalPort: uint16(32768 + g.ports%20000),
			How:       model.HowBindAny,
			Netns:     4026531840,
			LocalAddr: "0.0.0.0",
			Process:   "asterisk",
			Stack:     model.Stack{{Addr: 0x55d0c0ffee, Name: "rtp_open"}, {Addr: 0x7f0000001234}},
		},
	)
	if g.ports%3 == 0 {
		b.AddPortRelease(
			model.PortRelease{
				Time:      g.second,
				Dur:       time.Second,
				PID:       4711,
				TID:       4712,
				Cookie:    1000 + g.ports,
				Protocol:  model.ProtocolUDP,
				LocalPort: uint16(32768 + g.ports%20000),
				How:       model.HowClose,
				LocalAddr: "0.0.0.0",
				Process:   "asterisk",
			},
		)
	}
}

// text gives batches as text, which is how streams are compared.
type text struct {
	bytes.Buffer
	model.Validator
	t *testing.T
	n int
	// kinds of events that are not kept: keyframes.
	keyframes int
}

func (w *text) emit(b *model.Batch) error {
	w.n += len(b.Events)
	if err := w.Check(b); err != nil {
		w.t.Error(err)
	}
	for i := range b.Events {
		if b.Events[i].Flags&model.FlagKeyframe != 0 {
			w.keyframes++
			continue
		}
		w.Write(append(model.AppendText(nil, b, &b.Events[i]), '\n'))
	}
	return nil
}

// recording writes batches to a new file and returns its path and the text of what was written.
func recording(t *testing.T, opts Options, batches ...*model.Batch) (path, want string) {
	t.Helper()
	path = filepath.Join(testutil.TempDir(t), "rec.lostbeat")
	w, err := Create(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	out := &text{t: t}
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := out.emit(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, out.String()
}

// open opens a recording that has to be in order.
func open(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// private checks that nobody but the owner may read a recording. On Windows that is what its folder says.
func private(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// compare says where two texts begin to differ.
func compare(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("line %d of %d and %d:\ngot  %s\nwant %s", i, len(a), len(b), a[i], b[i])
		}
	}
	t.Fatalf("%d lines, want %d", len(a), len(b))
}

func TestRoundTrip(t *testing.T) {
	g := newTrace(20000)
	var batches []*model.Batch
	for range 40 {
		batches = append(batches, g.batch(2500))
	}
	path, want := recording(t, Options{Tool: "lostbeat test"}, batches...)
	private(t, path)
	r := open(t, path)
	got := &text{t: t}
	if err := r.Run(t.Context(), got.emit); err != nil {
		t.Fatal(err)
	}
	compare(t, got.String(), want)
	if got.keyframes != 0 {
		t.Errorf("%d keyframe events in a reading from the start", got.keyframes)
	}
	if err := got.Finish(); err != nil {
		t.Error(err)
	}
	if notes := r.Notes(); notes != nil {
		t.Errorf("notes %v", notes)
	}
	first, last := r.Span()
	if first != start || last != g.now {
		t.Errorf("span %v to %v, want %v to %v", first, last, start, g.now)
	}
}

// TestEveryKind writes every kind with every field filled, and a kind that this version does not know.
func TestEveryKind(t *testing.T) {
	var b model.Builder
	for n, s := range model.Specs {
		e := model.NewEvent(s.Kind, start+model.Time(n))
		e.Dur, e.Flags = time.Duration(n), model.Flags(1<<(n%8))
		e.CPU, e.PID, e.TID = int32(n), int32(2*n), int32(3*n-50)
		e.Resource, e.Netns = math.MaxUint64-uint64(n), math.MaxUint32-uint32(n%5)
		for i := range e.Args {
			e.Args[i] = uint64(n+1) << (i * 11)
		}
		for i := range e.Str {
			e.Str[i] = b.Intern(fmt.Sprintf("%s %d \xff\x00", s.Name, i))
		}
		for i := range e.Hist {
			h := new(model.Histogram)
			h.Observe(uint64(n * i * 1000))
			h.Observe(math.MaxUint64 >> n)
			e.Hist[i] = b.InternHist(h)
		}
		e.Stack = b.InternStack(model.Stack{{Addr: uint64(n)}, {Addr: math.MaxUint64, Name: s.Name}})
		b.Add(e)
		e.Kind += 1000 // unknown
		b.Add(e)
	}
	batch := b.Take()
	path := filepath.Join(testutil.TempDir(t), "rec.lostbeat")
	w, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	var got, want bytes.Buffer
	if err := writeText(&want, batch); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Run(t.Context(), func(b *model.Batch) error { return writeText(&got, b) }); err != nil {
		t.Fatal(err)
	}
	compare(t, got.String(), want.String())
}

func TestReadText(t *testing.T) {
	b := newTrace(1000).batch(5000)
	var out bytes.Buffer
	out.WriteString("# a comment\n\n")
	if err := writeText(&out, b); err != nil {
		t.Fatal(err)
	}
	want := out.String()[len("# a comment\n\n"):]
	got := &text{t: t}
	if err := ReadText(&out, got.emit); err != nil {
		t.Fatal(err)
	}
	compare(t, got.String(), want)

	n := 0
	err := ReadText(
		strings.NewReader("2026-11-22T14:03:09Z softnet cpu=1\nnonsense\n"),
		func(b *model.Batch) error { n += len(b.Events); return nil },
	)
	var syntax *model.SyntaxError
	if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), "line 2: ") || n != 1 {
		t.Errorf("%d events, error %v", n, err)
	}
	gone := errors.New("gone")
	if err := ReadText(strings.NewReader("2026-11-22T14:03:09Z softnet "+
		"cpu=1"), func(*model.Batch) error { return gone }); !errors.Is(
		err,
		gone,
	) {
		t.Errorf("error %v", err)
	}
}

// state folds a stream from time t on and returns what holds at the end, as text.
func holds(t *testing.T, r *Reader, from model.Time) string {
	t.Helper()
	var b model.Builder
	st := state.New()
	if err := r.RunFrom(t.Context(), from, func(b *model.Batch) error { st.Apply(b); return nil }); err != nil {
		t.Fatal(err)
	}
	st.Snapshot(st.Now, &b)
	var out bytes.Buffer
	if err := writeText(&out, b.Take()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRunFrom seeks to many moments: the events after the moment are those of a
// whole reading, and the state at the end is the same.
func TestRunFrom(t *testing.T) {
	g := newTrace(5000)
	var batches []*model.Batch
	for range 60 {
		batches = append(batches, g.batch(1000))
	}
	path, want := recording(t, Options{}, batches...)
	r := open(t, path)
	whole := holds(t, r, 0)
	lines := strings.SplitAfter(want, "\n")
	for moment := start - 5; moment < g.now; moment += model.Time(777 * time.Millisecond) {
		got := &text{t: t}
		got.Partial = true
		if err := r.RunFrom(t.Context(), moment, got.emit); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(want, got.String()) {
			t.Fatalf("from %v: not the end of the whole", moment)
		}
		first := got.String()[:strings.IndexByte(got.String(), '\n')+1]
		if first > moment.String() && first != lines[0] {
			t.Errorf("from %v: begins later, at %s", moment, first)
		}
		if moment > start+model.Time(2*time.Second) && got.keyframes == 0 {
			t.Errorf("from %v: no keyframe", moment)
		}
		if state := holds(t, r, moment); state != whole {
			t.Errorf("from %v: the state at the end differs", moment)
		}
	}
}

func TestRunStops(t *testing.T) {
	g := newTrace(5000)
	path, _ := recording(t, Options{}, g.batch(30000))
	r := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := r.Run(ctx, func(b *model.Batch) error { n++; cancel(); return nil }); err != nil || n > 5 {
		t.Errorf("after cancel %d batches, error %v", n, err)
	}
	gone := errors.New("gone")
	if err := r.Run(t.Context(), func(*model.Batch) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}

func TestStat(t *testing.T) {
	g := newTrace(5000)
	var b model.Builder
	batches := []*model.Batch{g.batch(20000)}
	b.AddLoss(model.Loss{Time: g.now, CPU: -1, Lost: 12, Origin: "ringbuf"})
	b.AddLoss(model.Loss{Time: g.now, CPU: -1, Lost: 5, Origin: model.OriginLate})
	path, _ := recording(t, Options{Tool: "lostbeat test"}, append(batches, b.Take())...)
	info := stat(t, path)
	var events uint64
	counts := map[model.Kind]uint64{}
	for _, k := range info.Kinds {
		events += k.Count
		counts[k.Kind] = k.Count
	}
	if events != info.Events || counts[model.KindDeferredRun] != 20000 || counts[model.KindLoss] != 2 {
		t.Errorf("counts %v of %d", info.Kinds, info.Events)
	}
	if info.Lost != 12 || !info.Closed || info.Tool != "lostbeat test" || info.Format != "1.2" ||
		info.Meta["kernel"] != "6.18.0" ||
		info.Start != start ||
		info.End != g.now {
		t.Errorf("%+v", info)
	}
	if want := []model.Probe{{
		Time: info.Probes[0].Time, Flags: info.Probes[0].Flags, State: model.ProbeOn, Name: "deferred",
	}}; !reflect.DeepEqual(
		info.Probes[:1],
		want,
	) ||
		len(info.Probes) != 2 {
		t.Errorf("probes %+v", info.Probes)
	}
}
