package main

import (
	"strings"
	"testing"

	"lostbeat/detect/all"
)

func TestExplain(t *testing.T) {
	for name, want := range map[string]string{
		"dpc-starvation":               "small budget",
		"heartbeat-loss/udp:5405/1234": "regular interval",
		"log-silence":                  "docs/LOGS.md",
		"starvation.late_wait":         "10ms",
		"SOCKET_RCVBUFF":               "SO_RCVBUF",
		"icmp_unreach":                 "begin with icmp",
		"host-counters":                "sosreport",
		"event-log":                    "FailoverClustering 1135",
	} {
		out, errs, status := execute(t, "explain", name)
		if status != exitOK || !strings.Contains(out, want) {
			t.Errorf("explain %s: status %d, %s, want %q in\n%s", name, status, errs, want, out)
		}
		if i := strings.IndexAny(out, "*`"); i >= 0 {
			t.Errorf("explain %s prints Markdown: %q", name, out[i:min(i+40, len(out))])
		}
	}
	out, _, status := execute(t, "explain")
	detectors, _ := all.Detectors()
	for _, name := range detectors {
		if status != exitOK || !strings.Contains(out, name+"\n    ") {
			t.Errorf("explain, status %d, does not list %s:\n%s", status, name, out)
		}
	}
	if out, errs, status := execute(t, "explain", "NO_SUCH"); status != exitError || out != "" ||
		!strings.Contains(errs, "there is no detector") {
		t.Errorf("explain NO_SUCH: status %d, %q, %q", status, out, errs)
	}
}

// Everything that a shell offers can be explained.
func TestExplainKnowsItsNames(t *testing.T) {
	names := all.Names()
	for _, name := range names {
		if text, ok := all.Explain(name); !ok || strings.TrimSpace(text) == "" {
			t.Errorf("%q is offered and not explained", name)
		}
	}
	if len(names) < 200 {
		t.Errorf("%d names, want those of all drop reasons, too", len(names))
	}
}

func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"explain", "dpc"}, "dpc-starvation"},
		{[]string{"record", "--set", "starvation.l"}, "starvation.late_wait=\t10ms"},
		{[]string{"events", "--kind", "port"}, "port.acquire"},
		{[]string{"--probe", "de"}, "deferred"},
	} {
		out, _, _ := execute(t, append([]string{"__complete"}, c.words...)...)
		if !strings.Contains(out, c.want) {
			t.Errorf("%q completes to\n%s\nwant %s in it", c.words, out, c.want)
		}
	}
	if out, errs, status := execute(t, "completion", "tcsh"); status != exitError || out != "" {
		t.Errorf("completion tcsh: status %d, %q, %q", status, out, errs)
	}
	if out, _, status := execute(t, "completion", "bash"); status != exitOK || !strings.Contains(out, "lostbeat") {
		t.Errorf("completion bash: status %d", status)
	}
	if out, _, status := execute(t, "version"); status != exitOK || out != "lostbeat "+version+"\n" {
		t.Errorf("version: status %d, %q", status, out)
	}
}
