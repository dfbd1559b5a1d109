package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"lostbeat/detect"
	"lostbeat/ebpf"
	"lostbeat/fold"
	"lostbeat/internal/spawn"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/source"
	"lostbeat/source/applog"
	"lostbeat/tui"

	"github.com/spf13/cobra"
)

// open returns this host as a source of events, and the thresholds to judge it by.
// writes are the folders that are written into later, urls are those of servers that findings are sent to.
func (f *liveFlags) open(cmd *cobra.Command, writes, urls []string) (source.Source, detect.Settings, error) {
	settings, err := f.detect.settings()
	if err != nil {
		return nil, settings, err
	}
	src, err := f.source(cmd, append(writes, f.metrics.writes()...), urls)
	return src, settings, err
}

// debugLog is the variable that names a file for what goes wrong while tracing.
const debugLog = "LOSTBEAT_DEBUG_LOG"

// source opens this host as a source of events.
func (f *liveFlags) source(cmd *cobra.Command, writes, urls []string) (source.Source, error) {
	pools, err := parsePools(f.pools)
	if err != nil {
		return nil, err
	}
	flows, err := parseHeartbeats(f.heartbeats)
	if err != nil {
		return nil, err
	}
	opts := ebpf.Options{
		Tool:          tool(),
		Heartbeats:    flows,
		HeartbeatRoot: f.rootGroup,
		Trace:         f.trace,
		RunThreshold:  f.threshold,
		WaitThreshold: f.threshold,
		Stacks:        f.stacks,
		AuditInterval: f.audit,
		RingBytes:     int(f.ring),
		MaxCPU:        float64(f.maxCPU),
		Only:          f.probes,
		Pools:         pools,
		Attached:      f.confiner(cmd, writes, urls),
		Log:           slog.New(slog.DiscardHandler),
	}
	if path := os.Getenv(debugLog); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the log named by %s: %w", debugLog, err)
		}
		opts.Log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	programs, err := f.programs(cmd)
	if err != nil {
		return nil, err
	}
	logs, err := f.followed(programs)
	if err != nil {
		return nil, err
	}
	host, err := run.OpenHost(run.HostOptions{Options: opts, RawBuffers: f.rawBuffers})
	if err != nil {
		return nil, err
	}
	return run.WithLogs(host, logs)
}

// followed returns the logs to follow.
func (f *liveFlags) followed(programs spawn.Run) ([]applog.Followed, error) {
	zone, err := parseLogTime(f.logTime)
	if err != nil {
		return nil, err
	}
	return parseLogs(f.logs, source.OpenOptions{
		LogTime: zone, LogPatterns: f.logPatterns, Programs: programs,
	})
}

// uiFlags are the flags of the commands that open the terminal UI.
type uiFlags struct {
	zoneFlag
	ascii, noColor bool
	theme          themeFlag
	noMouse        bool
}

func (f *uiFlags) register(cmd *cobra.Command) {
	ascii := asciiLocale(os.Getenv) || asciiTerminal(os.Getenv("TERM"), terminalName())
	cmd.Flags().BoolVar(&f.ascii, "ascii", ascii, "draw with ASCII characters only; the default if LC_ALL, "+
		"LC_CTYPE or LANG asks for it, on a serial line, and if TERM is linux, dumb, vt100 or vt220")
	f.theme = themeFlag(themeNames()[0])
	cmd.Flags().Var(&f.theme, "theme", "colours: "+strings.Join(themeNames(), ", ")+"; auto asks the terminal")
	cmd.Flags().BoolVar(&f.noColor, "no-color", false, "draw without colours (also: NO_COLOR)")
	cmd.Flags().BoolVar(&f.noMouse, "no-mouse", false, "leave the mouse to the terminal, to select text")
	f.zoneFlag.register(cmd)
}

// themeFlag is one of themeNames.
type themeFlag string

// themeNames are the sets of colours; the first one is the default.
func themeNames() []string { return []string{"auto", "dark", "light", "colour-blind", "mono"} }

// Set implements pflag.Value.
func (t *themeFlag) Set(s string) error {
	if err := checkName("theme", s, themeNames()); err != nil {
		return err
	}
	*t = themeFlag(s)
	return nil
}

// String implements pflag.Value.
func (t *themeFlag) String() string { return string(*t) }

// Type implements pflag.Value.
func (t *themeFlag) Type() string { return "THEME" }

func (f *uiFlags) options() tui.Options {
	return tui.Options{
		ASCII: f.ascii, NoColor: f.noColor || os.Getenv("NO_COLOR") != "", Theme: string(f.theme), Location: f.zone(),
		NoMouse: f.noMouse,
	}
}

// runLiveUI traces this host and shows it.
func runLiveUI(cmd *cobra.Command, live liveFlags, ui uiFlags) error {
	live.metrics.onlyGiven(cmd)
	say := func(line string) { fmt.Fprintf(cmd.ErrOrStderr(), "lostbeat: %s\n", line) }
	state := fold.NewHistory()
	report := func(err error) {
		if err == nil {
			state.SetOutput(metricsFile, model.ProbeOn, nil)
			return
		}
		state.SetOutput(metricsFile, model.ProbeDegraded, err)
	}
	served, endServing, err := live.metrics.outputs(say, report, &otlpFlags{}, nil)
	if err != nil {
		return err
	}
	defer endServing()
	src, settings, err := live.open(cmd, savingFolders(), nil)
	if err != nil {
		return err
	}
	return showLive(cmd, run.Live{Source: src, Settings: settings, State: state, Outputs: served}, live.also, ui)
}

// metricsFile is the name of the file of --metrics-file on the screen.
const metricsFile = "metrics file"

// showLive shows a live session until the user leaves it.
func showLive(cmd *cobra.Command, session run.Live, also alsoFlag, ui uiFlags) (err error) {
	if err := requireTerminal("without one, use 'lostbeat record -o FILE' or 'lostbeat watch'"); err != nil {
		return err
	}
	outputs, closeOutputs, err := also.outputs(ui.zone())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutputs()) }()
	session.UI, session.Tool = ui.options(), tool()
	session.Outputs = append(session.Outputs, outputs...)
	return session.Run(cmd.Context())
}

// savingFolders are those in which the UI saves recordings.
func savingFolders() []string { return []string{".", os.TempDir()} }

// tool is the name and version of this program, for recordings.
func tool() string { return "lostbeat " + version }
