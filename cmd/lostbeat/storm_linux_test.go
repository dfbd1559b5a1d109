package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"lostbeat/internal/stats"
	"lostbeat/internal/testutil"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// storm is frames that the kernel itself sends as fast as it can, on two CPUs. Each goes over a veth pair in a batch of
// its own, so that each is a run of NET_RX; a program of XDP takes it out of the receiver's poll.
type storm struct {
	t *testing.T
	// counts has how many frames each thread has sent.
	counts []*cebpf.Map
	over   atomic.Bool
	wait   sync.WaitGroup
	stop   func()
}

// stormFrame is a frame with nothing in it: the receiver's program does not look at it.
var stormFrame = make([]byte, 64)

func startStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{t: t}
	for cpu := range 2 {
		tx, rx := testutil.VethPair(t)
		rx.Do(t, func() error { return attachDrop(t) })
		count, program := redirector(t, tx)
		s.counts = append(s.counts, count)
		s.wait.Go(func() {
			tx.Do(t, func() error {
				err := s.send(program, cpu)
				if errors.Is(err, unix.EINVAL) {
					err = fmt.Errorf("frames from BPF_PROG_TEST_RUN need Linux 5.18: %w", err)
				}
				if err != nil {
					t.Error(err)
				}
				return nil
			})
		})
	}
	s.stop = sync.OnceFunc(func() { s.over.Store(true); s.wait.Wait() })
	t.Cleanup(s.stop)
	return s
}

// attachDrop has the device of a veth pair drop what it receives, in the poll of its driver.
func attachDrop(t *testing.T) error {
	device, err := net.InterfaceByName(testutil.VethDevice)
	if err != nil {
		return err
	}
	program, err := cebpf.NewProgram(&cebpf.ProgramSpec{
		Type: cebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, // XDP_DROP
	})
	if err != nil {
		return err
	}
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: device.Index, Flags: link.XDPDriverMode})
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return err
}

// redirector is a program that counts what it sends over a veth pair.
func redirector(t *testing.T, tx *testutil.Netns) (count *cebpf.Map, program *cebpf.Program) {
	t.Helper()
	var device *net.Interface
	tx.Do(t, func() (err error) {
		device, err = net.InterfaceByName(testutil.VethDevice)
		return err
	})
	count, err := cebpf.NewMap(&cebpf.MapSpec{Type: cebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { count.Close() })
	program, err = cebpf.NewProgram(&cebpf.ProgramSpec{
		Type: cebpf.XDP, License: "GPL", Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, count.FD(), 0),
			asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
			asm.Add.Imm(asm.R2, 1),
			asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R1, int32(device.Index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return count, program
}

// testRun is bpf_attr for BPF_PROG_TEST_RUN; the library's has no batch size.
type testRun struct {
	fd, _, size, _ uint32
	data, _        uint64
	repeat, _      uint32
	_, _           uint32
	_, _           uint64
	flags, _       uint32
	batch, _       uint32
}

// send sends frames from a CPU until the storm is over. A call takes tens of milliseconds beside its frames.
func (s *storm) send(program *cebpf.Program, cpu int) (err error) {
	const command, liveFrames, frames = 10, 2, 1 << 19 // BPF_PROG_TEST_RUN, BPF_F_TEST_XDP_LIVE_FRAMES
	var before, own unix.CPUSet
	own.Set(cpu)
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &own)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	for !s.over.Load() {
		attr := testRun{
			fd: uint32(program.FD()), size: uint32(len(stormFrame)),
			data:   uint64(uintptr(unsafe.Pointer(unsafe.SliceData(stormFrame)))),
			repeat: frames, flags: liveFrames, batch: 1,
		}
		_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno != 0 && errno != unix.EINTR {
			return errno
		}
	}
	return nil
}

// sent is how many frames have been sent.
func (s *storm) sent(t *testing.T) (n uint64) {
	t.Helper()
	for _, m := range s.counts {
		var count uint64
		if err := m.Lookup(uint32(0), &count); err != nil {
			t.Fatal(err)
		}
		n += count
	}
	return n
}

// stuckWay is a way in which a recorder gets stuck.
type stuckWay struct {
	name string
	// prepare says where rec writes to, with arguments. stick gets it stuck, free ends that, and does nothing where it is
	// not stuck.
	prepare func(t *testing.T, rec *recorderProcess) (args []string, stick, free func())
	// loses says that it loses events, says is what has to come from its standard error.
	loses bool
	says  string
}

var stuckWays = []stuckWay{
	{name: "stopped", loses: true, prepare: func(t *testing.T, rec *recorderProcess) ([]string, func(), func()) {
		return nil, func() { rec.signal(syscall.SIGSTOP) }, func() { rec.signal(syscall.SIGCONT) }
	}},
	{name: "pipes that nobody reads", prepare: stuckPipes, says: "the probes were attached"},
	{name: "a full disk", loses: true, prepare: stuckDisk, says: "no space left on device"},
	{name: "a disk that does not respond", loses: true, prepare: stuckFrozen, says: "too slow"},
}

// stuckPipes has standard error and the findings go to pipes that are full from the start.
func stuckPipes(t *testing.T, rec *recorderProcess) (args []string, stick, free func()) {
	t.Helper()
	findings, errs := newFullPipe(t), newFullPipe(t)
	to, err := os.OpenFile(errs.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	rec.stderr = to
	return []string{"--also", "jsonl=" + findings.path}, func() { findings.fill(); errs.fill() }, func() {
		findings.read(io.Discard)
		errs.read(&rec.errs)
	}
}

// fullPipe is a named pipe into which nothing fits.
type fullPipe struct {
	t    *testing.T
	path string
	fd   int
	end  *os.File
	// reading is closed when nobody reads it any more.
	reading chan struct{}
}

func newFullPipe(t *testing.T) *fullPipe {
	t.Helper()
	p := &fullPipe{t: t, path: filepath.Join(t.TempDir(), "pipe")}
	err := syscall.Mkfifo(p.path, 0o600)
	if err == nil {
		p.fd, err = syscall.Open(p.path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.end = os.NewFile(uintptr(p.fd), p.path)
	t.Cleanup(func() { p.end.Close() })
	p.fill()
	return p
}

// fill reads no more, and fills the pipe.
func (p *fullPipe) fill() {
	p.t.Helper()
	if p.reading != nil {
		if err := p.end.SetReadDeadline(time.Now()); err != nil {
			p.t.Fatal(err)
		}
		<-p.reading
	}
	for {
		if _, err := syscall.Write(p.fd, make([]byte, 4096)); err == syscall.EAGAIN {
			return
		} else if err != nil {
			p.t.Fatal(err)
		}
	}
}

// read reads the pipe until it is filled or closed.
func (p *fullPipe) read(to io.Writer) {
	p.t.Helper()
	if err := p.end.SetReadDeadline(time.Time{}); err != nil {
		p.t.Fatal(err)
	}
	reading := make(chan struct{})
	p.reading = reading
	go func() {
		defer close(reading)
		_, _ = io.Copy(to, p.end) // ends with the deadline or the pipe
	}()
}

// stuckDisk has the recording on a small disk that something else fills.
func stuckDisk(t *testing.T, rec *recorderProcess) (args []string, stick, free func()) {
	t.Helper()
	dir, _ := smallDisk(t, "128m")
	rec.path = filepath.Join(dir, "out.lostbeat")
	other := filepath.Join(dir, "other")
	fill := func() {
		if err := os.WriteFile(other, make([]byte, 128<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
	}
	return nil, fill, func() {
		if err := os.Remove(other); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// stuckFrozen has the recording on a disk that stops responding.
func stuckFrozen(t *testing.T, rec *recorderProcess) (args []string, stick, free func()) {
	t.Helper()
	f := newFrozen(t, 128<<20)
	rec.path = filepath.Join(f.dir, "out.lostbeat")
	thaw := func() {}
	return nil, func() { thaw = f.freeze() }, func() { thaw() }
}

// stormFigures are what was measured with recorders that got stuck in one way.
type stormFigures struct {
	// reads and stuck are frames a second beside a recorder that reads and one that is stuck, ratio is the second over the
	// mean of the first before and after it.
	reads, stuck, ratio []float64
	// rss is the most resident memory in KiB, lost by which part events were lost.
	rss            int
	lost           map[string]uint64
	runs, recorded uint64
}

func (f *stormFigures) String() string {
	return fmt.Sprintf("%s frames/s while it is stuck, %s while it reads, ratio %.2f (%.2f to %.2f); %d MiB at most; "+
		"%d runs counted, %d recorded, lost: %v", spread(f.stuck), spread(f.reads), stats.Median(f.ratio),
		slices.Min(f.ratio), slices.Max(f.ratio), f.rss>>10, f.runs, f.recorded, f.lost)
}

// spread is a median and its range.
func spread(rates []float64) string {
	return fmt.Sprintf("%.0f (%.0f to %.0f)", stats.Median(rates), slices.Min(rates), slices.Max(rates))
}

// span is a part of a storm.
type span struct {
	from, to model.Time
	frames   uint64
}

func now() model.Time { return model.Time(time.Now().UnixNano()) }

// measure has frames sent for a second, and returns how many a second that were.
func (s *storm) measure(t *testing.T) (rate float64, at span) {
	t.Helper()
	at.from, at.frames = now(), s.sent(t)
	time.Sleep(time.Second) // the storm goes on
	at.to, at.frames = now(), s.sent(t)-at.frames
	return float64(at.frames) / at.to.Sub(at.from).Seconds(), at
}

// run measures one recorder that gets stuck again and again.
func (w *stuckWay) run(t *testing.T, s *storm, f *stormFigures) {
	const times, settle = 4, 700 * time.Millisecond
	rec := &recorderProcess{t: t}
	args, stick, free := w.prepare(t, rec)
	rec.start(append([]string{"--trace", "--max-cpu", "0"}, args...)...)
	free()
	time.Sleep(time.Second) // the storm goes on
	read, before := s.measure(t)
	reads, stuck, after := []float64{read}, []float64(nil), span{}
	for i := range times {
		stick()
		time.Sleep(settle) // queues fill
		rate, _ := s.measure(t)
		free()
		time.Sleep(settle)
		read, after = s.measure(t)
		stuck, reads = append(stuck, rate), append(reads, read)
		f.ratio = append(f.ratio, rate/((reads[i]+reads[i+1])/2))
	}
	f.reads, f.stuck = append(f.reads, reads...), append(f.stuck, stuck...)
	f.rss = max(f.rss, status(t, rec.cmd.Process.Pid, "VmHWM"))
	e := stormEvents{before: before, after: after, lost: map[string]uint64{}}
	ended := rec.end(e.add)
	f.runs, f.recorded = f.runs+e.runs, f.recorded+e.recorded
	var lost uint64
	for origin, n := range e.lost {
		f.lost[origin] += n
		lost += n
	}
	eventually(t, 10*time.Second, w.says, func() bool { return strings.Contains(rec.errs.String(), w.says) })
	said := strings.ReplaceAll(rec.errs.String(), "\x00", "") // with which the pipe was filled
	t.Logf("frames/s: %.0f while it reads, %.0f while it is stuck; %d runs counted, %d recorded, %d of %d before it was "+
		"stuck and %d of %d after that; lost: %v\n%s", reads, stuck, e.runs, e.recorded, e.recordedBefore, before.frames,
		e.recordedAfter, after.frames, e.lost, said)
	if e.recorded+lost < e.runs-e.runs/50 {
		t.Errorf("of %d runs, %d are recorded and %d events are counted as lost", e.runs, e.recorded, lost)
	}
	if w.loses && lost == 0 {
		t.Error("no loss is written")
	}
	if unwritten := e.lost["output"] + e.lost["recorder"]; (unwritten > 0) != (ended == exitIncomplete) {
		t.Errorf("status %d with %d events that were not written", ended, unwritten)
	}
	if e.recordedAfter*4 < after.frames {
		t.Errorf("after it was stuck, %d of %d runs are recorded", e.recordedAfter, after.frames)
	}
}

// stormEvents are what a recording has of a storm.
type stormEvents struct {
	before, after span
	// runs were counted in the kernel, recorded are in the recording, recordedBefore and recordedAfter those in the spans.
	runs, recorded, recordedBefore, recordedAfter uint64
	// lost is by origin.
	lost map[string]uint64
}

func (s *stormEvents) add(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Kind == model.KindDeferredRun {
			s.recorded++
			switch {
			case e.Time >= s.before.from && e.Time < s.before.to:
				s.recordedBefore++
			case e.Time >= s.after.from && e.Time < s.after.to:
				s.recordedAfter++
			}
		} else if v, ok := b.DeferredHist(e); ok {
			s.runs += v.Count
		} else if v, ok := b.Loss(e); ok {
			s.lost[v.Origin] += v.Lost
		}
	}
}

// A storm of more than 500,000 events a second, with every run of deferred work traced, and a recorder that gets stuck
// in it: the storm is as fast as beside a recorder that reads, memory stays bounded, what was missed is counted, and
// the recorder goes on. It takes 5 minutes.
func TestLongStuckInAStorm(t *testing.T) {
	testutil.Nightly(t, "recorders stuck in a storm take 5 minutes")
	testutil.Privileged(t)
	const rounds, most, enough = 3, 160 << 10, 500000
	figures := make([]stormFigures, len(stuckWays))
	for i := range figures {
		figures[i].lost = make(map[string]uint64)
	}
	lostbeat(t) // it is built before the storm
	s := startStorm(t)
	var none []float64
	for round := range rounds {
		for i, w := range stuckWays {
			t.Run(fmt.Sprintf("%s, %d", w.name, round+1), func(t *testing.T) {
				for range 3 {
					rate, _ := s.measure(t)
					none = append(none, rate)
				}
				w.run(t, s, &figures[i])
			})
		}
	}
	s.stop()
	t.Logf("%s frames/s without a recorder", spread(none))
	for i, w := range stuckWays {
		f := &figures[i]
		if len(f.ratio) == 0 {
			continue // it has failed
		}
		t.Logf("%s: %v", w.name, f)
		if ratio := stats.Median(f.ratio); ratio < 0.8 {
			t.Errorf("%s: the storm is %.2f times as fast while the recorder is stuck", w.name, ratio)
		}
		if best := slices.Max(f.stuck); best < enough {
			t.Errorf("%s: %.0f frames/s are no storm", w.name, best)
		}
		if f.rss > most {
			t.Errorf("%s: the recorder takes %d MiB", w.name, f.rss>>10)
		}
	}
}
