package export

import (
	"math"
	"strings"

	"lostbeat/model"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields and values of Perfetto's format: see perfetto.proto.
const (
	tracePacket = 1

	packetClocks    = 6
	packetTimestamp = 8
	packetSequence  = 10
	packetEvent     = 11
	packetFlags     = 13
	packetTrack     = 60

	clocksClock   = 1
	clocksPrimary = 2
	clockID       = 1
	clockTime     = 2

	trackUUID        = 1
	trackName        = 2
	trackProcess     = 3
	trackParent      = 5
	trackCounter     = 8
	trackOrdering    = 11
	trackRank        = 12
	trackDescription = 14

	processPID  = 1
	processName = 6

	counterUnit     = 3
	counterUnitName = 6

	eventNote     = 4
	eventType     = 9
	eventTrack    = 11
	eventCategory = 22
	eventName     = 23
	eventValue    = 44

	noteBool   = 2
	noteInt    = 4
	noteDouble = 5
	noteText   = 6
	noteName   = 10
	noteDict   = 11
	noteArray  = 12
)

const (
	clockRealtime  = 1
	clockMonotonic = 3
	clockBoottime  = 6
	// clockTrace is the trace's own clock. Where REALTIME is that, trace_processor 58 reports an error: it cannot relate
	// BOOTTIME to it.
	clockTrace = 11

	orderExplicit = 3
	stateCleared  = 1

	unitTime  = 1
	unitCount = 2
	unitBytes = 3
)

// eventKind is what a TrackEvent is.
type eventKind uint64

const (
	sliceBegin  eventKind = 1
	sliceEnd    eventKind = 2
	instant     eventKind = 3
	counterRead eventKind = 4
)

// sequence is the number of the only sequence of packets.
const sequence = 1

// note is a debug annotation: what is said of a slice when it is selected, and a row of the table args.
type note struct {
	name string
	// value is a string, an int64, a float64, a bool, or a []note: with names a dictionary, without an array.
	value any
}

// isEmpty says that there is nothing to write.
func (n *note) isEmpty() bool {
	switch v := n.value.(type) {
	case string:
		return v == ""
	case []note:
		return len(v) == 0
	case float64:
		return math.IsNaN(v) || math.IsInf(v, 0)
	}
	return false
}

func appendUint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendText(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

func appendDouble(dst []byte, field protowire.Number, x float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), math.Float64bits(x))
}

func appendMessage(dst []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), message)
}

// appendNote appends an annotation as a field of a message.
func appendNote(dst []byte, field protowire.Number, n *note) []byte {
	if n.isEmpty() {
		return dst
	}
	var room [128]byte
	message := appendText(room[:0], noteName, n.name)
	switch v := n.value.(type) {
	case string:
		message = appendText(message, noteText, v)
	case int64:
		message = appendUint(message, noteInt, uint64(v))
	case float64:
		message = appendDouble(message, noteDouble, v)
	case bool:
		message = appendUint(message, noteBool, protowire.EncodeBool(v))
	case []note:
		for i := range v {
			if v[i].name == "" {
				message = appendNote(message, noteArray, &v[i])
			} else {
				message = appendNote(message, noteDict, &v[i])
			}
		}
	}
	return appendMessage(dst, field, message)
}

// appendDescriptor appends the description of a track. A process has a pid, a counter a unit.
func appendDescriptor(dst []byte, d *descriptor) []byte {
	dst = appendUint(dst, trackUUID, d.uuid)
	if d.pid > 0 {
		process := appendUint(nil, processPID, uint64(d.pid))
		dst = appendMessage(dst, trackProcess, appendText(process, processName, d.name))
	} else {
		dst = appendText(dst, trackName, d.name)
	}
	if d.parent != 0 {
		dst = appendUint(dst, trackParent, d.parent)
	}
	if d.counter {
		var counter []byte
		switch d.unit {
		case "ns":
			counter = appendUint(counter, counterUnit, unitTime)
		case "bytes":
			counter = appendUint(counter, counterUnit, unitBytes)
		case "":
			counter = appendUint(counter, counterUnit, unitCount)
		default:
			counter = appendText(counter, counterUnitName, d.unit)
		}
		dst = appendMessage(dst, trackCounter, counter)
	} else {
		dst = appendUint(dst, trackOrdering, orderExplicit)
	}
	dst = appendUint(dst, trackRank, uint64(d.rank))
	return appendText(dst, trackDescription, d.doc)
}

// clockReading is what a clock showed.
type clockReading struct {
	id uint64
	at int64
}

// appendClocks appends what several clocks showed at one moment, the trace's own among them.
func appendClocks(dst []byte, readings []clockReading) []byte {
	for _, r := range readings {
		dst = appendMessage(dst, clocksClock, appendUint(appendUint(nil, clockID, r.id), clockTime, uint64(r.at)))
	}
	return appendUint(dst, clocksPrimary, clockTrace)
}

// trackEvent is a TrackEvent.
type trackEvent struct {
	kind     eventKind
	track    uint64
	at       model.Time
	name     string
	category string
	value    float64
	notes    []note
}

func appendEvent(dst []byte, h *trackEvent) []byte {
	for i := range h.notes {
		dst = appendNote(dst, eventNote, &h.notes[i])
	}
	dst = appendUint(dst, eventType, uint64(h.kind))
	dst = appendUint(dst, eventTrack, h.track)
	dst = appendText(dst, eventCategory, h.category)
	dst = appendText(dst, eventName, h.name)
	if h.kind == counterRead {
		dst = appendDouble(dst, eventValue, h.value)
	}
	return dst
}
