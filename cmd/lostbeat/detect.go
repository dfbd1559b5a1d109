package main

import (
	"fmt"
	"lostbeat/detect/all"
	"os"
	"strings"

	"lostbeat/detect"
	"lostbeat/internal/hint"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

// detectFlags choose the detectors' thresholds.
type detectFlags struct {
	config string
	set    []string
}

func (f *detectFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "a TOML `FILE` of detector thresholds; docs/DETECTORS.md lists them")
	cmd.Flags().
		StringArrayVar(&f.set, "set", nil, "one threshold as `NAME=VALUE`, e.g. starvation.busy_share=0.9 (repeatable)")
}

// settings returns the defaults, changed by the file, changed by --set.
func (f *detectFlags) settings() (detect.Settings, error) {
	s := all.Settings()
	if f.config != "" {
		file, err := os.Open(f.config)
		if err != nil {
			return s, fmt.Errorf("read thresholds: %w", err)
		}
		defer file.Close()
		if err := toml.NewDecoder(file).DisallowUnknownFields().Decode(s.Target()); err != nil {
			return s, hint.New(
				fmt.Sprintf("%s: %v", f.config, err),
				"docs/DETECTORS.md lists the thresholds and their defaults",
			)
		}
	}
	for _, assignment := range f.set {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return s, hint.New(
				fmt.Sprintf("--set %q has no value", assignment),
				"write it like --set starvation.busy_share=0.9",
			)
		}
		if err := setField(&s, name, value); err != nil {
			return s, err
		}
	}
	if err := s.Validate(); err != nil {
		return s, hint.New(err.Error(), "docs/DETECTORS.md lists the thresholds and their bounds")
	}
	return s, nil
}

func setField(s *detect.Settings, name, value string) error {
	for _, field := range s.Fields() {
		if field.Name == name {
			if err := field.Set(value); err != nil {
				return hint.New(fmt.Sprintf("--set %s=%s: %v", name, value, err), field.Doc)
			}
			return nil
		}
	}
	var near []string
	section, _, _ := strings.Cut(name, ".")
	for _, field := range s.Fields() {
		if strings.HasPrefix(field.Name, section+".") {
			near = append(near, field.Name)
		}
	}
	text := "docs/DETECTORS.md lists them"
	if len(near) > 0 {
		text += "; there are " + strings.Join(near, ", ")
	}
	return hint.New(fmt.Sprintf("there is no threshold %q", name), text)
}
