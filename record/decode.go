package record

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	"lostbeat/model"
)

// batchSize is the number of events that the reader puts into a batch: little
// enough to stay in the processor's cache.
const batchSize = 2048

// errMalformed is the root of all faults inside a message.
var errMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// field is one field of a message: number is its value when it is numeric,
// bytes when it is not.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	number uint64
	bytes  []byte
}

// eachField calls f for every field of msg.
func eachField(msg []byte, f func(field) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return malformed("tag: %v", protowire.ParseError(n))
		}
		msg = msg[n:]
		v := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(msg)
		case protowire.Fixed64Type:
			v.number, n = protowire.ConsumeFixed64(msg)
		case protowire.Fixed32Type:
			var small uint32
			small, n = protowire.ConsumeFixed32(msg)
			v.number = uint64(small)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return malformed("field %d: %v", num, protowire.ParseError(n))
		}
		msg = msg[n:]
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

// packed gathers a repeated number, which may be packed or not, and in parts.
type packed struct {
	buf []byte
	// own says that buf is not a part of the message.
	own bool
}

func (p *packed) take(v field) {
	if len(p.buf) == 0 && v.typ == protowire.BytesType {
		p.buf, p.own = v.bytes, false
		return
	}
	if !p.own {
		p.buf, p.own = append([]byte(nil), p.buf...), true
	}
	if v.typ == protowire.BytesType {
		p.buf = append(p.buf, v.bytes...)
	} else {
		p.buf = protowire.AppendVarint(p.buf, v.number)
	}
}

// varint reads one value off the front of p; it is the reader's inner loop.
func (p *packed) varint() (uint64, bool) {
	b := p.buf
	if len(b) > 0 && b[0] < 0x80 {
		p.buf = b[1:]
		return uint64(b[0]), true
	}
	if len(b) > 1 && b[1] < 0x80 {
		p.buf = b[2:]
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, true
	}
	if len(b) > 2 && b[2] < 0x80 {
		p.buf = b[3:]
		return uint64(b[0]&0x7f) | uint64(b[1]&0x7f)<<7 | uint64(b[2])<<14, true
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, false
	}
	p.buf = b[n:]
	return v, true
}

// countVarints returns how many numbers b holds.
func countVarints(b []byte) (n int) {
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	return n
}

// columnReader gives the values of a column in turn.
type columnReader struct {
	field uint32
	enc   encoding
	// one says that all rows have the value prev.
	one  bool
	prev uint64
	packed
}

func parseColumn(msg []byte, rows int) (columnReader, error) {
	var c columnReader
	var number, enc uint64
	err := eachField(msg, func(v field) error {
		switch v.num {
		case columnField:
			number = v.number
		case columnEncoding:
			enc = v.number
		case columnValues:
			c.take(v)
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	if number > math.MaxUint8 || enc > uint64(swapped) {
		return c, malformed("field %d, encoding %d of a column", number, enc)
	}
	c.field, c.enc = uint32(number), encoding(enc)
	// A single value stands for all rows.
	if _, n := protowire.ConsumeVarint(c.buf); n == len(c.buf) && n > 0 {
		v, _ := c.next()
		c.one, c.prev = true, v
	} else if len(c.buf) < rows {
		return c, malformed("column of %d bytes for %d rows", len(c.buf), rows)
	}
	return c, nil
}

func (c *columnReader) next() (uint64, bool) {
	if c.one {
		return c.prev, true
	}
	v, ok := c.varint()
	switch c.enc {
	case zigzag:
		v = uint64(protowire.DecodeZigZag(v))
	case delta:
		v = c.prev + uint64(protowire.DecodeZigZag(v))
		c.prev = v
	case swapped:
		v = bits.ReverseBytes64(v)
	}
	return v, ok
}

// set puts a value of the given field into e. What this version does not know
// of is left out.
func set(e *model.Event, number uint32, v uint64) {
	switch {
	case number >= fieldArg0 && number < fieldArg0+model.MaxArgs:
		e.Args[number-fieldArg0] = v
	case number == fieldDuration:
		e.Dur = model.Time(v).Sub(0)
	case number == fieldResource:
		e.Resource = v
	case number == fieldKind:
		e.Kind = model.Kind(v)
	case number == fieldFlags:
		e.Flags = model.Flags(v)
	case number == fieldCPU:
		e.CPU = int32(v)
	case number == fieldPID:
		e.PID = int32(v)
	case number == fieldTID:
		e.TID = int32(v) // less PID, see eventsReader.shapes
	case number == fieldStack:
		e.Stack = model.StackID(v)
	case number == fieldNetns:
		e.Netns = uint32(v)
	case number >= fieldString0 && number < fieldString0+model.MaxStrings:
		e.Str[number-fieldString0] = model.StringID(v)
	case number >= fieldHist0 && number < fieldHist0+model.MaxHists:
		e.Hist[number-fieldHist0] = model.HistID(v)
	}
}

// rowsReader gives the rows of one kind in turn.
type rowsReader struct {
	kind    model.Kind
	left    int
	columns []columnReader
}

func parseRows(msg []byte) (rowsReader, error) {
	var r rowsReader
	var columns [][]byte
	err := eachField(msg, func(v field) error {
		switch v.num {
		case rowsKind:
			if v.number > math.MaxUint16 {
				return malformed("kind %d", v.number)
			}
			r.kind = model.Kind(v.number)
		case rowsRows:
			if v.number > math.MaxInt32 {
				return malformed("%d rows", v.number)
			}
			r.left = int(v.number)
		case rowsColumns:
			if columns = append(columns, v.bytes); len(columns) > maxColumns {
				return malformed("more than %d columns", maxColumns)
			}
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	for _, c := range columns {
		col, err := parseColumn(c, r.left)
		if err != nil {
			return r, err
		}
		r.columns = append(r.columns, col)
	}
	return r, nil
}

// read puts the next row into e.
func (r *rowsReader) read(e *model.Event) bool {
	if r.left == 0 {
		return false
	}
	r.left--
	for i := range r.columns {
		c := &r.columns[i]
		v, ok := c.next()
		if !ok {
			return false
		}
		set(e, c.field, v)
	}
	return true
}

// eventsReader decodes one Events message batch by batch.
type eventsReader struct {
	left   int
	time   uint64
	times  packed
	shape  columnReader
	shapes []model.Event
	// kinds is indexed by kind for the low numbers, rest holds the others.
	kinds  [128]*rowsReader
	rest   map[model.Kind]*rowsReader
	tables model.Batch
}

func (x *eventsReader) parse(msg []byte) error {
	var stacks, kinds [][]byte
	var hists, shapes []byte
	var tables tableBytes
	x.tables.Strings = []string{""}
	err := eachField(msg, func(v field) error {
		switch v.num {
		case eventsCount:
			if v.number > math.MaxInt32 {
				return malformed("%d events", v.number)
			}
			x.left = int(v.number)
		case eventsStrings:
			if len(x.tables.Strings) > maxStrings {
				return malformed("more than %d strings", maxStrings)
			}
			if len(v.bytes) > maxString {
				return malformed("string of %d bytes", len(v.bytes))
			}
			if err := tables.take(stringBytes + len(v.bytes)); err != nil {
				return err
			}
			x.tables.Strings = append(x.tables.Strings, string(v.bytes))
		case eventsStacks:
			if stacks = append(stacks, v.bytes); len(stacks) > maxStacks {
				return malformed("more than %d stacks", maxStacks)
			}
		case eventsHists:
			hists = v.bytes
		case eventsTimes:
			x.times.take(v)
		case eventsShape:
			x.shape.take(v)
		case eventsShapes:
			shapes = v.bytes
		case eventsKinds:
			if kinds = append(kinds, v.bytes); len(kinds) > maxKinds {
				return malformed("more than %d kinds", maxKinds)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Every event takes a byte at least, which bounds what follows.
	if len(x.times.buf) < x.left {
		return malformed("%d events, but %d bytes of times", x.left, len(x.times.buf))
	}
	if _, n := protowire.ConsumeVarint(x.shape.buf); n == len(x.shape.buf) && n > 0 {
		x.shape.prev, _ = x.shape.varint()
		x.shape.one = true
	}
	if err := x.parseShapes(shapes); err != nil {
		return fmt.Errorf("shapes: %w", err)
	}
	if x.tables.Stacks, err = parseStacks(stacks, x.tables.Strings, &tables); err != nil {
		return fmt.Errorf("stacks: %w", err)
	}
	if x.tables.Hists, err = parseHists(hists, &tables); err != nil {
		return fmt.Errorf("histograms: %w", err)
	}
	for _, k := range kinds {
		r, err := parseRows(k)
		if err != nil {
			return err
		}
		if int(r.kind) < len(x.kinds) {
			x.kinds[r.kind] = &r
			continue
		}
		if x.rest == nil {
			x.rest = make(map[model.Kind]*rowsReader)
		}
		x.rest[r.kind] = &r
	}
	return nil
}

func (x *eventsReader) parseShapes(msg []byte) error {
	r, err := parseRows(msg)
	if err != nil {
		return err
	}
	if r.left > maxShapes || r.left > x.left {
		return malformed("%d rows for %d events", r.left, x.left)
	}
	x.shapes = make([]model.Event, r.left)
	for i := range x.shapes {
		e := &x.shapes[i]
		if !r.read(e) {
			return malformed("a column ends early")
		}
		e.TID += e.PID
	}
	return nil
}

// next decodes the next batch; it is nil at the end.
func (x *eventsReader) next() (*model.Batch, error) {
	n := min(x.left, batchSize)
	if n == 0 {
		return nil, nil
	}
	x.left -= n
	out := x.tables
	out.Events = make([]model.Event, n)
	for i := range out.Events {
		e := &out.Events[i]
		step, ok := x.times.varint()
		row, ok2 := x.shape.next()
		if !ok || !ok2 || row >= uint64(len(x.shapes)) {
			return nil, malformed("times or shapes end early, or shape %d of %d", row, len(x.shapes))
		}
		*e = x.shapes[row]
		x.time += uint64(protowire.DecodeZigZag(step))
		e.Time = model.Time(x.time)
		var rows *rowsReader
		if int(e.Kind) < len(x.kinds) {
			rows = x.kinds[e.Kind]
		} else {
			rows = x.rest[e.Kind]
		}
		if rows != nil && !rows.read(e) {
			return nil, malformed("columns of kind %d end early", e.Kind)
		}
	}
	return &out, nil
}

func parseStacks(msgs [][]byte, strings []string, tables *tableBytes) ([]model.Stack, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	stacks := make([]model.Stack, 1, 1+len(msgs))
	total := 0
	for _, msg := range msgs {
		var addrs, names packed
		err := eachField(msg, func(v field) error {
			switch v.num {
			case stackAddr:
				addrs.take(v)
			case stackName:
				names.take(v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		var stack model.Stack
		if err := tables.take(stackBytes + frameBytes*countVarints(addrs.buf)); err != nil {
			return nil, err
		}
		for len(addrs.buf) > 0 {
			if total++; total > maxFrames {
				return nil, malformed("more than %d frames", maxFrames)
			}
			var f model.Frame
			var ok bool
			if f.Addr, ok = addrs.varint(); !ok {
				return nil, malformed("address")
			}
			if len(names.buf) > 0 {
				id, ok := names.varint()
				if !ok || id >= uint64(len(strings)) {
					return nil, malformed("name of a frame")
				}
				f.Name = strings[id]
			}
			stack = append(stack, f)
		}
		stacks = append(stacks, stack)
	}
	return stacks, nil
}

func parseHists(msg []byte, tables *tableBytes) ([]model.Histogram, error) {
	var cols [7]packed
	if err := eachField(msg, func(v field) error {
		if int(v.num) < len(cols) {
			cols[v.num].take(v)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(cols[1].buf) == 0 {
		return nil, nil
	}
	if err := tables.take(histBytes*countVarints(cols[1].buf) + bucketBytes*countVarints(cols[5].buf)); err != nil {
		return nil, err
	}
	// One byte at least to a number bounds both tables.
	buckets := make([]model.BucketCount, 0, min(countVarints(cols[5].buf), maxBuckets))
	hists := make([]model.Histogram, 1, 1+min(countVarints(cols[1].buf), maxHists))
	for len(cols[1].buf) > 0 {
		if len(hists) > maxHists {
			return nil, malformed("more than %d", maxHists)
		}
		count, ok1 := cols[1].varint()
		sum, ok2 := cols[2].varint()
		highest, ok3 := cols[3].varint()
		n, ok4 := cols[4].varint()
		if !ok1 || !ok2 || !ok3 || !ok4 || n > uint64(cap(buckets)-len(buckets)) {
			return nil, malformed("columns end early")
		}
		first := len(buckets)
		var bucket uint8
		for range n {
			step, ok1 := cols[5].varint()
			count, ok2 := cols[6].varint()
			if !ok1 || !ok2 {
				return nil, malformed("buckets end early")
			}
			bucket += uint8(step)
			buckets = append(buckets, model.BucketCount{Bucket: bucket, Count: count})
		}
		h := model.Histogram{Count: count, Sum: sum, Max: highest}
		if n > 0 {
			h.Buckets = buckets[first:len(buckets):len(buckets)]
		}
		hists = append(hists, h)
	}
	return hists, nil
}

// envelope is one message with its checksum verified.
type envelope struct {
	num  protowire.Number
	body []byte
	// length is that of the envelope with its length in front.
	length int
}

// errChecksum says that a message is not what was written.
var errChecksum = errors.New("checksum mismatch")

// parseEnvelope reads the envelope at the front of b.
func parseEnvelope(b []byte) (envelope, error) {
	size, n := protowire.ConsumeVarint(b)
	if n < 0 || size > uint64(len(b)-n) {
		return envelope{}, malformed("message is cut off")
	}
	x := envelope{length: n + int(size)}
	var sum uint32
	err := eachField(b[n:x.length], func(v field) error {
		switch {
		case v.num == envelopeCRC:
			sum = uint32(v.number)
		case v.typ == protowire.BytesType && x.body == nil:
			x.num, x.body = v.num, v.bytes
		}
		return nil
	})
	if err == nil && crc32.Checksum(x.body, castagnoli) != sum {
		err = errChecksum
	}
	return x, err
}
