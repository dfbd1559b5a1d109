package kernels

import (
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	kernels := []kernel{
		{Name: "6.1 amd64", Release: "6.1.0-57-cloud-amd64", Day: "2026-11-30", Rows: []row{
			{Kind: kindPart, Name: "port/functions", Result: "on"},
			{Kind: kindScenario, Name: "leak-bind", Result: "port-leak after 3 s"},
		}},
		{Name: "6.1 arm64", Release: "6.1.0-57-cloud-arm64", Day: "2026-11-29", Short: true, Rows: []row{
			{Kind: kindPart, Name: "port/functions", Result: "off", Detail: "fentry: not supported"},
			{Kind: kindPart, Name: "drop/reads", Result: "off", Detail: "fentry: not supported"},
			{Kind: kindTests, Name: "probes/drop", Result: "1 failed", Wrong: true, Detail: strings.Repeat("word ", 60)},
		}},
	}
	// Rows pass over the console of a guest.
	for i := range kernels {
		for j, r := range kernels[i].Rows {
			got, ok := parseRow("    file.go:7: " + r.String())
			if !ok || got != r {
				t.Errorf("%+v became %+v", r, got)
			}
			kernels[i].Rows[j] = got
		}
	}
	text := page(kernels, [][2]string{{"etcd-moves", "etcd is not in the guest"}})
	for _, want := range []string{
		"- **6.1 arm64**, last run on 2026-11-29: 6.1.0-57-cloud-arm64\n",
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

// Kernels that are run one by one share a page.
func TestSaved(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "kernels")
	names := []string{"6.12 amd64", "6.1 arm64", "6.1 amd64"}
	if got, err := saved(folder, names); err != nil || got != nil {
		t.Errorf("before the first run: %v, %v", got, err)
	}
	earlier := kernel{Name: "6.1 amd64", Day: "2026-11-29", Rows: []row{{Kind: kindPart, Name: "x", Result: "off"}}}
	later := earlier
	later.Day, later.Short, later.Rows = "2026-11-30", true, []row{{Kind: kindPart, Name: "x", Result: "on"}}
	other := kernel{Name: "6.12 amd64", Day: "2026-11-30", Release: "6.12.1", Rows: []row{}}
	for _, k := range []kernel{earlier, later, other} {
		if err := k.save(folder, false); err != nil {
			t.Fatal(err)
		}
	}
	// Of a kernel of which a part is run again, the rest stays.
	again := kernel{Name: "6.12 amd64", Day: "2026-12-01", Release: "6.12.2", Short: true, Rows: []row{
		{Kind: kindScenario, Name: "x", Result: "y"}, {Kind: kindPart, Name: "a", Result: "on"},
	}}
	other.Rows = []row{{Kind: kindPart, Name: "x", Result: "on"}, {Kind: kindPart, Name: "a", Result: "off"}}
	if err := cmp.Or(other.save(folder, true), again.save(folder, true)); err != nil {
		t.Fatal(err)
	}
	other.Day, other.Release, other.Rows = again.Day, again.Release, []row{
		{Kind: kindPart, Name: "x", Result: "on"}, {Kind: kindPart, Name: "a", Result: "on"},
		{Kind: kindScenario, Name: "x", Result: "y"},
	}
	got, err := saved(folder, names)
	if want := []kernel{other, later}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if err := os.WriteFile(later.path(folder), []byte("{half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := saved(folder, names); err == nil || !strings.Contains(err.Error(), later.path(folder)) {
		t.Errorf("a damaged file: %v", err)
	}
}
