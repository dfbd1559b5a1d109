//go:build !linux

package main

import (
	"runtime"

	"lostbeat/internal/platform"

	"github.com/spf13/cobra"
)

func runHidden([]string) (handled bool, status int) { return false, 0 }

func newLab() *cobra.Command {
	return linuxOnly("lab", "Make faults happen and check the verdicts (Linux)")
}
func newDemo() *cobra.Command {
	return linuxOnly("demo", "Show the UI while a fault of the lab runs (Linux)")
}

func linuxOnly(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: func(*cobra.Command, []string) error {
		return &platform.UnsupportedError{What: "the fault lab", OS: runtime.GOOS}
	}}
}
