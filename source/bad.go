package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// BadParts counts the parts of a file and those that could not be read. What and Plural are what they are called;
// Partly says that the rest of a bad one was read.
type BadParts struct {
	What, Plural string
	Partly       bool

	seen, bad, first int
	why              error
}

// Next takes the next part with what is wrong with it, nil for nothing.
func (b *BadParts) Next(err error) {
	b.seen++
	if err == nil {
		return
	}
	if b.bad++; b.bad == 1 {
		b.first, b.why = b.seen, err
	}
}

// Seen is how many parts there were.
func (b *BadParts) Seen() int { return b.seen }

// Report adds a sentence where there were bad parts.
func (b *BadParts) Report(i *Integrity, name string) {
	read := "could not be read"
	if b.Partly {
		read += " in full"
	}
	switch b.bad {
	case 0:
	case 1:
		i.Add(fmt.Sprintf("%s: %s %d %s: %v", name, b.What, b.first, read, b.why), 0)
	default:
		i.Add(fmt.Sprintf("%s: %d of its %s %s; the first is %s %d: %v", name, b.bad, b.Plural, read, b.What, b.first,
			b.why), 0)
	}
}

// JSONFault says in plain words what was wrong with a JSON value that could not be decoded.
func JSONFault(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("its %s is of another type (%s)", wrong.Field, wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("it is of another type (%s)", wrong.Value)
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not valid JSON: %w", err)
	}
	if strings.Contains(err.Error(), "invalid number literal") {
		return errors.New("one of its numbers is a text")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
