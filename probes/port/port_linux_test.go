package port

import (
	"fmt"
	"os"
	"testing"
	"time"
	"unsafe"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
)

// patience bounds waits for what has to come; emulated guests are slow.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		runChild(os.Args[1:])
		return
	}
	vmtest.Main(m)
}

func addressOf(b *[16]byte) uintptr { return uintptr(unsafe.Pointer(b)) }

// seen is an event of the probe in the form of a fact.
func seen(b *model.Batch, e *model.Event) (f fact, ok bool) {
	f.Kind = e.Kind
	if v, ok := b.PortAcquire(e); ok {
		f.Cookie, f.Protocol, f.Port, f.How, f.PID = v.Cookie, v.Protocol, v.LocalPort, v.How, int(v.PID)
		return f, true
	}
	if v, ok := b.PortRelease(e); ok {
		f.Cookie, f.Protocol, f.Port, f.How, f.PID = v.Cookie, v.Protocol, v.LocalPort, v.How, int(v.PID)
		return f, true
	}
	if v, ok := b.PortRest(e); ok {
		f.Cookie, f.Protocol, f.Port, f.PID = v.Cookie, v.Protocol, v.LocalPort, int(v.PID)
		return f, true
	}
	if v, ok := b.PortFail(e); ok {
		f.Cookie, f.Protocol, f.Port, f.How, f.PID, f.Errno = v.Cookie, v.Protocol, v.LocalPort, v.How, int(
			v.PID,
		), int(
			v.Error,
		)
		return f, true
	}
	return f, false
}

func (f fact) String() string {
	return fmt.Sprintf(
		"%v cookie=%#x %v port=%d how=%v pid=%d errno=%d",
		f.Kind,
		f.Cookie,
		f.Protocol,
		f.Port,
		f.How,
		f.PID,
		f.Errno,
	)
}

func TestScenarios(t *testing.T) { testScenarios(t, New()) }

// TestScenariosWithoutFunctions is the same on kernels that have fentry.
func TestScenariosWithoutFunctions(t *testing.T) {
	testScenarios(t, Probe{without: []string{"functions"}})
}

// TestScenariosBySystemCalls is the same where what is read from the sockets of
// attempts cannot be.
func TestScenariosBySystemCalls(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/tracing/events"); err != nil {
		t.Skipf("no tracefs here; the guests of TestLongGuestFunctions have it: %v", err)
	}
	testScenarios(t, Probe{without: []string{"functions", partAttempts}})
}

func testScenarios(t *testing.T, probe Probe) {
	s := ebpftest.Start(t, ebpf.Options{}, probe)
	works := make([]*work, len(scenarios))
	for i := range scenarios {
		t.Run("do/"+scenarios[i].name, func(t *testing.T) {
			works[i] = newWork(t)
			scenarios[i].do(works[i])
		})
	}
	s.Intervals(1)
	batches := s.Stop()
	if err := model.Validate(batches...); err != nil {
		t.Errorf("the stream is not valid: %v", err)
	}
	byCookie := make(map[uint64][]fact)
	sends := model.ProbeOff
	errnos := false // of binds that fail are known
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if p, ok := b.Probe(e); ok {
			t.Logf("%s: %v %s", p.Part, p.State, p.Reason)
			if p.Part == "send" {
				sends = p.State
			}
			errnos = errnos || (p.Part == "failures" && p.State != model.ProbeOff)
		}
		if l, ok := b.Loss(e); ok {
			t.Errorf("loss: %+v", l)
		}
		if v, ok := b.PortFail(e); ok && v.PID == int32(os.Getpid()) && v.How == model.HowConnect &&
			(v.RemotePort == 0 || v.RemoteAddr == "") {
			t.Errorf("a connect that failed without its destination: %+v", v)
		}
		if f, ok := seen(b, e); ok {
			byCookie[f.Cookie] = append(byCookie[f.Cookie], f)
		}
	})
	known := make(map[uint64]bool)
	for i, w := range works {
		for _, f := range w.facts {
			known[f.Cookie] = true
		}
		t.Run(scenarios[i].name, func(t *testing.T) {
			if scenarios[i].sendLength && sends == model.ProbeDegraded {
				t.Skip("failing sends are not seen before Linux 6.3 without fentry")
			}
			if len(w.facts) == 0 {
				t.Fatal("the scenario told nothing")
			}
			if !errnos {
				w.forgetBindErrors()
			}
			w.compare(t, byCookie)
		})
	}
	for cookie, facts := range byCookie {
		for _, f := range facts {
			if !known[cookie] && f.PID == os.Getpid() {
				t.Errorf("invented: %v", f)
			}
		}
	}
}

// forgetBindErrors makes the errors of failed binds unknown, as they are where
// neither functions nor system calls are watched.
func (w *work) forgetBindErrors() {
	for i := range w.facts {
		if f := &w.facts[i]; f.Kind == model.KindPortFail && (f.How == model.HowBindAny || f.How == model.HowBindPort) {
			f.Errno = 0
		}
	}
}

// compare checks that the events of each socket are the facts, in order. The
// port of a refused connection is not known to its workload.
func (w *work) compare(t *testing.T, byCookie map[uint64][]fact) {
	t.Helper()
	want := make(map[uint64][]fact)
	for _, f := range w.facts {
		if f.Kind != 0 {
			want[f.Cookie] = append(want[f.Cookie], f)
		} else {
			want[f.Cookie] = nil
			delete(byCookie, f.Cookie)
		}
	}
	for cookie, facts := range want {
		got := byCookie[cookie]
		for i := range facts {
			if i >= len(got) {
				t.Errorf("missed:   %v", facts[i])
				continue
			}
			g := got[i]
			if facts[i].Port == 0 {
				if g.Port == 0 && g.Kind != model.KindPortFail {
					t.Errorf("no port: %v", g)
				}
				g.Port = 0
			}
			if g != facts[i] {
				t.Errorf("got      %v\nwant %v", g, facts[i])
			}
		}
		for _, g := range got[min(len(facts), len(got)):] {
			t.Errorf("invented: %v", g)
		}
	}
}
