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
