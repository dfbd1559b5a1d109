package record

import (
	"hash/crc32"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Limits of one Events message. The writer begins a new message before it
// reaches them, the reader refuses what is beyond them.
const (
	maxShapes  = 1 << 16
	maxKinds   = 1 << 10
	maxColumns = 1 << 6 // of one kind
	maxStrings = 1 << 17
	maxStacks  = 1 << 16
	maxHists   = 1 << 17
	maxFrames  = 1 << 20 // of all stacks
	maxDepth   = 1 << 10 // of one stack, deeper than any unwinder goes; the writer cuts off what is below
	maxBuckets = 1 << 20 // of all histograms
)

// Numbers of the protobuf fields, as in record.proto.
const (
	envelopeCRC     = 1
	envelopeHeader  = 2
	envelopeSummary = 3
	envelopeBlock   = 4
	envelopeIndex   = 5

	blockSeq      = 1
	blockClock    = 2
	blockKeyframe = 3
	blockEvents   = 4

	eventsCount   = 1
	eventsStrings = 2
	eventsStacks  = 3
	eventsHists   = 4
	eventsTimes   = 5
	eventsShape   = 6
	eventsShapes  = 7
	eventsKinds   = 8

	rowsKind    = 1
	rowsRows    = 2
	rowsColumns = 3

	columnField    = 1
	columnEncoding = 2
	columnValues   = 3

	stackAddr = 1
	stackName = 2
)

// Fields of events, see recordpb.Field; slots of arguments and so on are added.
const (
	fieldKind     = uint32(recordpb.Field_FIELD_KIND)
	fieldFlags    = uint32(recordpb.Field_FIELD_FLAGS)
	fieldCPU      = uint32(recordpb.Field_FIELD_CPU)
	fieldPID      = uint32(recordpb.Field_FIELD_PID)
	fieldTID      = uint32(recordpb.Field_FIELD_TID_LESS_PID)
	fieldResource = uint32(recordpb.Field_FIELD_RESOURCE)
	fieldDuration = uint32(recordpb.Field_FIELD_DURATION)
	fieldStack    = uint32(recordpb.Field_FIELD_STACK)
	fieldNetns    = uint32(recordpb.Field_FIELD_NETNS)
	fieldArg0     = uint32(recordpb.Field_FIELD_ARG0)
	fieldString0  = uint32(recordpb.Field_FIELD_STRING0)
	fieldHist0    = uint32(recordpb.Field_FIELD_HISTOGRAM0)
)

// encoding is how a column's values are written, see recordpb.Encoding.
type encoding uint8

const (
	plain   = encoding(recordpb.Encoding_ENCODING_PLAIN)
	zigzag  = encoding(recordpb.Encoding_ENCODING_ZIGZAG)
	delta   = encoding(recordpb.Encoding_ENCODING_DELTA)
	swapped = encoding(recordpb.Encoding_ENCODING_SWAPPED)
)

// column gathers the values of one field.
type column struct {
	field uint32
	enc   encoding
	// one says that all values so far are the same: first.
	one   bool
	rows  int
	first uint64
	prev  uint64
	buf   []byte
}

// reset empties the column and keeps its buffer.
func (c *column) reset() { c.one, c.rows, c.first, c.prev, c.buf = true, 0, 0, 0, c.buf[:0] }

// add appends a value and returns how many bytes that took.
func (c *column) add(v uint64) int {
	if c.rows == 0 {
		c.first, c.one = v, true
	} else if v != c.first {
		c.one = false
	}
	c.rows++
	before := len(c.buf)
	switch c.enc {
	case zigzag:
		c.buf = protowire.AppendVarint(c.buf, protowire.EncodeZigZag(int64(v)))
	case delta:
		c.buf = protowire.AppendVarint(c.buf, protowire.EncodeZigZag(int64(v-c.prev)))
		c.prev = v
	case swapped:
		c.buf = protowire.AppendVarint(c.buf, bits.ReverseBytes64(v))
	default:
		c.buf = protowire.AppendVarint(c.buf, v)
	}
	return len(c.buf) - before
}

// append writes the column as a Rows.columns field; one that is 0 throughout is left out.
func (c *column) append(dst []byte) []byte {
	if c.rows == 0 || c.one && c.first == 0 {
		return dst
	}
	values := c.buf
	if c.one {
		_, n := protowire.ConsumeVarint(values)
		values = values[:n]
	}
	size := 2 + protowire.SizeTag(columnValues) + protowire.SizeBytes(len(values))
	if c.enc != plain {
		size += 2
	}
	dst = protowire.AppendTag(dst, rowsColumns, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendUint(dst, columnField, uint64(c.field))
	dst = appendUint(dst, columnEncoding, uint64(c.enc))
	return appendBytes(dst, columnValues, values)
}

// layout says which fields of a kind go into columns of their own because they
// differ from event to event; the rest makes the shape.
type layout struct {
	resource bool
	args     [model.MaxArgs]bool
	argEnc   [model.MaxArgs]encoding
}

// layouts holds the layout of every known kind; built from model.Specs, never changed.
var layouts = func() (table [128]layout) {
	for i := range model.Specs {
		s := &model.Specs[i]
		l := &table[s.Kind]
		l.resource = s.Resource.Unit == model.UnitHex
		for j := range s.Args {
			switch s.Args[j].Unit {
			case model.UnitCount, model.UnitBytes, model.UnitNanoseconds, model.UnitPort:
				l.args[j] = true
			case model.UnitFloat:
				l.args[j], l.argEnc[j] = true, swapped
			case model.UnitTime:
				l.args[j], l.argEnc[j] = true, delta
			}
		}
	}
	return table
}()

func layoutOf(k model.Kind) layout {
	if int(k) < len(layouts) {
		return layouts[k]
	}
	return layout{}
}

// kindColumns gathers the events of one kind.
type kindColumns struct {
	kind     model.Kind
	layout   layout
	rows     int
	dur      column
	resource column
	args     [model.MaxArgs]column
	hists    [model.MaxHists]column
}

func newKindColumns(k model.Kind) *kindColumns {
	c := &kindColumns{
		kind:     k,
		layout:   layoutOf(k),
		dur:      column{field: fieldDuration, enc: zigzag},
		resource: column{field: fieldResource, enc: delta},
	}
	for i := range c.args {
		c.args[i] = column{field: fieldArg0 + uint32(i), enc: c.layout.argEnc[i]}
	}
	for i := range c.hists {
		c.hists[i] = column{field: fieldHist0 + uint32(i), enc: delta}
	}
	c.reset()
	return c
}

func (c *kindColumns) reset() {
	c.rows = 0
	for _, col := range c.columns() {
		col.reset()
	}
}

// columns lists the columns in the order of their fields.
func (c *kindColumns) columns() []*column {
	all := make([]*column, 0, 2+len(c.args)+len(c.hists))
	all = append(all, &c.resource, &c.dur)
	for i := range c.args {
		all = append(all, &c.args[i])
	}
	for i := range c.hists {
		all = append(all, &c.hists[i])
	}
	return all
}

// add takes what differs out of e, whose rest is the shape, and returns the
// bytes that it took.
func (c *kindColumns) add(e *model.Event) int {
	c.rows++
	n := c.dur.add(uint64(e.Dur))
	e.Dur = 0
	if c.layout.resource {
		n += c.resource.add(e.Resource)
		e.Resource = 0
	}
	for i := range e.Args {
		if c.layout.args[i] {
			n += c.args[i].add(e.Args[i])
			e.Args[i] = 0
		}
	}
	for i := range e.Hist {
		if c.hists[i].rows > 0 || e.Hist[i] != 0 {
			for c.hists[i].rows < c.rows-1 {
				c.hists[i].add(0)
			}
			n += c.hists[i].add(uint64(e.Hist[i]))
			e.Hist[i] = 0
		}
	}
	return n
}

// eventsEncoder builds one Events message, event by event. The zero value is ready for use.
type eventsEncoder struct {
	count int
	// size is about the length of the message so far.
	size   int
	times  column
	shape  column
	shapes map[model.Event]uint32
	order  []model.Event // the shapes by row
	recent [256]uint32   // rows of shapes seen lately, by shapeSlot
	kinds  map[model.Kind]*kindColumns
	used   []*kindColumns
	last   *kindColumns // of the event before, nil for none

	strings  []string
	byString map[string]uint32
	stacks   []byte // encoded
	nstacks  int
	frames   int
	hists    [6]column // as in Histograms, fields 1 to 6
	nbuckets int

	// Ids of the batch under way in this message, 0 where not carried over yet.
	fromStrings []uint32
	fromStacks  []uint32
}

// keptShapes is the largest table of shapes that is kept for the next message. A
// keyframe of a host with many processes has one shape and more to each.
const keptShapes = 1 << 12

// begin empties the encoder and keeps its buffers, as far as they are not
// unusually large.
func (x *eventsEncoder) begin() {
	if len(x.order) > keptShapes {
		x.shapes, x.order = make(map[model.Event]uint32), nil
	}
	if x.shapes == nil {
		x.shapes, x.byString, x.kinds = make(
			map[model.Event]uint32,
		), make(
			map[string]uint32,
		), make(
			map[model.Kind]*kindColumns,
		)
		x.times, x.shape = column{enc: delta}, column{}
	}
	clear(x.shapes)
	clear(x.byString)
	clear(x.strings)
	for _, c := range x.used {
		c.reset()
	}
	x.times.reset()
	x.shape.reset()
	for i := range x.hists {
		x.hists[i].field = uint32(i + 1)
		x.hists[i].reset()
	}
	clear(x.recent[:])
	x.last = nil
	x.count, x.size, x.nstacks, x.frames, x.nbuckets = 0, 0, 0, 0, 0
	x.order, x.used, x.strings, x.stacks = x.order[:0], x.used[:0], x.strings[:0], x.stacks[:0]
}

// batch announces the batch to which the next events belong.
func (x *eventsEncoder) batch(b *model.Batch) {
	x.fromStrings = zeroed(x.fromStrings, len(b.Strings))
	x.fromStacks = zeroed(x.fromStacks, len(b.Stacks))
}

func zeroed(s []uint32, n int) []uint32 {
	if cap(s) < n {
		return make([]uint32, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// full says that the message has to end before another event.
func (x *eventsEncoder) full() bool {
	return len(x.order) >= maxShapes-1 || len(x.used) >= maxKinds ||
		len(x.strings) >= maxStrings-model.MaxStrings-1 || x.nstacks >= maxStacks-1 || x.frames > maxFrames-maxDepth ||
		x.hists[0].rows >= maxHists-model.MaxHists ||
		x.nbuckets >= maxBuckets-model.MaxHists*256
}

// add appends e, an event of the announced batch b.
func (x *eventsEncoder) add(b *model.Batch, e model.Event) {
	x.count++
	x.size += x.times.add(uint64(e.Time))
	e.Time = 0
	for i, id := range e.Str {
		e.Str[i] = model.StringID(x.stringID(b, id))
	}
	for i, id := range e.Hist {
		e.Hist[i] = model.HistID(x.hist(b.Hist(id)))
	}
	if e.Stack != 0 {
		e.Stack = model.StackID(x.stackID(b, e.Stack))
	}
	x.size += x.columnsOf(e.Kind).add(&e)
	x.size += x.shape.add(uint64(x.row(&e)))
}

// columnsOf returns the columns of a kind.
func (x *eventsEncoder) columnsOf(k model.Kind) *kindColumns {
	if x.last != nil && x.last.kind == k {
		return x.last
	}
	c := x.kinds[k]
	if c == nil {
		c = newKindColumns(k)
		x.kinds[k] = c
	}
	if c.rows == 0 {
		x.used = append(x.used, c)
	}
	x.last = c
	return c
}

// row returns the row of e in the table of shapes. Most events have a shape
// that was seen lately, and comparing with that is quicker than the map.
func (x *eventsEncoder) row(e *model.Event) uint32 {
	recent := &x.recent[shapeSlot(e)]
	if int(*recent) < len(x.order) && x.order[*recent] == *e {
		return *recent
	}
	row, ok := x.shapes[*e]
	if !ok {
		row = uint32(len(x.order))
		x.shapes[*e] = row
		x.order = append(x.order, *e)
		x.size += 16
	}
	*recent = row
	return row
}

// shapeSlot returns where in eventsEncoder.recent a shape would be. It mixes
// what tells single runs apart: who ran, where, and what.
func shapeSlot(e *model.Event) uint8 {
	h := uint32(e.Kind)<<8 ^ uint32(e.Flags) ^ uint32(e.CPU)<<16 ^ uint32(e.TID)
	h = h*31 + uint32(e.Str[0])
	h = h*31 + uint32(e.Str[2])
	h = h*31 + uint32(e.Str[3])
	return uint8(h * 2654435761 >> 24)
}

func (x *eventsEncoder) stringID(b *model.Batch, id model.StringID) uint32 {
	if uint(id) >= uint(len(x.fromStrings)) {
		return x.intern(b.String(id)) // a finding, or nothing
	}
	if id == 0 {
		return 0
	}
	if known := x.fromStrings[id]; known != 0 {
		return known
	}
	to := x.intern(b.Strings[id])
	x.fromStrings[id] = to
	return to
}

func (x *eventsEncoder) intern(s string) uint32 {
	if s == "" {
		return 0
	}
	if id, ok := x.byString[s]; ok {
		return id
	}
	x.strings = append(x.strings, s)
	id := uint32(len(x.strings))
	x.byString[s] = id
	x.size += len(s) + 3
	return id
}

func (x *eventsEncoder) stackID(b *model.Batch, id model.StackID) uint32 {
	if int(id) >= len(x.fromStacks) {
		return 0
	}
	if known := x.fromStacks[id]; known != 0 || len(b.Stacks[id]) == 0 {
		return known
	}
	stack := b.Stacks[id][:min(len(b.Stacks[id]), maxDepth)]
	addrs, names := column{}, column{}
	named := false
	for _, f := range stack {
		addrs.add(f.Addr)
		names.add(uint64(x.intern(f.Name)))
		named = named || f.Name != ""
	}
	msg := appendBytes(nil, stackAddr, addrs.buf)
	if named {
		msg = appendBytes(msg, stackName, names.buf)
	}
	before := len(x.stacks)
	x.stacks = appendBytes(x.stacks, eventsStacks, msg)
	x.size += len(x.stacks) - before
	x.nstacks++
	x.frames += len(stack)
	x.fromStacks[id] = uint32(x.nstacks)
	return uint32(x.nstacks)
}

func (x *eventsEncoder) hist(h *model.Histogram) uint32 {
	if h == nil || h.Count == 0 {
		return 0
	}
	c := &x.hists
	x.size += c[0].add(h.Count) + c[1].add(h.Sum) + c[2].add(h.Max) + c[3].add(uint64(len(h.Buckets)))
	var last uint8
	for _, bc := range h.Buckets {
		x.size += c[4].add(uint64(bc.Bucket-last)) + c[5].add(bc.Count)
		last = bc.Bucket
	}
	x.nbuckets += len(h.Buckets)
	return uint32(c[0].rows)
}

// append writes the message's fields.
func (x *eventsEncoder) append(dst []byte) []byte {
	dst = appendUint(dst, eventsCount, uint64(x.count))
	for _, s := range x.strings {
		dst = protowire.AppendTag(dst, eventsStrings, protowire.BytesType)
		dst = protowire.AppendString(dst, s)
	}
	dst = append(dst, x.stacks...)
	if x.hists[0].rows > 0 {
		var msg []byte
		for i := range x.hists {
			msg = appendBytes(msg, protowire.Number(x.hists[i].field), x.hists[i].buf)
		}
		dst = appendBytes(dst, eventsHists, msg)
	}
	dst = appendBytes(dst, eventsTimes, x.times.buf)
	shape := x.shape.buf
	if x.shape.one {
		shape = shape[:min(1, len(shape))]
	}
	dst = appendBytes(dst, eventsShape, shape)
	dst = appendBytes(dst, eventsShapes, x.appendShapes(nil))
	for _, c := range x.used {
		msg := appendUint(nil, rowsKind, uint64(c.kind))
		msg = appendUint(msg, rowsRows, uint64(c.rows))
		for i := range c.hists {
			for c.hists[i].rows > 0 && c.hists[i].rows < c.rows {
				c.hists[i].add(0)
			}
		}
		for _, col := range c.columns() {
			msg = col.append(msg)
		}
		dst = appendBytes(dst, eventsKinds, msg)
	}
	return dst
}

// appendShapes writes the table of shapes as Rows.
func (x *eventsEncoder) appendShapes(dst []byte) []byte {
	dst = appendUint(dst, rowsRows, uint64(len(x.order)))
	put := func(field uint32, enc encoding, get func(*model.Event) uint64) {
		c := column{field: field, enc: enc}
		for i := range x.order {
			c.add(get(&x.order[i]))
		}
		dst = c.append(dst)
	}
	put(fieldKind, plain, func(e *model.Event) uint64 { return uint64(e.Kind) })
	put(fieldFlags, plain, func(e *model.Event) uint64 { return uint64(e.Flags) })
	put(fieldCPU, zigzag, func(e *model.Event) uint64 { return uint64(e.CPU) })
	put(fieldPID, zigzag, func(e *model.Event) uint64 { return uint64(e.PID) })
	put(fieldTID, zigzag, func(e *model.Event) uint64 { return uint64(int64(e.TID) - int64(e.PID)) })
	put(fieldResource, plain, func(e *model.Event) uint64 { return e.Resource })
	put(fieldStack, plain, func(e *model.Event) uint64 { return uint64(e.Stack) })
	put(fieldNetns, plain, func(e *model.Event) uint64 { return uint64(e.Netns) })
	for i := range model.MaxArgs {
		put(fieldArg0+uint32(i), plain, func(e *model.Event) uint64 { return e.Args[i] })
	}
	for i := range model.MaxStrings {
		put(fieldString0+uint32(i), delta, func(e *model.Event) uint64 { return uint64(e.Str[i]) })
	}
	return dst
}

func appendUint(dst []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendBytes(dst []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), v)
}

func appendFixed64(dst []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), v)
}

// appendEnvelope writes body with its checksum as a message with its length in front.
func appendEnvelope(dst []byte, field protowire.Number, body []byte) []byte {
	size := 5 + protowire.SizeTag(field) + protowire.SizeBytes(len(body))
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendFixed32(
		protowire.AppendTag(dst, envelopeCRC, protowire.Fixed32Type),
		crc32.Checksum(body, castagnoli),
	)
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), body)
}
