// Package jsonl writes findings for machines: a JSON object a line.
package jsonl

import (
	"bufio"
	"io"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/pipeline"
)

// Spec is the output "jsonl": every update of every finding.
var Spec = pipeline.Spec{
	Name:  "jsonl",
	Doc:   "every update of every finding, one JSON object a line",
	Kinds: []model.Kind{model.KindFinding, model.KindFlow},
	Open:  func(w io.Writer) pipeline.Sink { return New(w) },
}

// Names and versions of the schemas of what is written; docs/schema describes them.
const (
	FindingSchema  = "lostbeat.finding/1"
	ProposedSchema = "lostbeat.proposed/1"
)

// Lines is a sink that writes findings.
type Lines struct {
	out *bufio.Writer
	// proposed are the flows that were said to look like heartbeats, by name and process.
	proposed map[proposed]bool
}

// proposed is a flow that looks like a heartbeat and is not followed.
type proposed struct {
	// Flow names it as --heartbeat does.
	Flow    string `json:"proposed"`
	Process string `json:"process"`
	PID     int32  `json:"pid"`
}

// maxProposed bounds the flows that are remembered to have been proposed.
const maxProposed = 1024

// New returns a Lines that writes to w.
func New(w io.Writer) *Lines { return &Lines{bufio.NewWriter(w), map[proposed]bool{}} }

// Write implements pipeline.Sink.
func (l *Lines) Write(b *model.Batch) error {
	for i := range b.Events {
		if f, ok := b.Flow(&b.Events[i]); ok {
			key := proposed{f.Name(), f.Process, f.PID}
			if f.State != model.FlowProposed || l.proposed[key] {
				continue
			}
			if len(l.proposed) >= maxProposed {
				clear(l.proposed)
			}
			l.proposed[key] = true
			err := plain.Object(l.out, ProposedSchema, struct {
				proposed
				Period  time.Duration `json:"period_ns"`
				KnownAs string        `json:"known_as,omitempty"`
				Time    string        `json:"time"`
			}{key, f.Period, f.KnownAs, f.Time.String()})
			if err != nil {
				return err
			}
			continue
		}
		if f, ok := b.Finding(&b.Events[i]); ok {
			if err := plain.Object(l.out, FindingSchema, f); err != nil {
				return err
			}
		}
	}
	return l.out.Flush()
}
