package heartbeatloss_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// A rule drops packets for a port, and nothing comes from two peers: where too few are dropped for both, not known is
// whose they are.
func TestWhichOfTwoPeers(t *testing.T) {
	silence := missing(fault, fault+3*time.Second, false)
	for _, tt := range []struct {
		name    string
		dropped uint64 // a second
		says    string
	}{
		{"as many as of one", 10, "received nothing for 3 s, perhaps lost in this host: 30 packets dropped at filter"},
		{"as many as of both", 20, "received nothing for 3 s: this host dropped 60 packets for it at filter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each := func(s *detecttest.Stream, i int) {
				if second := time.Duration(i) * time.Second; second >= fault && second < fault+3*time.Second {
					s.Drop(drop(model.PlaceFilter, tt.dropped, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
				}
			}
			list := detecttest.Latest(ours(detecttest.Run(detecttest.Flowing(40, each, detecttest.Heartbeat{At: silence},
				detecttest.Heartbeat{At: silence, Peer: "10.0.0.3"}), 0)))
			if len(list) != 2 {
				t.Errorf("%d findings of 2", len(list))
			}
			for _, f := range list {
				said := text(f)
				if !strings.Contains(said, tt.says) {
					t.Errorf("want %q, got %s", tt.says, said)
				}
				if one := tt.dropped == 10; one != strings.Contains(said, "nothing came from 2 peers meanwhile, and 58 packets") {
					t.Errorf("of two peers: %s", said)
				}
			}
		})
	}
}

// This host drops the acknowledgements of a connection: nothing new comes, and neither peer nor network is at fault.
func TestAnswersDropped(t *testing.T) {
	silent := detecttest.Heartbeat{TCP: true, At: missing(fault, fault+15*time.Second, false)}
	answers := func(perSecond uint64, from, to time.Duration, change ...func(*model.Drop)) func(*detecttest.Stream, int) {
		return func(s *detecttest.Stream, i int) {
			if second := time.Duration(i) * time.Second; second >= from && second < to {
				d := drop(model.PlaceFilter, perSecond, 5405, "NETFILTER_DROP", "nft_do_chain", "")
				d.Protocol, d.Flags = model.ProtocolTCP, model.FlagTransmit
				for _, f := range change {
					f(&d)
				}
				s.Drop(d)
			}
		}
	}
	const nothing = "no packet reached this host, peer or network fault"
	judgeEach(t, []judged{
		{
			name: "dropped", beats: []detecttest.Heartbeat{silent}, each: answers(1, fault, fault+15*time.Second),
			severity: model.SeverityWarning, says: []string{
				"received nothing new for 15 s: this host dropped 15 of its answers at filter (NETFILTER_DROP in nft_do_chain)",
				"15 packets that tcp/5405 sent were dropped", "Find the rule whose counter grows",
			},
		},
		{
			name: "one only", beats: []detecttest.Heartbeat{silent}, each: answers(1, fault, fault+time.Second),
			severity: model.SeverityWarning, says: []string{nothing},
		},
		{
			name: "later", beats: []detecttest.Heartbeat{silent}, each: answers(3, fault+5*time.Second, fault+8*time.Second),
			severity: model.SeverityWarning, says: []string{nothing},
		},
		{
			name: "of another port", beats: []detecttest.Heartbeat{silent},
			each:     answers(1, fault, fault+15*time.Second, func(d *model.Drop) { d.LocalPort = 22 }),
			severity: model.SeverityWarning, says: []string{nothing},
		},
		{
			name: "of one of two peers", beats: []detecttest.Heartbeat{silent, {TCP: true, Cookie: 32, Peer: "10.0.0.3"}},
			each:     answers(1, fault, fault+15*time.Second),
			severity: model.SeverityWarning, says: []string{nothing},
		},
	})
}

// What a rule drops all the time is another peer's, where the flow went on meanwhile.
func TestDroppedBefore(t *testing.T) {
	silence := missing(fault, fault+9*time.Second, false)
	// From 4 s before the fault on; the last one goes on.
	drops := func(perSecond ...uint64) func(*detecttest.Stream, int) {
		return func(s *detecttest.Stream, i int) {
			if i -= int(fault/time.Second) - 4; i >= 0 && i < 13 {
				if n := perSecond[min(i, len(perSecond)-1)]; n > 0 {
					s.Drop(drop(model.PlaceFilter, n, 5405, "NETFILTER_DROP", "nft_do_chain", ""))
				}
			}
		}
	}
	flow := []detecttest.Heartbeat{{At: silence}}
	const others, here = "and about as many before, while the flow continued", "this host dropped"
	judgeEach(t, []judged{
		{
			name: "as many before", beats: flow, each: drops(10), severity: model.SeverityWarning,
			says: []string{"no packet reached this host, peer or network fault", others},
		},
		{
			name: "twice as many since", beats: flow, each: drops(10, 10, 10, 10, 20), severity: model.SeverityWarning,
			says: []string{here},
		},
		{
			name: "a few before", beats: flow, each: drops(3, 3, 3, 3, 10), severity: model.SeverityWarning,
			says: []string{here},
		},
		{
			name: "none before", beats: flow, each: drops(0, 0, 0, 0, 10), severity: model.SeverityWarning,
			says: []string{here},
		},
		{
			name: "in a gap before", severity: model.SeverityWarning, each: drops(10), says: []string{here},
			beats: []detecttest.Heartbeat{{At: func(n int) time.Duration {
				at := silence(n)
				if at >= fault-3*time.Second && at < fault-time.Second {
					return -1
				}
				return at
			}}},
		},
	})
}

// Of two silent peers, the packets of one are dropped: where it is known whose they are, each has its own cause.
func TestWhosePackets(t *testing.T) {
	const (
		rx, tx  = model.DirectionRX, model.DirectionTX
		nothing = "received nothing for 3 s: no packet reached this host, peer or network fault"
		here    = "received nothing for 3 s: this host dropped 30 packets for it at filter"
		second  = "10.0.0.3"
	)
	type share struct {
		count     uint64
		cookie    uint64
		direction model.Direction
		remote    string
		port      uint16
	}
	rule := drop(model.PlaceFilter, 10, 5405, "NETFILTER_DROP", "nft_do_chain", "")
	router := rule
	router.LocalPort, router.NetnsInode = 0, detecttest.BeatNetns+7
	queue := drop(model.PlaceSocket, 10, 5405, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", "")
	copied := drop(model.PlaceSocket, 10, 0, "PACKET_SOCK_ERROR", "tpacket_rcv", "")
	egress := rule
	egress.Flags = model.FlagTransmit
	for _, tt := range []struct {
		name          string
		drop          model.Drop
		shares        []share
		first, second string
	}{
		{"of the first", rule, []share{{10, 31, rx, "10.0.0.2", 5405}}, here, nothing},
		{"of the second, from another port", rule, []share{{10, 31, rx, second, 0}}, nothing, here},
		{"from another port that is known", rule, []share{{10, 31, rx, "10.0.0.2", 99}}, nothing, nothing},
		{"of none", rule, []share{{10, 0, rx, "", 0}}, nothing, nothing},
		{"of another socket of the same group", rule, []share{{10, 77, rx, "10.0.0.2", 5405}}, here, nothing},
		{"at another socket of the same group", queue, []share{{10, 77, rx, "10.0.0.2", 5405}}, nothing, nothing},
		{"of another socket in another namespace", router, []share{{10, 77, rx, "10.0.0.2", 5405}}, nothing, nothing},
		{"of a packet socket's copy", copied, []share{{10, 31, rx, "10.0.0.2", 5405}}, nothing, nothing},
		{"half of it known", rule, []share{{5, 31, rx, second, 5405}},
			"perhaps lost in this host: 15 packets dropped at filter", here},
		{"on the way through another namespace", router, []share{{10, 31, rx, "10.0.0.2", 5405}},
			here + " (NETFILTER_DROP in nft_do_chain) in network namespace", nothing},
		{"of what is sent", egress, []share{{10, 31, tx, "10.0.0.2", 5405}}, nothing, nothing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			silence := missing(fault, fault+3*time.Second, false)
			each := func(s *detecttest.Stream, i int) {
				if second := time.Duration(i) * time.Second; second < fault || second >= fault+3*time.Second {
					return
				}
				s.Drop(tt.drop)
				for _, o := range tt.shares {
					d := tt.drop
					d.Count = o.count
					s.DropOf(d, o.cookie, o.direction, o.remote, o.port)
				}
			}
			b := detecttest.Flowing(40, each, detecttest.Heartbeat{At: silence}, detecttest.Heartbeat{At: silence, Peer: second})
			if err := model.Validate(b); err != nil {
				t.Fatal(err)
			}
			list := detecttest.Latest(ours(detecttest.Run(b, 0)))
			if len(list) != 2 {
				t.Errorf("%d findings of 2", len(list))
			}
			for _, f := range list {
				said, want := text(f), tt.first
				if strings.Contains(said, second) {
					want = tt.second
				}
				if !strings.Contains(said, want) {
					t.Errorf("want %q, got %s", want, said)
				}
				if want == nothing && tt.drop.Reason == rule.Reason && tt.drop.LocalPort != 0 && tt.drop.Flags == 0 &&
					!strings.Contains(said, "30 packets for udp/5405 were dropped at filter (NETFILTER_DROP in nft_do_chain), "+
						"none of them of this flow") {
					t.Errorf("what was dropped of others is not ruled out: %s", said)
				}
			}
		})
	}
}
