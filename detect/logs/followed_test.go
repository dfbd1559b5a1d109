package logs_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/detect/logs"
	"lostbeat/model"
)

// followed is a stream of a host that follows a log: it is silent from second 20 to second 25, which is said from
// second 22 on. thread adds what the threads of its program, 702, did in a second.
func followed(host string, pid int32, line bool, thread func(s *detecttest.Stream, i int)) *model.Batch {
	const name = "agent.log"
	s := detecttest.New()
	s.Seconds(40, func(i int) {
		s.Quiet()
		if i%10 == 0 {
			s.Builder().AddLogState(model.LogState{
				Time: s.Now().Add(time.Millisecond), PID: pid, TID: -1, Lines: uint64(i), Log: name, Host: host, Process: "agent",
			})
		}
		gap := model.LogGap{Time: s.End(), ExpectedCount: 1e-5, Usual: time.Second, Lines: 500, Log: name, Host: host}
		switch {
		case i >= 22 && i < 24:
			gap.Dur, gap.Lasts = time.Duration(i-19)*time.Second, true
			s.Builder().AddLogGap(gap)
		case i == 24:
			gap.Dur = 5 * time.Second
			s.Builder().AddLogGap(gap)
			if line {
				s.Builder().AddLogLine(model.LogLine{
					Time: s.End(), Silence: gap.Dur, Log: name, Host: host, Pattern: "any/missed-heartbeats",
					Text: "peer missed 3 heartbeats",
				})
			}
		}
		if thread != nil {
			thread(s, i)
		}
	})
	return s.Batch()
}

// did adds a second of a thread that is in one state from second 20 to second 25.
func did(s *detecttest.Stream, i int, tid int32, state model.SchedState) {
	v := model.SchedStateEvent{
		Time: s.End(), Dur: time.Second, CPU: 1, PID: 702, TID: tid, Task: "agent",
		State: model.SchedSleeping, Total: time.Second, Longest: 100 * time.Millisecond, Count: 10,
	}
	if i >= 20 && i < 25 {
		v.State, v.Longest, v.Count = state, time.Duration(i-19)*time.Second, 1
	}
	s.Builder().AddSchedStateEvent(v)
}

// TestFollowed checks the verdicts about logs that are followed: while the silence lasts, and afterwards.
func TestFollowed(t *testing.T) {
	one := func(state model.SchedState) func(s *detecttest.Stream, i int) {
		return func(s *detecttest.Stream, i int) { did(s, i, 702, state) }
	}
	for _, tt := range []struct {
		name string
		of   *model.Batch
		// severity is that of the last word, lasting of the last word while the silence lasts.
		severity, lasting model.Severity
		says              []string
		never             []string
	}{
		{"stopped", followed("", 702, false, one(model.SchedStopped)), model.SeverityWarning, model.SeverityWarning,
			[]string{"agent.log had no line for 5.0 s: agent[702] was stopped"}, []string{"not known"}},
		{"without a CPU", followed("", 702, false, one(model.SchedWaiting)), model.SeverityWarning, model.SeverityWarning,
			[]string{"agent[702] got no CPU"}, nil},
		{"a sleep may be meant", followed("", 702, false, one(model.SchedSleeping)), model.SeverityInfo, model.SeverityInfo,
			[]string{"agent[702] slept"}, nil},
		{"a line that reports a loss", followed("", 702, true, one(model.SchedSleeping)), model.SeverityWarning,
			model.SeverityInfo, []string{"then “peer missed 3 heartbeats”", "agent[702] slept"}, nil},
		{"the lock of one of two threads", followed("", 702, false, func(s *detecttest.Stream, i int) {
			did(s, i, 702, model.SchedLock)
			did(s, i, 703, model.SchedSleeping)
		}), model.SeverityInfo, model.SeverityInfo, []string{"Cause unknown: nothing that is watched held agent[702] up"},
			[]string{"waited", "slept"}},
		{"not watched", followed("", 702, false, nil), model.SeverityInfo, model.SeverityInfo,
			[]string{"Cause unknown: agent[702] was not watched then"}, nil},
		{"no writer", followed("", -1, false, one(model.SchedStopped)), model.SeverityInfo, model.SeverityInfo,
			[]string{"Cause unknown: no process has the file open"}, []string{"stopped"}},
		{"another host", followed("web-08", 702, false, one(model.SchedStopped)), model.SeverityInfo, model.SeverityInfo,
			[]string{"agent.log of web-08 had no line", "the log is of another host"}, []string{"stopped"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := detecttest.Run(tt.of, 0)
			if again := detecttest.Dump(detecttest.Run(tt.of, 7)); again != detecttest.Dump(out) {
				t.Errorf("other batches, other findings:\n%s\n%s", detecttest.Dump(out), again)
			}
			var last, lasting *model.Finding
			for i := range out {
				f := &out[i].Finding
				switch {
				case f.Detector != logs.Name:
					continue
				case last != nil && f.ID != last.ID:
					t.Fatalf("a second finding: %s", f.Title)
				case f.Ongoing:
					lasting = f
				}
				last = f
			}
			if lasting == nil || last.Ongoing || !logs.Followed(last) {
				t.Fatalf("not said while it lasted, or not ended:\n%s", detecttest.Dump(out))
			}
			if last.Severity != tt.severity || lasting.Severity != tt.lasting {
				t.Errorf("%s, while it lasted %s: %s", last.Severity, lasting.Severity, last.Title)
			}
			text := last.Title + "\n" + strings.Join(last.Causes, "\n")
			for _, want := range tt.says {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in:\n%s", want, text)
				}
			}
			for _, no := range tt.never {
				if strings.Contains(text, no) {
					t.Errorf("%q in:\n%s", no, text)
				}
			}
		})
	}
}
