package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/model"
)

// Perfetto is the name of the format of a Trace.
const Perfetto = "perfetto"

// TraceExtensions are those of files that hold a trace, with which other programs recognise them.
var TraceExtensions = []string{".pftrace", ".perfetto-trace"}

// IsTrace says that a file name is that of a trace.
func IsTrace(name string) bool { return slices.Contains(TraceExtensions, filepath.Ext(name)) }

// TraceOptions are what a Trace shows.
type TraceOptions struct {
	// Stdout takes the trace where its path is "-".
	Stdout io.Writer
	// Replace replaces an existing file.
	Replace bool
	// Kinds are the kinds of events that are wanted, nil for all.
	Kinds map[model.Kind]bool
}

// Trace is a Perfetto trace that is being written: a file that has its name when it is complete, or standard output.
// docs/EXPORT.md lists its tracks. What is in memory is bounded: what holds at a moment, and a little for each track.
type Trace struct {
	path, temporary string
	f               *os.File
	out             *bufio.Writer
	written         int64
	err             error
	opts            TraceOptions
	done            Done

	inner, outer []byte
	processes    map[string]*process
	groups       map[trackKey]*trackGroup
	lanes        map[trackKey]*lanes
	counters     map[trackKey]*counter
	began        bool
	// roots is how many captures have a track.
	roots int32
}

// CreateTrace begins a trace. What is at path is left as it is until Close.
func CreateTrace(path string, o TraceOptions) (*Trace, error) {
	t := &Trace{
		path: path, opts: o, processes: map[string]*process{}, groups: map[trackKey]*trackGroup{},
		lanes: map[trackKey]*lanes{}, counters: map[trackKey]*counter{},
	}
	if path == "-" {
		t.out = bufio.NewWriterSize(o.Stdout, 64<<10)
		return t, nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil: // nothing there
	case !info.Mode().IsRegular():
		return nil, hint.New(plain.Text(path)+" is not a file", "a trace is one file: give the name of a new one")
	case !o.Replace:
		return nil, hint.New(plain.Text(path)+" exists", "--force replaces it")
	}
	if t.f, err = os.CreateTemp(filepath.Dir(path), ".lostbeat-export-*"); err != nil {
		return nil, err
	}
	t.temporary = t.f.Name()
	t.out = bufio.NewWriterSize(t.f, 64<<10)
	return t, nil
}

// packet writes t.outer, a packet without its sequence.
func (t *Trace) packet() {
	t.outer = appendUint(t.outer, packetSequence, sequence)
	if !t.began {
		t.began = true
		t.outer = appendUint(t.outer, packetFlags, stateCleared)
	}
	t.inner = appendMessage(t.inner[:0], tracePacket, t.outer)
	n, err := t.out.Write(t.inner)
	t.written += int64(n)
	if t.err == nil {
		t.err = err
	}
}

// event writes a TrackEvent.
func (t *Trace) event(h *trackEvent) {
	t.inner = appendEvent(t.inner[:0], h)
	t.outer = appendUint(t.outer[:0], packetTimestamp, uint64(h.at))
	t.outer = appendMessage(t.outer, packetEvent, t.inner)
	t.packet()
}

// clocks writes what clocks showed at a time. The packet has no timestamp: before the first one of its kind, a reader
// does not know which clock that would be of.
func (t *Trace) clocks(readings ...clockReading) {
	t.inner = appendClocks(t.inner[:0], readings)
	t.outer = appendMessage(t.outer[:0], packetClocks, t.inner)
	t.packet()
}

// Begin begins a capture, of which the time from since to until is shown.
func (t *Trace) Begin(c *Capture, since, until model.Time) error {
	if !t.began {
		at := int64(max(c.Start, 0))
		t.clocks(clockReading{clockTrace, at}, clockReading{clockRealtime, at})
	}
	t.processes[c.File] = newProcess(t, c, since, until)
	return t.err
}

// Skip takes an event of a capture that is not shown: it may say what holds when another one happens.
func (t *Trace) Skip(capture string, b *model.Batch, e *model.Event) error {
	p := t.processes[capture]
	p.learn(b, e)
	return t.err
}

// Write writes an event of b, which is from a capture that has begun, and reports whether a track shows it.
func (t *Trace) Write(capture string, b *model.Batch, e *model.Event) (shown bool, err error) {
	p := t.processes[capture]
	p.learn(b, e)
	if model.SpecOf(e.Kind) == nil {
		t.done.Unknown++
		return false, t.err
	}
	if e.Kind == model.KindFinding {
		return false, t.err
	}
	if !e.Possible() || e.Time == 0 {
		t.done.LeftOut++
		return false, t.err
	}
	if !p.show(b, e) {
		t.done.Trackless++
		return false, t.err
	}
	return true, t.err
}

// Finding writes a finding of a capture, or of several together when capture is empty.
func (t *Trace) Finding(capture string, found *model.Finding) error {
	p := t.processes[capture]
	if p == nil {
		p = newProcess(t, &Capture{File: capture}, 0, model.MaxTime)
		t.processes[capture] = p
	}
	p.finding(found)
	return t.err
}

// Capture ends a capture.
func (t *Trace) Capture(c *Capture) error {
	t.processes[c.File].finish(c)
	return t.err
}

// Abort removes what was written. After Close it does nothing.
func (t *Trace) Abort() error {
	if t.temporary == "" {
		return nil
	}
	err := errors.Join(t.f.Close(), os.Remove(t.temporary))
	t.temporary = ""
	return err
}

// Close completes the trace and gives its file its name.
func (t *Trace) Close() (Done, error) {
	t.done.Bytes = t.written
	if err := errors.Join(t.err, t.out.Flush()); err != nil {
		return t.done, err
	}
	if t.f == nil {
		return t.done, nil
	}
	if err := t.f.Close(); err != nil {
		return t.done, err
	}
	if _, err := os.Stat(t.path); err == nil && !t.opts.Replace { // it came meanwhile
		return t.done, hint.New(plain.Text(t.path)+" exists", "--force replaces it")
	}
	if err := os.Rename(t.temporary, t.path); err != nil {
		return t.done, fmt.Errorf("name the trace: %w", err)
	}
	t.temporary = ""
	return t.done, nil
}
