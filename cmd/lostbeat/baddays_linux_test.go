package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"lostbeat/detect/all"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/pipeline"
	"lostbeat/record"
	"lostbeat/source"
)

// holdVariable makes this test's own program hold ports: "BASE COUNT NAME".
const holdVariable = "LOSTBEAT_TEST_HOLD"

// holdPorts is the child behind holder.
func holdPorts(spec string) error {
	fields := strings.SplitN(spec, " ", 3)
	base, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(fields[2]), 0); err != nil {
		return err
	}
	for i := range count {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: base + i, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return fmt.Errorf("port %d: %w", base+i, err)
		}
	}
	fmt.Println("holds")
	_, err = io.Copy(io.Discard, os.Stdin) // until the test has seen enough
	return err
}

// holder starts a process in ns that binds ports from base on, and returns
// when it holds them. stop ends it.
func holder(t *testing.T, ns *testutil.Netns, base, count int, name string) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", holdVariable, base, count, name))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(t, cmd.Start)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("the holder of ports: %q, %v", line, errors.Join(err, cmd.Wait()))
	}
	return func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the holder of ports: %v", err)
		}
	}
}

// recorderProcess is a running 'lostbeat record'.
type recorderProcess struct {
	t    *testing.T
	path string
	cmd  *exec.Cmd
	errs output
	// stderr is where its standard error goes, errs when nil.
	stderr io.Writer
}

// startRecorder returns when the probes have attached and a block is written.
func startRecorder(t *testing.T, args ...string) *recorderProcess {
	t.Helper()
	r := &recorderProcess{t: t}
	r.start(args...)
	return r
}

// start starts it; it records to path, if that is set.
func (r *recorderProcess) start(args ...string) {
	r.t.Helper()
	if r.path == "" {
		r.path = filepath.Join(r.t.TempDir(), "out.lostbeat")
	}
	if r.stderr == nil {
		r.stderr = &r.errs
	}
	r.cmd = exec.Command(lostbeat(r.t), append([]string{"record", "-o", r.path}, args...)...)
	r.cmd.Stderr = r.stderr
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	await(r.t, "the first block", func() bool {
		info, err := os.Stat(r.path)
		return err == nil && info.Size() > 4096
	})
}

func (r *recorderProcess) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the recording and returns what is in it.
func (r *recorderProcess) stop() (batches []*model.Batch) {
	r.t.Helper()
	if status := r.end(func(b *model.Batch) { batches = append(batches, b) }); status != exitOK {
		r.t.Fatalf("record: status %d: %s", status, r.errs.String())
	}
	return batches
}

// end ends the recording and reads it. It returns the exit status.
func (r *recorderProcess) end(each func(*model.Batch)) (status int) {
	r.t.Helper()
	r.signal(syscall.SIGINT)
	_ = r.cmd.Wait() // the status is checked
	if status = r.cmd.ProcessState.ExitCode(); status != exitOK && status != exitIncomplete {
		r.t.Fatalf("record: status %d: %s", status, r.errs.String())
	}
	reader, err := record.Open(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	var v model.Validator
	if err := reader.Run(r.t.Context(), func(b *model.Batch) error {
		if err := v.Check(b); err != nil {
			r.t.Error(err)
		}
		each(b)
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	if err := v.Finish(); err != nil {
		r.t.Error(err)
	}
	return status
}

// await waits until done; what says for what.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// streamTotals are sums over a recording.
type streamTotals struct {
	// lost is what came too fast for the recorder; others are all other losses, by
	// origin: an interrupt that came while a program ran costs one on any host.
	lost, rss uint64
	others    map[string]uint64
	ports     int
	last      model.Time
}

func total(batches []*model.Batch) streamTotals {
	sum := streamTotals{others: make(map[string]uint64)}
	fold := state.New()
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			if v, ok := b.Loss(e); ok && (v.Origin == "ringbuf" || v.Origin == "queue" || v.Origin == "recorder") {
				sum.lost += v.Lost
			} else if ok {
				sum.others[v.Origin] += v.Lost
			} else if v, ok := b.Counter(e); ok && v.Name == "self.rss_bytes" {
				sum.rss = max(sum.rss, uint64(v.Value))
			}
			fold.ApplyEvent(b, e)
			if n := fold.Ports.Len(); n > sum.ports {
				sum.ports = n
			}
			sum.last = max(sum.last, e.Time)
		}
	}
	return sum
}

// 60,000 ports, live: all of them are recorded, within bounded memory.
func TestLongManyPortsLive(t *testing.T) {
	testutil.Privileged(t)
	const holders, each = 6, 10000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < each+100 {
		testutil.Unavailable(t, "%d open files are allowed: %v", limit.Max, err)
	}
	ns := testutil.NewNetns(t)
	rec := startRecorder(t, "--audit", "2s") // each lists all of them: the most memory that it takes
	for i := range holders {
		t.Cleanup(holder(t, ns, 2000+i*each, each, "many"))
	}
	time.Sleep(5 * time.Second) // it goes on: two audits, five blocks
	sum := total(rec.stop())
	t.Logf("%d ports, %d MiB at most, %d lost, elsewhere %v", sum.ports, sum.rss>>20, sum.lost, sum.others)
	if sum.ports < holders*each || sum.lost > 0 {
		t.Errorf("%d of %d ports are recorded, %d events lost", sum.ports, holders*each, sum.lost)
	}
	// The budget is 64 MiB, of which 62 are used here. The rest of the bound is
	// for machines with more processors and devices, and for a burst that waits
	// in memory while a busy machine keeps the recorder from its processor.
	if sum.rss > 88<<20 {
		t.Errorf("recording them took %d MiB", sum.rss>>20)
	}
}

// feed is a source of a given stream.
type feed func(emit source.Emit) error

// Run implements source.Source.
func (f feed) Run(_ context.Context, emit source.Emit) error { return f(emit) }

// 60,000 ports of 10,000 processes through detectors, recording and the UI's
// state at once: memory and the time for a second of events are bounded.
func TestManyPortsAndProcesses(t *testing.T) {
	const processes, ports, seconds = 10000, 60000, 20
	writer, err := record.Create(filepath.Join(t.TempDir(), "many.lostbeat"), record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	screen := fold.NewHistory()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, after := inUse(), uint64(0)
	var began time.Time
	start := model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	settings := all.Settings()
	_, err = pipeline.Run(t.Context(), feed(func(emit source.Emit) error {
		var b model.Builder
		b.AddMeta(model.Meta{Time: start, Key: "cpus", Value: "2"})
		b.AddPortPool(
			model.PortPool{
				Time:     start,
				Protocol: model.ProtocolUDP,
				Low:      1024,
				High:     65535,
				Size:     64512,
				Source:   model.PoolEphemeral,
				Name:     "ephemeral",
			},
		)
		for i := range processes {
			b.AddProcess(model.Process{Time: start, PID: int32(i + 10), TID: int32(i + 10), Name: "worker"})
		}
		for i := range ports {
			pid := int32(i%processes + 10)
			b.AddPortAcquire(
				model.PortAcquire{
					Time:      start + model.Time(i),
					PID:       pid,
					TID:       pid,
					Cookie:    uint64(i + 1),
					Protocol:  model.ProtocolUDP,
					LocalPort: uint16(1024 + i),
					How:       model.HowBindPort,
					LocalAddr: "127.0.0.1",
					Process:   "worker",
				},
			)
			if b.Len() >= 4096 {
				if err := emit(b.Take()); err != nil {
					return err
				}
			}
		}
		began = time.Now()
		for i := range seconds {
			at := start + model.Time(i+1)*second
			b.AddCPUTime(model.CPUTime{Time: at, Dur: time.Second, CPU: 0, Idle: time.Second})
			if err := emit(b.Take()); err != nil {
				return err
			}
		}
		return nil
	}), pipeline.Options{Detect: &settings, Outputs: []pipeline.Output{
		{Name: "recording", Sink: writer, Essential: true}, {Name: "screen", Sink: screen},
		{Name: "end", Sink: atEnd(start+seconds*second, func() { after = inUse() })},
	}})
	if err != nil {
		t.Fatal(err)
	}
	perSecond := time.Since(began) / seconds
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, total := screen.Ports(10, 1); total != ports/processes {
		t.Errorf("the screen knows %d ports of the first process", total)
	}
	t.Logf("%d MiB in use, %v for a second of events", (after-before)>>20, perSecond)
	if after-before > 96<<20 {
		t.Errorf("%d MiB are in use", (after-before)>>20)
	}
	if perSecond > 500*time.Millisecond && !testing.Short() { // the race detector runs short tests
		t.Errorf("a second of events takes %v", perSecond)
	}
}

// atEnd is a sink that calls f when it has seen time t.
type endSink struct {
	t model.Time
	f func()
}

func atEnd(t model.Time, f func()) endSink { return endSink{t, f} }

// Write implements pipeline.Sink.
func (s endSink) Write(b *model.Batch) error {
	if b.Events[len(b.Events)-1].Time >= s.t {
		s.f()
	}
	return nil
}

// A recorder that is stopped for five seconds under a flood does not slow the
// host; what it missed is counted and written.
func TestLongStoppedRecorder(t *testing.T) {
	testutil.Privileged(t)
	rec := startRecorder(t, "--trace", "--ring-size", "256KiB")
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var sent atomic.Uint64
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		payload := make([]byte, 64)
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := conn.WriteTo(payload, conn.LocalAddr()); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
	}()
	// The best of several seconds: what else the machine does makes others slow.
	best := func(seconds int) (rate float64) {
		for range seconds {
			from, began := sent.Load(), time.Now()
			time.Sleep(time.Second) // the flood goes on
			rate = max(rate, float64(sent.Load()-from)/time.Since(began).Seconds())
		}
		return rate
	}
	running := best(3)
	rec.signal(syscall.SIGSTOP)
	stopped := best(5)
	rec.signal(syscall.SIGCONT)
	best(2)
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sum := total(rec.stop())
	t.Logf("%.0f packets/s with the recorder running, %.0f with it stopped; %d events lost", running, stopped, sum.lost)
	if stopped < running/2 {
		t.Errorf("the host sent %.0f packets/s while the recorder was stopped, %.0f before", stopped, running)
	}
	if sum.lost == 0 {
		t.Error("no loss is written")
	}
}

// A process may call itself anything: no control character comes out.
func TestLongHostileProcessName(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	ns := testutil.NewNetns(t)
	term := startTerminal(t, 120, 40, lostbeat(t))
	term.wait("LIVE", "loss")
	rec := startRecorder(t)
	t.Cleanup(holder(t, ns, 3000, 200, "evil\x1b[2J\x07\r\tx"))
	term.press("4")
	if screen := term.wait("evil"); !strings.Contains(screen, "LIVE") {
		t.Errorf("the name has cleared the screen:\n%s", screen)
	}
	term.press("q")
	term.wait("ended with 0")
	sum := total(rec.stop())
	if sum.ports < 200 {
		t.Fatalf("%d ports are recorded", sum.ports)
	}
	for _, args := range [][]string{{"events", rec.path}, {"findings", rec.path}, {"info", rec.path}} {
		out, errs, status := execute(t, args...)
		if status != exitOK || args[0] == "events" && !strings.Contains(out, "evil") {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); i >= 0 {
			t.Errorf("%v prints the control character %q", args, out[max(0, i-20):min(len(out), i+20)])
		}
	}
}

// A window that changes its size all the time leaves the UI alive and as wide
// as the window.
func TestLongResizeStorm(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	term := startTerminal(t, 120, 40, lostbeat(t))
	term.wait("LIVE", "loss")
	for i := range 150 {
		term.tmux("resize-window", "-x", strconv.Itoa(20+i*7%180), "-y", strconv.Itoa(4+i*5%60))
		if i%10 == 0 {
			term.press(strconv.Itoa(1 + i/10%6))
		}
	}
	term.press("Escape", "1")
	term.tmux("resize-window", "-x", "100", "-y", "30")
	screen := term.wait("LIVE", "Overview", "loss")
	for line := range strings.Lines(screen) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 100 {
			t.Errorf("a line has %d columns: %q", n, line)
		}
	}
	term.press("q")
	term.wait("ended with 0")
}

// A network namespace that goes away takes its ports with it, and nothing else.
func TestLongNamespaceVanishes(t *testing.T) {
	t.Parallel()
	testutil.Privileged(t)
	rec := startRecorder(t)
	var gone model.Time
	t.Run("namespace", func(t *testing.T) {
		ns := testutil.NewNetns(t)
		release := holder(t, ns, 4000, 50, "vanishing")
		time.Sleep(1500 * time.Millisecond) // it is polled for a while
		release()
	})
	gone = model.TimeOf(time.Now())
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 30 { // three seconds that go on without it, with some traffic
		_, _ = conn.Write([]byte("x")) // nobody listens, and every other write says so
		time.Sleep(100 * time.Millisecond)
	}
	batches := rec.stop()
	fold, seen := state.New(), 0
	kinds := make(map[model.Kind]bool)
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			fold.ApplyEvent(b, e)
			if v, ok := b.PortAcquire(e); ok && v.Process == "vanishing" {
				seen++
			}
			if e.Time > gone.Add(time.Second) {
				kinds[e.Kind] = true
			}
		}
	}
	left := false
	for p := range fold.Ports.All() {
		left = left || p.Process == "vanishing"
	}
	if seen != 50 || left {
		t.Errorf("%d of 50 ports were seen, some are left: %v", seen, left)
	}
	for _, kind := range []model.Kind{
		model.KindCPUTime, model.KindSoftnet, model.KindDeferredHist, model.KindDeviceStats,
	} {
		if !kinds[kind] {
			t.Errorf("no %v after the namespace had gone", kind)
		}
	}
	for key, p := range fold.Probes {
		if p.State == model.ProbeDegraded && strings.Contains(p.Reason, "no such") {
			t.Errorf("%v is degraded: %s", key, p.Reason)
		}
	}
}
