package heartbeatloss_test

import (
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// A connection is reset from its peer.
func TestBroken(t *testing.T) {
	const reset = fault + 30*ms
	broken := detecttest.Heartbeat{TCP: true, Until: reset + ms}
	open := detecttest.Heartbeat{TCP: true, At: missing(fault, time.Hour, false)}
	sends := detecttest.Heartbeat{TCP: true, Sends: true, Until: reset + ms, LocalPort: 41000}
	resets := once(func(s *detecttest.Stream) { stall(s, model.StallReset, reset, 1, false) })
	again := func(after time.Duration) detecttest.Heartbeat {
		return detecttest.Heartbeat{TCP: true, Cookie: 32, From: fault + after, At: func(n int) time.Duration {
			return fault + after + time.Duration(n)*100*ms
		}}
	}
	ended := broken
	ended.End, ended.EndCode = model.ProcessEndSignal, 15
	judgeEach(t, []judged{
		{
			name: "reset", beats: []detecttest.Heartbeat{broken}, each: resets, severity: model.SeverityWarning,
			says: []string{
				"has received nothing for 28 s: its connection was reset by 10.0.0.2, and there is no other",
				"A reset (RST) came from 10.0.0.2", "the program of this host: it had not closed the connection",
			},
		},
		{
			name: "reset, and not closed", beats: []detecttest.Heartbeat{open}, each: resets,
			severity: model.SeverityWarning,
			says:     []string{"has received nothing for 28 s: its connection was reset by 10.0.0.2"},
		},
		{
			name: "made again", beats: []detecttest.Heartbeat{broken, again(5 * time.Second)}, each: resets,
			severity: model.SeverityWarning, says: []string{
				"received nothing for 5", "its connection was reset by 10.0.0.2", "After 5", "there was another connection",
			},
		},
		{name: "made again at once", beats: []detecttest.Heartbeat{broken, again(400 * ms)}, each: resets},
		{name: "another one goes on", beats: []detecttest.Heartbeat{broken, {TCP: true, Cookie: 33}}, each: resets},
		{name: "another one goes on, more slowly", beats: []detecttest.Heartbeat{broken, {
			TCP: true, Cookie: 33, Period: 900 * ms,
		}}, each: resets},
		{
			name: "a reader that was stopped before", severity: model.SeverityWarning, each: resets,
			beats: []detecttest.Heartbeat{{TCP: true, At: missing(fault, time.Hour, false), Held: []detecttest.Held{
				{From: fault - 250*ms, To: time.Hour, State: model.SchedStopped},
			}}},
			says: []string{"has not been read", "stopped"},
		},
		{
			name: "a rule that drops something later", beats: []detecttest.Heartbeat{sends}, severity: model.SeverityWarning,
			each: func(s *detecttest.Stream, i int) {
				resets(s, i)
				if i == 25 {
					d := drop(model.PlaceFilter, 1, 41000, "NETFILTER_DROP", "nf_hook_slow", "eth0")
					d.Protocol, d.Flags = model.ProtocolTCP, model.FlagTransmit
					s.Drop(d)
				}
			},
			says: []string{"has not been sent for 28", "its connection was reset by 10.0.0.2"},
		},
		{name: "its program ended", beats: []detecttest.Heartbeat{ended}, each: resets},
		{name: "closed without a reset", beats: []detecttest.Heartbeat{broken}},
		{
			name: "a segment that only says so", beats: []detecttest.Heartbeat{{TCP: true}}, each: resets,
		},
		{
			name: "a rule of this host", beats: []detecttest.Heartbeat{sends}, severity: model.SeverityWarning,
			each: once(func(s *detecttest.Stream) {
				stall(s, model.StallReset, reset, 1, false)
				d := drop(model.PlaceFilter, 1, 41000, "NETFILTER_DROP", "nf_hook_slow", "eth0")
				d.Protocol, d.Flags = model.ProtocolTCP, model.FlagTransmit
				s.Drop(d)
			}),
			says: []string{"has not been sent for 28", "its connection was reset by a firewall rule of this host"},
		},
	})
}
