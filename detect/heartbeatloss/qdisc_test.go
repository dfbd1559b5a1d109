package heartbeatloss_test

import (
	"slices"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// queuedOut puts the packets that the flow sends in a time, one every 100 ms, into a queueing discipline, from which
// they come one after the other at a time, 0 never.
func queuedOut(s *detecttest.Stream, from, to, release time.Duration) {
	p := model.PacketQdisc{
		CPU: 1, PID: 812, TID: -1, NetnsInode: detecttest.BeatNetns, Cookie: 31, Protocol: model.ProtocolUDP,
		LocalPort: 5405, RemotePort: 5405, Ifindex: 3, RemoteAddr: "10.0.0.2", Process: "corosync", Device: "eth1",
		Qdisc: "tbf",
	}
	const after = 10 * time.Microsecond // it has passed IP
	var all []model.PacketQdisc
	out := release
	for at := from; at < to; at += 100 * ms {
		p.Time, p.Dur, p.Left = detecttest.Start.Add(at+after), 0, false
		p.Backlog += 7
		all = append(all, p)
		if release > 0 {
			out = max(out, at+2*after)
			p.Time, p.Dur, p.Left = detecttest.Start.Add(out), out-at-after, true
			all = append(all, p)
			out += ms
		}
	}
	slices.SortStableFunc(all, func(a, b model.PacketQdisc) int { return int(a.Time - b.Time) })
	for _, v := range all {
		s.Builder().AddPacketQdisc(v)
	}
}

// A short wait of each packet in a queueing discipline is no delay, and neither is one as long for all of them.
func TestQdiscInTime(t *testing.T) {
	for name, each := range map[string]func(s *detecttest.Stream){
		"hardly any wait": func(s *detecttest.Stream) { queuedOut(s, fault, fault+5*time.Second, 1) },
		"some wait":       func(s *detecttest.Stream) { queuedOut(s, fault, fault+300*ms, fault+160*ms) },
	} {
		t.Run(name, func(t *testing.T) {
			b := detecttest.Flowing(40, once(each), detecttest.Heartbeat{Sends: true})
			if out := ours(detecttest.Run(b, 0)); len(out) > 0 {
				t.Error(detecttest.Dump(out))
			}
		})
	}
}

// What the host receives of a sender of its own is not said to be lost on the way while that one's packets wait.
func TestQdiscOfSenderHere(t *testing.T) {
	b := detecttest.Flowing(40,
		once(func(s *detecttest.Stream) { queuedOut(s, fault, fault+1500*ms, fault+1500*ms) }),
		detecttest.Heartbeat{Sends: true},
		detecttest.Heartbeat{
			PID: 813, Cookie: 32, Peer: "0.0.0.0", At: missing(fault, fault+1500*ms, true),
		})
	list := detecttest.Latest(ours(detecttest.Run(b, 0)))
	for _, f := range list {
		if f.Subject.PID != 812 {
			t.Errorf("%s", text(f))
		}
	}
	if len(list) != 1 {
		t.Errorf("%d findings:\n%s", len(list), detecttest.Dump(ours(detecttest.Run(b, 0))))
	}
}
