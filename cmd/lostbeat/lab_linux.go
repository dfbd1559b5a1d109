package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/internal/lab"
	"lostbeat/probes"
	"lostbeat/run"

	"github.com/spf13/cobra"
)

// runHidden handles the invocations by which the fault lab starts this binary
// as one of its own processes.
func runHidden(args []string) (handled bool, status int) { return lab.Child(args) }

// errWrongVerdicts makes `lab` end with a status other than 0; the table has said why.
var errWrongVerdicts = errors.New("not every verdict was right")

func newLab() *cobra.Command {
	var (
		settings detectFlags
		length   time.Duration
		list     bool
		undo     bool
	)
	cmd := &cobra.Command{
		Use:   "lab [SCENARIO...]",
		Short: "Make faults happen on this machine and check the verdicts",
		Long: `Cause faults for real, in separate network namespaces and processes, and print a table: the
expected verdict, the actual one, how soon it came, and false alarms. Everything is undone at
the end; what a killed run has left is undone by the next run, or by --undo. It needs root,
iproute2 and iptables. Each scenario loads the machine for some seconds: do not run it on a
production server.`,
		Example: `  sudo lostbeat lab
  sudo lostbeat lab pinned-flood leak-bind
  lostbeat lab --list
  sudo lostbeat lab --undo                        restore what a killed run has left changed`,
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			if undo {
				return undoLab(cmd.OutOrStdout())
			}
			scenarios, err := lab.Find(args)
			if err != nil {
				return err
			}
			if list {
				return listScenarios(cmd.OutOrStdout(), scenarios)
			}
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			results, err := lab.Run(
				cmd.Context(),
				scenarios,
				lab.Options{
					Settings: thresholds,
					Length:   length,
					Log:      func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
				},
			)
			ok := lab.Report(cmd.OutOrStdout(), results)
			switch {
			case err != nil && !errors.Is(err, context.Canceled):
				return err
			case !ok:
				return errWrongVerdicts
			}
			return nil
		},
	}
	settings.register(cmd)
	cmd.Flags().DurationVar(&length, "length", 0, "how long each fault lasts, instead of its own length")
	cmd.Flags().BoolVar(&undo, "undo", false, "restore host settings that a killed run has left changed")
	cmd.Flags().BoolVar(&list, "list", false, "list the scenarios")
	return cmd
}

// undoLab restores what killed runs have left changed.
func undoLab(w io.Writer) error {
	lines, err := lab.Undo()
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if len(lines) == 0 && err == nil {
		fmt.Fprintln(w, "nothing to undo: no lab run has left settings changed")
	}
	return err
}

func listScenarios(w io.Writer, scenarios []*lab.Scenario) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range scenarios {
		verdicts := "no finding"
		if len(s.Expect) > 0 {
			var names []string
			for _, x := range s.Expect {
				names = append(names, x.Detector)
			}
			verdicts = strings.Join(names, ", ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, verdicts, s.Doc)
	}
	return t.Flush()
}

// pauseBetween is how long a demonstration shows the host without the fault.
const pauseBetween = 5 * time.Second

// again makes the fault happen again and again until ctx ends.
func again(ctx context.Context, s *lab.Scenario) error {
	for {
		if err := lab.Play(ctx, s, func(string) {}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pauseBetween):
		}
	}
}

// completeScenarios completes the names of scenarios.
func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, s := range lab.Scenarios() {
		names = append(names, s.Name+"\t"+s.Doc)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newDemo() *cobra.Command {
	var settings detectFlags
	var ui uiFlags
	cmd := &cobra.Command{
		Use:   "demo SCENARIO",
		Short: "Show the UI while a fault of the lab runs on this machine",
		Long: `Cause one fault of the lab in a separate namespace and open the live UI, to see a detector work
on a healthy machine. The fault repeats every few seconds until you leave the UI, which undoes it.
'lostbeat lab --list' lists the scenarios.`,
		Example: `  sudo lostbeat demo pinned-flood
  sudo lostbeat demo leak-bind`,
		ValidArgsFunction: completeScenarios,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hint.New(
					"demo shows one scenario",
					"write it like lostbeat demo pinned-flood; 'lostbeat lab --list' lists them",
				)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			scenarios, err := lab.Find(args)
			if err != nil {
				return err
			}
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			s := scenarios[0]
			session := run.Live{Settings: thresholds}
			if s.Generate != nil {
				session.Source = lab.Stream(s)
			} else {
				watched, err := s.Watched()
				if err != nil {
					return err
				}
				watched.Tool = tool()
				if session.Source, err = ebpf.New(watched, probes.All()); err != nil {
					return err
				}
				session.Beside = func(ctx context.Context) error { return again(ctx, s) }
			}
			return showLive(cmd, session, nil, ui)
		},
	}
	settings.register(cmd)
	ui.register(cmd)
	return cmd
}
