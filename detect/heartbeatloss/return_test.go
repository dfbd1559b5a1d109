package heartbeatloss_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// A program that has read its packet does not have it while it has no CPU on its way out of the read.
func TestReturns(t *testing.T) {
	const read = 50 * time.Microsecond // after the packet has reached the host
	back := func(from, length time.Duration, state model.SchedState) func(s *detecttest.Stream) {
		return func(s *detecttest.Stream) {
			s.Builder().AddPacketReturn(model.PacketReturn{
				Time: detecttest.Start.Add(from + length), Dur: length, CPU: 1, PID: 812, TID: 812,
				NetnsInode: detecttest.BeatNetns, Cookie: 31, Protocol: model.ProtocolUDP, LocalPort: 5405, State: state,
				Process: "corosync",
			})
		}
	}
	const out = read + 10*time.Microsecond
	kept := func(state model.SchedState) []detecttest.Held {
		return held(state, 900*ms, func(h *detecttest.Held) { h.From += out })
	}
	for _, tt := range []struct {
		name string
		beat detecttest.Heartbeat
		each func(s *detecttest.Stream)
		says []string
	}{
		{
			name: "the packets behind it wait", beat: detecttest.Heartbeat{Held: kept(model.SchedThrottled)},
			each: back(fault+out, 900*ms-2*out, model.SchedThrottled),
			says: []string{
				"was read 900 ms late: the program was throttled", "The program could not continue with what it had read",
				"read, but without a CPU while returning from the read (100 %)",
			},
		},
		{
			name: "no other comes meanwhile",
			beat: detecttest.Heartbeat{Period: 400 * ms, Timeout: 3 * time.Second, Held: kept(model.SchedThrottled)},
			each: back(fault+out, 900*ms-2*out, model.SchedThrottled),
			says: []string{"was read 900 ms late: the program was throttled", "43 % of the timeout"},
		},
		{
			name: "no CPU", beat: detecttest.Heartbeat{Period: 400 * ms, Timeout: 3 * time.Second,
				Held: kept(model.SchedWaiting)},
			each: back(fault+out, 900*ms-2*out, model.SchedWaiting),
			says: []string{"was read 900 ms late: its reader got no CPU"},
		},
		{
			name: "long after the read", beat: detecttest.Heartbeat{Period: 400 * ms, Timeout: 3 * time.Second},
			each: back(fault+100*ms, 900*ms, model.SchedWaiting),
		},
		{
			name: "not for long", beat: detecttest.Heartbeat{Period: 400 * ms, Timeout: 3 * time.Second},
			each: back(fault+out, 300*ms, model.SchedWaiting),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := detecttest.Flowing(40, once(tt.each), tt.beat)
			if err := model.Validate(b); err != nil {
				t.Fatal(err)
			}
			list := detecttest.Latest(ours(detecttest.Run(b, 0)))
			if len(tt.says) == 0 {
				if len(list) > 0 {
					t.Error(text(list[0]))
				}
				return
			}
			if len(list) != 1 {
				t.Fatalf("%d findings, want one", len(list))
			}
			says(t, list[0], tt.says)
		})
	}
}
