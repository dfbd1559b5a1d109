package all

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed intro.md
var intro string

// settingsMark is where a section's table of settings goes.
const settingsMark = "{{settings}}"

// Documentation returns docs/DETECTORS.md: what holds for all detectors, then
// the section of each.
func Documentation() string {
	s := Settings()
	tables := make(map[string]*strings.Builder)
	for _, f := range s.Fields() {
		table, _, _ := strings.Cut(f.Name, ".")
		t := tables[table]
		if t == nil {
			t = &strings.Builder{}
			t.WriteString("| setting | default | what it sets | why |\n|---|---|---|---|")
			tables[table] = t
		}
		fmt.Fprintf(t, "\n| `%s` | %s | %s | %s |", f.Name, f, f.Doc, f.Reason)
	}
	var out strings.Builder
	section := func(text, table string) {
		rows := ""
		if t := tables[table]; t != nil {
			rows = t.String()
		}
		out.WriteString(strings.Replace(text, settingsMark, rows, 1))
	}
	section(intro, "lifecycle")
	for _, d := range s.Definitions() {
		out.WriteString("\n")
		section(d.Doc, d.Table)
	}
	return out.String()
}
