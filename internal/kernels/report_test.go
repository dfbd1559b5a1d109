package kernels

import (
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	kernels := []kernel{
		{name: "6.1 amd64", release: "6.1.0-57-cloud-amd64", rows: []row{
			{Kind: kindPart, Name: "port/functions", Result: "on"},
			{Kind: kindScenario, Name: "leak-bind", Result: "port-leak after 3 s"},
		}},
		{name: "6.1 arm64", release: "6.1.0-57-cloud-arm64", rows: []row{
			{Kind: kindPart, Name: "port/functions", Result: "off", Detail: "fentry: not supported"},
			{Kind: kindPart, Name: "drop/reads", Result: "off", Detail: "fentry: not supported"},
			{Kind: kindTests, Name: "probes/drop", Result: "1 failed", Wrong: true, Detail: strings.Repeat("word ", 60)},
		}},
	}
	// Rows pass over the console of a guest.
	for i := range kernels {
		for j, r := range kernels[i].rows {
			got, ok := parseRow("    file.go:7: " + r.String())
			if !ok || got != r {
				t.Errorf("%+v became %+v", r, got)
			}
			kernels[i].rows[j] = got
		}
	}
	text := page(kernels, [][2]string{{"etcd-moves", "etcd is not in the guest"}})
	for _, want := range []string{
		"- **6.1 arm64**: 6.1.0-57-cloud-arm64\n",
		"| port/functions | on | off (1) |\n| drop/reads | not run | off (1) |\n",
		"| probes/drop | not run | **1 failed** (2) |\n",
		"| leak-bind | port-leak after 3 s | not run |\n",
		"- etcd-moves: etcd is not in the guest\n", "\n1. fentry: not supported\n2. word word",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if len(line) > 120 && !strings.HasPrefix(line, "|") {
			t.Errorf("line %d has %d columns", i+1, len(line))
		}
	}
	if _, ok := parseRow("ordinary line"); ok {
		t.Error("an ordinary line is a row")
	}
	if _, ok := parseRow(rowMark + "{half"); ok {
		t.Error("half a row is a row")
	}
}
