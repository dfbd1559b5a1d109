package main

import (
	"fmt"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/pipeline"
)

// startOutput says when the probes are attached, and which of their parts are not on: for logs, where nobody sees the
// screen or doctor. began is when the command was started.
func startOutput(say func(string), began time.Time) pipeline.Output {
	return pipeline.Output{
		Name: "the start", Sink: &startNotice{say: say, began: began}, Kinds: []model.Kind{model.KindProbe},
	}
}

// startNotice is a sink that says what the first batch knows of the probes.
type startNotice struct {
	say   func(string)
	began time.Time
	said  bool
}

// Write implements pipeline.Sink.
func (s *startNotice) Write(b *model.Batch) error {
	if s.said {
		return nil
	}
	for i := range b.Events {
		p, ok := b.Probe(&b.Events[i])
		if !ok {
			continue
		}
		if !s.said {
			s.said = true
			s.say("watching; the probes were attached in " + plain.Span(time.Since(s.began)))
		}
		if p.State != model.ProbeOn {
			s.say(plain.Text(limitOf(&p)))
		}
	}
	return nil
}

// limitOf says in one line what is wrong with a part of a probe.
func limitOf(p *model.Probe) string {
	line := p.Name
	if p.Part != "" {
		line += "/" + p.Part
	}
	line = fmt.Sprintf("%s is %s: %s", line, p.State, p.Reason)
	if p.Hint != "" {
		line += " (" + p.Hint + ")"
	}
	return line
}
