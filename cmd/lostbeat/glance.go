package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/sink/board"
	"lostbeat/sink/findings"
	"lostbeat/tui"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
		Short: "Print one line about the last seconds and exit with a status, for monitoring",
		Long: `Print one line of at most 80 characters: OK, WARNING or CRITICAL and the worst finding within
--since, or UNKNOWN and why nothing was seen. If 'lostbeat record' or 'lostbeat watch' runs on
this host, its findings are printed at once. Otherwise, and with any flag that says what to
trace, the host is watched for that long.

Exit status: 0 OK (also for notes of severity info), 1 WARNING, 2 CRITICAL, 3 UNKNOWN, as
Nagios and node-problem-detector expect.`,
		Example: `  sudo lostbeat check --since 30s
  sudo lostbeat check --heartbeat corosync --since 1m`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var line string
			var status exitStatus
			if state, err := board.Read(board.Folder); err == nil && !tracingFlags(cmd) && since >= time.Second {
				line, status = checkLine(state.Since(since), min(since, time.Since(state.Started)), nil)
			} else {
				seen, err := glance(cmd, live, since)
				line, status = checkLine(seen.Findings, since, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), line)
			if status == checkOK {
				return nil
			}
			return status
		},
	}
	live.register(cmd)
	cmd.Flags().DurationVar(&since, "since", 10*time.Second,
		"how far back to look, or how long to watch if no recorder runs")
	return cmd
}

// tracingFlags says that a flag was given that says what to trace.
func tracingFlags(cmd *cobra.Command) bool {
	given := false
	cmd.Flags().Visit(func(f *pflag.Flag) { given = given || f.Name != "since" })
	return given
}

// glance watches this host.
func glance(cmd *cobra.Command, live liveFlags, length time.Duration) (run.Seen, error) {
	if length < time.Second {
		return run.Seen{}, hint.New(fmt.Sprintf("%s is too short to see anything", length), "use 1s or more")
	}
	src, settings, err := live.open(cmd, nil, nil)
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
	return shortened(word + ": " + plain.Blanks(plain.Text(worst.Title))), status
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
	var format formatFlag
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch this host for some seconds and print the Overview once, as text",
		Long: `Watch this host for some seconds, then print the Overview of the UI as text: for ssh, for a
ticket, for a pipe. The size is that of the terminal, or 120 columns and 40 lines if the output is
not a terminal; COLUMNS and LINES override it.`,
		Example: `  sudo lostbeat top
  ssh root@web-07 lostbeat top --for 10s
  sudo lostbeat top --format md                    the page and the findings in full, for a ticket`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			form, err := format.form()
			if err != nil {
				return err
			}
			seen, err := glance(cmd, live, length)
			if err != nil && (seen.State == nil || !errors.Is(err, cmd.Context().Err())) {
				return err
			}
			if form == asJSON {
				return plain.Object(cmd.OutOrStdout(), topSchema, summarize(seen))
			}
			opts := ui.options()
			opts.State, opts.Live = seen.State, true
			opts.Width, opts.Height = pageSize()
			page := func(w io.Writer) error {
				_, err := fmt.Fprint(w, tui.Text(opts))
				return err
			}
			if form != asMarkdown {
				return page(cmd.OutOrStdout())
			}
			if err := fenced(cmd.OutOrStdout(), page); err != nil {
				return err
			}
			for _, f := range seen.Findings {
				fmt.Fprintln(cmd.OutOrStdout())
				if err := findings.WriteMarkdown(cmd.OutOrStdout(), f, ui.zone()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	live.register(cmd)
	ui.register(cmd)
	format.register(cmd, "one JSON object: findings, deferred work, drops", asText, asJSON, asMarkdown)
	cmd.Flags().DurationVar(&length, "for", 5*time.Second, "how long to watch")
	return cmd
}

// topSchema is the name and version of the schema of overview.
const topSchema = "lostbeat.top/1"

// overview is what `top --json` prints.
type overview struct {
	Host   string     `json:"host"`
	OS     string     `json:"os"`
	Kernel string     `json:"kernel"`
	Start  model.Time `json:"start"`
	End    model.Time `json:"end"`
	// EventsTotal counts the events, Lost those that were lost on the way.
	EventsTotal uint64          `json:"events_total"`
	Lost        uint64          `json:"lost"`
	Self        ownCost         `json:"self"`
	Findings    []model.Finding `json:"findings"`
	Probes      []probeInfo     `json:"probes"`
	// Deferred is the work in softirqs, DPCs and interrupts and Drops the packets lost since the start, the largest first.
	Deferred []deferredTotal `json:"deferred"`
	Drops    []dropTotal     `json:"drops"`
}

// ownCost is what lostbeat took itself in the last second: shares of one CPU, those in the kernel estimated.
type ownCost struct {
	CPU       float64 `json:"cpu_ratio"`
	KernelCPU float64 `json:"kernel_cpu_ratio"`
	RSS       uint64  `json:"rss_bytes"`
}

// deferredTotal is the work of a vector or driver, on all CPUs.
type deferredTotal struct {
	// Class is softirq, dpc, hardirq or isr.
	Class   string `json:"class"`
	Name    string `json:"name"`
	Driver  string `json:"driver,omitempty"`
	Count   uint64 `json:"count"`
	Busy    uint64 `json:"busy_ns"`
	MaxWait uint64 `json:"max_wait_ns"`
	MaxRun  uint64 `json:"max_run_ns"`
}

// dropTotal are the packets lost at a place for a reason.
type dropTotal struct {
	Place   string `json:"place"`
	Reason  string `json:"reason"`
	Device  string `json:"device,omitempty"`
	Packets uint64 `json:"packets"`
}

// summarize returns the numbers of what was seen.
func summarize(seen run.Seen) overview {
	s := seen.State.Snapshot()
	out := overview{
		Host: s.Meta["host"], OS: s.Meta["os"], Kernel: s.Meta["kernel"], Start: s.Started, End: s.Now,
		EventsTotal: s.Events, Lost: s.Lost, Findings: seen.Findings,
		Self:   ownCost{s.SelfCPU, s.SelfKernel, uint64(s.SelfRSS)},
		Probes: []probeInfo{}, Deferred: []deferredTotal{}, Drops: []dropTotal{},
	}
	if out.Findings == nil {
		out.Findings = []model.Finding{}
	}
	for _, p := range s.Probes {
		out.Probes = append(out.Probes, infoOfProbe(p))
	}
	for _, w := range s.Work {
		out.Deferred = append(out.Deferred, deferredTotal{
			w.Class.String(), w.Name, w.Driver, w.Count, w.BusyNanos, w.MaxWait, w.MaxRun,
		})
	}
	for _, d := range s.Drops {
		out.Drops = append(out.Drops, dropTotal{d.Key.Place.String(), d.Key.Reason, d.Key.Device, d.Count})
	}
	return out
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
