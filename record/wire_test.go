package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/record/recordpb"
)

// encodeEvents gives the Events message of a batch as the encoder writes it.
func encodeEvents(b *model.Batch) []byte {
	var x eventsEncoder
	x.begin()
	x.batch(b)
	for i := range b.Events {
		x.add(b, b.Events[i])
	}
	return x.append(nil)
}

// decodeEvents gives the events of a message as text.
func decodeEvents(msg []byte) (string, error) {
	var x eventsReader
	if err := x.parse(msg); err != nil {
		return "", err
	}
	var out bytes.Buffer
	for {
		b, err := x.next()
		if err != nil || b == nil {
			return out.String(), err
		}
		if err := writeText(&out, b); err != nil {
			return "", err
		}
	}
}

// TestWireFormat holds the hand-written encoder and decoder against the
// generated code: what one writes, the other reads.
func TestWireFormat(t *testing.T) {
	b := newTrace(100).batch(500)
	var want bytes.Buffer
	if err := writeText(&want, b); err != nil {
		t.Fatal(err)
	}
	var generated recordpb.Events
	if err := proto.Unmarshal(encodeEvents(b), &generated); err != nil {
		t.Fatal(err)
	}
	if len(generated.ProtoReflect().GetUnknown()) > 0 || int(generated.Count) != len(b.Events) ||
		len(generated.TimeDeltaNs) != len(b.Events) ||
		len(generated.Kinds) < 5 {
		t.Errorf("the generated code reads %d events, %d times", generated.Count, len(generated.TimeDeltaNs))
	}
	// The generated code's reading, done once more by the letter of FORMAT.md.
	if got := slowDecode(t, &generated); got != want.String() {
		compare(t, got, want.String())
	}
	msg, err := proto.Marshal(&generated)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEvents(msg)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want.String())

	// Numbers that are not packed mean the same.
	got, err = decodeEvents(unpack(t, msg))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want.String())
}

// unpack rewrites the packed numbers of an Events message one by one.
func unpack(t *testing.T, msg []byte) (out []byte) {
	t.Helper()
	err := eachField(msg, func(v field) error {
		switch {
		case v.typ == protowire.VarintType:
			out = protowire.AppendVarint(protowire.AppendTag(out, v.num, v.typ), v.number)
			return nil
		case v.num != eventsTimes && v.num != eventsShape:
			out = protowire.AppendBytes(protowire.AppendTag(out, v.num, v.typ), v.bytes)
			return nil
		}
		for p := (packed{buf: v.bytes}); len(p.buf) > 0; {
			n, ok := p.varint()
			if !ok {
				t.Fatal("not packed numbers")
			}
			out = protowire.AppendVarint(protowire.AppendTag(out, v.num, protowire.VarintType), n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// slowDecode decodes events from the generated message in the plainest way.
func slowDecode(t *testing.T, m *recordpb.Events) string {
	t.Helper()
	value := func(c *recordpb.Column, row int) uint64 {
		at := func(i int) uint64 {
			if len(c.Values) == 1 {
				return c.Values[0]
			}
			return c.Values[i]
		}
		switch c.Encoding {
		case recordpb.Encoding_ENCODING_ZIGZAG:
			return uint64(protowire.DecodeZigZag(at(row)))
		case recordpb.Encoding_ENCODING_SWAPPED:
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], at(row))
			return binary.BigEndian.Uint64(b[:])
		case recordpb.Encoding_ENCODING_DELTA:
			if len(c.Values) == 1 {
				row = 0
			}
			sum := uint64(0)
			for i := range row + 1 {
				sum += uint64(protowire.DecodeZigZag(at(i)))
			}
			return sum
		}
		return at(row)
	}
	put := func(e *model.Event, rows *recordpb.Rows, row int) {
		for _, c := range rows.Columns {
			set(e, uint32(c.Field), value(c, row))
		}
	}
	b := model.Batch{Strings: []string{""}, Stacks: []model.Stack{nil}, Hists: []model.Histogram{{}}}
	for _, s := range m.Strings {
		b.Strings = append(b.Strings, string(s))
	}
	for _, s := range m.Stacks {
		var stack model.Stack
		for i, addr := range s.Addr {
			f := model.Frame{Addr: addr}
			if len(s.Name) > 0 {
				f.Name = b.Strings[s.Name[i]]
			}
			stack = append(stack, f)
		}
		b.Stacks = append(b.Stacks, stack)
	}
	next := 0
	for i := range m.Histograms.GetCount() {
		h := model.Histogram{Count: m.Histograms.Count[i], Sum: m.Histograms.SumNs[i], Max: m.Histograms.MaxNs[i]}
		bucket := uint8(0)
		for range m.Histograms.Buckets[i] {
			bucket += uint8(m.Histograms.BucketDelta[next])
			h.Buckets = append(h.Buckets, model.BucketCount{Bucket: bucket, Count: m.Histograms.BucketCount[next]})
			next++
		}
		b.Hists = append(b.Hists, h)
	}
	rows := map[model.Kind]int{}
	now := int64(0)
	for i := range int(m.Count) {
		shape := m.Shape[0]
		if len(m.Shape) > 1 {
			shape = m.Shape[i]
		}
		var e model.Event
		put(&e, m.Shapes, int(shape))
		e.TID += e.PID
		now += m.TimeDeltaNs[i]
		e.Time = model.Time(now)
		for _, k := range m.Kinds {
			if model.Kind(k.Kind) == e.Kind {
				put(&e, k, rows[e.Kind])
			}
		}
		rows[e.Kind]++
		b.Events = append(b.Events, e)
	}
	var out bytes.Buffer
	if err := writeText(&out, &b); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRandomEvents encodes events whose every field is arbitrary.
func TestRandomEvents(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	number := func() uint64 { return random.Uint64() >> random.IntN(64) }
	for range 200 {
		var builder model.Builder
		for range random.IntN(50) {
			e := model.Event{
				Time:     model.Time(number()),
				Resource: number(),
				PID:      int32(number()),
				TID:      int32(number()),
				CPU:      int32(number()),
				Kind:     model.Kind(number() >> random.IntN(16)),
				Flags:    model.Flags(number()),
				Netns:    uint32(number()),
			}
			e.Dur = model.Time(number()).Sub(0)
			for i := range e.Args {
				e.Args[i] = number()
			}
			for i := range e.Str {
				e.Str[i] = builder.Intern(strings.Repeat("x", random.IntN(4)))
			}
			if random.IntN(3) == 0 {
				h := model.Histogram{Count: 1, Sum: number(), Max: number()}
				for range random.IntN(5) {
					h.Buckets = append(h.Buckets, model.BucketCount{Bucket: uint8(number()), Count: number()})
				}
				e.Hist[random.IntN(2)] = builder.InternHist(&h)
				e.Stack = builder.InternStack(model.Stack{{Addr: number()}, {Name: fmt.Sprint(number())}}[:1+random.IntN(2)])
			}
			builder.Add(e)
		}
		b := builder.Take()
		if b == nil {
			continue
		}
		var want bytes.Buffer
		if err := writeText(&want, b); err != nil {
			t.Fatal(err)
		}
		got, err := decodeEvents(encodeEvents(b))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, got, want.String())
	}
}

// allocated runs f and returns how much it has allocated.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHostile gives the reader messages that lie about their sizes.
func TestHostile(t *testing.T) {
	rows := func(rows uint64, columns ...[]byte) []byte {
		msg := appendUint(nil, rowsRows, rows)
		for _, c := range columns {
			msg = appendBytes(msg, rowsColumns, c)
		}
		return msg
	}
	constant := func(field uint32, v uint64) []byte {
		return appendBytes(appendUint(nil, columnField, uint64(field)), columnValues, protowire.AppendVarint(nil, v))
	}
	events := func(count uint64, times, shape, shapes []byte, more ...[]byte) []byte {
		msg := appendUint(nil, eventsCount, count)
		msg = appendBytes(msg, eventsTimes, times)
		msg = appendBytes(msg, eventsShape, shape)
		msg = appendBytes(msg, eventsShapes, shapes)
		for _, m := range more {
			msg = append(msg, m...)
		}
		return msg
	}
	one := []byte{0}
	many := bytes.Repeat(one, 100)
	for name, msg := range map[string][]byte{
		"more events than times":  events(1<<31-1, many, one, rows(1)),
		"more events than an int": events(1<<40, many, one, rows(1)),
		"more shapes than events": events(100, many, one, rows(1<<31-1, constant(fieldKind, 1))),
		"no shapes":               events(100, many, one, nil),
		"shape outside the table": events(100, many, []byte{7}, rows(2)),
		"column ends early": events(
			100, many, one, rows(5, append(constant(fieldKind, 1), appendBytes(nil, columnValues, []byte{1})...)),
		),
		"unknown encoding": events(100, many, one, rows(1, appendUint(constant(fieldKind, 1), columnEncoding, 9))),
		"too many strings": events(
			1, one, one, rows(1), bytes.Repeat([]byte{eventsStrings<<3 | 2, 0}, maxStrings+2),
		),
		"too many stacks":  events(1, one, one, rows(1), bytes.Repeat([]byte{eventsStacks<<3 | 2, 0}, maxStacks+2)),
		"too many kinds":   events(1, one, one, rows(1), bytes.Repeat([]byte{eventsKinds<<3 | 2, 0}, maxKinds+2)),
		"too many columns": events(1, one, one, rows(1, bytes.Repeat([]byte{rowsColumns<<3 | 2, 0}, maxColumns+2))),
		"histograms without buckets": events(
			1, one, one, rows(1),
			appendBytes(
				nil, eventsHists,
				appendBytes(
					appendBytes(appendBytes(appendBytes(nil, 1, one), 2, one), 3, one), 4, protowire.AppendVarint(nil, 1<<40),
				),
			),
		),
		"name of a frame": events(
			1, one, one, rows(1),
			appendBytes(nil, eventsStacks, appendBytes(appendBytes(nil, stackAddr, one), stackName, []byte{9})),
		),
		"rows end early": events(
			100, many, one, rows(1, constant(fieldKind, 1)),
			appendBytes(nil, eventsKinds, append(appendUint(nil, rowsKind, 1), rows(3, constant(fieldDuration, 1))...)),
		),
	} {
		var err error
		if n := allocated(func() { _, err = decodeEvents(msg) }); err == nil || n > 32<<20 {
			t.Errorf("%s: error %v, %d bytes allocated", name, err, n)
		}
	}
}

// TestBombs gives the reader files that are small and want to be large.
func TestBombs(t *testing.T) {
	data, _ := smallRecording(t)
	ends := frameEnds(t, data)
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	head := data[:ends[0]]
	bomb := enc.EncodeAll(make([]byte, maxRaw*2), nil)
	// The same without its size in the header.
	var stream bytes.Buffer
	enc.Reset(&stream)
	for range 64 {
		if _, err := enc.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	frames := func(entries ...uint32) []byte {
		table := binary.LittleEndian.AppendUint32(nil, seekTableMagic)
		table = binary.LittleEndian.AppendUint32(table, uint32(4*len(entries)+seekFooterSize))
		for _, e := range entries {
			table = binary.LittleEndian.AppendUint32(table, e)
		}
		table = binary.LittleEndian.AppendUint32(table, uint32(len(entries)/2))
		return binary.LittleEndian.AppendUint32(append(table, 0), seekableMagic)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	rest := data[ends[0]:ends[len(ends)-1]]
	for name, file := range map[string][]byte{
		"frame with its size":        join(head, bomb),
		"frame without its size":     join(head, stream.Bytes()),
		"bomb before good blocks":    join(head, bomb, rest),
		"bomb listed as small":       join(head, bomb, frames(uint32(len(head)), 100, uint32(len(bomb)), 100)),
		"seek table of 4 G frames":   join(head, rest, []byte{0xff, 0xff, 0xff, 0xff, 0, 0xb1, 0xea, 0x92, 0x8f}),
		"seek table too short":       join(head, rest, frames(10, 10)),
		"seek table of empty frames": join(head, rest, frames(0, 0, 0, 0)),
		"seek table that overlaps":   join(head, rest, frames(uint32(len(head)+len(rest)), 1, 1<<31, 1<<31)),
		"chain of empty blocks":      join(head, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x24, 0}, make([]byte, 1<<20)),
		"magic numbers":              join(head, bytes.Repeat([]byte{0x28, 0xb5, 0x2f, 0xfd}, 1<<16)),
	} {
		var err error
		n := allocated(func() { _, _, err = readAll(t, file) })
		if err != nil || n > 256<<20 {
			t.Errorf("%s: error %v, %d MiB allocated", name, err, n>>20)
		}
	}
}

func FuzzEvents(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(encodeEvents(newTrace(100).batch(150)))
	f.Add(encodeEvents(smallBatches()[0]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := decodeEvents(msg)
		if err != nil || got == "" {
			return
		}
		// What can be read can be written and read again.
		var batches []*model.Batch
		if err := ReadText(
			strings.NewReader(got), func(b *model.Batch) error { batches = append(batches, b); return nil },
		); err != nil {
			t.Fatalf("%v in %q", err, got)
		}
		var again strings.Builder
		for _, b := range batches {
			text, err := decodeEvents(encodeEvents(b))
			if err != nil {
				t.Fatal(err)
			}
			again.WriteString(text)
		}
		if again.String() != got {
			t.Errorf("%q\nbecomes %q", got, again.String())
		}
	})
}

func FuzzReader(f *testing.F) {
	fuzztest.Quick(f)
	for _, cut := range []int{0, 1, 20} {
		data := fuzzSeed(f)
		f.Add(data[:len(data)-cut])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := newTestInput("x", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		r := &Reader{inputs: []*input{in}, unpacker: in.unpacker}
		defer r.Close()
		events := 0
		if err := r.Run(t.Context(), func(b *model.Batch) error { events += len(b.Events); return nil }); err != nil {
			t.Error(err)
		}
		first, last := r.Span()
		if err := r.RunFrom(t.Context(), (first+last)/2, func(*model.Batch) error { return nil }); err != nil {
			t.Error(err)
		}
		r.Stat()
	})
}

// fuzzSeed is the recording of smallBatches.
func fuzzSeed(f *testing.F) []byte {
	f.Helper()
	out := &faulty{}
	w, err := Create("x", Options{create: func(string) (storage, error) { return out, nil }})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range smallBatches() {
		if err := w.Write(b); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.data
}

func FuzzSeekTable(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(appendSeekTable(nil, []frame{{0, 8, 8}}))
	f.Add(fuzzSeed(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		frames, err := readSeekTable(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		end := int64(0)
		for _, x := range frames {
			if x.offset != end || x.size < 1 {
				t.Fatalf("frames %v", frames)
			}
			end += int64(x.size)
		}
		if end > int64(len(data)) {
			t.Errorf("frames end at %d of %d", end, len(data))
		}
	})
}
