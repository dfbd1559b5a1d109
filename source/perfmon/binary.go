package perfmon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/model"
	"lostbeat/source"
)

// classBLG is the class of the events of a binary log, as it lies in the file:
// 933f3bb3-943e-490d-9ced-3cbb14c14479.
var classBLG = etw.GUID{0xb3, 0x3b, 0x3f, 0x93, 0x3e, 0x94, 0x0d, 0x49, 0x9c, 0xed, 0x3c, 0xbb, 0x14, 0xc1, 0x44, 0x79}

// Types of records.
const (
	recordCatalogue = 0x20
	recordSample    = 0x22
	recordNames     = 0x24
)

// maxRecord is the largest record that is joined from parts.
const maxRecord = 32 << 20

// partHeader is the length of log GUID, part and parts in front of a part.
const partHeader = 24

// Forms of catalogue entries.
const (
	formSingle    = 0
	formInstances = 1
	formObject    = 16
)

const noString = math.MaxUint32

// binaryLog reads BLG.
type binaryLog struct {
	r      io.ReaderAt
	size   int64
	names  *names
	header etl.Header
	// zone are the offsets of local time from UTC that the header allows: the
	// one that holds, found from the first sample, stands in offset.
	zone   []time.Duration
	offset time.Duration
	// fixed says that the user gave the offset.
	fixed bool
	// head is the length of the first buffer, which holds the log header.
	head int64
	// damage is what the last whole pass could not read.
	damage atomic.Pointer[source.Integrity]
}

// entry is one entry of the catalogue.
type entry struct {
	path
	form     uint32
	kind     CounterType
	timeBase uint64
}

// openBinary reads the log header and finds the first record of a performance log.
func openBinary(r io.ReaderAt, size int64, options *Options, n *names) (*binaryLog, error) {
	header, err := etl.ReadHeader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	b := &binaryLog{r: r, size: size, names: n, header: header}
	var head [4]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	b.head = min(int64(le.Uint32(head[:])), size)
	b.zone = []time.Duration{-time.Duration(header.TimeZoneBias) * time.Minute}
	found := false
	for record, err := range etl.Records(r, size) {
		var damage *etl.Damage
		if errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if record.Class == etw.ClassEventTrace && record.ID == 0 {
			b.zone = zoneOffsets(record.Payload, int(record.PointerSize))
		}
		if record.Class != classBLG {
			continue
		}
		if record.ID == recordSample {
			b.setOffset(etw.FileTime(record.Time))
			found = true
			break
		}
	}
	if options.UTCOffset != nil {
		b.offset, b.fixed = *options.UTCOffset, true
		b.zone = nil
	}
	if !found {
		return nil, fmt.Errorf("%w: it has no samples", ErrFormat)
	}
	return b, nil
}

// isBinary reports whether an event trace log has the records of a performance log.
func isBinary(r io.ReaderAt, size int64) bool {
	n := 0
	for record, err := range etl.Records(r, size) {
		if err == nil && record.Class == classBLG {
			return true
		}
		if n++; n > 64 {
			break
		}
	}
	return false
}

// zoneOffsets returns the offsets of local time from UTC that a log header's
// TIME_ZONE_INFORMATION knows: standard and summer time.
func zoneOffsets(payload []byte, pointer int) []time.Duration {
	at := 56 + 2*pointer
	if len(payload) < at+172 {
		return nil
	}
	zone := payload[at : at+172]
	bias, standard, daylight := int32(le.Uint32(zone)), int32(le.Uint32(zone[84:])), int32(le.Uint32(zone[168:]))
	out := []time.Duration{-time.Duration(bias+standard) * time.Minute}
	if le.Uint16(zone[154:]) != 0 { // the month in which summer time begins
		out = append(out, -time.Duration(bias+daylight)*time.Minute)
	}
	return out
}

// setOffset chooses the zone's offset with which the first sample, whose time
// is local, lies closest to the start of the log, which is UTC.
func (b *binaryLog) setOffset(local model.Time) {
	best := time.Duration(math.MaxInt64)
	for _, offset := range b.zone {
		if distance := local.Add(-offset).Sub(b.header.Start).Abs(); distance < best {
			best, b.offset = distance, offset
		}
	}
}

// binaryRun is the state of one pass over the records.
type binaryRun struct {
	*binaryLog
	to     sink
	parts  joiner
	titles map[uint32]string
	// catalogue are the entries that the records of a sample follow.
	catalogue []entry
	// table are the columns by path, objects those of performance data blocks.
	table   map[path]*counterState
	objects map[string]*objectState
	// offset is local time minus UTC, which a change of summer time moves.
	offset time.Duration
	now    model.Time
	// seen numbers the samples and the catalogues.
	seen int
	// slots is the number of columns that instances have had room for.
	slots int
}

// counterState is a column with its last reading.
type counterState struct {
	*column
	kind CounterType
	last Raw
	// sample is the number of the sample that last is from, 0 for none.
	sample int
}

// objectState are the columns of one object of one machine, by instance.
type objectState struct {
	name      string
	instances map[string]*instanceState
	identity  int // the counter that tells one process from another, -1 for none
}

type instanceState struct {
	counters []*counterState
	identity int64
}

func (b *binaryLog) read(ctx context.Context, from model.Time, to sink, progress func(int64)) error {
	r := binaryRun{
		binaryLog: b,
		to:        to,
		offset:    b.offset,
		titles:    map[uint32]string{},
		table:     map[path]*counterState{},
		objects:   map[string]*objectState{},
	}
	view, size := b.r, b.size
	if from != 0 {
		if v, ok := b.seek(from); ok {
			view, size = v, v.size()
		}
	}
	var done int64
	var found source.Integrity
	n := 0
	for record, err := range etl.Records(view, size) {
		if n++; n&63 == 0 {
			if stopped(ctx) {
				return nil
			}
			progress(min(done+b.size-size, b.size))
		}
		var damage *etl.Damage
		switch {
		case errors.As(err, &damage):
			if view != b.r && damage.Lost > 0 {
				continue // the part that was passed over
			}
			found.Add(damage.Error(), damage.Bytes)
			to.note(noteDamage, 1)
			r.parts.reset()
			r.seen++ // the reading before the damage is not the one before the next
			continue
		case err != nil:
			return fmt.Errorf("read samples: %w", err)
		}
		done += int64(len(record.Payload)) + 48
		if record.Class != classBLG {
			continue
		}
		body, ok := r.parts.join(record)
		if r.parts.broken {
			to.note(noteDamage, 1)
			r.parts.broken = false
		}
		if !ok {
			continue
		}
		if err := r.record(record, body); err != nil {
			return err
		}
	}
	if from == 0 {
		b.damage.Store(&found)
	}
	progress(b.size)
	return nil
}

// joiner joins the parts of a record.
type joiner struct {
	buf         []byte
	time        uint64
	id          uint16
	next, parts uint32
	// broken says that a record was given up because a part of it is missing.
	broken bool
}

func (j *joiner) reset() {
	j.broken = j.broken || j.next != 0
	j.next = 0
}

// join takes one part; ok says that body is a whole record, valid until the next call.
func (j *joiner) join(record *etw.Record) (body []byte, ok bool) {
	if len(record.Payload) < partHeader {
		j.reset()
		j.broken = true
		return nil, false
	}
	part, parts := le.Uint32(record.Payload[16:]), le.Uint32(record.Payload[20:])
	body = record.Payload[partHeader:]
	switch {
	case part == 1:
		if j.next != 0 {
			j.reset()
		}
		if parts == 1 {
			return body, true
		}
		j.buf, j.time, j.id, j.parts, j.next = append(j.buf[:0], body...), record.Time, record.ID, parts, 2
		return nil, false
	case j.next == 0:
		// The middle of a record whose start was lost, or lies before a seek.
		return nil, false
	case part != j.next || parts != j.parts || record.ID != j.id || record.Time != j.time:
		j.reset()
		return nil, false
	}
	if len(j.buf)+len(body) > maxRecord {
		j.reset()
		return nil, false
	}
	j.buf = append(j.buf, body...)
	if part == parts {
		j.next = 0
		return j.buf, true
	}
	j.next++
	return nil, false
}

func (r *binaryRun) record(record *etw.Record, body []byte) error {
	switch record.ID {
	case recordNames:
		r.addTitles(body)
	case recordCatalogue:
		r.setCatalogue(body)
	case recordSample:
		return r.sample(etw.FileTime(record.Time), body)
	}
	return nil
}

// addTitles reads index and name, each ending in zero, behind the machine's name.
func (r *binaryRun) addTitles(body []byte) {
	text := strings.Split(utf16All(body), "\x00")
	for i := 1; i+1 < len(text); i += 2 {
		if index, err := strconv.ParseUint(text[i], 10, 32); err == nil {
			r.titles[uint32(index)] = text[i+1]
		}
	}
}

func utf16All(b []byte) string {
	return string(source.AppendUTF16(nil, b, false))
}

// entryStrings is where the strings of a catalogue entry begin.
const entryStrings = 0x34

func (r *binaryRun) setCatalogue(body []byte) {
	r.catalogue = r.catalogue[:0]
	r.seen++ // readings from before do not belong to the columns of this catalogue
	for b := body[min(8, len(body)):]; len(b) >= entryStrings; {
		n := le.Uint32(b)
		if n < entryStrings || n > uint32(len(b)) {
			r.to.note(noteDamage, 1)
			return
		}
		if len(r.catalogue) >= maxColumns {
			r.to.note(noteColumns, 1)
			return
		}
		r.catalogue = append(r.catalogue, parseEntry(b[:n]))
		b = b[n:]
	}
}

func parseEntry(b []byte) entry {
	at := func(field int) string {
		offset := le.Uint32(b[field:])
		if offset == noString || offset > math.MaxInt32 {
			return ""
		}
		return utf16String(b[entryStrings:], int(offset))
	}
	e := entry{form: le.Uint32(b[4:]), kind: CounterType(le.Uint32(b[12:])), timeBase: le.Uint64(b[16:])}
	e.machine = strings.TrimPrefix(at(0x1c), `\\`)
	e.object, e.instance, e.counter = at(0x20), at(0x24), at(0x30)
	if parent := at(0x28); parent != "" && e.instance != "" {
		e.instance = parent + "/" + e.instance
	}
	if n := le.Uint32(b[0x2c:]); n != 0 && n != noString && e.form == formSingle && e.instance != "" {
		e.instance += "#" + strconv.FormatUint(uint64(n), 10)
	}
	return e
}

// sample reads the records of one sample, one to each catalogue entry.
func (r *binaryRun) sample(local model.Time, body []byte) error {
	if len(body) < 8 || body[0] != 'B' || body[1] != 'L' {
		r.to.note(noteDamage, 1)
		return nil
	}
	if n := le.Uint32(body[4:]); n >= 8 && n <= uint32(len(body)) {
		body = body[:n]
	}
	records := body[8:]
	if !r.fixed {
		r.adjust(local, records)
	}
	r.now = local.Add(-r.offset)
	if r.now <= 0 {
		r.to.note(noteDamage, 1)
		return nil
	}
	ok, err := r.to.begin(r.now)
	if !ok || err != nil {
		return err
	}
	r.seen++
	for i := 0; len(records) >= 8; i++ {
		n := le.Uint32(records[4:])
		if records[0] != 'B' || records[1] != 'L' || n < 8 || n > uint32(len(records)) {
			r.to.note(noteDamage, 1)
			break
		}
		if i >= len(r.catalogue) {
			r.to.note(noteUnknown, 1)
			break
		}
		e := &r.catalogue[i]
		switch kind := records[3]; {
		case kind == 1 && e.form == formSingle:
			r.single(e, records[8:n])
		case kind == 2 && e.form == formInstances:
			r.instances(e, records[8:n])
		case kind == 5:
			if err := r.block(e, records[8:n]); err != nil {
				r.to.note(noteDamage, 1)
			}
		default:
			r.to.note(noteUnknown, 1)
		}
		records = records[n:]
	}
	return r.to.end()
}

// adjust keeps the offset right where the log runs past a change to or from
// summer time: a performance data block has the time in UTC.
func (r *binaryRun) adjust(local model.Time, records []byte) {
	if len(records) < 96 || records[3] != 5 {
		return
	}
	utc := etw.FileTime(le.Uint64(records[8+72:]))
	offset := local.Sub(utc).Round(15 * time.Minute)
	if utc == 0 || offset.Abs() > 15*time.Hour || (local.Sub(utc)-offset).Abs() > 10*time.Second {
		return
	}
	r.offset = offset
}

// single reads a PDH_RAW_COUNTER.
func (r *binaryRun) single(e *entry, b []byte) {
	if len(b) < 36 {
		r.to.note(noteDamage, 1)
		return
	}
	if !valid(le.Uint32(b)) {
		return
	}
	r.reading(
		r.state(e.path, e.kind),
		Raw{
			First:    int64(le.Uint64(b[16:])),
			Second:   int64(le.Uint64(b[24:])),
			Multi:    le.Uint32(b[32:]),
			TimeBase: float64(e.timeBase),
		},
	)
}

// valid reports whether a PDH status means data: PDH_CSTATUS_VALID_DATA or _NEW_DATA.
func valid(status uint32) bool { return status <= 1 }

// instances reads the readings of one counter for each instance.
func (r *binaryRun) instances(e *entry, b []byte) {
	if len(b) < 24 {
		r.to.note(noteDamage, 1)
		return
	}
	count := le.Uint32(b[4:])
	if count > uint32(len(b)-24)/24 {
		r.to.note(noteDamage, 1)
		return
	}
	if !valid(le.Uint32(b[8:])) {
		return
	}
	seen := make(map[string]int, count)
	names := 0
	for i := range int(count) {
		item := b[24+24*i:]
		name := utf16String(b, int(le.Uint32(item)&math.MaxInt32))
		// Names do not overlap: without this a small record could name any amount.
		if names += len(name); names > 2*len(b) {
			r.to.note(noteDamage, 1)
			return
		}
		p := e.path
		p.instance = numbered(name, seen)
		r.reading(
			r.state(p, e.kind),
			Raw{
				First:    int64(le.Uint64(item[8:])),
				Second:   int64(le.Uint64(item[16:])),
				Multi:    le.Uint32(item[4:]),
				TimeBase: float64(e.timeBase),
			},
		)
	}
}

// numbered tells instances of one name apart as PDH does: name, name#1, name#2.
func numbered(name string, seen map[string]int) string {
	n := seen[name]
	seen[name] = n + 1
	if n == 0 {
		return name
	}
	return name + "#" + strconv.Itoa(n)
}

// state returns the column with the given path.
func (r *binaryRun) state(p path, kind CounterType) *counterState {
	if s, ok := r.table[p]; ok {
		s.kind = kind
		return s
	}
	known, spec := r.names.find(p.object, p.counter)
	return r.add(p, known, spec, kind)
}

// add makes a column; nil when there are too many.
func (r *binaryRun) add(p path, known *objectSpec, spec *counterSpec, kind CounterType) *counterState {
	if len(r.table) >= maxColumns {
		r.to.note(noteColumns, 1)
		return nil
	}
	c := newColumn(p, known, spec)
	c.id, c.kind, c.typed = len(r.table), kind, true
	s := &counterState{column: c, kind: kind}
	r.table[p] = s
	return s
}

// reading cooks a reading with the one before it and hands the value on.
func (r *binaryRun) reading(s *counterState, now Raw) {
	if s == nil || !r.to.wants(s.column) {
		return
	}
	last, sample := s.last, s.sample
	s.last, s.sample = now, r.seen
	if s.kind.needsTwo() && sample != r.seen-1 {
		return
	}
	v, ok := Cook(s.kind, last, now)
	if !ok {
		return
	}
	count := math.NaN()
	if s.kind == Counter || s.kind == BulkCount {
		if n, ok := difference(s.kind, last.First, now.First); ok {
			count = n
		}
	}
	r.to.value(s.column, v, count)
}

// block reads the counters of a performance data block.
func (r *binaryRun) block(e *entry, b []byte) error {
	p, err := parsePerfData(b)
	if err != nil {
		return err
	}
	machine := p.machine
	if machine == "" {
		machine = e.machine
	}
	parents := map[uint32][]string{}
	for i := range p.objects {
		o := &p.objects[i]
		state := r.object(machine, e.object, o)
		if len(o.instances) == 0 {
			if o.single != nil {
				r.values(p, o, state, machine, "", o.single)
			}
			continue
		}
		seen := make(map[string]int, len(o.instances))
		for j := range o.instances {
			in := &o.instances[j]
			name := in.name
			if list := parents[in.parentObject]; in.parentObject != 0 && int(in.parent) < len(list) {
				name = list[in.parent] + "/" + name
			}
			parents[o.index] = append(parents[o.index], in.name)
			r.values(p, o, state, machine, numbered(name, seen), in.values)
		}
	}
	return nil
}

// idProcess is the perflib index of "ID Process".
const idProcess = 784

// object returns the state of an object, named by the table of names.
func (r *binaryRun) object(machine, fallback string, o *perfObject) *objectState {
	key := machine + "\x00" + strconv.FormatUint(uint64(o.index), 10)
	s, ok := r.objects[key]
	if !ok {
		s = &objectState{name: r.titles[o.index], instances: map[string]*instanceState{}, identity: -1}
		if s.name == "" {
			s.name = fallback
		}
		r.objects[key] = s
	}
	s.identity = -1
	for i := range o.counters {
		if o.counters[i].index == idProcess {
			s.identity = i
		}
	}
	return s
}

// values hands on the readings of one instance.
func (r *binaryRun) values(p *perfBlock, o *perfObject, s *objectState, machine, instance string, values []byte) {
	in, ok := s.instances[instance]
	if !ok || len(in.counters) != len(o.counters) {
		if r.slots += len(o.counters) + 8; r.slots > 4*maxColumns {
			r.to.note(noteColumns, len(o.counters))
			return
		}
		in = &instanceState{counters: make([]*counterState, len(o.counters))}
		s.instances[instance] = in
	}
	fresh := false
	if s.identity >= 0 {
		// "#N" moves to another process when one ends: its counters start anew.
		id, _ := o.counters[s.identity].value(values)
		fresh = id != in.identity
		in.identity = id
	}
	for i := range o.counters {
		c := &o.counters[i]
		if c.kind.isBase() {
			continue
		}
		raw, ok := p.raw(o, i, values)
		if !ok {
			continue
		}
		state := in.counters[i]
		if state == nil || state.kind != c.kind {
			state = r.titled(machine, s.name, instance, o, c)
			in.counters[i] = state
		}
		if fresh && state != nil {
			state.sample = 0
		}
		r.reading(state, raw)
	}
}

// titled returns the column of a counter that is known by its index.
func (r *binaryRun) titled(machine, object, instance string, o *perfObject, c *perfCounter) *counterState {
	counter := r.titles[c.index]
	if counter == "" {
		counter = strconv.FormatUint(uint64(c.index), 10)
	}
	p := path{machine: machine, object: object, instance: instance, counter: counter}
	if s, ok := r.table[p]; ok {
		s.kind = c.kind
		return s
	}
	known, spec := findIndex(o.index, c.index)
	if spec == nil {
		known, spec = r.names.find(object, counter)
	}
	return r.add(p, known, spec, c.kind)
}
