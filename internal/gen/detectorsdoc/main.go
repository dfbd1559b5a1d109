// Command detectorsdoc writes docs/DETECTORS.md from the detectors' own
// sections and their lists of settings, and docs/REASONS.md from the table of
// drop reasons. It runs in detect/all.
package main

import (
	"fmt"
	"os"

	"lostbeat/detect/all"
)

func main() {
	for name, text := range map[string]string{"DETECTORS.md": all.Documentation(), "REASONS.md": all.Reasons()} {
		if err := os.WriteFile("../../docs/"+name, []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "detectorsdoc:", err)
			os.Exit(1)
		}
	}
}
