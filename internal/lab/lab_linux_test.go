package lab

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lostbeat/detect/all"
	"lostbeat/internal/testutil"
)

// only limits TestLongLab to some scenarios: go test ./internal/lab -run TestLongLab -scenarios quiet,leak-bind
var only = flag.String("scenarios", "", "scenarios to run, separated by commas; empty for all")

// nightly are scenarios whose fault another one makes in a similar way. They run with LOSTBEAT_LARGE=1 (make
// nightly) or when they are named.
var nightly = strings.Fields(`
	pinned-input pinned-flows pinned-ipv6 pinned-loopback short-burst small-buffer-two unread-local
	leak-udp6 leak-connect6 leak-sendto leak-listen leak-reuseport leak-among-two slow-pure-leak held-3s held-5s
	closed-port-ipv6 firewall-drop-early suspended-reader reader-resumed reader-left-frozen
	heartbeat-qdisc-tcp heartbeat-tcp-resent heartbeat-tcp-cut heartbeat-tcp-missing-here heartbeat-tcp-unread
	heartbeat-tcp-reader-stopped heartbeat-tcp-behind-realtime heartbeat-tcp-unsent heartbeat-sender-frozen
	heartbeat-sender-behind-realtime
	heartbeat-new-period-and-back
	bulk-tcp container-churn starved-by-realtime heartbeat-reader-disk
	spread-flood cpu-hog fast-flow reader-behind-hogs heartbeat-sender-disk heartbeat-sender-busy
	heartbeat-reader-throttled heartbeat-reader-busy corosync-pair corosync-leaves
	corosync-multicast keepalived-unicast keepalived-leaves etcd-leader-frozen etcd-follower-stopped etcd-leaves`)

func TestNightlyNames(t *testing.T) {
	if _, err := Find(nightly); err != nil {
		t.Error(err)
	}
}

func TestMain(m *testing.M) {
	// The lab's processes are re-executions of this test binary.
	if os.Getenv(childEnv) != "" {
		if handled, status := Child(os.Args[1:]); handled {
			os.Exit(status)
		}
	}
	flag.Parse()
	// Light scenarios wait for most of their time.
	if err := flag.Set("test.parallel", strconv.Itoa(AtOnce)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// TestLongLab makes every fault happen and wants every verdict right. The machines
// that run it are shared, and what their neighbours do can be a fault of its
// own: a verdict that is wrong is printed and has to be right when the scenario
// runs once more.
func TestLongLab(t *testing.T) {
	testutil.Privileged(t)
	if testing.Short() {
		t.Skip("the lab takes minutes")
	}
	var names []string
	if *only != "" {
		names = strings.Split(*only, ",")
	}
	scenarios, err := Find(names)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	results := make([]*Result, len(scenarios))
	t.Cleanup(func() { // the parallel ones have ended
		var report strings.Builder
		Report(&report, slices.DeleteFunc(results, func(r *Result) bool { return r == nil }))
		t.Logf("\n%s", report.String())
	})
	for i, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			if *only == "" && slices.Contains(nightly, s.Name) {
				testutil.Nightly(t, "another scenario makes this fault in a similar way")
			}
			if s.Light {
				t.Parallel() // after all others, some at a time
			}
			play := func() (r []*Result, report string, ok bool) {
				r, err := Run(
					t.Context(),
					[]*Scenario{s},
					Options{Settings: all.Settings(), Log: func(line string) { t.Log(line) }},
				)
				if err != nil {
					t.Fatal(err)
				}
				var text strings.Builder
				ok = Report(&text, r)
				return r, text.String(), ok
			}
			if missing := s.toInstall(); missing != "" {
				testutil.Unavailable(t, "install %s", missing)
			}
			r, report, ok := play()
			if !ok {
				t.Logf("wrong, once more:\n%s", report)
				r, report, ok = play()
			}
			mu.Lock()
			results[i] = r[0]
			mu.Unlock()
			if !ok {
				t.Errorf("\n%s", report)
			}
			for _, f := range r[0].Findings {
				if text, err := json.MarshalIndent(f, "", "\t"); err == nil {
					t.Logf("%s", text)
				}
			}
		})
	}
}

func TestGenerated(t *testing.T) {
	for _, s := range Scenarios() {
		if s.Generate == nil {
			continue
		}
		r, err := Run(t.Context(), []*Scenario{s}, Options{Settings: all.Settings()})
		if err != nil {
			t.Fatal(err)
		}
		var report strings.Builder
		if !Report(&report, r) {
			t.Errorf("\n%s", report.String())
		}
	}
}

// Each verdict of heartbeat-loss is made in at least two guises. That the host stood still takes guests (probes/pause),
// that it cannot be said why a stream of the detector's own tests. A device that goes down and comes back within a few
// seconds is not always seen in another namespace.
func TestVerdictsTwice(t *testing.T) {
	for verdict, words := range map[string][]string{
		"did not arrive":           {"no packet reached this host"},
		"deferred work":            {"deferred work on CPU"},
		"lost in this host":        {"this host dropped", "NETFILTER_DROP"},
		"did not leave this host":  {"did not leave this host"},
		"was not read":             {"read"},
		"not read: stopped":        {"read", "was stopped"},
		"not read: frozen":         {"read", "frozen"},
		"not read: no CPU":         {"read", "no CPU"},
		"sent late":                {"was sent"},
		"sent late: stopped":       {"sent", "was stopped"},
		"sent late: frozen":        {"sent", "frozen"},
		"TCP: segment sent again":  {"TCP lost a segment and retransmitted it"},
		"TCP: window shut":         {"receive window"},
		"throttled":                {"throttled"},
		"waits for the disk":       {"waited for the disk"},
		"waits for a lock":         {"lock"},
		"busy with something else": {"busy with other work"},
	} {
		n := 0
		for _, s := range Scenarios() {
			if slices.ContainsFunc(s.Expect, func(x Expectation) bool {
				said := strings.Join(x.Contains, "\n")
				return x.Detector == "heartbeat-loss" &&
					!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(said, word) })
			}) {
				n++
			}
		}
		if n < 2 {
			t.Errorf("%s: %d scenarios", verdict, n)
		}
	}
}

func TestFind(t *testing.T) {
	if _, err := Find([]string{"nonesuch"}); err == nil ||
		!strings.Contains(err.(interface{ Hint() string }).Hint(), "pinned-flood") {
		t.Errorf("got %v", err)
	}
	_, err := Find([]string{"pinned-fload"})
	if err == nil || !strings.HasPrefix(err.(interface{ Hint() string }).Hint(), "did you mean pinned-flood? ") {
		t.Errorf("got %v", err)
	}
	seen := make(map[string]bool)
	for _, s := range Scenarios() {
		if seen[s.Name] || s.Doc == "" || s.Length == 0 || (s.Run == nil) == (s.Generate == nil) {
			t.Errorf("scenario %s is not well described", s.Name)
		}
		seen[s.Name] = true
	}
}
