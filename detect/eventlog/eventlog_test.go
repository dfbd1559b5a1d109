package eventlog_test

import (
	"strings"
	"testing"
	"time"

	"lostbeat/detect/detecttest"
	"lostbeat/model"
)

func judged(b *model.Batch) (lines []string) {
	for _, f := range detecttest.Latest(detecttest.Run(b, 0)) {
		lines = append(lines, f.Severity.String()+" "+f.Title+"; "+strings.Join(append(f.Causes, f.Advice...), "; "))
	}
	return lines
}

// TestIncidents has what is said of the entries of logs; "!" begins what must not be said.
func TestIncidents(t *testing.T) {
	node := func(name string) model.HostEvent {
		return model.HostEvent{Provider: "Microsoft-Windows-FailoverClustering", ID: 1135, About: name}
	}
	// numbered is an entry with its number in the log of a host.
	numbered := func(record int64, e model.HostEvent) model.HostEvent {
		e.Record, e.Numbering = record, 1
		return e
	}
	const minute = 60
	setBack := func(record int64, by time.Duration, host string) model.HostEvent {
		return numbered(record, model.HostEvent{StepNS: -int64(by), Host: host})
	}
	for name, test := range map[string]struct {
		entries []entry
		count   int
		says    []string
	}{
		"ports before a node": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{Provider: "Tcpip", ID: 4231}},
				{29.9, model.HostNodeRemoved, node("NODE-B")}, {32.3, model.HostQuorumLost, model.HostEvent{}}}, 1,
			[]string{"critical node NODE-B was removed", "2.4 s later the cluster lost its quorum", "29 s before it",
				"Windows ran out of TCP ports (Tcpip 4231)", "possibly its cause", "netstat -anoq"},
		},
		"a replica after a link": {
			[]entry{{1, model.HostLinkDown, model.HostEvent{About: "NIC 1"}},
				{12, model.HostReplicaTimeout, model.HostEvent{Provider: "MSSQLSERVER", ID: 35206, About: "SQL2"}}}, 1,
			[]string{"warning the connection to availability replica SQL2 timed out at", "MSSQLSERVER 35206", "11 s before it",
				"session timeout", "!critical"},
		},
		"a lease": {
			[]entry{{12, model.HostLeaseExpired, model.HostEvent{About: "AG1"}}}, 1,
			[]string{"critical the lease of availability group AG1 with the cluster expired", "20 s by default"},
		},
		"a link is nearer than ports": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{}}, {20, model.HostLinkDown, model.HostEvent{About: "NIC 1"}},
				{30, model.HostNodeRemoved, node("NODE-B")}}, 1,
			[]string{"10 s before it (", "The link of NIC 1 was lost", "likely its cause", "29 s before it"},
		},
		"what is after is no cause": {
			[]entry{{1, model.HostNodeRemoved, node("NODE-B")}, {10, model.HostTCPPortsOut, model.HostEvent{}},
				{300, model.HostCrashed, model.HostEvent{}}}, 2,
			[]string{"no cause before it that lostbeat knows", "5 min after it the host reported",
				"!ports of the whole machine ran out of TCP ports (Test 7); "},
		},
		"two incidents": {
			[]entry{{1, model.HostNodeRemoved, node("A")}, {100, model.HostNodeRemoved, node("B")}}, 2, []string{"node A",
				"node B"},
		},
		"ports alone": {
			[]entry{{1, model.HostUDPPortsOut, model.HostEvent{}}, {100, model.HostUDPPortsOut, model.HostEvent{}}}, 1,
			[]string{"warning Windows ran out of UDP ports", "and 1 time before", "!cluster"},
		},
		"notes": {
			[]entry{{1, model.HostLinkDown, model.HostEvent{}}, {2, model.HostLinkUp, model.HostEvent{}},
				{3, model.HostStarted, model.HostEvent{}}}, 1,
			[]string{"info The link of an adapter was lost"},
		},
		"two hosts": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{Host: "A"}}, {9, model.HostNodeRemoved,
				model.HostEvent{Host: "B"}}}, 1,
			[]string{"removed from the cluster on B", "ran out of TCP ports on A"},
		},
		"one cause of two incidents": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{}}, {121, model.HostNodeRemoved, node("B")},
				{241, model.HostNodeRemoved, node("C")}}, 2,
			[]string{"node B was removed", "2 min before it", "node C was removed", "4 min before it"},
		},
		"written after a clock was set back": {
			[]entry{{10, model.HostClockSet, setBack(2, time.Hour, "")},
				{55 * minute, model.HostTCPPortsOut, numbered(3, model.HostEvent{})},
				{59 * minute, model.HostNodeRemoved, numbered(1, node("B"))}}, 3,
			[]string{"no cause before it", "!4 min before it", "warning Windows ran out"},
		},
		"written before a clock was set back": {
			[]entry{{10, model.HostClockSet, setBack(3, time.Hour, "")},
				{55 * minute, model.HostTCPPortsOut, numbered(1, model.HostEvent{})},
				{59 * minute, model.HostNodeRemoved, numbered(2, node("B"))}}, 2,
			[]string{"4 min before it"},
		},
		"around a step of the clock": {
			[]entry{{10, model.HostClockSet, setBack(2, time.Hour, "")},
				{55 * minute, model.HostTCPPortsOut, numbered(1, model.HostEvent{})},
				{59 * minute, model.HostNodeRemoved, numbered(3, node("B"))}}, 3,
			[]string{"!4 min before it", "no cause before it", "!do not say"},
		},
		"shortly before a step of the clock": {
			[]entry{{10, model.HostClockSet, setBack(2, time.Hour, "")}, {20, model.HostNodeRemoved, numbered(3, node("B"))},
				{60 * minute, model.HostTCPPortsOut, numbered(1, model.HostEvent{})}}, 1,
			[]string{"20 s before it (09:53:20 of a clock that was then set) Windows ran out", "!no cause before it"},
		},
		"a clock that was set forward": {
			[]entry{{1, model.HostTCPPortsOut, numbered(1, model.HostEvent{})},
				{60 * minute, model.HostClockSet, numbered(2, model.HostEvent{StepNS: int64(time.Hour - 9*time.Second)})},
				{60*minute + 2, model.HostNodeRemoved, numbered(3, node("B"))}}, 1,
			[]string{"10 s before it (", "the clock was set by 60 min", "!no cause before it"},
		},
		"numbers, and a step of the clock in another log": {
			[]entry{{10, model.HostClockSet, model.HostEvent{StepNS: -int64(time.Hour), Log: "other"}},
				{55 * minute, model.HostTCPPortsOut, numbered(1, model.HostEvent{})},
				{59 * minute, model.HostNodeRemoved, numbered(2, node("B"))}}, 3,
			[]string{"!4 min before it", "do not say how long before it they were written"},
		},
		"no numbers, and a step of the clock": {
			[]entry{{10, model.HostClockSet, model.HostEvent{StepNS: -int64(time.Hour)}},
				{55 * minute, model.HostTCPPortsOut, model.HostEvent{}}, {59 * minute, model.HostNodeRemoved, node("B")}}, 3,
			[]string{"!4 min before it", "the clock was set by -60 min", "do not say how long before it they were written",
				"!no cause before it"},
		},
		"no numbers, and a step of the clock long before": {
			[]entry{{10, model.HostClockSet, model.HostEvent{StepNS: -int64(time.Minute)}},
				{55 * minute, model.HostTCPPortsOut, model.HostEvent{}}, {59 * minute, model.HostNodeRemoved, node("B")}}, 2,
			[]string{"4 min before it", "!do not say"},
		},
		"the step itself": {
			[]entry{{100, model.HostClockSet, setBack(1, time.Minute, "")},
				{110, model.HostNodeRemoved, numbered(2, node("B"))}}, 1,
			[]string{"10 s before it (", "A clock step: timeouts", "!do not say"},
		},
		"another host's clock was set back": {
			[]entry{{10, model.HostClockSet, setBack(1, time.Hour, "A")},
				{55 * minute, model.HostTCPPortsOut, numbered(1, model.HostEvent{Host: "B"})},
				{56 * minute, model.HostTCPPortsOut, numbered(2, model.HostEvent{Host: "A"})},
				{59 * minute, model.HostNodeRemoved, numbered(2, model.HostEvent{Host: "B", About: "C"})}}, 2,
			[]string{"4 min before it", "3 min before it", "!do not say"},
		},
	} {
		got := judged(log(test.entries...)())
		all := strings.Join(got, "\n")
		if len(got) != test.count {
			t.Errorf("%s: %d findings, want %d:\n%s", name, len(got), test.count, all)
		}
		for _, text := range test.says {
			without, not := strings.CutPrefix(text, "!")
			if strings.Contains(strings.ToLower(all), strings.ToLower(without)) == not {
				t.Errorf("%s: %q in\n%s", name, text, all)
			}
		}
	}
}

// TestMany bounds the findings of a log of years.
func TestMany(t *testing.T) {
	var list []entry
	for i := range 100 {
		list = append(list, entry{float64(i) * 3600, model.HostNodeRemoved, model.HostEvent{About: "N"}})
	}
	got := judged(log(list...)())
	if len(got) != 20 || !strings.Contains(got[0], "80 incidents before it") {
		t.Errorf("%d findings, the first: %s", len(got), got[0])
	}
}
