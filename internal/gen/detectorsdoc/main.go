// Command detectorsdoc writes docs/DETECTORS.md from the detectors' own
// sections and their tables of settings. It runs in detect/all.
package main

import (
	"fmt"
	"os"

	"lostbeat/detect/all"
)

func main() {
	if err := os.WriteFile("../../docs/DETECTORS.md", []byte(all.Documentation()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "detectorsdoc:", err)
		os.Exit(1)
	}
}
