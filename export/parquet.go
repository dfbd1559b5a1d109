package export

import (
	"encoding/json"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Bounds of a row group: its rows, and the bytes of its values, which are in memory until it is written.
const (
	groupRows  = 1 << 16
	groupBytes = 16 << 20
	// dictionaryBytes bounds the dictionary of a column; larger ones are written plainly.
	dictionaryBytes = 1 << 20
)

// columnsKey is the key of a file's metadata under which its columns are described, schemaKey of the version of that.
const (
	columnsKey    = "lostbeat.columns"
	schemaKey     = "lostbeat.schema"
	schemaVersion = "lostbeat.export/1"
)

// parquetTable is a table in Parquet.
type parquetTable struct {
	out     *parquet.GenericWriter[any]
	columns []Column
	row     parquet.Row
	// rows and bytes are those of the row group under way.
	rows, bytes int
}

// columnMeta is what the metadata of a file says of a column.
type columnMeta struct {
	Name string       `json:"name"`
	Unit string       `json:"unit,omitempty"`
	Doc  string       `json:"doc,omitempty"`
	Of   []columnMeta `json:"of,omitempty"`
}

func metaOf(columns []Column) (out []columnMeta) {
	for _, c := range columns {
		m := columnMeta{c.Name, c.Unit, c.Doc, nil}
		if !isPlainList(&c) {
			m.Of = metaOf(c.Of)
		}
		out = append(out, m)
	}
	return out
}

func newParquet(w io.Writer, t Table) (table, error) {
	described, err := json.Marshal(metaOf(t.Columns))
	if err != nil {
		return nil, err
	}
	out := parquet.NewGenericWriter[any](w, parquet.NewSchema(t.Name, groupOf(t.Columns)),
		parquet.Compression(&zstd.Codec{}), parquet.DictionaryMaxBytes(dictionaryBytes),
		parquet.KeyValueMetadata(schemaKey, schemaVersion), parquet.KeyValueMetadata(columnsKey, string(described)),
		parquet.CreatedBy("lostbeat", "1", ""))
	return &parquetTable{out: out, columns: t.Columns}, nil
}

// group is a group whose columns are in the order of a table; those of parquet.Group are by name.
type group struct {
	parquet.Group
	fields []parquet.Field
}

// Fields implements parquet.Node.
func (g group) Fields() []parquet.Field { return g.fields }

func groupOf(columns []Column) parquet.Node {
	g := group{Group: parquet.Group{}}
	for _, c := range columns {
		node := nodeOf(&c)
		g.Group[c.Name] = node
		g.fields = append(g.fields, parquet.Group{c.Name: node}.Fields()...)
	}
	return g
}

func nodeOf(c *Column) parquet.Node {
	var node parquet.Node
	switch c.Type {
	case List:
		if isPlainList(c) {
			return parquet.List(nodeOf(&c.Of[0]))
		}
		return parquet.List(groupOf(c.Of))
	case Time:
		node = parquet.Timestamp(parquet.Nanosecond)
	case Signed:
		node = parquet.Int(64)
	case Small:
		node = parquet.Encoded(parquet.Int(32), &parquet.RLEDictionary)
	case Unsigned, Hex:
		node = parquet.Uint(64)
	case Float:
		node = parquet.Leaf(parquet.DoubleType)
	case Bool:
		node = parquet.Leaf(parquet.BooleanType)
	default:
		node = parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	}
	if c.Optional {
		node = parquet.Optional(node)
	}
	return node
}

func (p *parquetTable) write(row []Value) error {
	p.row = p.row[:0]
	leaf := 0
	for i := range row {
		p.append(&p.columns[i], &row[i], 0, 0, &leaf)
	}
	if _, err := p.out.WriteRows([]parquet.Row{p.row}); err != nil {
		return err
	}
	if p.rows++; p.rows < groupRows && p.bytes < groupBytes {
		return nil
	}
	p.rows, p.bytes = 0, 0
	return p.out.Flush()
}

// valueBytes is what a value takes beside its text.
const valueBytes = 8

// append appends a cell, which begins at a repetition level, within groups that have a definition level. leaf counts
// the columns without others below them.
func (p *parquetTable) append(c *Column, v *Value, repetition, definition int, leaf *int) {
	if c.Type != List {
		value := parquet.Value{}
		if c.Optional && !v.Null {
			definition++
		}
		if !v.Null {
			value = p.valueOf(c, v)
		}
		p.row = append(p.row, value.Level(repetition, definition, *leaf))
		*leaf++
		return
	}
	for i := range c.Of {
		if len(v.List) == 0 {
			p.row = append(p.row, parquet.Value{}.Level(repetition, definition, *leaf))
		}
		for n, row := range v.List {
			level, at := repetition, *leaf
			if n > 0 {
				level++
			}
			p.append(&c.Of[i], &row[i], level, definition+1, &at)
		}
		*leaf++
	}
}

func (p *parquetTable) valueOf(c *Column, v *Value) parquet.Value {
	p.bytes += valueBytes
	switch c.Type {
	case Text:
		p.bytes += len(v.Text)
		return parquet.ByteArrayValue([]byte(v.Text))
	case Small:
		return parquet.Int32Value(int32(v.Bits))
	case Float:
		return parquet.DoubleValue(math.Float64frombits(v.Bits))
	case Bool:
		return parquet.BooleanValue(v.Bits != 0)
	}
	return parquet.Int64Value(int64(v.Bits))
}

func (p *parquetTable) close() error { return p.out.Close() }
