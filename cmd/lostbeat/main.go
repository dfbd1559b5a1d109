// Command lostbeat says why a server missed a heartbeat, lost a connection or
// ran out of ports: it traces deferred interrupt work, packet drops and port
// allocations live, records them, and replays captures from any system.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"lostbeat/internal/guard"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version = "devel"

// Exit statuses.
const (
	exitOK      = 0
	exitFinding = 1 // findings --exit-code: a warning or worse
	exitError   = 2
	// exitIncomplete: an input is damaged or a part of it is missing, what could be
	// read was; or a recording was made that lacks events.
	exitIncomplete = 3
)

// errIncomplete makes the process end with exitIncomplete, errSaid with exitError; they are not printed.
var (
	errIncomplete = errors.New("an input is incomplete")
	errSaid       = errors.New("an error that has been printed")
)

// errFindings makes the process end with exitFinding; it is not printed.
var errFindings = errors.New("there are findings")

func main() { os.Exit(process(os.Args[1:], os.Stdout, os.Stderr)) }

// process is this process, which runs one command and may be confined.
func process(args []string, stdout, stderr io.Writer) int {
	for _, as := range []func([]string) (bool, int){runHidden, runPrograms} {
		if handled, status := as(args); handled {
			return status
		}
	}
	return command(withOwnProcess(context.Background()), args, stdout, stderr)
}

// command runs a command.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := untilStopped(ctx, stderr)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	var status exitStatus
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case cmd.Name() == "check": // to monitoring, status 2 is a fault of the host
		fmt.Fprintln(stdout, shortened("UNKNOWN: "+plain.Text(err.Error())))
		printError(stderr, err)
		return int(checkUnknown)
	case errors.Is(err, errFindings):
		return exitFinding
	case errors.Is(err, errIncomplete):
		return exitIncomplete
	case errors.Is(err, errSaid):
		return exitError
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "lostbeat: interrupted")
		return exitError
	case errors.Is(err, syscall.EPIPE):
		return exitOK // the reader of our output has seen enough
	default:
		printError(stderr, err)
		return exitError
	}
}

// printError prints err and, on lines of their own, what would fix it.
func printError(w io.Writer, err error) {
	var panicked *guard.PanicError
	if errors.As(err, &panicked) {
		fmt.Fprintf(w, "%s\n", panicked.Trace)
	}
	fmt.Fprintln(w, "lostbeat:", plain.Text(err.Error()))
	if text := hint.Of(err); text != "" {
		fmt.Fprintln(w, "hint:", plain.Text(text))
	}
}

func newRoot() *cobra.Command {
	var live liveFlags
	var ui uiFlags
	cmd := &cobra.Command{
		Use:   "lostbeat",
		Short: "Why did the heartbeat get lost? Live host tracer for softirqs/DPCs, packet drops and ports",
		Long: `lostbeat finds out why heartbeats are lost, connections drop and RPC calls hang. It watches
deferred interrupt work (softirqs, DPCs), packets lost inside the host, and local ports, and
names the cause in one sentence, with evidence.

Without arguments it opens the live terminal UI on this host (Linux as root, Windows as administrator).`,
		Example: `  sudo lostbeat                                   live terminal UI
  sudo lostbeat --pool rpc=udp:5000-5100          name a firewalled port range
  sudo lostbeat record -o night.lostbeat --duration 8h
  lostbeat replay night.lostbeat                  the same UI, no privileges needed
  sudo lostbeat watch --json                      findings as they start, for scripts
  lostbeat findings --exit-code *.lostbeat        verdicts over files, for scripts
  lostbeat findings capture.etl perfmon.csv       Windows captures too`,
		Version:       version,
		Args:          knownCommand,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return runLiveUI(cmd, live, ui) },
	}
	cmd.SetFlagErrorFunc(flagError)
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := applySettings(cmd); err != nil {
			return err
		}
		return checkValues(cmd)
	}
	live.register(cmd)
	live.metrics.register(cmd)
	ui.register(cmd)
	cmd.AddCommand(
		newRecord(),
		newReplay(),
		newWatch(),
		newTop(),
		newCheck(),
		newFindings(),
		newReport(),
		newFleet(),
		newEvents(),
		newCut(),
		newExport(),
		newDiff(),
		newInfo(),
		newDoctor(),
		newLab(),
		newDemo(),
		newExplain(),
		newConfig(),
		newMan(),
		newVersion(),
	)
	addConfigFlag(cmd)
	refuseHelpOfNothing(cmd)
	return cmd
}

// refuseHelpOfNothing makes help about what is no command an error; it would print the help of lostbeat itself.
func refuseHelpOfNothing(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = func(_ *cobra.Command, args []string) error {
				if found, _, _ := root.Find(args); found != root {
					return nil
				}
				return knownCommand(root, args)
			}
		}
	}
}
