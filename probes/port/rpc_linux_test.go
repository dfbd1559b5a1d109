package port

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/rpcbind"
	"lostbeat/model"
)

// rpcTest is programs with a rpcbind that a test plays.
type rpcTest struct {
	programs
	t       *testing.T
	tracker *tracker
	now     model.Time
	list    []rpcbind.Registration
	err     error
	asked   int
}

func newRPCTest(t *testing.T) *rpcTest {
	x := &rpcTest{programs: newPrograms(1), t: t, tracker: newTestTracker(), now: model.Time(second)}
	x.alive = func(int32) bool { return true }
	return x
}

func (x *rpcTest) hold(cookie uint64, protocol model.Protocol, port uint16, v6 bool, pid int32, comm string) {
	h := &holding{netns: x.netns, localPort: port, protocol: protocol, pid: pid, comm: comm}
	if !v6 {
		h.local = mapped([4]byte{})
	}
	x.tracker.hold(cookie, h)
}

// interval lets d pass, answers a question, and returns what is told.
func (x *rpcTest) interval(d time.Duration) (told []string) {
	x.t.Helper()
	x.now = x.now.Add(d)
	var b model.Builder
	x.collect(x.now, x.tracker, &b)
	select {
	case <-x.questions:
		x.asked++
		x.answers <- rpcAnswer{x.list, x.err}
	default:
	}
	batch := b.Take()
	if batch == nil {
		return nil
	}
	if err := model.Validate(batch); err != nil {
		x.t.Error(err)
	}
	for i := range batch.Events {
		v, ok := batch.RPCEndpoint(&batch.Events[i])
		if !ok || v.Time != x.now {
			x.t.Errorf("told %+v at %v", batch.Events[i], x.now)
		}
		text := fmt.Sprintf("%s v%d %s %s/%d %s[%d]", v.Interface, v.Version, v.Endpoint, v.Protocol, v.LocalPort, v.Process,
			v.PID)
		if v.Removed {
			text = "removed " + v.Interface + " " + v.Endpoint
		}
		told = append(told, text)
	}
	return told
}

func (x *rpcTest) expect(what string, got []string, want ...string) {
	x.t.Helper()
	if !slices.Equal(got, want) {
		x.t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// TestPrograms follows registrations from their first to their last.
func TestPrograms(t *testing.T) {
	x := newRPCTest(t)
	x.names = rpcbind.Names{100003: "nfs", 100005: "mountd"}
	x.list = []rpcbind.Registration{
		{Program: 100003, Version: 3, Netid: "tcp", Address: "0.0.0.0.8.1", Owner: "superuser"},
		{Program: 100005, Version: 3, Netid: "udp", Address: "0.0.0.0.3.10"},
		{Program: 100005, Version: 3, Netid: "udp6", Address: "::.3.10"},
		{Program: 7, Version: 1, Netid: "tcp6", Address: "::.3.9"},
		{Program: 7, Version: 1, Netid: "local", Address: "/run/x"},
	}
	x.hold(1, model.ProtocolTCP, 2049, false, 0, "")
	x.hold(2, model.ProtocolUDP, 778, false, 20, "rpc.mountd")
	x.hold(3, model.ProtocolUDP, 778, true, 21, "other")
	x.hold(4, model.ProtocolTCP, 777, false, 22, "seven") // registered for the other family
	x.listed(&listing{rpcbind: 5})
	x.expect("before the answer", x.interval(time.Second))
	x.expect("first", x.interval(time.Second),
		"100003 nfs v3 tcp 0.0.0.0:2049 tcp/2049 [0]",
		"100005 mountd v3 udp 0.0.0.0:778 udp/778 rpc.mountd[20]",
		"100005 mountd v3 udp6 [::]:778 udp/778 other[21]",
		"7 v1 tcp6 [::]:777 tcp/777 seven[22]",
		"7 v1 local /run/x other/0 [-1]",
	)
	x.expect("not asked again yet", x.interval(rpcEvery-2*time.Second))
	if x.asked != 1 {
		t.Errorf("asked %d times", x.asked)
	}
	x.list = x.list[:2]
	x.list[0].Owner = "unknown" // no news
	x.tracker.held.remove(2)
	x.hold(5, model.ProtocolUDP, 778, false, 30, "rpc.mountd")
	x.expect("asked again", x.interval(2*time.Second))
	x.expect("changes", x.interval(time.Second),
		"100005 mountd v3 udp 0.0.0.0:778 udp/778 rpc.mountd[30]",
		"removed 7 local /run/x", "removed 7 tcp6 [::]:777", "removed 100005 mountd udp6 [::]:778",
	)
	x.listed(&listing{})
	x.expect("rpcbind ends", x.interval(time.Second), "removed 100003 nfs tcp 0.0.0.0:2049",
		"removed 100005 mountd udp 0.0.0.0:778")
	x.listed(&listing{})
	x.expect("once", x.interval(time.Minute))
	if x.asked != 2 {
		t.Errorf("asked %d times, and rpcbind is gone", x.asked)
	}
}

// TestProgramsAreNotStarted: rpcbind is asked only while it runs.
func TestProgramsAreNotStarted(t *testing.T) {
	for name, c := range map[string]struct {
		l     listing
		state model.ProbeState
		want  string
	}{
		"absent":   {listing{}, model.ProbeOn, "is not running"},
		"activate": {listing{rpcbindWaits: true}, model.ProbeOn, "has not started"},
		"unknown":  {listing{rpcbind: 5, filesErr: errors.New("refused")}, model.ProbeDegraded, "could start it"},
		"dead":     {listing{rpcbind: 5}, model.ProbeOn, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := newRPCTest(t)
			x.alive = func(int32) bool { return false }
			s := x.listed(&c.l)
			x.interval(time.Second)
			if x.asked != 0 {
				t.Error("rpcbind was asked")
			}
			if s.State != c.state || !strings.Contains(s.Reason+s.Hint, c.want) ||
				s.State == model.ProbeOn && s.Reason != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestProgramsKept: what rpcbind has said counts until it says something else.
func TestProgramsKept(t *testing.T) {
	x := newRPCTest(t)
	x.list = []rpcbind.Registration{{Program: 7, Version: 1, Netid: "tcp", Address: "0.0.0.0.0.7"}}
	x.listed(&listing{rpcbind: 5})
	x.interval(time.Second)
	x.expect("first", x.interval(time.Second), "7 v1 tcp 0.0.0.0:7 tcp/7 [-1]")
	for _, c := range []struct {
		err   error
		state model.ProbeState
		want  string
	}{
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), model.ProbeDegraded, "rpcbind[5] has not answered"},
		{errors.New("nonsense"), model.ProbeDegraded, "nonsense"},
		{rpcbind.ErrTooMany, model.ProbeDegraded, "not all"},
		{nil, model.ProbeOn, ""},
	} {
		x.err = c.err
		x.expect("asked", x.interval(rpcEvery))
		x.expect("answered", x.interval(time.Second))
		if x.status.State != c.state || !strings.Contains(x.status.Reason, c.want) {
			t.Errorf("after %v: %+v", c.err, x.status)
		}
		if s := x.listed(&listing{rpcbind: 5}); s.State != c.state {
			t.Errorf("a listing made it %+v", s)
		}
	}
	if x.asked != 5 {
		t.Errorf("asked %d times", x.asked)
	}
}

// TestProgramsHang: an answer that does not come holds nothing up, and no second
// question goes out.
func TestProgramsHang(t *testing.T) {
	x := newRPCTest(t)
	ctx, stop := context.WithCancel(t.Context())
	x.dump = func(ctx context.Context, _ bool) ([]rpcbind.Registration, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("nothing bounds the wait")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	done := make(chan struct{})
	go func() { x.programs.answer(ctx); close(done) }()
	x.listed(&listing{rpcbind: 5})
	var b model.Builder
	for range 10 {
		x.now = x.now.Add(rpcEvery)
		x.collect(x.now, x.tracker, &b)
	}
	stop()
	<-done
}

func TestServedPorts(t *testing.T) {
	got := parseServed([]byte("tcp 2049\nudp 2049\nrdma 20049\ntcp 99999\n\ntcp\nx 1 2"))
	if len(got) != 2 || !got[servedPort{model.ProtocolTCP, 2049}] || !got[servedPort{model.ProtocolUDP, 2049}] {
		t.Errorf("%v", got)
	}
}

func TestSunRPCPool(t *testing.T) {
	p := newPools(nil)
	host := []namespace{{inode: 1}}
	p.update(&listing{namespaces: host})
	if got := reported(t, &p); len(got) != 0 {
		t.Errorf("before the module is loaded: %+v", got)
	}
	p.update(&listing{namespaces: host, sunRPC: [2]uint16{665, 1023}})
	got := reported(t, &p)
	if len(got) != 2 || got[0].Low != 665 || got[0].High != 1023 || got[0].Size != 359 ||
		got[0].Source != model.PoolReserved || got[1].Protocol != model.ProtocolUDP {
		t.Errorf("loaded: %+v", got)
	}
	p.update(&listing{namespaces: host, sunRPC: [2]uint16{800, 1023}})
	if got := reported(t, &p); len(got) != 2 || got[0].Low != 800 {
		t.Errorf("another range: %+v", got)
	}
	for range 2 {
		p.update(&listing{namespaces: host})
		got = append(got[:0], reported(t, &p)...)
		if len(got) != 0 && (len(got) != 2 || got[0].High != 0) {
			t.Errorf("unloaded: %+v", got)
		}
	}
	if len(got) != 0 {
		t.Errorf("unloaded twice: %+v", got)
	}
}
