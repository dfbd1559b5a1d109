// Package jsonl writes findings for machines: a JSON object a line.
package jsonl

import (
	"bufio"
	"io"

	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/pipeline"
)

// Spec is the output "jsonl": every update of every finding.
var Spec = pipeline.Spec{
	Name:  "jsonl",
	Doc:   "every update of every finding, one JSON object a line",
	Kinds: []model.Kind{model.KindFinding},
	Open:  func(w io.Writer) pipeline.Sink { return New(w) },
}

// Lines is a sink that writes findings.
type Lines struct{ out *bufio.Writer }

// New returns a Lines that writes to w.
func New(w io.Writer) *Lines { return &Lines{bufio.NewWriter(w)} }

// Write implements pipeline.Sink.
func (l *Lines) Write(b *model.Batch) error {
	for i := range b.Events {
		if f, ok := b.Finding(&b.Events[i]); ok {
			if err := plain.JSON(l.out, f); err != nil {
				return err
			}
		}
	}
	return l.out.Flush()
}
