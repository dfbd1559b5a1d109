// Command driversdoc writes docs/DRIVERS.md from the table of drivers' statistics. It runs in internal/driverstat.
package main

import (
	"fmt"
	"os"

	"lostbeat/internal/driverstat"
)

func main() {
	if err := os.WriteFile("../../docs/DRIVERS.md", []byte(driverstat.Documentation()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "driversdoc:", err)
		os.Exit(1)
	}
}
