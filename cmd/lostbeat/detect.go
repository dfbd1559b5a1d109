package main

import (
	"strings"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/internal/hint"

	"github.com/spf13/cobra"
)

// detectFlags choose the detectors' thresholds.
type detectFlags struct{ set thresholdFlag }

func (f *detectFlags) register(cmd *cobra.Command) {
	cmd.Flags().Var(&f.set, "set", "set a threshold: `NAME=VALUE`, e.g. starvation.busy_share=0.9 (repeatable)")
}

// settings returns the defaults, changed by the settings files, changed by LOSTBEAT_SET, changed by --set.
func (f *detectFlags) settings() (detect.Settings, error) {
	s := all.Settings()
	for _, a := range f.set.assignments {
		if err := a.to(s); err != nil {
			return s, valueError(a.from, a.name+"="+a.value, nil, err)
		}
	}
	if err := s.Validate(); err != nil {
		return s, hint.New(err.Error(), "docs/DETECTORS.md lists the thresholds and their bounds")
	}
	return s, nil
}

// assignment is a threshold that has another value than its default.
type assignment struct {
	name, value string
	// from says who set it: "--set", "LOSTBEAT_SET", "/etc/lostbeat.toml:3".
	from string
}

// parseAssignment parses NAME=VALUE.
func parseAssignment(text string) (assignment, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return assignment{}, hint.New("has no value", "write it like starvation.busy_share=0.9")
	}
	a := assignment{name: name, value: value, from: "--set"}
	return a, a.check()
}

// check refuses a name that is no threshold, and a value that it cannot have.
func (a assignment) check() error { return a.to(all.Settings()) }

// to gives a threshold of s its value.
func (a assignment) to(s detect.Settings) error {
	fields := s.Fields()
	var names []string
	for _, field := range fields {
		if field.Name == a.name {
			if err := field.Set(a.value); err != nil {
				return hint.New(err.Error(), "it is the "+field.Doc+"; the default is "+field.Default)
			}
			return nil
		}
		names = append(names, field.Name)
	}
	text := didYouMean(a.name, names)
	section, _, _ := strings.Cut(a.name, ".")
	var near []string
	for _, name := range names {
		if strings.HasPrefix(name, section+".") {
			near = append(near, name)
		}
	}
	if len(near) > 0 {
		return hint.New("there is no such threshold", text+"there are "+strings.Join(near, ", "))
	}
	return hint.New("there is no such threshold", text+"'lostbeat config --all' lists them")
}

// thresholdFlag is the flag --set. It implements pflag.Value.
type thresholdFlag struct{ assignments []assignment }

// Set implements pflag.Value.
func (t *thresholdFlag) Set(s string) error {
	a, err := parseAssignment(s)
	if err == nil {
		t.assignments = append(t.assignments, a)
	}
	return err
}

// String implements pflag.Value.
func (t *thresholdFlag) String() string {
	var out []string
	for _, a := range t.assignments {
		out = append(out, a.name+"="+a.value)
	}
	return strings.Join(out, ",")
}

// Type implements pflag.Value.
func (t *thresholdFlag) Type() string { return "NAME=VALUE" }
