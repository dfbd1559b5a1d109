package main

import (
	"fmt"
	"slices"
	"strings"

	"lostbeat/detect/all"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/run"

	"github.com/spf13/cobra"
)

// addCompletion gives root and the commands below it the values that a shell can complete. Where root writes to is
// set before.
func addCompletion(root *cobra.Command) {
	values := map[string]func() []string{
		"set":   settingNames,
		"kind":  kindNames,
		"probe": run.ProbeNames,
		"theme": themeNames,
	}
	for _, cmd := range append(root.Commands(), root) {
		for flag, names := range values {
			if cmd.Flags().Lookup(flag) == nil {
				continue
			}
			directive := cobra.ShellCompDirectiveNoFileComp
			if flag == "set" {
				directive |= cobra.ShellCompDirectiveNoSpace // its value comes next
			}
			complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return names(), directive
			}
			if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
				panic(fmt.Sprintf("completion of --%s of %s: %v", flag, cmd.Name(), err)) // registered twice
			}
		}
	}
	// The command that prints the scripts says what it has no script for, instead of its help and status 0.
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return cmd.Help()
				}
				return hint.New(fmt.Sprintf("no completion for the shell %q", args[0]),
					"shells: bash, fish, powershell, zsh")
			}
		}
	}
}

// settingNames are the thresholds of all detectors as --set takes them.
func settingNames() (names []string) {
	for _, f := range all.Settings().Fields() {
		names = append(names, fmt.Sprintf("%s=\t%s: %s", f.Name, f, f.Doc))
	}
	return names
}

// kindNames are the kinds of events and their areas.
func kindNames() (names []string) {
	for _, spec := range model.Specs {
		area, _, _ := strings.Cut(spec.Name, ".")
		names = append(names, spec.Name, area)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
