package main

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unicode/utf8"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/tui"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit statuses of check, as monitoring plugins have them.
const (
	checkOK exitStatus = iota
	checkWarning
	checkCritical
	checkUnknown
)

// exitStatus makes the process end with a status and without a message: it has been printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// checkColumns is the width of check's line: what node-problem-detector keeps of it.
const checkColumns = 80

func newCheck() *cobra.Command {
	var live liveFlags
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Watch this host for a while, print one line and end with a status, for monitoring",
		Long: `Watch this host for the time given with --since and print one line of at most 80 characters:
OK, WARNING or CRITICAL and the worst finding of that time, or UNKNOWN and why nothing was seen.

Exit status: 0 OK (also for notes of severity info), 1 WARNING, 2 CRITICAL, 3 UNKNOWN, as
Nagios and node-problem-detector want them.`,
		Example: `  sudo lostbeat check --since 30s
  sudo lostbeat check --heartbeat corosync --since 1m`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			seen, err := glance(cmd, live, since)
			line, status := checkLine(seen.Findings, since, err)
			fmt.Fprintln(cmd.OutOrStdout(), line)
			if status == checkOK {
				return nil
			}
			return status
		},
	}
	live.register(cmd)
	cmd.Flags().DurationVar(&since, "since", 10*time.Second, "how long to watch")
	return cmd
}

// glance watches this host.
func glance(cmd *cobra.Command, live liveFlags, length time.Duration) (run.Seen, error) {
	if length < time.Second {
		return run.Seen{}, hint.New(fmt.Sprintf("%s is too short to see anything", length), "a second is the least")
	}
	src, settings, err := live.open()
	if err != nil {
		return run.Seen{}, err
	}
	return run.Glance{Source: src, Settings: settings, For: length}.Run(cmd.Context())
}

// checkLine says in one line what was found in a span, and the status for it.
func checkLine(found []model.Finding, since time.Duration, err error) (string, exitStatus) {
	if err != nil {
		return shortened("UNKNOWN: " + plain.Text(err.Error())), checkUnknown
	}
	worst := model.Finding{Severity: model.SeverityInfo}
	others := -1
	for _, f := range found {
		if f.Severity == model.SeverityInfo {
			continue
		}
		others++
		if f.Severity > worst.Severity || f.Severity == worst.Severity && f.Ongoing && !worst.Ongoing {
			worst = f
		}
	}
	status, word := checkOK, "OK"
	switch worst.Severity {
	case model.SeverityInfo:
		return shortened(word + ": no fault in " + words.Span(since)), status
	case model.SeverityWarning:
		status, word = checkWarning, "WARNING"
	default:
		status, word = checkCritical, "CRITICAL"
	}
	if others > 0 {
		word = fmt.Sprintf("%s (and %d more)", word, others)
	}
	return shortened(word + ": " + plain.Text(worst.Title)), status
}

// shortened cuts a line to checkColumns characters.
func shortened(line string) string {
	if utf8.RuneCountInString(line) <= checkColumns {
		return line
	}
	return string([]rune(line)[:checkColumns-1]) + "…"
}

func newTop() *cobra.Command {
	var live liveFlags
	var ui uiFlags
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch this host for some seconds and print the Overview once, without a terminal",
		Long: `Watch this host for some seconds and print what the Overview of the UI shows then, as text:
for ssh host lostbeat top, for a ticket, for a pipe. Where the output is a terminal, it is as
wide and as high as that, otherwise 120 columns and 40 lines; COLUMNS and LINES change that.`,
		Example: `  sudo lostbeat top
  ssh root@web-07 lostbeat top --for 10s`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			seen, err := glance(cmd, live, length)
			if err != nil && (seen.State == nil || !errors.Is(err, cmd.Context().Err())) {
				return err
			}
			opts := ui.options()
			opts.State, opts.Live = seen.State, true
			opts.Width, opts.Height = pageSize()
			_, err = fmt.Fprint(cmd.OutOrStdout(), tui.Text(opts))
			return err
		},
	}
	live.register(cmd)
	ui.register(cmd)
	cmd.Flags().DurationVar(&length, "for", 5*time.Second, "how long to watch")
	return cmd
}

// pageSize is the size of what top prints.
func pageSize() (width, height int) {
	width, height = 120, 40
	if w, h, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w > 0 && h > 1 {
		width, height = w, h-1 // the prompt has a line, too
	}
	for name, n := range map[string]*int{"COLUMNS": &width, "LINES": &height} {
		var v int
		if _, err := fmt.Sscanf(os.Getenv(name), "%d", &v); err == nil && v > 0 && v <= 1000 {
			*n = v
		}
	}
	return width, height
}
