package lab

import (
	"testing"

	"lostbeat/model"
)

// TestAdvices wants advice for a scenario of every detector that judges live
// hosts and has a scenario, and none for a scenario that is not there.
func TestAdvices(t *testing.T) {
	known, advised := make(map[string]bool), make(map[string]int)
	for _, s := range Scenarios() {
		known[s.Name] = true
		if s.Advice == nil {
			continue
		}
		if len(s.Expect) == 0 || len(s.Advice.Words) == 0 || s.Advice.Apply == nil {
			t.Errorf("the advice of scenario %s is not whole", s.Name)
		}
		for _, x := range s.Expect {
			advised[x.Detector]++
		}
	}
	for name := range advices {
		if !known[name] {
			t.Errorf("there is advice for a scenario %s, but no such scenario", name)
		}
	}
	for _, detector := range []string{
		"dpc-starvation", "socket-drop", "packet-drop", "port-leak", "port-exhaustion",
	} {
		if advised[detector] == 0 {
			t.Errorf("no advice of %s is tried", detector)
		}
	}
}

func TestClaim(t *testing.T) {
	const during = "CPU 0 spends 93\u00a0% of its time in NET_RX for lbb1-1 and does not keep up: 348,847 packets lost"
	for _, c := range []struct {
		name, title string
		same        bool
	}{
		{"the same", during, true},
		{"over", "CPU 0 spent 91\u00a0% of its time in NET_RX for lbb1-1 and did not keep up: 4 packets lost", true},
		{"another cause", "CPU 0 had no time left: NET_RX for lbb1-1 took 59\u00a0% of it: 4 packets lost", false},
		{"another subject", "CPU 0 spent 93\u00a0% of its time in TIMER for lbb1-1 and did not keep up", false},
	} {
		was, is := model.Finding{Detector: "x", Title: during}, model.Finding{Detector: "x", Title: c.title}
		if same := claim(&was) == claim(&is); same != c.same {
			t.Errorf("%s: %q and %q: the same claim is %v, want %v", c.name, claim(&was), claim(&is), same, c.same)
		}
	}
	now := model.Finding{Title: "Packets received on lbb1 cannot be routed (IP_INNOROUTES): 1 packet lost"}
	then := model.Finding{Title: "Packets received on lbb1 could not be routed (IP_INNOROUTES): 9 packets lost"}
	if claim(&now) != claim(&then) {
		t.Errorf("%q is not %q", claim(&now), claim(&then))
	}
}
