package main

import (
	"errors"
	"fmt"
	"slices"

	"lostbeat/run"
	"lostbeat/sink"

	"github.com/spf13/cobra"
)

func newWatch() *cobra.Command {
	var (
		live   liveFlags
		zone   zoneFlag
		output formatFlag
		told   notifyFlags
	)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print findings on this host as they start, one per line",
		Long: `Trace this host without a UI and print a line when a finding starts, gets worse or ends.
--exec and --webhook also pass it to a program or a URL: tracing never waits for them, and
undelivered findings are counted and reported. --otlp sends them to an OpenTelemetry collector or a
store that takes OTLP, and keeps them on disk until it has them; --otlp-metrics sends metrics:
docs/OTLP.md.`,
		Example: `  sudo lostbeat watch
  sudo lostbeat watch --log /var/log/app.log --log journal:etcd.service
  sudo lostbeat watch --json | logger -t lostbeat
  sudo lostbeat watch --exec '/usr/local/bin/notify --team net'
  sudo lostbeat watch --webhook https://alerts.example.com/lostbeat
  sudo lostbeat watch --otlp-endpoint http://collector.example.com:4318`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			form, err := output.form()
			if err != nil {
				return err
			}
			say := func(line string) { fmt.Fprintf(cmd.ErrOrStderr(), "lostbeat: %s\n", line) }
			notified, endNotifying, err := told.outputs(say, live.confines(cmd), "")
			if err != nil {
				return err
			}
			defer endNotifying()
			served, endServing, err := live.metrics.outputs(say, live.metrics.fileReport(say), &told.otlp, nil)
			if err != nil {
				return err
			}
			defer endServing()
			src, settings, err := live.open(cmd, told.otlp.folders(""), told.urls())
			if err != nil {
				return err
			}
			onTerminal := isTerminal(cmd.OutOrStdout())
			if isTerminal(cmd.ErrOrStderr()) { // a quiet host prints nothing for hours
				fmt.Fprintln(
					cmd.ErrOrStderr(),
					"lostbeat: watching deferred work, packet drops and ports on this host; one line per finding; Ctrl-C stops",
				)
			}
			format := "text"
			if form == asJSON {
				format = "jsonl"
			}
			outputs, closeOutputs, err := live.also.outputs(zone.zone())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeOutputs()) }()
			spec, err := sink.Find(format, zone.zone())
			if err != nil {
				return err
			}
			shown, endShowing := boardOutput()
			defer endShowing()
			outputs = slices.Concat(outputs, shown, served)
			err = run.Watch{
				Source: src, Settings: settings, To: spec.To("standard output", cmd.OutOrStdout()),
				Outputs: append(outputs, notified...),
				Failed:  outputFailed(cmd.ErrOrStderr()),
			}.Run(cmd.Context())
			if onTerminal && hungUp(err) {
				return nil
			}
			return err
		},
	}
	live.register(cmd)
	live.metrics.register(cmd)
	told.register(cmd)
	zone.register(cmd)
	output.register(cmd, "one JSON object per line: every update of every finding", asText, asJSON)
	return cmd
}
