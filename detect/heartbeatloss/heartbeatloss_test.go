package heartbeatloss_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

const (
	ms = time.Millisecond
	// fault is when the faults of these streams begin, flow is what is late in them.
	fault = 12 * time.Second
	flow  = "udp/5405 of corosync[812] (knet from 10.0.0.2) "
)

func during(from, to time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return at >= from && at < to }
}

func held(state model.SchedState, length time.Duration, change ...func(*detecttest.Held)) []detecttest.Held {
	h := detecttest.Held{From: fault, To: fault + length, State: state}
	for _, f := range change {
		f(&h)
	}
	return []detecttest.Held{h}
}

// later is after a packet has been read.
func later(h *detecttest.Held) {
	h.From += 10 * ms
	h.To += 5 * ms
}

// missing leaves out what would come in a time, or brings it at its end.
func missing(from, to time.Duration, late bool) func(n int) time.Duration {
	return func(n int) time.Duration {
		at := time.Duration(n) * 100 * ms
		switch {
		case at <= from || at >= to:
			return at
		case late:
			return to + time.Duration(n)*time.Microsecond
		}
		return -1
	}
}

func stack(from, to time.Duration) func(time.Duration) time.Duration {
	return func(at time.Duration) time.Duration {
		if at >= from && at < to {
			return to - at
		}
		return 20 * time.Microsecond
	}
}

// drop is a loss of this second.
func drop(place model.Place, count uint64, port uint16, reason, location, device string) model.Drop {
	d := model.Drop{
		CPU: 1, Place: place, Count: count, Reason: reason, Location: location, Device: device, LocalPort: port,
		NetnsInode: detecttest.BeatNetns,
	}
	if device != "" {
		d.Ifindex = 2
	}
	if port != 0 {
		d.Protocol = model.ProtocolUDP
	}
	return d
}

// routed are packets that a router in another network namespace has lost.
func routed(count uint64) model.Drop {
	d := drop(model.PlaceProtocol, count, 0, "IP_INNOROUTES", "ip_error", "veth0")
	d.NetnsInode = 7
	return d
}

// busy is a CPU whose NET_RX waits for its turn.
func busy(i int, s *detecttest.Stream, wait time.Duration, share float64) {
	if i == 12 {
		s.Builder().AddDeferredHist(model.DeferredHist{
			Time: s.End(), Dur: time.Second, CPU: 1, Class: model.ClassSoftirq, Count: 400, Name: "NET_RX",
			Busy: time.Duration(share * float64(time.Second)), MaxRun: 3 * ms, MaxWait: wait,
		})
	}
}

// ours leaves out what other detectors say of the same fault: causes stand beside.
func ours(out []detecttest.Emission) (list []detecttest.Emission) {
	for _, e := range out {
		if e.Finding.Detector == "heartbeat-loss" {
			list = append(list, e)
		}
	}
	return list
}

// only returns the one finding of a stream, which is the same however the stream is cut, and how it came about.
func only(t *testing.T, b *model.Batch) (model.Finding, []detecttest.Emission) {
	t.Helper()
	if err := model.Validate(b); err != nil {
		t.Fatal(err)
	}
	out := ours(detecttest.Run(b, 0))
	if again := detecttest.Dump(ours(detecttest.Run(b, 5))); again != detecttest.Dump(out) {
		t.Errorf("other batches, other findings:\n%s\n%s", detecttest.Dump(out), again)
	}
	list := detecttest.Latest(out)
	if len(list) != 1 {
		t.Fatalf("%d findings, want one:\n%s", len(list), detecttest.Dump(out))
	}
	return list[0], out
}

// says wants each of the parts in what a finding says.
func says(t *testing.T, f model.Finding, parts []string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text(f), part) {
			t.Errorf("it lacks %q:\n%s", part, text(f))
		}
	}
}

func text(f model.Finding) string {
	parts := append([]string{f.Title}, f.Causes...)
	for _, e := range f.Evidence {
		parts = append(parts, e.Name)
	}
	return strings.Join(append(append(parts, f.RuledOut...), f.Advice...), "\n")
}

// While a fault lasts, its finding says so in the present tense, and what was seen then stays true afterwards.
func TestWhileItLasts(t *testing.T) {
	for _, tt := range []struct {
		name         string
		beat         detecttest.Heartbeat
		during, then string
	}{
		{
			"stopped", detecttest.Heartbeat{Held: held(model.SchedStopped, 8*time.Second), Timeout: time.Second},
			"has not been read for 1.1 s: the program has been stopped for 1 s",
			"was read 8 s late: the program was stopped for 8 s",
		},
		{
			"no CPU", detecttest.Heartbeat{Held: held(model.SchedWaiting, 8*time.Second,
				func(h *detecttest.Held) { h.Rival = detecttest.Hog() })},
			"has not been read for 1.1 s: its reader has no CPU behind rt-batch[900]",
			"was read 8 s late: its reader had no CPU behind rt-batch[900]",
		},
		{
			"silent", detecttest.Heartbeat{At: missing(fault, fault+8*time.Second, false)},
			"has received nothing for 1 s: no packet reached this host, peer or network fault",
			"received nothing for 8 s: no packet reached this host, peer or network fault",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := ours(detecttest.Run(detecttest.Flowing(40, nil, tt.beat), 0))
			if len(out) < 2 || !strings.Contains(out[0].Finding.Title, tt.during) || !out[0].Finding.Ongoing {
				t.Fatalf("first: %s", detecttest.Dump(out))
			}
			last := out[len(out)-1].Finding
			if !strings.Contains(last.Title, tt.then) || last.Ongoing || last.ID != out[0].Finding.ID {
				t.Errorf("last: %s", detecttest.Dump(out))
			}
		})
	}
}

// No fault, no word.
func TestNoFalseBlame(t *testing.T) {
	jitter := func(n int) time.Duration { return time.Duration(n)*100*ms + time.Duration(n*n%37)*ms }
	for _, tt := range []struct {
		name  string
		beats []detecttest.Heartbeat
		each  func(s *detecttest.Stream, i int)
	}{
		{name: "quiet night", beats: []detecttest.Heartbeat{{}}},
		{name: "healthy jitter", beats: []detecttest.Heartbeat{{At: jitter}, {At: jitter, Sends: true, Cookie: 32}}},
		{name: "one missing", beats: []detecttest.Heartbeat{{At: missing(fault, fault+200*ms, false)}}},
		{name: "read a little late", beats: []detecttest.Heartbeat{{Held: held(model.SchedWaiting, 150*ms)}}},
		{name: "stopped, with nobody who sees reads", beats: []detecttest.Heartbeat{
			{Held: held(model.SchedStopped, 2*time.Second), ArrivalsOnly: true},
		}},
		{name: "closed", beats: []detecttest.Heartbeat{{Until: fault + 30*ms}}},
		{name: "process exits", beats: []detecttest.Heartbeat{{Exit: fault + 30*ms}}},
		{name: "new period", beats: []detecttest.Heartbeat{{At: func(n int) time.Duration {
			if n > 120 {
				return 12*time.Second + time.Duration(n-120)*450*ms
			}
			return time.Duration(n) * 100 * ms
		}}}},
		{name: "new period, sent", beats: []detecttest.Heartbeat{{Sends: true, At: func(n int) time.Duration {
			if n > 120 {
				return 12*time.Second + time.Duration(n-120)*900*ms
			}
			return time.Duration(n) * 100 * ms
		}}}},
		{name: "peer restarts with another port", beats: []detecttest.Heartbeat{
			{At: func(n int) time.Duration {
				if n > 120 {
					return -1
				}
				return time.Duration(n) * 100 * ms
			}},
			{RemotePort: 6000, Unwatched: true, At: func(n int) time.Duration {
				return 12*time.Second + 800*ms + time.Duration(n)*100*ms
			}},
		}},
		{name: "stops sending for good, nothing held it", beats: []detecttest.Heartbeat{{Sends: true,
			At: func(n int) time.Duration {
				if n > 120 {
					return -1
				}
				return time.Duration(n) * 100 * ms
			}}}},
		{name: "not regular", beats: []detecttest.Heartbeat{{At: func(n int) time.Duration {
			return time.Duration(n)*300*ms + time.Duration(n*7919%13)*170*ms
		}}}},
		{name: "busy host that keeps up", beats: []detecttest.Heartbeat{{
			Period: 10 * ms, At: func(n int) time.Duration { return time.Duration(n)*10*ms + time.Duration(n*n%90)*ms },
			Held: []detecttest.Held{{From: 13 * time.Second, To: 13*time.Second + 120*ms, State: model.SchedWaiting}},
		}}, each: func(s *detecttest.Stream, i int) { busy(i, s, 40*ms, 0.7) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := detecttest.Flowing(40, tt.each, tt.beats...)
			if out := ours(detecttest.Run(b, 0)); len(out) > 0 {
				t.Errorf("false alarm:\n%s", detecttest.Dump(out))
			}
		})
	}
}

// Several gaps with one reason are one case; one for another reason is another.
func TestSeveralGaps(t *testing.T) {
	h := detecttest.Heartbeat{}
	for i, state := range []model.SchedState{
		model.SchedDisk, model.SchedDisk, model.SchedStopped, model.SchedDisk,
	} {
		from := fault + time.Duration(i)*4*time.Second
		h.Held = append(h.Held, detecttest.Held{From: from, To: from + time.Duration(500+10*i)*ms, State: state})
	}
	list := detecttest.Latest(ours(detecttest.Run(detecttest.Flowing(50, nil, h), 0)))
	if len(list) != 2 || !strings.Contains(list[0].Title, "for 530 ms") ||
		!strings.Contains(list[1].Title, "stopped for 520 ms") {
		t.Errorf("%+v", list)
	}
}

// A silence that turns out to be the first gap of a new period was said, and is a note in the end.
func TestNewPeriodIsSaidLater(t *testing.T) {
	b := detecttest.Flowing(60, nil, detecttest.Heartbeat{At: func(n int) time.Duration {
		if n > 120 {
			return 12*time.Second + time.Duration(n-120)*4*time.Second
		}
		return time.Duration(n) * 100 * ms
	}})
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	if len(list) != 1 || list[0].Severity != model.SeverityInfo || !strings.Contains(text(list[0]), "a new period") {
		t.Errorf("%+v", list)
	}
}

// What was received late explains what was sent late.
func TestSentFollows(t *testing.T) {
	h := held(model.SchedStopped, 900*ms)
	b := detecttest.Flowing(40, nil, detecttest.Heartbeat{Held: h},
		detecttest.Heartbeat{Sends: true, At: missing(fault, fault+900*ms, false), Unwatched: true})
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	if len(list) != 1 || !strings.Contains(list[0].Title, "was read 900 ms late") {
		t.Errorf("%+v", list)
	}
}

// A peer that waits for the answers of a program that was held up is not to blame; the program is.
func TestHeldSenderIsNotThePeer(t *testing.T) {
	silence := missing(fault, fault+1500*ms, false)
	b := detecttest.Flowing(40, nil, detecttest.Heartbeat{At: silence, Held: held(model.SchedDisk, 1480*ms, later)},
		detecttest.Heartbeat{Sends: true, At: silence, Unwatched: true})
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	if len(list) != 1 || !strings.Contains(list[0].Title, "(knet to 10.0.0.2) was sent 1.4 s late: its sender waited for "+
		"the disk") {
		t.Errorf("%+v", list)
	}
}

// A program that only answers is not to blame for what its peer does not ask. Which of the two fell silent first says
// who asks.
func TestAnswers(t *testing.T) {
	asked := missing(fault, fault+700*ms, false)
	after := func(d time.Duration) func(n int) time.Duration {
		return func(n int) time.Duration {
			if at := asked(n); at >= 0 {
				return at + d
			}
			return -1
		}
	}
	for name, c := range map[string]struct {
		received, sent time.Duration
		says           string
	}{
		"it answers": {0, 5 * ms, " received nothing for 700 ms"},
		"it asks":    {5 * ms, 0, "(knet to 10.0.0.2) was sent 600 ms late"},
	} {
		b := detecttest.Flowing(40, nil, detecttest.Heartbeat{At: after(c.received)},
			detecttest.Heartbeat{Sends: true, At: after(c.sent), Unwatched: true})
		list := detecttest.Latest(ours(detecttest.Run(b, 0)))
		if len(list) != 1 || !strings.Contains(list[0].Title, c.says) {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

// until is a flow that ends, from one that begins.
func until(n int) time.Duration {
	if n > 120 {
		return -1
	}
	return time.Duration(n) * 100 * ms
}

func from(begin time.Duration) func(n int) time.Duration {
	return func(n int) time.Duration { return begin + time.Duration(n)*100*ms }
}

// The heartbeats of a leader end when another one takes over. In time that is no fault, of whoever receives or sends
// them; later, the leader was silent until then. That an idle thread waits for others says nothing about either.
func TestLeaderChanges(t *testing.T) {
	idle := []detecttest.Held{{From: fault + 5*ms, To: 40 * time.Second, State: model.SchedLock, Detail: "futex"}}
	const takenOver = fault + 150*ms
	for _, tt := range []struct {
		name  string
		beats []detecttest.Heartbeat
		says  string // empty for nothing
	}{
		{"another leader in time", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "etcd", Timeout: time.Second, At: from(takenOver), Peer: "10.0.0.3", Cookie: 32, Unwatched: true},
		}, ""},
		{"another leader too late", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "etcd", Timeout: time.Second, At: from(fault + 1300*ms), Peer: "10.0.0.3", Cookie: 32, Unwatched: true},
		}, "no packet reached this host"},
		{"one that was there before", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "etcd", Timeout: time.Second, Peer: "10.0.0.3", Cookie: 32, Unwatched: true},
		}, "no packet reached this host"},
		{"one of another protocol", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "ceph", Timeout: time.Second, At: from(takenOver), Peer: "10.0.0.3", Cookie: 32, Unwatched: true},
		}, "no packet reached this host"},
		{"it takes over itself", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "etcd", Timeout: time.Second, At: from(takenOver), Peer: "10.0.0.3", Cookie: 32, Unwatched: true,
				Sends: true},
		}, ""},
		{"it does not lead any more", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle, Sends: true},
		}, ""},
		{"the leader is silent, and the follower has nothing to answer", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, At: until, Held: idle},
			{KnownAs: "etcd", Timeout: time.Second, At: func(n int) time.Duration {
				if at := until(n); at >= 0 {
					return at + ms
				}
				return -1
			}, Sends: true, Cookie: 33, Unwatched: true},
		}, "(etcd from 10.0.0.2) has received nothing"},
		{"the leader rarely says anything any more", []detecttest.Heartbeat{
			{KnownAs: "etcd", Timeout: time.Second, Held: idle, Sends: true, At: func(n int) time.Duration {
				if n > 120 {
					return fault + 900*ms + time.Duration(n-120)*1667*ms
				}
				return time.Duration(n) * 100 * ms
			}},
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := detecttest.Latest(ours(detecttest.Run(detecttest.Flowing(40, nil, tt.beats...), 0)))
			list = slices.DeleteFunc(list, func(f model.Finding) bool { return f.Severity == model.SeverityInfo })
			if tt.says == "" && len(list) > 0 || tt.says != "" && (len(list) != 1 || !strings.Contains(text(list[0]), tt.says)) {
				t.Errorf("want %q, got %+v", tt.says, list)
			}
		})
	}
}

// A sender that is followed on the same host explains what its receiver misses.
func TestSenderOnThisHost(t *testing.T) {
	silence := missing(fault, fault+1500*ms, false)
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	detecttest.Heartbeat{At: silence, ReadsOnly: true}.Add(s, 40)
	from := detecttest.Heartbeat{Sends: true, At: silence, PID: 900, Cookie: 40, Peer: "10.0.0.9",
		Held: held(model.SchedLock, 1480*ms, later)}
	from.Add(s, 40)
	list := detecttest.Latest(ours(detecttest.Run(s.Batch(), 0)))
	if len(list) != 1 || !strings.Contains(list[0].Title, "its sender waited for a lock") {
		t.Errorf("%+v", list)
	}
}

// A TCP heartbeat between two programs of this host, which drops it in front of its receiver.
func TestBothEndsOnThisHost(t *testing.T) {
	silence := missing(fault, fault+1500*ms, true)
	findings := func(dropped uint64, reader detecttest.Heartbeat) []model.Finding {
		s := detecttest.New()
		s.Device(2, "eth0", 1, "0")
		reader.TCP, reader.At, reader.RemotePort = true, silence, 40000
		reader.Add(s, 40)
		detecttest.Heartbeat{
			TCP: true, Sends: true, At: silence, PID: 900, Cookie: 40, Peer: "10.0.0.9", LocalPort: 40000,
		}.Add(s, 40)
		s.Seconds(40, func(i int) {
			s.Quiet()
			if i != int(fault/time.Second) {
				return
			}
			for n, at := range []time.Duration{220 * ms, 640 * ms, 1440 * ms} {
				s.Builder().AddFlowStall(model.FlowStall{
					Time: detecttest.Start.Add(fault + at), Dur: at, CPU: 1, NetnsInode: detecttest.BeatNetns, Cookie: 40,
					LocalPort: 40000, RemotePort: 5405, What: model.StallResent, Ongoing: n < 2, Segments: 1,
					LocalAddr: "0.0.0.0", RemoteAddr: "10.0.0.9",
				})
			}
			if dropped > 0 {
				d := drop(model.PlaceFilter, dropped, 5405, "NETFILTER_DROP", "nft_do_chain", "")
				d.Protocol = model.ProtocolTCP
				s.Drop(d)
			}
		})
		return detecttest.Latest(ours(detecttest.Run(s.Batch(), 0)))
	}
	for _, tt := range []struct {
		name    string
		dropped uint64
		says    string
		not     string
	}{
		{"all of it", 4, "was late: this host dropped 4 packets on the way to its peer at filter (NETFILTER_DROP in " +
			"nft_do_chain)", "Look for loss on the way"},
		{"as much as was sent again", 3, "this host dropped 3 packets on the way to its peer", "Look for loss on the way"},
		{"less than was sent again", 2, "TCP lost a segment and retransmitted it", "on the way to its peer"},
		{"nothing", 0, "TCP lost a segment and retransmitted it", "on the way to its peer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := findings(tt.dropped, detecttest.Heartbeat{})
			if len(list) != 1 || !strings.Contains(text(list[0]), tt.says) || strings.Contains(text(list[0]), tt.not) {
				t.Errorf("want %q, got %+v", tt.says, list)
			}
		})
	}
	// Of a receiver at another port nothing follows.
	for _, f := range findings(4, detecttest.Heartbeat{LocalPort: 5406}) {
		if strings.Contains(text(f), "on the way to its peer") {
			t.Errorf("%+v", f)
		}
	}
}

// While the sender is silent as well, nothing is said of a gap: what the host dropped at its beginning is known later,
// however long it lasts.
func TestLossBeforeSenderGoesOn(t *testing.T) {
	s := detecttest.New()
	s.Device(2, "eth0", 1, "0")
	detecttest.Heartbeat{TCP: true, At: missing(fault, fault+36*time.Second, false), RemotePort: 40000}.Add(s, 60)
	detecttest.Heartbeat{
		TCP: true, Sends: true, At: missing(fault, fault+15*time.Second, false), PID: 900, Cookie: 40, Peer: "10.0.0.9",
		LocalPort: 40000,
	}.Add(s, 60)
	s.Seconds(60, func(i int) {
		s.Quiet()
		if i == int(fault/time.Second) {
			d := drop(model.PlaceFilter, 4, 5405, "NETFILTER_DROP", "nft_do_chain", "")
			d.Protocol = model.ProtocolTCP
			s.Drop(d)
		}
	})
	var received []string
	for _, f := range detecttest.Latest(ours(detecttest.Run(s.Batch(), 0))) {
		if strings.Contains(f.ID, "/rx") {
			received = append(received, f.Title)
		}
	}
	const want = "received nothing for 36 s: this host dropped 4 packets for it"
	if len(received) != 1 || !strings.Contains(received[0], want) {
		t.Errorf("%q", received)
	}
}

// A socket that gives its port back has ended, whenever the probe finds that out.
func TestReleased(t *testing.T) {
	s := detecttest.New()
	detecttest.Heartbeat{At: missing(fault, time.Hour, false)}.Add(s, 40)
	s.Builder().AddPortRelease(model.PortRelease{
		Time: detecttest.Start.Add(fault + 50*ms), PID: 812, Cookie: 31, Protocol: model.ProtocolUDP, LocalPort: 5405,
		How: model.HowClose,
	})
	if out := ours(detecttest.Run(s.Batch(), 0)); len(out) > 0 {
		t.Errorf("false alarm:\n%s", detecttest.Dump(out))
	}
}

// The readers of followed flows are watched all the time, without a hole.
func TestReadersAreWatched(t *testing.T) {
	type sent struct {
		model.Request
		at model.Time
	}
	var list []sent
	var now model.Time
	e := detect.New(all.Settings(), detect.Options{Request: func(r model.Request) {
		list = append(list, sent{r, now})
	}})
	b := detecttest.Flowing(60, nil, detecttest.Heartbeat{Unwatched: true})
	for i := range b.Events {
		now = b.Events[i].Time
		part := *b
		part.Events = b.Events[i : i+1]
		e.Apply(&part, func(model.Time, model.Finding) {})
	}
	var until model.Time
	for i, r := range list {
		if r.Kind != model.RequestSched || r.PID != 812 {
			t.Errorf("unexpected request %+v", r)
		}
		if i > 0 && r.at >= until {
			t.Errorf("request %d came at %v, after the last had lapsed", i, r.at.Sub(detecttest.Start))
		}
		until = r.at.Add(r.For)
	}
	if len(list) < 3 || len(list) > 10 || until < now {
		t.Errorf("%d requests in a minute, until %v", len(list), until.Sub(detecttest.Start))
	}
}

// A peer that gets no answer sends less often: that does not hide how long the program did not read.
func TestPeerSlowsDown(t *testing.T) {
	b := detecttest.Flowing(30, nil, detecttest.Heartbeat{
		At: func(n int) time.Duration {
			at := time.Duration(n) * 100 * ms
			for i, more := range []int{170, -60, 170, -60, 170, -60, 170, -60, 170, -60, 170, -60} {
				if n > 121+i {
					at += time.Duration(more) * ms
				}
			}
			return at
		},
		Held: []detecttest.Held{{From: 12 * time.Second, To: 14500 * ms, State: model.SchedStopped, Detail: "SIGSTOP"}},
	})
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	const want = "was read 2.5 s late: the program was stopped"
	if len(list) != 1 || list[0].Ongoing || !strings.Contains(list[0].Title, want) {
		t.Errorf("%+v", list)
	}
}

// What another namespace begins to lose long after a packet was due does not explain why it did not come.
func TestLostLater(t *testing.T) {
	const period, from = 2 * time.Second, 90
	beat := detecttest.Heartbeat{Period: period, At: func(n int) time.Duration {
		if at := time.Duration(n) * period; at < from*time.Second || at > (from+30)*time.Second {
			return at
		}
		return -1
	}}
	for after, want := range map[int]string{3: "perhaps lost in this host", 7: "peer or network fault"} {
		out := ours(detecttest.Run(detecttest.Flowing(from+40, func(s *detecttest.Stream, i int) {
			if i == from+after {
				s.Drop(routed(50))
			}
		}, beat), 0))
		if len(out) == 0 || !strings.Contains(out[0].Finding.Title, want) {
			t.Errorf("%d s after it was due, want %q: %s", after, want, detecttest.Dump(out))
		}
	}
}
