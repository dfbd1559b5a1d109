package heartbeat

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil"
	"lostbeat/internal/vmtest"
	"lostbeat/model"
	"lostbeat/probes/drop"
)

func native(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// seen is what the probe has emitted of one socket.
type seen struct {
	arrivals []model.Packet
	sent     []model.Packet
	reads    []model.PacketRead
	flows    []model.Flow
	reasons  []string
	// unread says that this kernel does not show reads.
	unread bool
}

func collect(t *testing.T, batches []*model.Batch, cookie uint64) *seen {
	t.Helper()
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	s := &seen{}
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.Packet(e); ok && v.Cookie == cookie {
			if v.Direction == model.DirectionTX {
				s.sent = append(s.sent, v)
			} else {
				s.arrivals = append(s.arrivals, v)
			}
		}
		if v, ok := b.PacketRead(e); ok && v.Cookie == cookie {
			s.reads = append(s.reads, v)
		}
		if v, ok := b.Flow(e); ok && v.Cookie == cookie {
			s.flows = append(s.flows, v)
		}
		if v, ok := b.Probe(e); ok && v.Name == name && v.Part == partReads {
			s.unread = v.State == model.ProbeOff
		}
		if v, ok := b.Probe(e); ok && v.Part == partArrivals && v.State != model.ProbeOn {
			s.reasons = append(s.reasons, v.Reason)
		}
	})
	return s
}

// follow watches one port, with the probe alone or together with others, in the order given.
func follow(t *testing.T, protocol model.Protocol, port int, probes ...ebpf.Probe) *ebpftest.Session {
	t.Helper()
	if len(probes) == 0 {
		probes = []ebpf.Probe{New()}
	}
	return ebpftest.Start(t, ebpf.Options{
		Heartbeats: []ebpf.Heartbeat{{Protocol: protocol, Port: uint16(port), Timeout: time.Second}},
	}, probes...)
}

// exact is how near to one another readings of two clocks are. An emulated CPU may stand still between them.
func exact() time.Duration {
	if vmtest.Guest() {
		return 50 * time.Millisecond
	}
	return time.Millisecond
}

// near compares an event's time with the wall clock, from which it departs only where that steps or is slewed.
func near(a, b int64, d time.Duration) bool { return a-b <= int64(d) && b-a <= int64(d) }

// Each stage agrees with clocks that are not the probe's: the kernel's stamp and
// the reader's own clock; one packet waits in the queue while the reader sleeps.
// Each read is recorded once, by whichever probe comes first.
func TestStages(t *testing.T) {
	testutil.Privileged(t)
	const slow = 300 * time.Millisecond
	ipv4 := []ebpf.Set{{Programs: []string{"hb_read_of_no_kernel"}}, {Programs: []string{heartbeatProgHbRead4}}}
	for name, probes := range map[string][]ebpf.Probe{
		"udp4": {drop.New(), New()}, "udp6": {New(), drop.New()}, "tcp4": {drop.New(), New()},
		"udp4 without a tracepoint and IPv6": {&Probe{reads: ipv4}},
	} {
		t.Run(name, func(t *testing.T) {
			network, _, _ := strings.Cut(name, " ")
			c := reader(t, true, network, "10", slow.String())
			protocol := model.ProtocolUDP
			if network == "tcp4" {
				protocol = model.ProtocolTCP
			}
			s := follow(t, protocol, c.Port, probes...)
			own := c.send(t, s, network, 30, 50*time.Millisecond)
			s.Intervals(2)
			cookie := c.Cookie
			batches := s.Stop()
			if network == "tcp4" {
				cookie = connection(batches, c.Port)
			}
			got := collect(t, batches, cookie)
			check(t, c, own, got, network)
		})
	}
}

// connection returns the cookie of the accepted connection of a port.
func connection(batches []*model.Batch, port int) (cookie uint64) {
	ebpftest.Each(batches, func(b *model.Batch, e *model.Event) {
		if v, ok := b.Flow(e); ok && int(v.LocalPort) == port && v.RemotePort != 0 {
			cookie = v.Cookie
		}
	})
	return cookie
}

func check(t *testing.T, c *child, own []taken, got *seen, network string) {
	t.Helper()
	if len(own) != 30 && network != "tcp4" { // one read of a stream takes all that waits
		t.Fatalf("the reader read %d of 30", len(own))
	}
	if got.unread {
		if len(got.arrivals) != 31 || len(got.flows) == 0 || got.flows[0].State != model.FlowArrivals {
			t.Errorf("%d arrivals of 31, flows %+v", len(got.arrivals), got.flows)
		}
		return
	}
	// And the one that says that they are over.
	if len(got.arrivals) != 31 || len(got.reads) != 31 {
		var first model.Time
		if len(got.arrivals) > 0 {
			first = got.arrivals[0].Time
		}
		t.Fatalf("%d arrivals, the first at %d, and %d reads of 31; flows %+v", len(got.arrivals), first, len(got.reads),
			got.flows)
	}
	if len(got.flows) == 0 || got.flows[0].State != model.FlowFollowed || int(got.flows[0].PID) != c.cmd.Process.Pid ||
		got.flows[0].Timeout != time.Second {
		t.Errorf("flows: %+v", got.flows)
	}
	worst := [3]time.Duration{}
	for i := range 30 {
		a, r := got.arrivals[i], got.reads[i]
		if network != "tcp4" {
			p := own[i]
			if a.Dur <= 0 || !near(int64(a.Time.Add(-a.Dur)), p.Stamp, exact()) {
				t.Errorf("%d arrived at the host at %d, the kernel says %d (%v before its socket)", i,
					int64(a.Time.Add(-a.Dur)), p.Stamp, a.Dur)
			}
			worst[0] = max(worst[0], time.Duration(int64(a.Time.Add(-a.Dur))-p.Stamp).Abs())
			worst[1] = max(worst[1], time.Duration(int64(r.Time)-p.Read).Abs())
		}
		if r.Dur != r.Time.Sub(a.Time) || r.Host != a.Dur {
			t.Errorf("%d: arrived %+v, read %+v", i, a, r)
		}
		if int(r.PID) != c.cmd.Process.Pid || int(r.TID) != c.TID || r.RemotePort != a.RemotePort || a.RemotePort == 0 {
			t.Errorf("%d: read %+v", i, r)
		}
		worst[2] = max(worst[2], r.Dur)
	}
	t.Logf("%s: at most %v from the kernel's stamp, %v from the reader's clock, %v in the queue", network,
		worst[0], worst[1], worst[2])
	if worst[2] < 150*time.Millisecond || worst[2] > 350*time.Millisecond {
		t.Errorf("the reader slept for 300 ms, the longest time in the queue was %v", worst[2])
	}
}

// Of what a full queue refuses nothing is taken for read, and what is read is the right one all the same.
func TestLongFullQueue(t *testing.T) {
	testutil.Privileged(t)
	c := reader(t, true, "udp4", "5", "1s")
	s := follow(t, model.ProtocolUDP, c.Port)
	conn := c.dial(t, "udp4")
	time.Sleep(3 * time.Second) // it is found
	const sent = 2000           // 208 KiB hold some 270
	for i := range sent {
		if _, err := fmt.Fprintf(conn, "heartbeat %d", i); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	if _, err := fmt.Fprint(conn, "over"); err != nil {
		t.Fatal(err)
	}
	var read []taken
	for {
		var one taken
		if err := c.lines.Decode(&one); err != nil {
			break
		}
		read = append(read, one)
	}
	s.Intervals(2)
	got := collect(t, s.Stop(), c.Cookie)
	if got.unread {
		t.Skip("this kernel does not show reads")
	}
	if len(read) < 100 || len(read) >= sent || len(got.arrivals) != sent+1 || len(got.reads) != len(read)+1 {
		t.Fatalf("%d of %d read, %d arrivals, %d reads", len(read), sent, len(got.arrivals), len(got.reads))
	}
	for i, own := range read {
		r := got.reads[i]
		if !near(int64(r.Time.Add(-r.Dur-r.Host)), own.Stamp, exact()) {
			t.Errorf("%d, number %d, arrived at %d: seen %+v", i, own.Seq, own.Stamp, r)
		}
	}
}

// A socket of the root control group is followed by its reads alone, which is said.
func TestRootGroup(t *testing.T) {
	testutil.Privileged(t)
	if text, err := os.ReadFile("/proc/self/cgroup"); err != nil || !strings.Contains(string(text), "0::/\n") {
		t.Skip("not in the root control group")
	}
	c := reader(t, false, "udp4", "0", "0s")
	s := follow(t, model.ProtocolUDP, c.Port)
	own := c.send(t, s, "udp4", 10, 20*time.Millisecond)
	s.Intervals(2)
	got := collect(t, s.Stop(), c.Cookie)
	if got.unread {
		t.Skip("this kernel does not show reads")
	}
	if len(own) != 10 || len(got.arrivals) != 0 || len(got.reads) != 11 || got.reads[0].Dur != 0 {
		t.Errorf("%d read, %d arrivals, %d reads: %+v", len(own), len(got.arrivals), len(got.reads), got.reads)
	}
	if len(got.flows) == 0 || got.flows[0].State != model.FlowReads {
		t.Errorf("flows: %+v", got.flows)
	}
	if len(got.reasons) == 0 || !strings.Contains(got.reasons[0], "root cgroup") {
		t.Errorf("reasons: %q", got.reasons)
	}
}

// Nothing is attached while no flow is followed.
func TestNoFlow(t *testing.T) {
	testutil.Privileged(t)
	s := ebpftest.Start(t, ebpf.Options{}, New())
	s.Intervals(1)
	states := 0
	ebpftest.Each(s.Stop(), func(b *model.Batch, e *model.Event) {
		if v, ok := b.Probe(e); ok && v.Name == name {
			states++
			if v.State != model.ProbeOn || v.Hint == "" {
				t.Errorf("%+v", v)
			}
		}
	})
	if states != 1 {
		t.Errorf("%d states", states)
	}
}
