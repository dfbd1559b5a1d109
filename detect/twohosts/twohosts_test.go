package twohosts

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/detect/heartbeatloss"
	"lostbeat/model"
)

const (
	ms = time.Millisecond
	// began is the true time at which the recordings begin, fault when the faults do.
	began = model.Time(1_760_000_000_000_000_000)
	fault = 20 * time.Second
	port  = 5405
)

// stretch is a stretch of true time since began.
type stretch struct{ from, to time.Duration }

func (s stretch) has(at time.Duration) bool { return at >= s.from && at < s.to }

func faulty(length time.Duration) stretch { return stretch{fault, fault + length} }

// host is one of two hosts that send heartbeats to each other. Its clock shows the true time and ahead, and gains ppm.
type host struct {
	name, boot, address string
	ahead               time.Duration
	ppm                 float64
	// held are the times in which its program does nothing, paused one in which all of it stands still, its clock too.
	held   []stretch
	paused stretch
	// silent are the times in which its program sends nothing, and is not seen to be held up.
	silent stretch
	// recorded is what of the time its recording has; zero is all.
	recorded stretch
	// blind is a time in which events were lost.
	blind stretch
	// drops are losses on the host, added in its clock.
	drops func(h *host, at func(time.Duration) model.Time, b *model.Builder)
	// closes is when it closes its socket, 0 never.
	closes time.Duration
}

// clock is what the host's clock shows at a true time.
func (h *host) clock(t time.Duration) model.Time {
	run := t
	switch {
	case h.paused.has(t):
		run = h.paused.from
	case t >= h.paused.to:
		run -= h.paused.to - h.paused.from
	}
	return began.Add(run + h.ahead + time.Duration(float64(run)*h.ppm/1e6))
}

func (h *host) runs(t time.Duration) bool {
	for _, s := range h.held {
		if s.has(t) {
			return false
		}
	}
	return !h.paused.has(t)
}

// next is when the program runs at or after a time.
func (h *host) next(t time.Duration) time.Duration {
	for _, s := range append(h.held, h.paused) {
		if s.has(t) {
			t = s.to
		}
	}
	return t
}

// network is what happens on the way from one host to the other.
type network struct {
	delay time.Duration
	// jitter is how much longer a packet may take, at random.
	jitter time.Duration
	lost   func(at time.Duration) bool
	// extra is how much longer it takes at a time, queued whether that is in a queueing discipline of the sender.
	extra  func(at time.Duration) time.Duration
	queued bool
}

// marks are the ways in which packets differ.
type marks int

const (
	payload  marks = iota // each has another payload
	ids                   // the same payload, and identifications of IPv4 that go up
	alike                 // nothing
	rewrites              // each has another payload, and the identification is changed on the way
)

// pair is two hosts, and what is between them.
type pair struct {
	a, b   host
	ab, ba network
	marks  marks
	// seconds is how long the recordings are, 60 when 0; period the time between two heartbeats, 100 ms when 0.
	seconds int
	period  time.Duration
	tcp     bool
	// oneWay says that b sends nothing.
	oneWay bool
	seed   uint64
}

func (p *pair) defaults() {
	if p.a.name == "" {
		p.a.name = "node-a"
	}
	if p.b.name == "" {
		p.b.name = "node-b"
	}
	p.a.boot, p.b.boot = "boot-a", "boot-b"
	p.a.address, p.b.address = "10.0.0.1", "10.0.0.2"
	for _, n := range []*network{&p.ab, &p.ba} {
		if n.delay == 0 {
			n.delay = 300 * time.Microsecond
		}
		if n.jitter == 0 {
			n.jitter = 100 * time.Microsecond
		}
	}
	if p.seconds == 0 {
		p.seconds = 60
	}
	if p.period == 0 {
		p.period = 100 * ms
	}
}

func (p *pair) mark(from string, n int) (mark uint64) {
	h := fnv.New32a()
	fmt.Fprint(h, from, n)
	switch p.marks {
	case payload, rewrites:
		mark = uint64(h.Sum32())
	case ids, alike:
		mark = 0xabcd_1234
	}
	switch p.marks {
	case ids:
		mark |= uint64(uint16(n+60000)) << 32
	case rewrites:
		mark |= uint64(h.Sum32()>>16) << 32
	}
	return mark
}

// batches returns the streams of both hosts.
func (p *pair) batches() (out [2]*model.Batch) {
	p.defaults()
	random := rand.New(rand.NewPCG(p.seed, 7))
	var builders [2]model.Builder
	hosts := [2]*host{&p.a, &p.b}
	end := time.Duration(p.seconds) * time.Second
	protocol := model.ProtocolUDP
	if p.tcp {
		protocol = model.ProtocolTCP
	}
	for i, h := range hosts {
		b := &builders[i]
		for _, m := range [][2]string{{"host", h.name}, {"os", "linux"}, {"boot_id", h.boot}} {
			b.AddMeta(model.Meta{Time: h.clock(0), Key: m[0], Value: m[1]})
		}
		for at := time.Duration(0); at < end; at += 10 * time.Second {
			if h.closes > 0 && at >= h.closes {
				break
			}
			b.AddFlow(p.flow(h, protocol, h.clock(at)+1, model.FlowFollowed))
		}
		if h.closes > 0 {
			b.AddFlow(p.flow(h, protocol, h.clock(h.closes), model.FlowEnded))
		}
		for at := time.Second; at <= end; at += time.Second {
			b.AddCPUTime(model.CPUTime{Time: h.clock(at), Dur: time.Second, CPU: 1, Idle: time.Second})
			for _, s := range h.held {
				if total := min(s.to, at) - max(s.from, at-time.Second); total > 0 {
					b.AddSchedStateEvent(model.SchedStateEvent{
						Time: h.clock(at), Dur: time.Second, CPU: 1, PID: 812, TID: 812, Task: "corosync",
						State: model.SchedStopped, Total: total, Longest: min(s.to, at) - s.from, Count: 1,
					})
				}
			}
		}
		if h.blind.to > 0 {
			b.AddLoss(model.Loss{
				Time: h.clock(h.blind.to), Dur: h.blind.to - h.blind.from, CPU: -1, Lost: 1000, Origin: "ringbuf",
			})
		}
		if h.drops != nil {
			h.drops(h, h.clock, b)
		}
	}
	for i, h := range hosts {
		if i == 1 && p.oneWay {
			break
		}
		to, net := hosts[1-i], [2]*network{&p.ab, &p.ba}[i]
		seq := uint32(1000)
		var last time.Duration
		for n := 1; ; n++ {
			at := time.Duration(n)*p.period + time.Duration(i)*7*ms
			if at >= end {
				break
			}
			if !h.runs(at) || h.silent.has(at) || h.closes > 0 && at >= h.closes {
				continue
			}
			seq += 100
			for try := 0; ; try++ {
				lost := net.lost != nil && net.lost(at)
				mark := p.mark(h.name, n)
				if p.tcp {
					mark = uint64(seq)<<32 | mark&0xffff_ffff
				}
				p.add(&builders[i], h, at, 0, protocol, model.DirectionTX, mark, to.address)
				if !lost {
					if p.marks == rewrites {
						mark = mark&0xffff_ffff | 77<<32
					}
					delay := net.delay + time.Duration(random.Int64N(int64(net.jitter)))
					if net.extra != nil {
						delay += net.extra(at)
					}
					if net.queued {
						p.queue(&builders[i], h, at, net.extra(at), to.address)
					}
					arrives := to.next(max(at+delay, 0))
					if !to.paused.has(at + delay) {
						arrives = at + delay // the kernel goes on while a program is held
					}
					if to.closes > 0 && arrives >= to.closes || arrives >= end {
						break
					}
					p.add(&builders[1-i], to, arrives+20*time.Microsecond, 20*time.Microsecond, protocol, model.DirectionRX, mark,
						h.address)
					read := max(to.next(arrives+50*time.Microsecond), last+5*time.Microsecond)
					if last = read; read < end {
						builders[1-i].AddPacketRead(model.PacketRead{
							Time: to.clock(read), Dur: max(to.clock(read).Sub(to.clock(arrives+20*time.Microsecond)), 1), CPU: 1,
							PID: 812, TID: 812, NetnsInode: 1, Cookie: 31, Protocol: protocol, LocalPort: port, RemotePort: port,
							Host: 20 * time.Microsecond, SizeBytes: 100, LocalAddr: "0.0.0.0", RemoteAddr: h.address,
							Process: "corosync",
						})
					}
					break
				}
				if !p.tcp || try > 6 {
					break
				}
				at += 200 * ms << try
			}
		}
	}
	for i := range out {
		b := &builders[i]
		b.SortByTime()
		out[i] = b.Take()
		if r := hosts[i].recorded; r.to > 0 {
			from, to := hosts[i].clock(r.from), hosts[i].clock(r.to)
			kept := out[i].Events[:0]
			for _, e := range out[i].Events {
				if e.Kind == model.KindMeta || e.Time >= from && e.Time < to {
					kept = append(kept, e)
				}
			}
			out[i].Events = kept
		}
	}
	return out
}

func (p *pair) flow(h *host, protocol model.Protocol, at model.Time, state model.FlowState) model.Flow {
	return model.Flow{
		Time: at, PID: 812, TID: 812, NetnsInode: 1, Cookie: 31, Protocol: protocol, LocalPort: port, State: state,
		LocalAddr: "0.0.0.0", Process: "corosync", KnownAs: "corosync",
	}
}

func (p *pair) add(
	b *model.Builder, h *host, at, stack time.Duration, protocol model.Protocol, d model.Direction, mark uint64,
	peer string,
) {
	v := model.Packet{
		Time: h.clock(at), Dur: stack, CPU: 1, PID: 812, TID: -1, NetnsInode: 1, Cookie: 31, Protocol: protocol,
		LocalPort: port, RemotePort: port, Direction: d, SizeBytes: 100, LocalAddr: h.address, RemoteAddr: peer,
		Process: "corosync", Mark: mark,
	}
	if d == model.DirectionTX {
		v.TID = 812
	}
	b.AddPacket(v)
}

// queue adds that a packet was in a queueing discipline.
func (p *pair) queue(b *model.Builder, h *host, at, stay time.Duration, peer string) {
	v := model.PacketQdisc{
		Time: h.clock(at + 5*time.Microsecond), CPU: 1, PID: 812, TID: -1, NetnsInode: 1, Cookie: 31,
		Protocol: model.ProtocolUDP, LocalPort: port, RemotePort: port, Ifindex: 2, Backlog: 1, RemoteAddr: peer,
		Process: "corosync", Device: "eth0", Qdisc: "tbf",
	}
	b.AddPacketQdisc(v)
	v.Time, v.Dur, v.Left = h.clock(at+stay+10*time.Microsecond), stay+5*time.Microsecond, true
	b.AddPacketQdisc(v)
}

// join is Join with blanks in the place of no-break spaces; it checks the sentences.
func join(t testing.TB, list []*Recording) (out []model.Finding) {
	t.Helper()
	for _, f := range Join(list) {
		detecttest.Words(t, f)
		out = append(out, detecttest.Blanks(f))
	}
	return out
}

// judge runs the detectors over a stream, as run.Findings does.
func judge(t testing.TB, b *model.Batch, file string, room int) *Recording {
	t.Helper()
	engine := detect.New(all.Settings(), detect.Options{})
	r := New(room)
	r.File = file
	var list model.FindingList
	r.Apply(b)
	keep := func(_ model.Time, f model.Finding) { list.Add(f) }
	engine.Apply(b, keep)
	engine.Finish(keep)
	for _, f := range list.All() {
		if f.Detector == heartbeatloss.Name {
			r.Findings = append(r.Findings, f)
		}
	}
	for _, d := range engine.Detectors() {
		if d, ok := d.(interface {
			Judged() map[string]heartbeatloss.Judged
		}); ok {
			r.Judged = d.Judged()
		}
	}
	return r
}

func text(f model.Finding) string {
	return strings.Join(append(append(append([]string{f.Title}, f.Causes...), f.RuledOut...), f.Advice...), "\n")
}

func dropped(at time.Duration, count uint64, place model.Place, transmit bool, p uint16) func(
	h *host, clock func(time.Duration) model.Time, b *model.Builder,
) {
	return func(_ *host, clock func(time.Duration) model.Time, b *model.Builder) {
		d := model.Drop{
			Time: clock(at), Dur: time.Second, CPU: -1, PID: -1, TID: -1, Queue: -1, Place: place, Count: count, Ifindex: 2,
			Device: "eth0", LocalPort: p, Protocol: model.ProtocolUDP, NetnsInode: 1,
		}
		if p == 0 {
			d.Protocol, d.NetnsInode = 0, 0
		}
		if transmit {
			d.Flags = model.FlagTransmit
		}
		b.AddDrop(d)
	}
}

// TestVerdicts has faults on each side and in between: each has one finding, of the right side.
func TestVerdicts(t *testing.T) {
	lost := faulty(1500 * ms)
	for _, tt := range []struct {
		name string
		pair pair
		// says are in the title, rest anywhere in the finding, never nowhere.
		says, rest, never []string
		// none says that there is no finding; findings is how many there are, 1 when 0.
		none     bool
		findings int
	}{
		{name: "healthy", none: true},
		{name: "the sender's program is stopped", pair: pair{a: host{held: []stretch{faulty(1500 * ms)}}},
			says:  []string{"node-a", "was stopped for 1.5 s"},
			rest:  []string{"udp/5405 from node-a to node-b: node-b received nothing for 1.6 s, as node-a sent nothing"},
			never: []string{"at fault", "unclear which host is at fault"}},
		{name: "the sender is stopped, one direction", pair: pair{a: host{held: []stretch{faulty(1500 * ms)}}, oneWay: true},
			says: []string{"nothing received for 1.6 s, because node-a sent nothing: the program was stopped for 1.5 s"},
			rest: []string{"packets of one direction only give no more than a bound"}},
		{name: "the sender's program does not send", pair: pair{a: host{silent: faulty(1500 * ms)}},
			says: []string{"udp/5405 from node-a to node-b: nothing received for 1.6 s, because node-a sent nothing: " +
				"the cause in its sender is unknown"},
			rest: []string{"the way between the hosts, or node-b: no packet of that time is missing"}},
		{name: "lost between", pair: pair{ab: network{lost: lost.has}},
			says: []string{"udp/5405 from node-a to node-b: nothing received for 1.6 s: 15 packets were lost between the " +
				"hosts"},
			rest:  []string{"the program on node-a: it sent as usual"},
			never: []string{"peer or network fault"}},
		{name: "lost between, the other way", pair: pair{ba: network{lost: lost.has}},
			says: []string{"udp/5405 from node-b to node-a: nothing received for 1.6 s: 15 packets were lost between"}},
		{name: "the clocks differ by years", pair: pair{a: host{ahead: -20000 * time.Hour}, ab: network{lost: lost.has}},
			says: []string{"15 packets were lost between"},
			rest: []string{"clock of node-b was 72000000.0000 s ahead of that of node-a"}},
		{name: "addresses and identifications are translated", pair: pair{ab: network{lost: lost.has}, marks: rewrites},
			says: []string{"15 packets were lost between"}},
		{name: "identifications only", pair: pair{ab: network{lost: lost.has}, marks: ids},
			says: []string{"15 packets were lost between"}},
		{name: "packets cannot be told apart", pair: pair{ab: network{lost: lost.has}, marks: alike},
			says:  []string{"unclear which host is at fault: the packets of the flow cannot be told apart"},
			never: []string{"lost between"}},
		{name: "held up between", pair: pair{ab: network{extra: func(at time.Duration) time.Duration {
			if lost.has(at) {
				return lost.to - at
			}
			return 0
		}}}, says: []string{"nothing received for 1.6 s: the packets were on the way between the hosts for 1.5 s longer"},
			rest: []string{"this includes the time in its queueing discipline and driver"}},
		{name: "held up in the sender's queueing discipline", pair: pair{ab: network{queued: true,
			extra: func(at time.Duration) time.Duration {
				if lost.has(at) {
					return lost.to - at
				}
				return 0
			}}}, says: []string{"nothing received for 1.6 s, because the packet left node-a late: the packet waited for " +
			"1.5 s in the queueing discipline (tbf) of eth0"},
			rest: []string{"the way between the hosts, or node-b: the packet had not left node-a"}},
		{name: "waited in the receiver's ring", pair: pair{
			ab: network{extra: func(at time.Duration) time.Duration {
				if lost.has(at) {
					return lost.to - at
				}
				return 0
			}},
			b: host{drops: func(_ *host, clock func(time.Duration) model.Time, b *model.Builder) {
				b.AddDeferredHist(model.DeferredHist{
					Time: clock(fault + 1900*ms), Dur: time.Second, CPU: 1, Class: model.ClassSoftirq, Count: 400, Name: "NET_RX",
					Busy: time.Millisecond, MaxRun: ms, MaxWait: 1400 * ms,
				})
			}}}, says: []string{"the packets waited in node-b for NET_RX on CPU 1, which did not run for 1.4 s"}},
		{name: "drops of the receiver were not recorded", pair: pair{ab: network{lost: lost.has},
			b: host{drops: func(_ *host, clock func(time.Duration) model.Time, b *model.Builder) {
				b.AddProbe(model.Probe{Time: clock(0), Name: "heartbeat", State: model.ProbeOn})
			}}}, says: []string{
			"unclear which host is at fault: node-a sent 15 packets that never arrived, but what node-b drops was not " +
				"recorded"}},
		{name: "lost in the sender's filter", pair: pair{a: host{silent: lost,
			drops: dropped(fault+900*ms, 15, model.PlaceFilter, true, port)}},
			says: []string{"its packets were lost in node-a itself, at its filter of eth0"}},
		{name: "lost in the receiver's ring", pair: pair{ab: network{lost: lost.has},
			b: host{drops: dropped(fault+900*ms, 5000, model.PlaceRing, false, 0)}},
			says: []string{"15 packets were lost in node-b, at the ring of eth0"}},
		{name: "lost in the receiver's filter", pair: pair{ab: network{lost: lost.has},
			b: host{drops: dropped(fault+900*ms, 15, model.PlaceFilter, false, port)}},
			says: []string{"15 packets were lost in node-b, at "}},
		{name: "lost in the sender's qdisc", pair: pair{ab: network{lost: lost.has},
			a: host{drops: dropped(fault+900*ms, 15, model.PlaceQdisc, true, port)}},
			says:  []string{"15 packets were lost in node-a itself, at its qdisc of eth0"},
			never: []string{"between the hosts:"}},
		{name: "perhaps lost in the sender's ring", pair: pair{ab: network{lost: lost.has},
			a: host{drops: dropped(fault+900*ms, 400, model.PlaceRing, true, 0)}},
			says: []string{"did not arrive, and node-a may have lost them itself, at its ring of eth0"}},
		{name: "both dropped", pair: pair{ab: network{lost: lost.has},
			a: host{drops: dropped(fault+900*ms, 400, model.PlaceRing, true, 0)},
			b: host{drops: dropped(fault+900*ms, 5000, model.PlaceRing, false, 0)}},
			says: []string{"unclear which host is at fault: both node-a (ring of eth0) and node-b (the ring of eth0) dropped"}},
		{name: "the receiver's program is stopped, one direction", pair: pair{
			b: host{held: []stretch{faulty(1500 * ms)}}, oneWay: true},
			says: []string{"node-b: udp/5405 of corosync[812]", "was read", "the program was stopped for",
				"node-a had sent it in time"},
			rest: []string{"node-a and the network"}},
		{name: "the receiver's program is stopped", pair: pair{b: host{held: []stretch{faulty(1500 * ms)}}},
			says:  []string{"node-b: udp/5405 of corosync[812]", "was read", "the program was stopped for"},
			rest:  []string{"from node-b to node-a: node-a received nothing for 1.6 s, as node-b sent nothing"},
			never: []string{"at fault"}},
		{name: "the sender was paused", pair: pair{a: host{paused: faulty(2 * time.Second)}},
			says: []string{"nothing received for 2.1 s: node-a was paused: its clock stopped for 2 s"}},
		{name: "the sender was paused, one direction", pair: pair{a: host{paused: faulty(2 * time.Second)}, oneWay: true},
			says: []string{"unclear which host is at fault: every packet after it is equally late"}},
		{name: "the way became slower", pair: pair{ab: network{extra: func(at time.Duration) time.Duration {
			if at >= fault {
				return 900 * ms
			}
			return 0
		}}}, says: []string{"the way between the hosts became slower by 900 ms"}},
		{name: "the sender closes its socket", pair: pair{a: host{closes: fault}, oneWay: true},
			says: []string{"node-a had closed the socket, or its program had exited"}},
		{name: "lost to the end", pair: pair{
			ab: network{lost: func(at time.Duration) bool { return at >= fault }}, seconds: 24},
			says: []string{"nothing has been received for", "packets were lost between the hosts"}},
		{name: "the sender's recording ends before", pair: pair{ab: network{lost: lost.has},
			a: host{recorded: stretch{0, fault - time.Second}}},
			says: []string{"unclear which host is at fault: the packet before it is not in the recording of node-a"}},
		{name: "the sender's recording begins late", pair: pair{ab: network{lost: lost.has},
			a: host{recorded: stretch{fault + 3*time.Second, time.Hour}}},
			says: []string{"unclear which host is at fault"}},
		{name: "the recordings overlap partly", pair: pair{ab: network{lost: lost.has},
			a: host{recorded: stretch{fault - 10*time.Second, fault + 10*time.Second}}},
			says: []string{"15 packets were lost between"}},
		{name: "events of the receiver were lost", pair: pair{ab: network{lost: lost.has}, b: host{blind: lost}},
			says:  []string{"unclear which host is at fault: events were lost in the recording of node-b"},
			never: []string{"lost between"}},
		{name: "events of the sender were lost", pair: pair{a: host{silent: lost, blind: lost}},
			says: []string{"unclear which host is at fault"}, never: []string{"sent nothing:"}},
		{name: "events of the receiver were lost, and nothing was sent", pair: pair{
			a: host{silent: lost}, b: host{blind: lost}},
			says: []string{"because node-a sent nothing"}},
		{name: "one name", pair: pair{a: host{name: "localhost"}, b: host{name: "localhost"}, ab: network{lost: lost.has}},
			says: []string{"from localhost (a.lostbeat) to localhost (b.lostbeat)"}},
		{name: "a segment is lost and sent again", pair: pair{tcp: true, ab: network{lost: lost.has}},
			says: []string{"tcp/5405 from node-a to node-b", "retransmitted"}, rest: []string{"lost between the hosts"}},
		{name: "two faults after one another", pair: pair{
			a: host{silent: stretch{fault + 10*time.Second, fault + 12*time.Second}}, ab: network{lost: lost.has}},
			findings: 2, says: []string{"nothing received for 1.6 s: 15 packets were lost between"},
			never: []string{"longest of"}},
		{name: "two losses", pair: pair{ab: network{lost: func(at time.Duration) bool {
			return lost.has(at) || lost.has(at-10*time.Second)
		}}}, says: []string{"15 packets were lost between the hosts (the longest of 2 delays)"}},
		{name: "two faults at once", pair: pair{
			a: host{silent: stretch{fault, fault + 700*ms}}, ab: network{lost: stretch{fault + 700*ms, fault + 1500*ms}.has}},
			findings: 2, says: []string{"was sent 700 ms late by node-a"}, never: []string{"as usual", "is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			streams := tt.pair.batches()
			if err := model.Validate(streams[0]); err != nil {
				t.Fatal(err)
			}
			found := join(t, []*Recording{
				judge(t, streams[0], "a.lostbeat", Room), judge(t, streams[1], "b.lostbeat", Room),
			})
			if tt.none != (len(found) == 0) || !tt.none && len(found) != max(tt.findings, 1) {
				for _, f := range found {
					t.Log(text(f))
				}
				t.Fatalf("%d findings", len(found))
			}
			if tt.none {
				return
			}
			said := text(found[0])
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("it lacks %q:\n%s", want, said)
				}
			}
			for _, want := range tt.rest {
				if !strings.Contains(said, want) {
					t.Errorf("it lacks %q", want)
				}
			}
			for _, no := range tt.never {
				if strings.Contains(said, no) {
					t.Errorf("it says %q", no)
				}
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
}

// TestClock has clocks with known differences: they lie within the stated error, which is no larger than half the
// smallest round trip.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		name string
		pair pair
	}{
		{"equal", pair{}},
		{"ahead", pair{b: host{ahead: 7 * time.Minute}}},
		{"behind, ways of different length", pair{
			b: host{ahead: -3 * time.Hour}, ab: network{delay: 20 * ms}, ba: network{delay: 2 * ms},
		}},
		{"drift", pair{b: host{ahead: time.Second, ppm: 80}, a: host{ppm: -60}, seconds: 600}},
		{"drift of hours", pair{b: host{ppm: 40}, seconds: 2000, period: 250 * ms}},
		{"jitter", pair{b: host{ahead: time.Hour}, ab: network{jitter: 50 * ms}, ba: network{jitter: 50 * ms}}},
		{"the identifications begin anew", pair{b: host{ahead: time.Second}, marks: ids, seconds: 3000, period: 40 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := tt.pair
			streams := p.batches()
			var list [2]*Recording
			for i := range list {
				list[i] = New(Room)
				list[i].Apply(streams[i])
			}
			nameAll(list[:])
			n := &between{a: list[0], b: list[1], ab: ways(list[0], list[1]), ba: ways(list[1], list[0])}
			if len(n.ab) != 1 || len(n.ba) != 1 {
				t.Fatalf("%d and %d flows", len(n.ab), len(n.ba))
			}
			half := (p.ab.delay + p.ba.delay) / 2
			end := time.Duration(p.seconds) * time.Second
			for at := 5 * time.Second; at < end-5*time.Second; at += end / 12 {
				c := n.clockAt(p.a.clock(at))
				truth := p.b.clock(at).Sub(p.a.clock(at))
				if c.state != known || (c.ahead-truth).Abs() > c.err {
					t.Errorf("after %v: %v ± %v (%d), it is %v", at, c.ahead, c.err, c.state, truth)
				}
				if most := half + (p.ab.jitter+p.ba.jitter)/2 + ms; c.err > most {
					t.Errorf("after %v: an error of %v, the shortest round trip is %v", at, c.err, 2*half)
				}
			}
			per, ok := n.drift()
			want := time.Duration((p.b.ppm - p.a.ppm) / 1e6 * float64(time.Hour))
			if ok != (want != 0) || ok && math.Abs(float64(per-want)) > 0.1*math.Abs(float64(want))+float64(5*ms) {
				t.Errorf("drift of %v in an hour (%v), it is %v", per, ok, want)
			}
		})
	}
}

// TestThree has three recordings: those of a pair, and that of a host that has nothing to do with it.
func TestThree(t *testing.T) {
	ab := pair{a: host{held: []stretch{faulty(1500 * ms)}}, b: host{ahead: time.Minute}}
	streams := ab.batches()
	other := pair{a: host{name: "x"}, b: host{name: "node-c"}, ab: network{lost: faulty(time.Second).has}}
	alone := other.batches()
	found := join(t, []*Recording{
		judge(t, streams[0], "a", Room), judge(t, alone[1], "c", Room), judge(t, streams[1], "b", Room),
	})
	if len(found) != 2 {
		t.Fatalf("%d findings", len(found))
	}
	all := found[0].Title + found[1].Title
	if !strings.Contains(all, "was stopped for 1.5 s") ||
		!strings.Contains(all, "peer or network fault") {
		t.Error(found[0].Title, found[1].Title)
	}
}

// TestSameHost has two recordings of one host: nothing is joined, and nothing is lost.
func TestSameHost(t *testing.T) {
	p := pair{ab: network{lost: faulty(1500 * ms).has}}
	streams := p.batches()
	found := join(t, []*Recording{judge(t, streams[1], "b1", Room), judge(t, streams[1], "b2", Room)})
	if len(found) != 2 || found[0].Title != found[1].Title || !strings.Contains(found[0].Title, "peer or network fault") {
		t.Errorf("%v", found)
	}
}

// TestRoom checks that what is kept is bounded, and that nothing is concluded from a part.
func TestRoom(t *testing.T) {
	p := pair{ab: network{lost: faulty(1500 * ms).has}}
	streams := p.batches()
	list := []*Recording{judge(t, streams[0], "a", 150), judge(t, streams[1], "b", Room)}
	found := join(t, list)
	if list[0].left == 0 || len(found) != 1 || !strings.Contains(text(found[0]), "unclear which host is at fault") ||
		!strings.Contains(text(found[0]), "more packets than can be kept") {
		t.Errorf("%d left out, %v", list[0].left, found)
	}
}
