package export

import (
	"encoding/csv"
	"io"
	"math"
	"strconv"

	"lostbeat/internal/plain"
	"lostbeat/model"
)

// csvTable is a table in CSV as RFC 4180 has it.
type csvTable struct {
	out     *csv.Writer
	columns []Column
	cells   []string
	json    []byte
}

func newCSV(w io.Writer, t Table) (table, error) {
	c := &csvTable{out: csv.NewWriter(w), columns: t.Columns}
	c.out.UseCRLF = true
	for _, column := range t.Columns {
		c.cells = append(c.cells, column.Name)
	}
	return c, c.out.Write(c.cells)
}

// write writes a line. Texts that a spreadsheet would take for a formula get an apostrophe in front.
func (c *csvTable) write(row []Value) error {
	for i := range row {
		switch v, column := &row[i], &c.columns[i]; {
		case v.Null:
			c.cells[i] = ""
		case column.Type == Text:
			c.cells[i] = plain.Cell(v.Text)
		case column.Type == Time:
			c.cells[i] = model.Time(v.Bits).String()
		case column.Type == Hex:
			c.cells[i] = "0x" + strconv.FormatUint(v.Bits, 16)
		default:
			c.json = appendJSON(c.json[:0], column, v)
			c.cells[i] = string(c.json)
		}
	}
	return c.out.Write(c.cells)
}

func (c *csvTable) close() error {
	c.out.Flush()
	return c.out.Error()
}

// jsonTable is a table as lines of JSON objects.
type jsonTable struct {
	out     io.Writer
	columns []Column
	line    []byte
}

func newJSON(w io.Writer, t Table) (table, error) { return &jsonTable{out: w, columns: t.Columns}, nil }

func (j *jsonTable) write(row []Value) error {
	j.line = append(appendObject(j.line[:0], j.columns, row), '\n')
	_, err := j.out.Write(j.line)
	return err
}

func (j *jsonTable) close() error { return nil }

func appendObject(dst []byte, columns []Column, row []Value) []byte {
	for i := range columns {
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), columns[i].Name...), `":`...)
		dst = appendJSON(dst, &columns[i], &row[i])
	}
	return append(dst, '}')
}

// appendJSON appends a cell as JSON.
func appendJSON(dst []byte, c *Column, v *Value) []byte {
	switch {
	case v.Null:
		return append(dst, "null"...)
	case c.Type == Text:
		return model.AppendJSONString(dst, v.Text)
	case c.Type == Time:
		return append(append(append(dst, '"'), model.Time(v.Bits).String()...), '"')
	case c.Type == Hex:
		return append(strconv.AppendUint(append(dst, `"0x`...), v.Bits, 16), '"')
	case c.Type == Unsigned:
		return strconv.AppendUint(dst, v.Bits, 10)
	case c.Type == Small:
		return strconv.AppendInt(dst, int64(int32(v.Bits)), 10)
	case c.Type == Float:
		return strconv.AppendFloat(dst, math.Float64frombits(v.Bits), 'g', -1, 64)
	case c.Type == Bool:
		return strconv.AppendBool(dst, v.Bits != 0)
	case c.Type == List:
		dst = append(dst, '[')
		for i, row := range v.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			if isPlainList(c) {
				dst = appendJSON(dst, &c.Of[0], &row[0])
			} else {
				dst = appendObject(dst, c.Of, row)
			}
		}
		return append(dst, ']')
	}
	return strconv.AppendInt(dst, int64(v.Bits), 10)
}

// isPlainList says that a list is one of values rather than of rows.
func isPlainList(c *Column) bool { return len(c.Of) == 1 && c.Of[0].Name == "" }
