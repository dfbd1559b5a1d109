package heartbeatloss_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

// unheld adds packets for the port of the flow that find no socket, so many a second, from one second on to another.
func unheld(p model.Protocol, count uint64, from, to int) func(s *detecttest.Stream, i int) {
	return func(s *detecttest.Stream, i int) {
		if i >= from && i < to {
			d := drop(model.PlaceProtocol, count, 5405, "NO_SOCKET", "ip_local_deliver_finish", "eth0")
			d.Protocol = p
			s.Drop(d)
		}
	}
}

// A socket is gone, and its peers go on sending.
func TestUnattended(t *testing.T) {
	const udp, tcp = model.ProtocolUDP, model.ProtocolTCP
	ended := func(end model.ProcessEnd, code int64) detecttest.Heartbeat {
		return detecttest.Heartbeat{Until: fault, End: end, EndCode: code}
	}
	killed := ended(model.ProcessEndSignal, 9)
	crashed := ended(model.ProcessEndSignal, 11)
	crashed.Timeout = 2 * time.Second
	connection := killed
	connection.TCP = true
	again := func(after time.Duration) detecttest.Heartbeat {
		return detecttest.Heartbeat{Cookie: 32, PID: 900, From: fault + after, At: func(n int) time.Duration {
			return fault + after + time.Duration(n)*100*ms
		}}
	}
	judgeEach(t, []judged{
		{
			name: "killed", beats: []detecttest.Heartbeat{killed}, each: unheld(udp, 10, 12, 40),
			severity: model.SeverityWarning,
			says: []string{
				"has received nothing for 28 s: its program was killed by SIGKILL, and 280 packets for its port found no socket",
				"the peer or the network: the packets reached this host", "find out who killed it",
			},
		},
		{
			name: "killed, with a timeout", beats: []detecttest.Heartbeat{crashed}, each: unheld(udp, 10, 12, 40),
			severity: model.SeverityCritical, says: []string{"killed by SIGSEGV", "core dump"},
		},
		{
			name: "failed", beats: []detecttest.Heartbeat{ended(model.ProcessEndExit, 3)}, each: unheld(udp, 10, 12, 40),
			severity: model.SeverityWarning, says: []string{"its program exited with status 3"},
		},
		{
			name: "stopped on purpose", beats: []detecttest.Heartbeat{ended(model.ProcessEndSignal, 15)},
			each: unheld(udp, 10, 12, 40), severity: model.SeverityInfo, says: []string{"its program was stopped by SIGTERM"},
		},
		{
			name: "closed", beats: []detecttest.Heartbeat{ended(model.ProcessEndUnknown, 0)}, each: unheld(udp, 10, 12, 40),
			severity: model.SeverityInfo, says: []string{"its socket was closed"},
		},
		{
			name: "peers give up", beats: []detecttest.Heartbeat{killed}, each: unheld(udp, 10, 12, 16),
			severity: model.SeverityWarning, says: []string{"received nothing for", "40 packets for its port found no socket"},
		},
		{
			name: "started again", beats: []detecttest.Heartbeat{killed, again(5 * time.Second)},
			each: unheld(udp, 10, 12, 17), severity: model.SeverityWarning,
			says: []string{"received nothing for 5", "A socket was opened on the port again after 5"},
		},
		{
			name: "started again at once", beats: []detecttest.Heartbeat{killed, again(400 * ms)},
			each: unheld(udp, 4, 12, 13),
		},
		{name: "nobody sends any more", beats: []detecttest.Heartbeat{killed}, each: unheld(udp, 2, 12, 13)},
		{name: "few packets of others", beats: []detecttest.Heartbeat{killed}, each: unheld(udp, 2, 12, 40)},
		{
			name: "segments to a closed connection", beats: []detecttest.Heartbeat{connection}, each: unheld(tcp, 2, 12, 13),
		},
		{
			name: "connections are refused", beats: []detecttest.Heartbeat{connection}, each: unheld(tcp, 1, 12, 40),
			severity: model.SeverityWarning, says: []string{"tcp/5405 of corosync[812]", "killed by SIGKILL"},
		},
	})
}

// judged are flows of 40 s, with what each second adds to them, and the one finding about them: its severity, and parts
// of what it says. Where there are no parts, nothing may be found.
type judged struct {
	name     string
	beats    []detecttest.Heartbeat
	each     func(s *detecttest.Stream, i int)
	severity model.Severity
	says     []string
}

func judgeEach(t *testing.T, all []judged) {
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			b := detecttest.Flowing(40, tt.each, tt.beats...)
			if len(tt.says) == 0 {
				if err := model.Validate(b); err != nil {
					t.Fatal(err)
				}
				for _, f := range detecttest.Latest(ours(detecttest.Run(b, 0))) {
					t.Error(text(f))
				}
				return
			}
			f, _ := only(t, b)
			if f.Severity != tt.severity {
				t.Errorf("severity %v, want %v", f.Severity, tt.severity)
			}
			says(t, f, tt.says)
		})
	}
}

// Another socket of the port receives what one did not.
func TestTaken(t *testing.T) {
	first := detecttest.Heartbeat{At: missing(fault, 39*time.Second, false)}
	second := func(pid int32, from, to time.Duration) []detecttest.Heartbeat {
		return []detecttest.Heartbeat{first, {Cookie: 32, PID: pid, From: from, At: func(n int) time.Duration {
			if at := time.Duration(n) * 100 * ms; at > from && at < to {
				return at
			}
			return -1
		}}}
	}
	for _, tt := range []struct {
		name  string
		beats []detecttest.Heartbeat
		says  string
	}{
		{
			"another program", second(900, fault+time.Second, 40*time.Second),
			"its packets go to another socket of the port, of corosync[900]",
		},
		{
			"the same program", second(812, fault+time.Second, 40*time.Second),
			"The program has opened another socket on the port",
		},
		{"the same program at once", second(812, fault, 40*time.Second), ""},
		{
			"another program, until it ends",
			[]detecttest.Heartbeat{
				{At: missing(fault, fault+6*time.Second, false)},
				{Cookie: 32, PID: 900, From: fault + time.Second, Until: fault + 6*time.Second - 50*ms,
					At: func(n int) time.Duration { return fault + time.Second + time.Duration(n)*100*ms }},
			},
			"its packets went to another socket of the port, of corosync[900]",
		},
		{"one that has received nothing for long", second(900, fault, fault+time.Second), "peer or network fault"},
		{"one that had its packets before", second(900, time.Second, 40*time.Second), "peer or network fault"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := ""
			for _, f := range detecttest.Latest(ours(detecttest.Run(detecttest.Flowing(39, nil, tt.beats...), 0))) {
				if f.Subject.PID == 812 {
					said += text(f)
				}
			}
			if !strings.Contains(said, tt.says) || tt.says == "" && said != "" {
				t.Errorf("want %q:\n%s", tt.says, said)
			}
		})
	}
}
