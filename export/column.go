package export

import (
	"math"
	"strings"

	"lostbeat/model"
)

// Type is the type of a column.
type Type uint8

// Types of columns.
const (
	// Text is UTF-8 text.
	Text Type = iota
	// Time is nanoseconds since 1970 in UTC.
	Time
	// Signed and Unsigned are whole numbers of 64 bits, Small is a signed one of 32 bits.
	Signed
	Unsigned
	Small
	// Hex is an unsigned number of 64 bits that people read in hexadecimal: an address, a mask, a cookie.
	Hex
	// Float is a floating-point number of 64 bits.
	Float
	// Bool is true or false.
	Bool
	// List is a list of rows with the columns Column.Of; a list whose only column has no name is one of values.
	List
)

// Column describes a column of a table.
type Column struct {
	// Name is unique in the table. That of a number ends in its unit, where it has one.
	Name string
	Type Type
	// Unit is the unit, as docs/EVENTS.md writes it; empty for text.
	Unit string
	// Doc says what it is.
	Doc string
	// Optional says that a value may be missing.
	Optional bool
	// Of are the columns of a list.
	Of []Column
}

// Value is a cell. Which of the fields counts is up to the type of the column.
type Value struct {
	// Null says that there is no value.
	Null bool
	// Bits are a number, the bits of a floating-point number, or 1 for true.
	Bits uint64
	// Text is a text.
	Text string
	// List are the rows of a list.
	List [][]Value
}

// Null is the cell that has no value.
var null = Value{Null: true}

func textOf(s string) Value     { return Value{Text: s} }
func timeOf(t model.Time) Value { return Value{Bits: uint64(t), Null: t == 0} }

// known returns a number of which -1 means unknown.
func known(n int32) Value { return Value{Bits: uint64(n), Null: n < 0} }

func floatOf(x float64) Value {
	return Value{Bits: math.Float64bits(x), Null: math.IsNaN(x) || math.IsInf(x, 0)}
}

func boolOf(v bool) Value {
	if v {
		return Value{Bits: 1}
	}
	return Value{}
}

// Table describes a table: one of events, of captures or of findings.
type Table struct {
	// Name is that of its file, without extension.
	Name string
	// Doc says what a row is.
	Doc     string
	Columns []Column
}

// captureColumn is the first column of every table.
var captureColumn = Column{Name: "capture", Doc: "the file that it is from, as in the table captures"}

// bucketColumns are those of the buckets of a histogram.
var bucketColumns = []Column{
	{Name: "low_ns", Type: Unsigned, Unit: "ns", Doc: "shortest duration of the bucket"},
	{Name: "high_ns", Type: Unsigned, Unit: "ns", Doc: "longest duration of the bucket; none for the last",
		Optional: true},
	{Name: "count", Type: Unsigned, Unit: "count", Doc: "durations in it"},
}

// frameColumns are those of the frames of a stack.
var frameColumns = []Column{
	{Name: "addr", Type: Hex, Unit: "hex", Doc: "address of the instruction, 0 where only the name is known"},
	{Name: "name", Doc: "symbol, or module+offset; empty unknown"},
}

// TableName is the name of the table of a kind of event.
func TableName(s *model.Spec) string { return strings.ReplaceAll(s.Name, ".", "_") }

// Of returns the table of a kind of event.
func Of(s *model.Spec) Table {
	t := Table{Name: TableName(s), Doc: s.Doc}
	add := func(c Column) { t.Columns = append(t.Columns, c) }
	add(captureColumn)
	add(Column{Name: "time", Type: Time, Unit: "time", Doc: "when it was complete"})
	if s.Span != "" {
		add(Column{Name: "dur_ns", Type: Signed, Unit: "ns", Doc: s.Span})
	}
	add(Column{Name: "flags", Doc: "qualifiers, with commas between them", Optional: true})
	if s.CPU {
		add(Column{Name: "cpu", Type: Small, Unit: "number", Doc: "the processor", Optional: true})
	}
	if s.Task {
		add(Column{Name: "pid", Type: Small, Unit: "number", Doc: "the process, 0 the kernel", Optional: true})
		add(Column{Name: "tid", Type: Small, Unit: "number", Doc: "the thread, 0 the kernel", Optional: true})
	}
	if s.Netns {
		add(Column{Name: "netns_inode", Type: Unsigned, Unit: "number",
			Doc: "inode number of the network namespace, 0 unknown or not applicable"})
	}
	if s.Resource.Name != "" {
		add(columnOf(s.Resource))
	}
	for _, f := range s.Args {
		add(columnOf(f))
	}
	for _, f := range s.Strings {
		add(Column{Name: f.Name, Doc: f.Doc})
	}
	for _, f := range s.Hists {
		for _, part := range []struct{ name, unit, doc string }{
			{"count", "count", "durations"}, {"sum_ns", "ns", "their sum"}, {"max_ns", "ns", "the longest"},
			{"p50_ns", "ns", "half of them are at most as long"},
			{"p90_ns", "ns", "nine of ten are at most as long"},
			{"p99_ns", "ns", "99 of 100 are at most as long"},
		} {
			add(Column{Name: f.Name + "_" + part.name, Type: Unsigned, Unit: part.unit, Doc: f.Doc + ": " + part.doc,
				Optional: true})
		}
		add(Column{Name: f.Name + "_buckets", Type: List, Doc: f.Doc + ": its buckets that are not empty",
			Of: bucketColumns})
	}
	if s.Stack != "" {
		add(Column{Name: "stack", Type: List, Doc: s.Stack + ", innermost frame first", Of: frameColumns})
	}
	return t
}

// columnOf returns the column of a number.
func columnOf(f model.Field) Column {
	c := Column{Name: f.Name, Doc: f.Doc, Unit: f.Unit.String()}
	switch f.Unit {
	case model.UnitNanoseconds, model.UnitNumber:
		c.Type = Signed
	case model.UnitHex:
		c.Type = Hex
	case model.UnitBool:
		c.Type = Bool
	case model.UnitFloat:
		c.Type, c.Optional = Float, true
	case model.UnitTime:
		c.Type, c.Optional = Time, true
	case model.UnitEnum:
		c.Type, c.Unit = Text, ""
	default:
		c.Type = Unsigned
	}
	return c
}

// appendRow appends the cells of e, an event of b of the kind of s, in the order of [Of].
func appendRow(row []Value, capture string, s *model.Spec, b *model.Batch, e *model.Event) []Value {
	row = append(row, textOf(capture), Value{Bits: uint64(e.Time)})
	if s.Span != "" {
		row = append(row, Value{Bits: uint64(e.Dur)})
	}
	row = append(row, flagsOf(e.Flags))
	if s.CPU {
		row = append(row, known(e.CPU))
	}
	if s.Task {
		row = append(row, known(e.PID), known(e.TID))
	}
	if s.Netns {
		row = append(row, Value{Bits: uint64(e.Netns)})
	}
	if s.Resource.Name != "" {
		row = append(row, numberOf(s.Resource, e.Resource))
	}
	for i, f := range s.Args {
		row = append(row, numberOf(f, e.Args[i]))
	}
	for i := range s.Strings {
		row = append(row, textOf(b.String(e.Str[i])))
	}
	for i := range s.Hists {
		row = appendHist(row, b.Hist(e.Hist[i]))
	}
	if s.Stack != "" {
		var frames [][]Value
		for _, f := range b.Stack(e.Stack) {
			frames = append(frames, []Value{{Bits: f.Addr}, textOf(f.Name)})
		}
		row = append(row, Value{List: frames})
	}
	return row
}

func flagsOf(f model.Flags) Value {
	if f == 0 {
		return null
	}
	return textOf(f.String())
}

// numberOf returns a number of an event.
func numberOf(f model.Field, v uint64) Value {
	switch f.Unit {
	case model.UnitEnum:
		return textOf(f.Enum.Name(v))
	case model.UnitTime:
		return timeOf(model.Time(v))
	case model.UnitFloat:
		return floatOf(math.Float64frombits(v))
	case model.UnitBool:
		return boolOf(v != 0)
	}
	return Value{Bits: v}
}

func appendHist(row []Value, h *model.Histogram) []Value {
	if h == nil || h.Count == 0 {
		return append(row, null, null, null, null, null, null, Value{})
	}
	for _, v := range [...]uint64{h.Count, h.Sum, h.Max, h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99)} {
		row = append(row, Value{Bits: v})
	}
	buckets := make([][]Value, len(h.Buckets))
	for i, c := range h.Buckets {
		high := null
		if c.Bucket < model.HistBuckets-1 {
			high = Value{Bits: model.BucketHigh(int(c.Bucket))}
		}
		buckets[i] = []Value{{Bits: model.BucketLow(int(c.Bucket))}, high, {Bits: c.Count}}
	}
	return append(row, Value{List: buckets})
}
