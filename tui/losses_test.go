package tui

import (
	"testing"

	"lostbeat/model"
	"lostbeat/tui/tuitest"
)

// TestLossesAreTheFindingsOwn wants the numbers of the finding, the programs first.
func TestLossesAreTheFindingsOwn(t *testing.T) {
	packets := func(name string, n float64) model.Evidence {
		return model.Evidence{Name: name, Value: n, Unit: "packets"}
	}
	for _, tt := range []struct {
		name string
		f    model.Finding
		want string
	}{
		{"a starved CPU", model.Finding{Subject: model.Subject{Kind: "cpu", CPU: 0, PID: -1}, Evidence: []model.Evidence{
			packets("dropped at the full backlog", 134_041),
			packets("dropped at the receive queue of udp/7000 rcv[4978]", 78_365),
			{Name: "time_squeeze", Value: 3, Unit: "times"},
		}}, "udp/7000 rcv[4978] lost 78,365 · the backlog of CPU 0 lost 134,041 packets"},
		{"a receive queue", model.Finding{
			Subject:  model.Subject{Kind: "socket", CPU: -1, PID: 812, Process: "hbd", Protocol: "udp", Port: 7000},
			Evidence: []model.Evidence{packets("dropped at the receive queue", 99)},
		}, "udp/7000 hbd[812] lost 99 packets"},
		{"a drop of two programs", model.Finding{Subject: model.Subject{Kind: "drop", CPU: -1, PID: -1},
			Evidence: []model.Evidence{packets("packets lost", 30), packets("lost by a[1]", 10), packets("lost by b[2]", 20)},
		}, "b[2] lost 20 · a[1] lost 10 packets"},
		{"nobody", model.Finding{Subject: model.Subject{CPU: -1, PID: -1}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := victims(&view{}, &tt.f); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// What no device reports is not 0: the table of losses shows a dash where the line of checks says why.
func TestRingless(t *testing.T) {
	s := loaded(tuitest.Options{Seconds: 5})
	shows(t, screen(s, 100, 40), "ring                 0         0")
	var more model.Builder
	for _, d := range s.Snapshot().Devices {
		d.Time, d.RingSource = s.Snapshot().Now, "none"
		more.AddDeviceConfig(d)
	}
	s.Apply(more.Take())
	s.Publish()
	m := screen(s, 100, 40)
	shows(t, m, "no device here reports ring drops")
	shows(t, m, "ring                 –         –")
}
