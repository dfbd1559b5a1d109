package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"lostbeat/detect/all"
	"lostbeat/internal/config"
	"lostbeat/internal/plain"

	"github.com/spf13/cobra"
)

// inForce is what `lostbeat config --json` prints.
type inForce struct {
	Files    []settingsFile `json:"files"`
	Settings []setting      `json:"settings"`
	// Unknown are variables of the environment that look like settings and are none.
	Unknown []string `json:"unknown_variables,omitempty"`
}

// configSchema is the name and version of the schema of inForce.
const configSchema = "lostbeat.config/1"

// settingsFile is a file that was looked for.
type settingsFile struct {
	Path string `json:"path"`
	// State is "read", "not found", or "replaced by --config".
	State string `json:"state"`
}

// setting is a setting's value and where it comes from.
type setting struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
	// From is "default", "flag", "environment" or "file"; Place is the variable, or the file and line.
	From  string `json:"from"`
	Place string `json:"place,omitempty"`
}

func newConfig() *cobra.Command {
	var (
		live   liveFlags
		ui     uiFlags
		memory byteSize
		told   notifyFlags
		format formatFlag
		whole  bool
	)
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force and where each comes from",
		Long: `Print the settings in force and where each comes from: a file and line, an environment variable,
a flag, or the default.

Settings are read from /etc/lostbeat.toml, then from ~/.config/lostbeat/config.toml (or the
same below XDG_CONFIG_HOME; on Windows lostbeat\config.toml below ProgramData, then AppData),
then from LOSTBEAT_* variables, then from flags; the last one wins, and lists are replaced, not
merged. --config FILE, or LOSTBEAT_CONFIG, replaces the two files.

A key is a flag without its dashes; a table has the thresholds of one detector:

  heartbeat = ["auto", "udp:7000=2s"]
  pool = ["rpc=udp:5000-5100"]
  theme = "dark"
  utc = true

  [starvation]
  late_wait = "20ms"

A variable is the flag in capitals with the prefix LOSTBEAT_: LOSTBEAT_THEME=dark. Separate several
values with commas and quote a value that contains one; LOSTBEAT_SET has thresholds, like --set.
Settings of this host (heartbeat, pool, log, ...) do not apply to commands that open files, which
may come from another host. As root, lostbeat reads no file that another user could change.`,
		Example: `  lostbeat config
  lostbeat config --all
  lostbeat config --config new.toml                is the file right?
  lostbeat config --json | jq '.settings[] | select(.from != "default")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			form, err := format.form()
			if err != nil {
				return err
			}
			now := settingsInForce(cmd, live.detect.set.assignments)
			if _, err := live.detect.settings(); err != nil {
				return err
			}
			if form == asJSON {
				return plain.Object(cmd.OutOrStdout(), configSchema, now)
			}
			return now.write(cmd.OutOrStdout(), whole)
		},
	}
	live.register(cmd)
	live.metrics.register(cmd)
	ui.register(cmd)
	told.register(cmd)
	registerMemory(cmd, &memory)
	format.register(cmd, "one JSON object", asText, asJSON)
	cmd.Flags().BoolVar(&whole, "all", false, "also list thresholds that have their default")
	return cmd
}

// settingsInForce returns the settings of a command.
func settingsInForce(cmd *cobra.Command, assignments []assignment) (now inForce) {
	for _, path := range cmd.Flags().Lookup("config").Annotations[place] {
		now.Files = append(now.Files, settingsFile{path, "read"})
	}
	for _, path := range config.Paths(runtime.GOOS, os.Getenv) {
		if slices.Contains(now.Files, settingsFile{path, "read"}) {
			continue
		}
		state := "not found"
		if _, err := os.Stat(path); err == nil {
			state = "replaced by --config"
		}
		now.Files = append(now.Files, settingsFile{path, state})
	}
	known := []string{variable("config"), variable("set"), debugLog}
	for _, o := range options() {
		known = append(known, variable(o.name))
		flag := cmd.Flags().Lookup(o.name)
		if flag == nil || flag.Hidden || o.from == onlyFlag {
			continue
		}
		s := setting{Name: o.name, Values: valuesOf(flag), From: "default"}
		if flag.Changed {
			s.From = "flag"
		} else if from := flag.Annotations[place]; len(from) > 0 {
			s.from(from[0])
		}
		now.Settings = append(now.Settings, s)
	}
	for _, field := range all.Settings().Fields() {
		s := setting{Name: field.Name, Values: []string{field.String()}, From: "default"}
		for _, a := range assignments {
			if a.name == field.Name {
				s.Values = []string{a.value}
				s.from(a.from)
			}
		}
		now.Settings = append(now.Settings, s)
	}
	for _, text := range os.Environ() {
		name, _, _ := strings.Cut(text, "=")
		if strings.HasPrefix(name, "LOSTBEAT_") && !slices.Contains(known, name) {
			now.Unknown = append(now.Unknown, name)
		}
	}
	return now
}

// from notes where a value comes from.
func (s *setting) from(where string) {
	s.Place = where
	switch {
	case strings.HasPrefix(where, "--"):
		s.From, s.Place = "flag", ""
	case inFile(where):
		s.From = "file"
	default:
		s.From = "environment"
	}
}

// place says for people where a value comes from.
func (s setting) place() string {
	if s.Place != "" {
		return s.Place
	}
	return s.From
}

// write prints the settings; thresholds that have their defaults only for whole.
func (now inForce) write(w io.Writer, whole bool) error {
	for _, f := range now.Files {
		fmt.Fprintf(w, "%s: %s\n", plain.Text(f.Path), f.State)
	}
	for _, name := range now.Unknown {
		fmt.Fprintf(w, "%s is set but is not a setting\n", plain.Text(name))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	left := 0
	for _, s := range now.Settings {
		if s.From == "default" && strings.Contains(s.Name, ".") && !whole {
			left++
			continue
		}
		value := strings.Join(s.Values, ", ")
		if value == "" {
			value = "none"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, plain.Text(value), plain.Text(s.place()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(w, "\n%d thresholds have their defaults; --all lists them\n", left)
	}
	return nil
}
