package findings

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"lostbeat/internal/plain"
	"lostbeat/model"
)

// columns are the cells of a finding in CSV.
var columns = []string{
	"file", "id", "detector", "severity", "start", "end", "duration_s", "ongoing", "title", "subject", "cpu", "vector",
	"driver", "device", "queue", "pid", "process", "pool", "protocol", "port", "netns", "evidence", "causes", "ruled_out",
	"advice", "loss",
}

// CSV writes findings as a table, a line each, below a line with the names of the columns.
type CSV struct {
	out  *csv.Writer
	head bool
}

// NewCSV returns a CSV that writes to w.
func NewCSV(w io.Writer) *CSV { return &CSV{out: csv.NewWriter(w)} }

// Write writes a finding of the given file, which may be "". Times are in UTC, lists have a semicolon between their
// elements. What begins like a formula of a spreadsheet gets an apostrophe in front.
func (c *CSV) Write(file string, f model.Finding) error {
	if err := c.Head(); err != nil {
		return err
	}
	var evidence []string
	for _, e := range f.Evidence {
		evidence = append(evidence, e.Name+": "+plain.Quantity(e.Value, e.Unit))
	}
	number := func(n int32) string {
		if n < 0 {
			return ""
		}
		return strconv.Itoa(int(n))
	}
	port := ""
	if f.Subject.Port != 0 {
		port = strconv.Itoa(int(f.Subject.Port))
	}
	s := f.Subject
	list := func(lines []string) string { return strings.Join(lines, "; ") }
	cells := []string{
		file, f.ID, f.Detector, f.Severity.String(), f.Start.String(), f.End.String(),
		strconv.FormatFloat(f.End.Sub(f.Start).Seconds(), 'f', 3, 64), strconv.FormatBool(f.Ongoing), f.Title, s.Kind,
		number(s.CPU), s.Vector, s.Driver, s.Device, s.Queue, number(s.PID), s.Process, s.Pool, s.Protocol, port, s.Netns,
		list(evidence), list(f.Causes), list(f.RuledOut), list(f.Advice), strconv.FormatUint(f.Loss, 10),
	}
	for i := range cells {
		cells[i] = plain.Cell(cells[i])
	}
	return c.flush(cells)
}

// Head writes the names of the columns, unless they are written.
func (c *CSV) Head() error {
	if c.head {
		return nil
	}
	c.head = true
	return c.flush(columns)
}

func (c *CSV) flush(cells []string) error {
	if err := c.out.Write(cells); err != nil {
		return err
	}
	c.out.Flush()
	return c.out.Error()
}
