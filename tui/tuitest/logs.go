package tuitest

import (
	"time"

	"lostbeat/model"
)

// log makes a second of a log that writes a line a second but for 5 s, and of one that is not there.
func (s *stream) log(n int) {
	name := "agent.log" + s.Name
	if n%10 == 1 {
		s.b.AddLogState(model.LogState{
			Time: s.now.Add(-time.Second + 2), PID: 702, TID: -1, Lines: uint64(n), Usual: 1100 * time.Millisecond,
			Last: s.now.Add(-time.Second), Log: name, Process: "agent" + s.Name,
			Clock: "ISO 8601, times without a zone: measured to be UTC+01:00",
		})
		s.b.AddLogState(model.LogState{
			Time: s.now.Add(-time.Second + 3), PID: -1, TID: -1, State: model.LogMissing, Log: "cvp.log", Host: "web-08",
			Clock: "there is no file /mnt/web-08/cvp.log yet",
		})
	}
	const silence = 5 * time.Second
	switch n {
	case s.Log - 2, s.Log:
		s.b.AddLogGap(model.LogGap{
			Time: s.now, Dur: silence - time.Duration(s.Log-n)*time.Second, ExpectedCount: 1e-5, Usual: 1100 * time.Millisecond,
			Longest: 1200 * time.Millisecond, Lines: 500, Lasts: n < s.Log, Log: name, Before: "heartbeat sent",
			After: map[bool]string{true: "peer 10.0.0.7 missed 3 heartbeats" + s.Name}[n == s.Log],
		})
	}
	if n == s.Log {
		s.b.AddLogLine(model.LogLine{
			Time: s.now, Silence: silence, Log: name, Pattern: "any/missed-heartbeats",
			Text: "peer 10.0.0.7 missed 3 heartbeats" + s.Name,
		})
	}
}
