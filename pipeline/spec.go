package pipeline

import (
	"fmt"
	"io"
	"os"

	"lostbeat/model"
)

// Spec is a kind of output that a user can ask for by its name. Each has a
// package of its own under sink/, and a line in sink.Catalogue.
type Spec struct {
	// Name is the word for it: "jsonl".
	Name string
	// Doc says what it writes.
	Doc string
	// Kinds are the kinds of events that it is given; nil for all.
	Kinds []model.Kind
	// Open returns the sink that writes to w.
	Open func(w io.Writer) Sink
}

// To returns the output to w.
func (s Spec) To(name string, w io.Writer) Output {
	return Output{Name: name, Sink: s.Open(w), Kinds: s.Kinds}
}

// Append returns the output to the end of the file at path, which is created if
// need be, and what closes it.
func (s Spec) Append(path string) (Output, func() error, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Output{}, nil, fmt.Errorf("open the output %s: %w", s.Name, err)
	}
	return s.To(s.Name+" to "+path, f), f.Close, nil
}
