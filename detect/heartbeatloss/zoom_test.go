package heartbeatloss_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// What a closer look has seen of a packet decides between the backlog and filters, for the packets before it, too.
func TestZoom(t *testing.T) {
	const again = fault + 6*time.Second
	late := func(at time.Duration) time.Duration {
		if d := stack(fault, fault+900*ms)(at); d > ms {
			return d
		}
		return stack(again, again+800*ms)(at)
	}
	look := func(at, stack, backlog time.Duration) func(s *detecttest.Stream) {
		return func(s *detecttest.Stream) {
			s.Builder().AddPacketEarly(model.PacketEarly{
				Time: detecttest.Start.Add(at + stack), Dur: stack, CPU: 1, NetnsInode: detecttest.BeatNetns, Cookie: 31,
				LocalPort: 5405, RemotePort: 5405, Backlog: backlog, RemoteAddr: "10.0.0.2",
			})
		}
	}
	for _, tt := range []struct {
		name string
		each func(s *detecttest.Stream)
		says []string
		not  string
	}{
		{
			name: "nothing was looked at", each: func(*detecttest.Stream) {},
			says: []string{"softirq, backlog or filters, not known which"}, not: "filters and IP had it",
		},
		{
			name: "filters, of the first", each: look(fault, 900*ms, 10*ms),
			says: []string{"(filters and IP had it)", "had the packet for 890 ms of 900 ms", "took it up after 10 ms"},
		},
		{
			name: "filters, of a later one", each: look(again, 800*ms, 10*ms),
			says: []string{"(filters and IP had it)", "had the packet for 790 ms of 800 ms"},
		},
		{
			name: "the backlog, of a later one", each: look(again, 800*ms, 700*ms),
			says: []string{"it was in the backlog, behind other packets", "filters or IP: they had the packet for 100 ms"},
			not:  "not known",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecttest.New()
			s.Device(2, "eth0", 1, "0")
			tt.each(s) // in front of the packet's own event
			detecttest.Heartbeat{Stack: late}.Add(s, 40)
			s.Seconds(40, func(int) { s.Quiet() })
			b := s.Batch()
			if err := model.Validate(b); err != nil {
				t.Fatal(err)
			}
			list := detecttest.Latest(ours(detecttest.Run(b, 0)))
			if len(list) == 0 {
				t.Fatal("no finding")
			}
			says(t, list[0], tt.says)
			if tt.not != "" && strings.Contains(text(list[0]), tt.not) {
				t.Errorf("it says %q:\n%s", tt.not, text(list[0]))
			}
		})
	}
}
