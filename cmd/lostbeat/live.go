package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"lostbeat/detect"
	"lostbeat/ebpf"
	"lostbeat/fold"
	"lostbeat/pipeline"
	"lostbeat/probes"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/tui"

	"github.com/spf13/cobra"
)

// open returns this host as a source of events, and the thresholds to judge it by.
func (f *liveFlags) open() (source.Source, detect.Settings, error) {
	settings, err := f.detect.settings()
	if err != nil {
		return nil, settings, err
	}
	src, err := f.source()
	return src, settings, err
}

// source opens this host as a source of events.
func (f *liveFlags) source() (source.Source, error) {
	pools, err := parsePools(f.pools)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range probes.Catalogue {
		names = append(names, p.Name)
	}
	for _, name := range f.probes {
		if !slices.Contains(names, name) {
			return nil, &usageError{fmt.Sprintf("there is no probe %q", name), "probes: " + strings.Join(names, ", ")}
		}
	}
	opts := ebpf.Options{
		Trace:         f.trace,
		RunThreshold:  f.threshold,
		WaitThreshold: f.threshold,
		Stacks:        f.stacks,
		AuditInterval: f.audit,
		RingBytes:     int(f.ring),
		Only:          f.probes,
		Log:           slog.New(slog.DiscardHandler),
	}
	if path := os.Getenv("LOSTBEAT_LOG"); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the log named by LOSTBEAT_LOG: %w", err)
		}
		opts.Log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, p := range pools {
		opts.Pools = append(opts.Pools, ebpf.Pool{Name: p.name, Protocol: p.protocol, Low: p.low, High: p.high})
	}
	boundMemory()
	return ebpf.New(opts, probes.All())
}

// uiFlags are the flags of the commands that open the terminal UI.
type uiFlags struct {
	ascii, noColor, utc bool
}

func (f *uiFlags) register(cmd *cobra.Command) {
	cmd.Flags().
		BoolVar(&f.ascii, "ascii", asciiLocale(os.Getenv), "draw without characters outside ASCII; on where LC_ALL, "+
			"LC_CTYPE or LANG asks for it")
	cmd.Flags().BoolVar(&f.noColor, "no-color", false, "draw without colours (also: NO_COLOR)")
	cmd.Flags().BoolVar(&f.utc, "utc", false, "show times in UTC instead of this machine's zone")
}

func (f *uiFlags) options(state *fold.History) tui.Options {
	opts := tui.Options{State: state, ASCII: f.ascii, NoColor: f.noColor || os.Getenv("NO_COLOR") != ""}
	if f.utc {
		opts.Location = time.UTC
	}
	return opts
}

// runLiveUI traces this host and shows it.
func runLiveUI(cmd *cobra.Command, live liveFlags, ui uiFlags) error {
	src, settings, err := live.open()
	if err != nil {
		return err
	}
	return liveSession{src: src, settings: settings, ui: ui}.run(cmd.Context())
}

// liveSession is a live terminal UI.
type liveSession struct {
	src      source.Source
	settings detect.Settings
	ui       uiFlags
	// beside runs as long as the UI is open; nil for nothing.
	beside func(context.Context) error
}

// run shows the session until the user leaves it.
func (s liveSession) run(ctx context.Context) error {
	if err := requireTerminal("without one, use 'lostbeat record -o FILE' or 'lostbeat watch'"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	state := fold.NewHistory(nil)
	flight, err := record.NewFlight(
		"",
		record.FlightOptions{Options: record.Options{Tool: "lostbeat " + version}, Window: 15 * time.Minute},
	)
	if err != nil {
		return err
	}
	opts := s.ui.options(state)
	opts.Live = true
	opts.Record = flight.Save
	opts.RecordPath = time.Now().UTC().Format("lostbeat-20060102-150405.lostbeat")

	var wait sync.WaitGroup
	var pipelineErr, besideErr error
	wait.Go(func() {
		_, pipelineErr = pipeline.Run(ctx, s.src, pipeline.Options{
			Detect: &s.settings, Live: true,
			Outputs: []pipeline.Output{{Name: "screen", Sink: state}, {Name: "memory", Sink: flight}},
			Failed:  func(name string, err error) { state.SetFault(fmt.Errorf("%s: %w", name, err)) },
		})
		if pipelineErr != nil && ctx.Err() == nil {
			state.SetFault(pipelineErr)
		}
	})
	wait.Go(func() { watchTerminal(ctx, cancel) })
	if s.beside != nil {
		wait.Go(func() {
			if besideErr = s.beside(ctx); besideErr != nil && ctx.Err() == nil {
				state.SetFault(besideErr)
			}
		})
	}
	err = tui.Run(ctx, opts)
	cancel()
	wait.Wait()
	if errors.Is(besideErr, context.Canceled) {
		besideErr = nil
	}
	return errors.Join(err, pipelineErr, besideErr)
}
