package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lostbeat/internal/platform"
	"lostbeat/internal/redact"
	"lostbeat/pipeline"
	"lostbeat/sink/otlp"

	"github.com/spf13/cobra"
)

// otlpFlags are the flags that send findings by OTLP.
type otlpFlags struct {
	enabled  bool
	endpoint string
	journal  string
	redact   bool
}

func (f *otlpFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.enabled, "otlp", false, "send findings as log events by OTLP (http/protobuf) to the receiver that "+
		"OTEL_EXPORTER_OTLP_* variables name, by default http://localhost:4318")
	flags.StringVar(&f.endpoint, "otlp-endpoint", "", "the same, to this base `URL`, to which v1/logs is added")
	flags.StringVar(&f.journal, "otlp-journal", "", "`FOLDER` in which findings wait until the receiver has confirmed "+
		"them; by default beside the recording, or in the folder of this user's or the service's state")
	flags.BoolVar(&f.redact, "otlp-redact", false, "replace addresses, hosts, processes, command lines and paths in what "+
		"--otlp sends by pseudonyms")
}

// on says that findings are sent.
func (f *otlpFlags) on() bool { return f.enabled || f.endpoint != "" }

// urls are those of the receiver.
func (f *otlpFlags) urls() []string {
	if !f.on() {
		return nil
	}
	c, err := otlp.Read(f.endpoint, os.Getenv)
	if err != nil {
		return nil // said by start
	}
	return []string{c.URL.String()}
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
	config, err := otlp.Read(f.endpoint, os.Getenv)
	if err != nil {
		return nil, pipeline.Output{}, err
	}
	host := platform.ThisHost()
	options := otlp.Options{
		Config: config, Folder: f.folder(recording), Version: version, Say: say,
		Host: otlp.Host{
			Name: host.Name, Arch: host.Arch, OS: host.OS, Kernel: host.Kernel, BootID: host.BootID,
		},
	}
	if recording != "" {
		if options.Recording, err = filepath.Abs(recording); err != nil {
			return nil, pipeline.Output{}, fmt.Errorf("name the recording: %w", err)
		}
	}
	if f.redact {
		options.Redact = redact.NewBounded(mostNames)
	}
	e, err := otlp.Start(options)
	if err != nil {
		return nil, pipeline.Output{}, err
	}
	return e, pipeline.Output{Name: "--otlp", Sink: e, Kinds: otlp.Kinds(f.redact)}, nil
}
