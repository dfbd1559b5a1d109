package tui

import (
	"errors"
	"io"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// ErrNoTerminal is returned by Run on systems without terminals (js/wasm).
var ErrNoTerminal = errors.New("this build has no terminal UI")

// Player plays a recording into a State. Its methods return at once and may be
// called from any goroutine.
type Player interface {
	// Pause and Resume stop and start the play head; Paused says which.
	Pause()
	Resume()
	Paused() bool
	// SetSpeed sets how fast it plays, 1 being real time; Speed returns it.
	SetSpeed(speed float64)
	Speed() float64
	// Seek moves the play head to t: the state that held there is sent first,
	// as events with model.FlagKeyframe.
	Seek(t model.Time)
	// Step plays d of event time forward and pauses.
	Step(d time.Duration)
	// Position is the play head; Span the times of the first and the last event.
	Position() model.Time
	Span() (start, end model.Time)
}

// Options configure Run. Only State is required.
type Options struct {
	// State is what is shown; another goroutine writes to it.
	State *fold.History
	// Player plays the recording; nil for a live session.
	Player Player
	// OpenOnWorst goes to the worst finding of a recording when all are known, unless the reader has gone elsewhere.
	OpenOnWorst bool
	// NoMouse leaves the mouse to the terminal.
	NoMouse bool
	// Source names what is shown: a file's name; empty for a live session.
	Source string
	// Live says that the stream is the present of this host.
	Live bool
	// Follow makes the host that is traced follow a flow, named as --heartbeat does; nil where there is none.
	Follow func(flow string) error
	// Note keeps what the reader writes about a moment; nil where nothing can be kept.
	Note func(model.Note) error
	// Record writes the recording so far to a file; nil when there is nothing to write.
	Record func(path string) error
	// RecordPath is the file name that is offered, empty for none.
	RecordPath string
	// ASCII draws without any character outside ASCII.
	ASCII bool
	// NoColor draws without colours; bold and reverse remain.
	NoColor bool
	// Theme is one of auto, dark, light, colour-blind and mono; empty is auto, which asks the terminal.
	Theme string
	// Light chooses colours for a light background before the terminal has said what it has.
	Light bool
	// Location is the zone in which times are shown, time.Local when nil.
	Location *time.Location
	// Input and Output are the terminal, standard input and output when nil.
	Input  io.Reader
	Output io.Writer
	// Width and Height are the size before the terminal has said its own; 0 for none.
	Width, Height int
}
