package main

import (
	"strings"

	"lostbeat/internal/redact"

	"github.com/spf13/cobra"
)

// redactFlag is the flag of commands that write for others.
type redactFlag struct{ is bool }

func (f *redactFlag) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.is, "redact", false, "replace addresses, hosts, processes, command lines and paths by "+
		"pseudonyms; the same name has the same pseudonym")
}

// names returns a Redactor that knows the inputs, nil without the flag.
func (f *redactFlag) names(inputs []string) *redact.Redactor {
	if !f.is {
		return nil
	}
	r := redact.New()
	for _, path := range inputs {
		r.File(path)
	}
	return r
}

// mostNames bounds the memory for names while a host is traced.
const mostNames = 1 << 16

// recording returns a Redactor for a host that is recorded. It knows the logs that are followed.
func (f *redactFlag) recording(logs []string) *redact.Shared {
	r := redact.NewBounded(mostNames)
	for _, log := range logs {
		host, path, ok := strings.Cut(log, "=")
		if !ok {
			path = log
		} else {
			r.Host(host)
		}
		r.File(path)
	}
	return redact.Share(r)
}
