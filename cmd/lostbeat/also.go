package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/pipeline"
	"lostbeat/sink"

	"github.com/spf13/cobra"
)

// alsoFlag names outputs beside those that a command has anyway.
type alsoFlag []string

func (f *alsoFlag) register(cmd *cobra.Command) {
	var names []string
	for _, s := range sink.Catalogue(time.UTC) {
		names = append(names, s.Name+" ("+s.Doc+")")
	}
	cmd.Flags().StringArrayVar((*[]string)(f), "also", nil, "also append to a file: `NAME=FILE`, NAME is one of "+
		strings.Join(names, ", ")+" (repeatable)")
}

// outputs opens them, and returns what closes them. Those for people write times of the given zone.
func (f alsoFlag) outputs(zone *time.Location) (outputs []pipeline.Output, closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	for _, s := range f {
		name, path, ok := strings.Cut(s, "=")
		if !ok || path == "" {
			return nil, nil, hint.New(fmt.Sprintf("--also %q names no file", s), "write it like --also jsonl=findings.jsonl")
		}
		spec, err := sink.Find(name, zone)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		out, closer, err := spec.Append(path)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		outputs, closers = append(outputs, out), append(closers, closer)
	}
	return outputs, closeAll, nil
}
