package main

import (
	"path/filepath"
	"slices"

	"lostbeat/detect"
	"lostbeat/internal/hint"
	"lostbeat/run"

	"github.com/spf13/cobra"
)

func newReplay() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		ui       uiFlags
		speed    float64
		at       string
		follow   bool
	)
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Open a recording or a Windows capture in the terminal UI",
		Long: `Open a recording or a Windows capture (.etl, .blg, perfmon .csv) in the same UI as a
live session. It needs no privileges and works on every system. It opens at the worst
finding, or at --at; with --speed it plays from the start. Space pauses and resumes, the
arrow keys step, [ and ] go to the previous and next finding, g jumps to a time. The files
of a rotated recording open as one: give the name passed to record -o, or their directory.
With - for a file, standard input is read to its end first, and keys come from the terminal.
Several socket tables (netstat, ss, Get-NetUDPEndpoint) open as one series.
With --follow, a recording or a Windows trace is shown while it is being written.`,
		Example: `  lostbeat replay night.lostbeat
  lostbeat replay night.lostbeat --at 03:12:00 --speed 4
  lostbeat replay night.lostbeat --log app.log --log-time local
  lostbeat replay capture.etl
  lostbeat replay --follow night.lostbeat`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			if follow {
				return followFile(cmd, args, files, thresholds, ui)
			}
			names := args
			defer files.confine(cmd, args, besideRecording(args)...)()
			args, done, err := files.unpack(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			if len(run.Groups(files.unpacked, args)) > 1 {
				return hint.New("replay opens one file, several socket tables, or a bundle with one capture",
					"usage: "+cmd.UseLine()+"; 'lostbeat findings' joins what is in a bundle")
			}
			c, err := files.open(args, nil)
			if err != nil {
				return err
			}
			defer c.Close()
			start, end := c.Span()
			from := start
			if at != "" {
				if from, err = parseMoment(at, start, end, ui.zone()); err != nil {
					return err
				}
			}
			if slices.Contains(names, run.StandardInput) {
				useTerminal()
			}
			if err := requireTerminal("without one, use 'lostbeat findings FILE' or 'lostbeat events FILE'"); err != nil {
				return err
			}
			opts := ui.options()
			if opts.Source = filepath.Base(names[0]); names[0] == run.StandardInput {
				opts.Source = "standard input"
			}
			opts.OpenOnWorst = at == "" && !cmd.Flags().Changed("speed")
			return run.Replay{Capture: c, Settings: thresholds, UI: opts, Start: from, Speed: speed}.Run(cmd.Context())
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	files.registerLogs(cmd)
	settings.register(cmd)
	ui.register(cmd)
	cmd.Flags().Float64Var(&speed, "speed", 1, "playback speed: 1 is real time")
	cmd.Flags().
		BoolVar(&follow, "follow", false, "show a recording or .etl while it is written, like a live session; "+
			"a missing file is waited for")
	cmd.Flags().
		StringVar(&at, "at", "", "start at this `TIME`: "+momentForms)
	return cmd
}

// followFile shows a file while it is being written.
func followFile(cmd *cobra.Command, args []string, files captureFlags, settings detect.Settings, ui uiFlags) error {
	for _, name := range []string{"at", "speed"} {
		if cmd.Flags().Changed(name) {
			return hint.New("--follow and --"+name+" exclude each other", "a followed file plays while it is written")
		}
	}
	if slices.Contains(args, run.StandardInput) {
		return hint.New("--follow cannot follow standard input", "give the file that is being written")
	}
	if len(args) != 1 {
		return hint.New("--follow follows one file", "usage: "+cmd.UseLine())
	}
	// What is not there yet, or is replaced, is found by its folder.
	defer files.confine(cmd, []string{args[0], filepath.Dir(args[0])}, savingFolders()...)()
	o, err := files.options(nil)
	if err != nil {
		return err
	}
	src, err := run.Follow(args[0], o)
	if err != nil {
		return err
	}
	return showLive(cmd, run.Live{Source: src, Settings: settings, Followed: true}, nil, ui)
}
