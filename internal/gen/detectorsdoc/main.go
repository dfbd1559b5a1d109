// Command detectorsdoc writes docs/DETECTORS.md from the detectors' own
// sections and their lists of settings, docs/REASONS.md from the table of
// drop reasons, and contrib/lostbeat.catalog, with which the journal explains
// findings, from the first paragraph of each section. It runs in detect/all.
package main

import (
	"fmt"
	"os"
	"strings"

	"lostbeat/detect/all"
	"lostbeat/sink/notify"
)

func main() {
	for name, text := range map[string]string{
		"docs/DETECTORS.md": all.Documentation(), "docs/REASONS.md": all.Reasons(), "contrib/lostbeat.catalog": catalog(),
	} {
		if err := os.WriteFile("../../"+name, []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "detectorsdoc:", err)
			os.Exit(1)
		}
	}
}

// catalog returns the entries of the journal's message catalog, one for each detector (systemd.catalog(5)).
func catalog() string {
	var b strings.Builder
	b.WriteString("# What journalctl -x says about the findings of lostbeat. `make generate` writes this file.\n" +
		"#\n#   install -m 644 contrib/lostbeat.catalog /usr/lib/systemd/catalog/\n#   journalctl --update-catalog\n")
	names, _ := all.Detectors()
	for _, name := range names {
		text, _ := all.Explain(name)
		text, _, _ = strings.Cut(all.Unmarked(text), "\n\n")
		fmt.Fprintf(&b, `
-- %s
Subject: @LOSTBEAT_DETECTOR@ (@LOSTBEAT_SEVERITY@, @LOSTBEAT_STATE@)
Defined-By: lostbeat
Documentation: man:lostbeat-explain(1)

%s

Why:
@LOSTBEAT_CAUSES@

What to do:
@LOSTBEAT_ADVICE@

'lostbeat explain %s' says how it is proven. 'lostbeat findings' with the
files in /var/lib/lostbeat prints the evidence.
`, notify.MessageID(name), strings.TrimSpace(text), name)
	}
	return b.String()
}
