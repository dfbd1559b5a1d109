package etl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"lostbeat/etw"
	"lostbeat/model"
	"lostbeat/source"
)

// Inventory lists what a file contains.
type Inventory struct {
	// File is the path that was opened, "" for none.
	File string
	// EventsTotal is the number of records, the log header's own included.
	EventsTotal uint64
	// Events are the kinds of records, the most frequent first.
	Events []EventCount
	// Processors is the number of processors of the recording machine.
	Processors uint32
	// Start and End are the session's; End is 0 in a file that was not finalised.
	Start, End model.Time
	// First and Last are the times of the earliest and latest record that is not about the log itself; 0 when there is
	// none.
	First, Last model.Time
	// Lost and BuffersLost are what the session counted as lost.
	Lost, BuffersLost uint32
	// Buffers is the number of buffers, Damaged how many parts could not be read, DamagedBytes their size.
	Buffers      int
	Damaged      int
	DamagedBytes int64
	// Integrity says how much of the file could be read.
	Integrity source.Integrity
	// Windows is the version of the recording Windows, Session the session's name.
	Windows, Session string
	// Clock is the session's clock, Compression the format of compressed buffers.
	Clock, Compression string
	// PointerSize is 4 or 8.
	PointerSize uint8
	// Host is the recording machine, "" unknown; Kernel the version and build of its Windows.
	Host, Kernel string
	// Probes says what the capture can show and what not.
	Probes []model.Probe
	// Packets are those on the wire that Packet Monitor has, 0 unknown; PacketReports and DropReports its reports of
	// packets and of drops.
	Packets, PacketReports, DropReports uint64
	// Notes are what is to be known of its packets, Adapters those whose packets it has.
	Notes, Adapters []string
}

// EventCount counts the records of one kind.
type EventCount struct {
	// Provider is the GUID of the provider or class; that of a trace message has the prefix "wpp:".
	Provider string
	// Event is "id" with an event id, "op" with an opcode, or "msg" with a message number.
	Event string
	// Version is the version of the payload.
	Version uint16
	Count   uint64
	// Name is what the event is called where a schema says so.
	Name string
}

type eventJSON struct {
	Provider string `json:"provider"`
	Event    string `json:"event"`
	Version  uint16 `json:"version"`
	Count    uint64 `json:"count"`
	Name     string `json:"name,omitempty"`
}

type probeJSON struct {
	Name   string `json:"name"`
	Part   string `json:"part,omitempty"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// MarshalJSON writes times as RFC 3339 with nanoseconds, unknown ones as null.
func (v Inventory) MarshalJSON() ([]byte, error) {
	events := make([]eventJSON, len(v.Events))
	for i, e := range v.Events {
		events[i] = eventJSON(e)
	}
	probes := make([]probeJSON, len(v.Probes))
	for i, p := range v.Probes {
		probes[i] = probeJSON{p.Name, p.Part, p.State.String(), p.Reason, p.Hint}
	}
	return json.Marshal(struct {
		File         string      `json:"file"`
		Format       string      `json:"format"`
		EventsTotal  uint64      `json:"events_total"`
		Processors   uint32      `json:"processors"`
		Start        *string     `json:"start"`
		End          *string     `json:"end"`
		First        *string     `json:"first_event"`
		Last         *string     `json:"last_event"`
		Lost         uint32      `json:"lost"`
		BuffersLost  uint32      `json:"buffers_lost"`
		Buffers      int         `json:"buffers"`
		Damaged      int         `json:"damaged"`
		DamagedBytes int64       `json:"damaged_bytes"`
		Complete     bool        `json:"complete"`
		Damage       []string    `json:"damage,omitempty"`
		Windows      string      `json:"windows"`
		Session      string      `json:"session"`
		Clock        string      `json:"clock"`
		Compression  string      `json:"compression"`
		PointerSize  uint8       `json:"pointer_size"`
		Host         string      `json:"host"`
		OS           string      `json:"os"`
		Kernel       string      `json:"kernel"`
		Notes        []string    `json:"notes,omitempty"`
		Adapters     []string    `json:"adapters,omitempty"`
		Packets      uint64      `json:"packets,omitempty"`
		Probes       []probeJSON `json:"probes"`
		Events       []eventJSON `json:"events"`
	}{v.File, "etl", v.EventsTotal, v.Processors, timeJSON(v.Start), timeJSON(v.End), timeJSON(v.First),
		timeJSON(v.Last), v.Lost, v.BuffersLost, v.Buffers, v.Damaged, v.DamagedBytes,
		v.Integrity.Complete(), v.Integrity.Damage, v.Windows, v.Session, v.Clock,
		v.Compression, v.PointerSize, v.Host, "windows", v.Kernel, v.Notes, v.Adapters, v.Packets, probes,
		events})
}

func timeJSON(t model.Time) *string {
	if t == 0 {
		return nil
	}
	s := t.String()
	return &s
}

// countKey is a kind of record with its version.
type countKey struct {
	class   etw.GUID
	id      uint16
	version uint16
	header  etw.Header
}

// Inventory reads the whole file and counts its records.
func (f *File) Inventory(ctx context.Context) (Inventory, error) {
	h := &f.header
	v := Inventory{
		File:        f.name,
		Processors:  h.Processors,
		Start:       h.Start,
		End:         h.End,
		Lost:        h.EventsLost,
		BuffersLost: h.BuffersLost,
		Buffers:     len(f.buffers),
		Windows:     h.describe(),
		Session:     h.LoggerName,
		Clock:       h.Clock.Type.String(),
		Compression: h.Compression.String(),
		PointerSize: h.PointerSize,
	}
	counts := make(map[countKey]*uint64)
	state := etw.NewState()
	var first, last uint64
	each := func(r *etw.Record) bool {
		v.EventsTotal++
		k := countKey{r.Class, r.ID, r.Version, r.Header}
		switch r.Header {
		case etw.HeaderEvent, etw.HeaderMessage:
		default:
			k.header = etw.HeaderFull // a class arrives with several headers
		}
		n := counts[k]
		if n == nil {
			n = new(uint64)
			counts[k] = n
		}
		*n++
		if r.Class != etw.ClassEventTrace && r.Time != 0 {
			if first == 0 || r.Time < first {
				first = r.Time
			}
			last = max(last, r.Time)
		}
		state.Survey(r, &h.Clock)
		return true
	}
	var inside source.Integrity
	damaged := func(d *Damage) { inside.Add(d.Error(), d.Bytes) }
	if err := f.scan(ctx, f.buffers, nil, each, damaged); err != nil {
		return v, fmt.Errorf("inventory: %w", err)
	}
	f.verify(inside)
	v.Integrity = f.Integrity()
	v.Damaged, v.DamagedBytes = len(v.Integrity.Damage)+v.Integrity.More, v.Integrity.Bytes
	if first != 0 {
		v.First, v.Last = h.Clock.Time(first), h.Clock.Time(last)
	}
	state.Settle()
	if m := state.Monitor; m != nil {
		v.Notes, v.Adapters = m.Notes(), m.Adapters()
		v.Packets, v.PacketReports, v.DropReports = m.Packets(), m.Reported, m.Dropped
	}
	v.Host, v.Kernel = state.Host.Computer, h.kernel(&state.Host)
	v.Probes = []model.Probe{f.recorded()}
	if f.options.Probes != nil {
		for _, p := range f.options.Probes() {
			v.Probes = append(v.Probes, p.Status(state.Census)...)
		}
	}
	for k, n := range counts {
		v.Events = append(v.Events, f.describe(k, *n, state))
	}
	slices.SortFunc(v.Events, func(a, b EventCount) int {
		return cmp.Or(
			cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Provider, b.Provider),
			cmp.Compare(a.Event, b.Event),
			cmp.Compare(a.Version, b.Version),
		)
	})
	return v, nil
}

func (f *File) describe(k countKey, n uint64, state *etw.State) EventCount {
	e := EventCount{Provider: k.class.String(), Version: k.version, Count: n}
	switch k.header {
	case etw.HeaderEvent:
		e.Event = fmt.Sprintf("id%d", k.id)
	case etw.HeaderMessage:
		e.Provider = "wpp:" + e.Provider
		e.Event = fmt.Sprintf("msg%d", k.id)
	default:
		e.Event = fmt.Sprintf("op%d", k.id)
	}
	e.Name = state.Name(&etw.Record{Class: k.class, ID: k.id, Version: k.version, Header: k.header})
	return e
}

// progressInterval is how many bytes are read between two reports.
const progressInterval = 4 << 20

// scan hands the records of the given buffers to each, in the order of the
// buffers, and damage inside of them to damaged. passed leaves records out, see walker.
func (f *File) scan(
	ctx context.Context, buffers []buffer, passed func(b []byte, kind uint8) bool, each func(*etw.Record) bool,
	damaged func(*Damage),
) error {
	w := walker{r: f.r, header: &f.header, passed: passed}
	var done, reported int64
	for i := range buffers {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.buffer(&buffers[i], each, func(d *Damage) bool {
			damaged(d)
			return true
		})
		done += int64(buffers[i].size)
		if f.options.Progress != nil && done-reported >= progressInterval {
			reported = done
			f.options.Progress(done, f.size)
		}
	}
	return nil
}
