package etwfake

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
)

// Session is one of the two sessions that lostbeat starts.
type Session uint32

// Sessions.
const (
	System Session = iota
	User
)

// LostBy is the counter that has the loss of an event.
type LostBy uint16

// Counters of losses.
const (
	NotLost LostBy = iota
	// LostEvents is EventsLost of the session.
	LostEvents
	// LostRecord is a record RT_LostEvent in its stream.
	LostRecord
	// LostBuffers is RealTimeBuffersLost of the session.
	LostBuffers
	// LostBufferRecord is a record RT_LostBuffer in its stream.
	LostBufferRecord
	// LostTime is the time of the last event that was lost, and nothing else.
	LostTime
)

// Event is an event, or a series of equal ones, that a session gets.
type Event struct {
	Session Session
	// At is when it comes, after the start of the session.
	At time.Duration
	// Repeat is how many there are, Every the time between two of them; 0 means one.
	Repeat uint32
	Every  time.Duration
	// Began is when what the event reports began, which stands at the beginning of the payload; 0 for none.
	Began time.Duration
	// Lost says that the session loses it, and which counter has that.
	Lost LostBy
	// Record is what is logged; its time is not used.
	Record etw.Record
}

const (
	entrySize      = 32 + headerSize
	headerSize     = 80
	noTime         = 0xffff
	flagClassic    = 0x0100
	flag64Bit      = 0x0040
	flag32Bit      = 0x0020
	payloadOfBegan = 8
)

// Encode writes events in the form that the DLL reads, in order of time.
func Encode(events []Event) []byte {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	var out []byte
	le := binary.LittleEndian
	for _, e := range events {
		r := &e.Record
		payload := bytes.Clone(r.Payload)
		timeAt := uint16(noTime)
		if e.Began > 0 && len(payload) >= payloadOfBegan {
			timeAt = 0
			le.PutUint64(payload, uint64(e.Began))
		}
		size := (entrySize + len(payload) + 7) &^ 7
		at := len(out)
		out = le.AppendUint32(out, uint32(size))
		out = le.AppendUint32(out, uint32(e.Session))
		out = le.AppendUint64(out, uint64(e.At))
		out = le.AppendUint32(out, max(e.Repeat, 1))
		out = le.AppendUint32(out, uint32(e.Every))
		out = le.AppendUint16(out, timeAt)
		out = le.AppendUint16(out, uint16(e.Lost))
		out = le.AppendUint16(out, uint16(max(r.CPU, 0)))
		out = le.AppendUint16(out, uint16(len(payload)))
		out = append(out, header(r)...)
		out = append(out, payload...)
		out = append(out, make([]byte, at+size-len(out))...)
	}
	return out
}

// header returns the EVENT_HEADER of a record.
func header(r *etw.Record) []byte {
	le := binary.LittleEndian
	h := make([]byte, headerSize)
	flags := uint16(flag64Bit)
	if r.PointerSize == 4 {
		flags = flag32Bit
	}
	version, opcode := uint8(r.Version), r.Opcode
	if r.Classic() {
		flags |= flagClassic
		opcode = uint8(r.ID)
	} else {
		le.PutUint16(h[40:], r.ID)
	}
	le.PutUint16(h[4:], flags)
	le.PutUint32(h[8:], uint32(r.TID))
	le.PutUint32(h[12:], uint32(r.PID))
	copy(h[24:], r.Class[:])
	h[42], h[43], h[44], h[45] = version, r.Channel, r.Level, opcode
	le.PutUint16(h[46:], r.Task)
	le.PutUint64(h[48:], r.Keyword)
	copy(h[64:], r.Activity[:])
	return h
}

// FromETL returns the events of a trace, as its session had them, from its start on.
func FromETL(r io.ReaderAt, size int64) ([]Event, error) {
	head, err := etl.ReadHeader(r, size)
	if err != nil {
		return nil, err
	}
	clock := head.Clock
	var events []Event
	for record, err := range etl.Records(r, size) {
		var damage *etl.Damage
		switch {
		case errors.As(err, &damage):
			continue
		case err != nil:
			return nil, fmt.Errorf("read the trace: %w", err)
		case record.Class == etw.ClassEventTrace || record.Header == etw.HeaderMessage:
			continue
		}
		e := Event{Session: User, At: max(clock.Time(record.Time).Sub(clock.Start), 0), Record: *record}
		e.Record.Payload = bytes.Clone(record.Payload)
		if record.Classic() {
			e.Session = System
		}
		if record.Class == etw.ClassPerfInfo && len(record.Payload) >= payloadOfBegan && record.ID != opSample {
			began := binary.LittleEndian.Uint64(record.Payload)
			e.Began = clock.Time(began).Sub(clock.Start)
		}
		events = append(events, e)
	}
	return events, nil
}

// opSample is the one PerfInfo event here whose payload does not begin with a time.
const opSample = 46
