// Package hostile makes small files that ask for very much memory or time of
// whoever reads them, for the tests: no format has bounds of its own that keep a
// program safe.
package hostile

import (
	"bytes"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// start is when the streams begin.
var start = model.TimeOf(time.Date(2026, 11, 22, 14, 3, 9, 0, time.UTC))

// column is one field of all rows of a table.
type column struct {
	field recordpb.Field
	enc   recordpb.Encoding
	// values are encoded; a single one stands for all rows.
	values []byte
}

// constant is a column with one value.
func constant(field recordpb.Field, v uint64) column {
	return column{field, recordpb.Encoding_ENCODING_PLAIN, protowire.AppendVarint(nil, v)}
}

// counting is a column of n rows that goes up by step from row to row.
func counting(field recordpb.Field, n int, step int64) column {
	one := protowire.AppendVarint(nil, protowire.EncodeZigZag(step))
	return column{field, recordpb.Encoding_ENCODING_DELTA, bytes.Repeat(one, n)}
}

// cycling is a column of n rows with the values from 0 to below count in turn.
func cycling(field recordpb.Field, n, count int) column {
	var values []byte
	for i := range n {
		values = protowire.AppendVarint(values, uint64(i%count))
	}
	return column{field, recordpb.Encoding_ENCODING_PLAIN, values}
}

// table is n events of one kind, step apart.
type table struct {
	kind    model.Kind
	n       int
	step    time.Duration
	first   model.Time
	columns []column
	strings []string
	stacks  [][]byte
	hists   []byte
}

func (t table) events() []byte {
	if t.first == 0 {
		t.first = start
	}
	var msg []byte
	varint := func(num protowire.Number, v uint64) {
		msg = protowire.AppendVarint(protowire.AppendTag(msg, num, protowire.VarintType), v)
	}
	field := func(num protowire.Number, b []byte) {
		msg = protowire.AppendBytes(protowire.AppendTag(msg, num, protowire.BytesType), b)
	}
	varint(1, uint64(t.n))
	for _, s := range t.strings {
		field(2, []byte(s))
	}
	for _, s := range t.stacks {
		field(3, s)
	}
	if t.hists != nil {
		field(4, t.hists)
	}
	times := protowire.AppendVarint(nil, protowire.EncodeZigZag(int64(t.first)))
	step := protowire.AppendVarint(nil, protowire.EncodeZigZag(int64(t.step)))
	field(5, append(times, bytes.Repeat(step, max(t.n-1, 0))...))
	field(6, []byte{0})
	field(7, rows(0, 1, []column{
		constant(recordpb.Field_FIELD_KIND, uint64(t.kind)),
		{recordpb.Field_FIELD_CPU, recordpb.Encoding_ENCODING_ZIGZAG, protowire.AppendVarint(nil, 1)},
		{recordpb.Field_FIELD_PID, recordpb.Encoding_ENCODING_ZIGZAG, protowire.AppendVarint(nil, 1)},
	}))
	field(8, rows(t.kind, t.n, t.columns))
	return msg
}

func rows(kind model.Kind, n int, columns []column) []byte {
	msg := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(kind))
	msg = protowire.AppendVarint(protowire.AppendTag(msg, 2, protowire.VarintType), uint64(n))
	for _, c := range columns {
		col := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(c.field))
		col = protowire.AppendVarint(protowire.AppendTag(col, 2, protowire.VarintType), uint64(c.enc))
		col = protowire.AppendBytes(protowire.AppendTag(col, 3, protowire.BytesType), c.values)
		msg = protowire.AppendBytes(protowire.AppendTag(msg, 3, protowire.BytesType), col)
	}
	return msg
}

// recording writes a file frame by frame.
type recording struct {
	out   []byte
	zstd  *zstd.Encoder
	index recordpb.Index
	sizes [][2]int
	seq   uint64
}

func newRecording() *recording {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		panic(err)
	}
	r := &recording{zstd: enc}
	r.header(&recordpb.Header{FormatMajor: 1, FormatMinor: 1, Tool: "hostile", Session: make([]byte, 16)})
	return r
}

func (r *recording) header(h *recordpb.Header) {
	body, err := proto.Marshal(h)
	if err != nil {
		panic(err)
	}
	r.out, r.sizes = nil, nil
	r.frame(envelope(2, body))
}

func envelope(num protowire.Number, body []byte) []byte {
	msg := protowire.AppendFixed32(protowire.AppendTag(nil, 1, protowire.Fixed32Type),
		crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	msg = protowire.AppendBytes(protowire.AppendTag(msg, num, protowire.BytesType), body)
	return protowire.AppendBytes(nil, msg)
}

func (r *recording) frame(raw []byte) {
	before := len(r.out)
	r.out = r.zstd.EncodeAll(raw, r.out)
	r.sizes = append(r.sizes, [2]int{len(r.out) - before, len(raw)})
}

// block adds a block with the given Block fields behind its number.
func (r *recording) block(s *recordpb.Summary, fields []byte) {
	s.Seq = r.seq
	r.seq++
	head, err := proto.Marshal(s)
	if err != nil {
		panic(err)
	}
	body := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), s.Seq)
	r.index.Blocks = append(r.index.Blocks, &recordpb.IndexEntry{Offset: uint64(len(r.out)), Summary: s})
	r.frame(append(envelope(3, head), envelope(4, append(body, fields...))...))
	r.index.Blocks[len(r.index.Blocks)-1].Size = uint32(r.sizes[len(r.sizes)-1][0])
}

// add adds a block of tables.
func (r *recording) add(tables ...table) {
	s := &recordpb.Summary{Keyframe: len(r.index.Blocks) == 0}
	var fields []byte
	for _, t := range tables {
		if t.first == 0 {
			t.first = start
		}
		last := t.first + model.Time(t.n)*model.Time(t.step)
		if s.Events == 0 {
			s.StartNs, s.EndNs = uint64(t.first), uint64(last)
		}
		s.StartNs, s.EndNs = min(s.StartNs, uint64(t.first)), max(s.EndNs, uint64(last))
		s.Events += uint64(t.n)
		fields = protowire.AppendBytes(protowire.AppendTag(fields, 4, protowire.BytesType), t.events())
	}
	r.block(s, fields)
}

// done ends the file with its index and seek table.
func (r *recording) done() []byte {
	body, err := proto.Marshal(&r.index)
	if err != nil {
		panic(err)
	}
	return r.doneWith(body)
}

// doneWith ends the file with the given index.
func (r *recording) doneWith(index []byte) []byte {
	r.frame(envelope(5, index))
	le := func(v int) { r.out = append(r.out, byte(v), byte(v>>8), byte(v>>16), byte(v>>24)) }
	le(0x184D2A5E)
	le(8*len(r.sizes) + 9)
	for _, s := range r.sizes {
		le(s[0])
		le(s[1])
	}
	le(len(r.sizes))
	r.out = append(r.out, 0)
	le(0x8F92EAB1)
	return r.out
}
