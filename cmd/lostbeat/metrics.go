package main

import (
	"path/filepath"
	"slices"

	"lostbeat/detect/all"
	"lostbeat/internal/confine"
	"lostbeat/internal/plain"
	"lostbeat/internal/redact"
	"lostbeat/pipeline"
	"lostbeat/sink/metrics"

	"github.com/spf13/cobra"
)

// metricsFlags are the flags of the commands that give metrics to Prometheus.
type metricsFlags struct{ listen, file string }

func (f *metricsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.listen, "listen", "", "serve metrics for Prometheus at this `ADDRESS`, e.g. 127.0.0.1:"+
		metrics.DefaultPort+"; without a host only to this host")
	cmd.Flags().StringVar(&f.file, "metrics-file", "", "keep the same metrics in this `FILE` for "+
		"node_exporter's textfile collector")
}

// onlyGiven leaves out what the command line does not give: settings files are for the recorder of a host, whose
// address and file a second process cannot have.
func (f *metricsFlags) onlyGiven(cmd *cobra.Command) {
	if !cmd.Flags().Changed("listen") {
		f.listen = ""
	}
	if !cmd.Flags().Changed("metrics-file") {
		f.file = ""
	}
}

// writes are the folders that are written into.
func (f *metricsFlags) writes() []string {
	if f.file == "" {
		return nil
	}
	return []string{filepath.Dir(f.file)}
}

// confine lets a confined process do what the metrics take.
func (f *metricsFlags) confine(t *confine.Tracing) {
	t.Accepts, t.SetsModes = f.listen != "", f.file != ""
}

// fileReport says what metrics.Keep reports.
func (f *metricsFlags) fileReport(say func(string)) func(error) {
	return func(err error) {
		if err == nil {
			say("metrics are written to " + plain.Text(f.file) + " again")
			return
		}
		say(plain.Text(err.Error()))
	}
}

// outputs starts them, and returns what ends them. say is told where they are served, report what becomes of the file,
// as metrics.Keep has it. export sends them, too. names gives pseudonyms to what is served and written, nil for none.
func (f *metricsFlags) outputs(
	say func(string), report func(error), export *otlpFlags, names *redact.Shared,
) (outputs []pipeline.Output, end func(), err error) {
	var started []func()
	end = func() {
		for _, stop := range slices.Backward(started) {
			stop()
		}
	}
	if f.listen == "" && f.file == "" && !export.metricsOn() {
		return nil, end, nil
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	detectors, _ := all.Detectors()
	m := metrics.New(metrics.Options{
		Detectors: detectors, Version: version, Exports: export.metricsOn(), Redact: names,
	})
	outputs = []pipeline.Output{m.Output()}
	if f.file != "" {
		file, err := metrics.Keep(f.file, m, report)
		if err != nil {
			return nil, nil, err
		}
		started = append(started, file.Close)
	}
	if f.listen != "" {
		server, err := metrics.Listen(f.listen, m)
		if err != nil {
			return nil, nil, err
		}
		say(server.Notice())
		started = append(started, server.Close)
	}
	if export.metricsOn() {
		exporter, learning, err := export.startMetrics(say, m)
		if err != nil {
			return nil, nil, err
		}
		outputs = append(outputs, learning...)
		started = append(started, func() { exporter.Close(lastDelivery) })
	}
	return outputs, end, nil
}
