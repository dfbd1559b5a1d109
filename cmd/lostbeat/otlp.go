package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lostbeat/internal/platform"
	"lostbeat/internal/redact"
	"lostbeat/pipeline"
	"lostbeat/sink/metrics"
	"lostbeat/sink/otlp"

	"github.com/spf13/cobra"
)

// otlpFlags are the flags that send findings and metrics by OTLP.
type otlpFlags struct {
	enabled  bool
	endpoint string
	journal  string
	redact   bool
	// metrics and metricsEndpoint are for metrics what enabled and endpoint are for findings.
	metrics         bool
	metricsEndpoint string
	// shared gives pseudonyms to both; made by names.
	shared *redact.Shared
}

func (f *otlpFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.enabled, "otlp", false, "send findings as log events by OTLP (http/protobuf) to the receiver that "+
		"OTEL_EXPORTER_OTLP_* variables name, by default http://localhost:4318")
	flags.StringVar(&f.endpoint, "otlp-endpoint", "", "the same, to this base `URL`, to which v1/logs is added")
	flags.StringVar(&f.journal, "otlp-journal", "", "`FOLDER` in which findings wait until the receiver has confirmed "+
		"them; by default beside the recording, or in the folder of this user's or the service's state")
	flags.BoolVar(&f.redact, "otlp-redact", false, "replace addresses, hosts, processes, command lines and paths in what "+
		"--otlp and --otlp-metrics send by pseudonyms")
	flags.BoolVar(&f.metrics, "otlp-metrics", false, "send metrics by OTLP (http/protobuf) every minute, or as "+
		"OTEL_METRIC_EXPORT_INTERVAL says, to the receiver of --otlp-endpoint or of OTEL_EXPORTER_OTLP_* variables")
	flags.StringVar(&f.metricsEndpoint, "otlp-metrics-endpoint", "", "the same, to this base `URL`, to which v1/metrics "+
		"is added")
}

// on says that findings are sent.
func (f *otlpFlags) on() bool { return f.enabled || f.endpoint != "" }

// metricsOn says that metrics are sent.
func (f *otlpFlags) metricsOn() bool { return f.metrics || f.metricsEndpoint != "" }

// logsConfig says how findings are sent.
func (f *otlpFlags) logsConfig() (otlp.Config, error) {
	return otlp.Read(otlp.Logs, otlp.Endpoint{Flag: "--otlp-endpoint", URL: f.endpoint}, os.Getenv)
}

// metricsConfig says how metrics are sent.
func (f *otlpFlags) metricsConfig() (otlp.Config, error) {
	endpoint := otlp.Endpoint{Flag: "--otlp-endpoint", URL: f.endpoint}
	if f.metricsEndpoint != "" {
		endpoint = otlp.Endpoint{Flag: "--otlp-metrics-endpoint", URL: f.metricsEndpoint}
	}
	return otlp.Read(otlp.Metrics, endpoint, os.Getenv)
}

// urls are those of the receivers. What is wrong with a configuration is said where it is used.
func (f *otlpFlags) urls() (list []string) {
	if c, err := f.logsConfig(); f.on() && err == nil {
		list = append(list, c.URL.String())
	}
	if c, err := f.metricsConfig(); f.metricsOn() && err == nil {
		list = append(list, c.URL.String())
	}
	return list
}

// use sends pseudonyms that something else learns, too.
func (f *otlpFlags) use(names *redact.Shared) { f.redact, f.shared = true, names }

// names gives the same pseudonyms to all that is sent; nil sends names.
func (f *otlpFlags) names() *redact.Shared {
	if f.redact && f.shared == nil {
		f.shared = redact.Share(redact.NewBounded(mostNames))
	}
	return f.shared
}

// thisHost says where what is sent comes from.
func thisHost() otlp.Host {
	host := platform.ThisHost()
	return otlp.Host{Name: host.Name, Arch: host.Arch, OS: host.OS, Kernel: host.Kernel, BootID: host.BootID}
}

// folders are those that are written into.
func (f *otlpFlags) folders(recording string) []string {
	if !f.on() {
		return nil
	}
	return []string{f.folder(recording)}
}

// folder is that of the journal.
func (f *otlpFlags) folder(recording string) string {
	const name = "otlp"
	switch {
	case f.journal != "":
		return f.journal
	case recording != "":
		return strings.TrimSuffix(recording, filepath.Ext(recording)) + "." + name
	}
	if state := os.Getenv("STATE_DIRECTORY"); state != "" { // of a service of systemd
		first, _, _ := strings.Cut(state, ":")
		return filepath.Join(first, name)
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/lostbeat", name)
	}
	state, err := os.UserCacheDir()
	if err != nil {
		state = os.TempDir()
	}
	return filepath.Join(state, "lostbeat", name)
}

// start begins to send, and returns the output that takes findings.
func (f *otlpFlags) start(say func(string), recording string) (*otlp.Exporter, pipeline.Output, error) {
	config, err := f.logsConfig()
	if err != nil {
		return nil, pipeline.Output{}, err
	}
	options := otlp.Options{
		Config: config, Folder: f.folder(recording), Version: version, Say: say, Host: thisHost(), Redact: f.names(),
	}
	if recording != "" {
		if options.Recording, err = filepath.Abs(recording); err != nil {
			return nil, pipeline.Output{}, fmt.Errorf("name the recording: %w", err)
		}
	}
	e, err := otlp.Start(options)
	if err != nil {
		return nil, pipeline.Output{}, err
	}
	return e, pipeline.Output{Name: "--otlp", Sink: e, Kinds: otlp.Kinds(f.redact)}, nil
}

// startMetrics begins to send metrics. The output, if there is one, learns names where nothing else does.
func (f *otlpFlags) startMetrics(
	say func(string), m *metrics.Metrics,
) (*otlp.SeriesExporter, []pipeline.Output, error) {
	config, err := f.metricsConfig()
	if err != nil {
		return nil, nil, err
	}
	var outputs []pipeline.Output
	if f.redact && !f.on() {
		outputs = append(outputs, pipeline.Output{Name: "--otlp-redact", Sink: f.names()})
	}
	return otlp.StartSeries(otlp.SeriesOptions{
		Config: config, From: m, Host: thisHost(), Version: version, Redact: f.names(), Say: say,
	}), outputs, nil
}
