package applog

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
)

// TestDocumentation holds docs/LOGS.md against the tables that it lists.
func TestDocumentation(t *testing.T) {
	const path = "../../docs/LOGS.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	var forms, patterns strings.Builder
	forms.WriteString("| program | form | line |\n|---|---|---|\n")
	for _, tt := range stampTests {
		fmt.Fprintf(&forms, "| %s | %s | `%s` |\n", tt.name, tt.form, cell(tt.line))
	}
	patterns.WriteString("| pattern | reports | example | form from |\n|---|---|---|---|\n")
	for _, p := range Patterns {
		fmt.Fprintf(&patterns, "| %s | %s | `%s` | %s |\n", p.Name, strings.ReplaceAll(p.Class.String(), "_", " "),
			cell(p.Example), cmp.Or(p.Source, "*unproven*"))
	}
	for name, table := range map[string]string{"forms": forms.String(), "patterns": patterns.String()} {
		before, rest, ok := strings.Cut(text, "<!-- "+name+" -->\n")
		_, after, ok2 := strings.Cut(rest, "<!-- /"+name+" -->")
		if !ok || !ok2 {
			t.Fatalf("%s has no place for %s", path, name)
		}
		text = before + "<!-- " + name + " -->\n" + table + "<!-- /" + name + " -->" + after
	}
	testutil.Golden(t, "../"+path, text)
}
