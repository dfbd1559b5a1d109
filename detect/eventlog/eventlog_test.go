package eventlog_test

import (
	"strings"
	"testing"

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
	for name, test := range map[string]struct {
		entries []entry
		count   int
		says    []string
	}{
		"ports before a node": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{Provider: "Tcpip", ID: 4231}},
				{29.9, model.HostNodeRemoved, node("NODE-B")}, {32.3, model.HostQuorumLost, model.HostEvent{}}}, 1,
			[]string{"critical node NODE-B was removed", "2.4 s later the cluster lost its quorum", "29 s before it",
				"TCP ports of the whole machine had run out (Tcpip 4231)", "possibly its cause", "netstat -anoq"},
		},
		"a link is nearer than ports": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{}}, {20, model.HostLinkDown, model.HostEvent{About: "NIC 1"}},
				{30, model.HostNodeRemoved, node("NODE-B")}}, 1,
			[]string{"10 s before it, at", "the link of NIC 1 was lost", "likely its cause", "29 s before it"},
		},
		"what is after is no cause": {
			[]entry{{1, model.HostNodeRemoved, node("NODE-B")}, {10, model.HostTCPPortsOut, model.HostEvent{}},
				{300, model.HostCrashed, model.HostEvent{}}}, 2,
			[]string{"nothing before it that would be its cause", "5 min after it the host reported",
				"!ports of the whole machine " +
					"had run out (Test 7); "},
		},
		"two incidents": {
			[]entry{{1, model.HostNodeRemoved, node("A")}, {100, model.HostNodeRemoved, node("B")}}, 2, []string{"node A",
				"node B"},
		},
		"ports alone": {
			[]entry{{1, model.HostUDPPortsOut, model.HostEvent{}}, {100, model.HostUDPPortsOut, model.HostEvent{}}}, 1,
			[]string{"warning Windows reported that the UDP ports", "and 1 time before", "!cluster"},
		},
		"notes": {
			[]entry{{1, model.HostLinkDown, model.HostEvent{}}, {2, model.HostLinkUp, model.HostEvent{}},
				{3, model.HostStarted, model.HostEvent{}}}, 1,
			[]string{"info the link of an adapter was lost"},
		},
		"two hosts": {
			[]entry{{1, model.HostTCPPortsOut, model.HostEvent{Host: "A"}}, {9, model.HostNodeRemoved,
				model.HostEvent{Host: "B"}}}, 1,
			[]string{"removed from the cluster on B", "run out on A"},
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
