package twohosts

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/heartbeatloss"
	"lostbeat/model"
)

// tap is a capture of what a sends to b: at a point of the way that it reaches after a delay, by a clock that is ahead,
// without what lost says. on is the host that it says it was made on; sends makes it a capture of a's interface.
type tap struct {
	delay, ahead time.Duration
	lost         func(at time.Duration) bool
	on           string
	sends        bool
}

// capture returns the capture of a tap, of the packets that a sends but for those of its silences.
func (p *pair) capture(c tap) *model.Batch {
	p.defaults()
	var b model.Builder
	clock := func(at time.Duration) model.Time { return began.Add(at + c.ahead) }
	b.AddMeta(model.Meta{Time: clock(0), Key: "source", Value: "pcap"})
	if c.on != "" {
		b.AddMeta(model.Meta{Time: clock(0), Key: model.MetaCapturedOn, Value: c.on})
	}
	b.AddProbe(model.Probe{Time: clock(0), Name: "capture", Part: "packets", State: model.ProbeOn})
	b.AddProbe(model.Probe{Time: clock(0), Name: "drop", State: model.ProbeOff})
	v := model.Packet{
		CPU: -1, PID: -1, TID: -1, Cookie: 1 << 63, Protocol: model.ProtocolUDP, LocalPort: port, RemotePort: port,
		SizeBytes: 100, LocalAddr: p.b.address, RemoteAddr: p.a.address,
	}
	if c.sends {
		v.Direction, v.LocalAddr, v.RemoteAddr = model.DirectionTX, p.a.address, p.b.address
	}
	for at := time.Duration(0); at < time.Duration(p.seconds)*time.Second; at += 10 * time.Second {
		b.AddFlow(model.Flow{
			Time: clock(at), PID: -1, TID: -1, Cookie: v.Cookie, Protocol: v.Protocol, LocalPort: port,
			State: model.FlowCaptured, LocalAddr: v.LocalAddr, KnownAs: "corosync",
		})
	}
	for n := 1; ; n++ {
		at := time.Duration(n) * p.period
		if at >= time.Duration(p.seconds)*time.Second {
			break
		}
		if p.a.silent.has(at) || c.lost != nil && c.lost(at) {
			continue
		}
		v.Time, v.Mark = clock(at+c.delay), p.mark(p.a.name, n)
		b.AddPacket(v)
	}
	b.SortByTime()
	return b.Take()
}

// titles judges streams together, and returns what is said of them.
func titles(t *testing.T, streams map[string]*model.Batch) (said []string) {
	t.Helper()
	var list []*Recording
	for _, file := range []string{"host.lostbeat", "a.pcap", "b.pcap"} {
		if b := streams[file]; b != nil {
			list = append(list, judge(t, b, file, Room))
		}
	}
	for _, f := range join(t, list) {
		said = append(said, f.Title+" | "+strings.Join(f.Causes, " | "))
	}
	return said
}

// TestWire compares captures with recordings of hosts, and with one another.
func TestWire(t *testing.T) {
	inside := func(from, to time.Duration) func(time.Duration) bool {
		return func(at time.Duration) bool { return at >= from && at < to }
	}
	lost := inside(fault, fault+2*time.Second)
	scattered := func(at time.Duration) bool { return at > 10*time.Second && at/(100*ms)%10 == 0 }
	receiver := func(p pair) *model.Batch {
		p.oneWay = true
		return p.batches()[1]
	}
	sender := func(p pair) *model.Batch {
		p.oneWay = true
		return p.batches()[0]
	}
	var none, silent pair
	silent.a.silent = faulty(2 * time.Second)
	for _, c := range []struct {
		name    string
		streams map[string]*model.Batch
		want    []string // parts of the one finding, or of each
		never   string
		count   int
	}{
		{
			"a filter inside", map[string]*model.Batch{
				"host.lostbeat": receiver(pair{ab: network{lost: lost}}),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond, on: "eth0"}),
			},
			[]string{"20 packets from 10.0.0.1 for udp/5405 of corosync[812] arrived on the wire and were lost inside node-b",
				"one clock"}, "the peer or the network is at fault", 1,
		},
		{
			"scattered, without any gap", map[string]*model.Batch{
				"host.lostbeat": receiver(pair{ab: network{lost: scattered}}),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond, on: "eth0"}),
			},
			[]string{"packets from 10.0.0.1 for udp/5405", "lost inside node-b"}, "", 1,
		},
		{
			"it cannot be told where the capture was made", map[string]*model.Batch{
				"host.lostbeat": receiver(pair{ab: network{lost: lost}}),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond}),
			},
			[]string{"lost inside node-b", "on which host b.pcap was made cannot be told"}, "", 1,
		},
		{
			"clocks that differ", map[string]*model.Batch{
				"host.lostbeat": receiver(pair{ab: network{lost: lost}}),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond, ahead: 7 * time.Second, on: "eth0"}),
			},
			[]string{"20 packets", "lost inside node-b", "differ by 7 s"}, "one clock", 1,
		},
		{
			"not on the wire either", map[string]*model.Batch{
				"host.lostbeat": receiver(silent),
				"b.pcap":        silent.capture(tap{delay: 300 * time.Microsecond, on: "eth0"}),
			},
			[]string{"no packet reached this host", "the capture b.pcap has none of the flow in that time either"},
			"lost inside", 1,
		},
		{
			"all is well", map[string]*model.Batch{
				"host.lostbeat": receiver(none),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond, on: "eth0"}),
			},
			nil, "", 0,
		},
		{
			"one packet", map[string]*model.Batch{
				"host.lostbeat": receiver(pair{ab: network{lost: inside(fault, fault+100*ms)}}),
				"b.pcap":        none.capture(tap{delay: 300 * time.Microsecond, on: "eth0"}),
			},
			nil, "", 0,
		},
		{
			"sent and never on the wire", map[string]*model.Batch{
				"host.lostbeat": sender(none),
				"a.pcap":        none.capture(tap{delay: 50 * time.Microsecond, on: "eth0", sends: true, lost: lost}),
			},
			[]string{"20 packets for 10.0.0.2 (udp/5405 of corosync[812]) were sent by node-a and never seen on the wire"}, "",
			1,
		},
		{
			"lost between two captures", map[string]*model.Batch{
				"a.pcap": none.capture(tap{}),
				"b.pcap": none.capture(tap{delay: 300 * time.Microsecond, lost: lost}),
			},
			[]string{"20 packets from 10.0.0.1 for udp/5405 of 10.0.0.2 were lost between the captures a.pcap and b.pcap",
				"the clocks agree"}, heartbeatloss.UntilSecond, 1,
		},
		{
			"the captures the other way round", map[string]*model.Batch{
				"b.pcap": none.capture(tap{}),
				"a.pcap": none.capture(tap{delay: 300 * time.Microsecond, lost: lost}),
			},
			[]string{"were lost between the captures b.pcap and a.pcap"}, heartbeatloss.UntilSecond, 1,
		},
		{
			"in neither capture", map[string]*model.Batch{
				"a.pcap": silent.capture(tap{}),
				"b.pcap": silent.capture(tap{delay: 300 * time.Microsecond}),
			},
			[]string{"neither a.pcap nor b.pcap has any"}, heartbeatloss.UntilSecond, 1,
		},
		{
			"captures that say which way packets went", map[string]*model.Batch{
				"a.pcap": none.capture(tap{sends: true, on: "eth0"}),
				"b.pcap": none.capture(tap{delay: 300 * time.Microsecond, on: "eth1", lost: lost}),
			},
			[]string{"udp/5405 from a.pcap to b.pcap", "20 packets that a.pcap sent", "20 did not reach b.pcap",
				"The path begins where a.pcap was captured"}, "", 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := titles(t, c.streams)
			text := strings.Join(said, "\n")
			if len(said) != c.count {
				t.Errorf("%d findings:\n%s", len(said), text)
			}
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			if c.never != "" && strings.Contains(text, c.never) {
				t.Errorf("%q is in\n%s", c.never, text)
			}
		})
	}
}

// However many packets a host drops, no more than a bounded number is kept, and those of one direction leave room for
// the other.
func TestDropsAreBounded(t *testing.T) {
	var b model.Builder
	for i := range maxDrops + 10 {
		b.AddDrop(model.Drop{Time: model.Time(i + 1), CPU: -1, Place: model.PlaceSocket, LocalPort: 5405, Count: 1})
	}
	b.AddDrop(model.Drop{Time: maxDrops + 20, Flags: model.FlagTransmit, CPU: -1, Place: model.PlaceQdisc, Count: 1})
	r := New(Room)
	r.Apply(b.Take())
	if len(r.lostIn) != maxDrops || len(r.drops) != 1 {
		t.Errorf("%d received and %d sent ones are kept", len(r.lostIn), len(r.drops))
	}
}
