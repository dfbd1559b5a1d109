package export

import (
	"lostbeat/model"
)

// Capture is a file that was exported, as the table captures has it.
type Capture struct {
	// File is its name, Format its kind: recording, ETW trace, ...
	File, Format string
	// Host, OS, Kernel and Tool are what it says of itself, empty unknown.
	Host, OS, Kernel, Tool string
	// Start and End are its first and last moment.
	Start, End model.Time
	// Rows is how many events of it were exported.
	Rows uint64
	// Complete says that it could be read to its end and has lost nothing; Integrity is what is to be said of that.
	Complete  bool
	Integrity string
}

// Meta takes what an event says of the capture.
func (c *Capture) Meta(m model.Meta) {
	switch m.Key {
	case "host":
		c.Host = m.Value
	case "os":
		c.OS = m.Value
	case "kernel":
		c.Kernel = m.Value
	case "tool":
		c.Tool = m.Value
	}
}

// captures is the table of what was exported.
var captures = Table{Name: "captures", Doc: "a file that was exported", Columns: []Column{
	captureColumn,
	{Name: "format", Doc: "the kind of file"},
	{Name: "host", Doc: "the host, empty unknown"},
	{Name: "os", Doc: "its operating system, empty unknown"},
	{Name: "kernel", Doc: "its kernel, empty unknown"},
	{Name: "tool", Doc: "the program that wrote the file, empty unknown"},
	{Name: "start_time", Type: Time, Unit: "time", Doc: "its first moment", Optional: true},
	{Name: "end_time", Type: Time, Unit: "time", Doc: "its last moment", Optional: true},
	{Name: "events", Type: Unsigned, Unit: "count", Doc: "events that were exported, those of tables that have no rows " +
		"in the export not included"},
	{Name: "complete", Type: Bool, Unit: "bool", Doc: "whether it could be read to its end"},
	{Name: "integrity", Doc: "what is missing or damaged, empty when nothing is"},
}}

func (c *Capture) row() []Value {
	return []Value{
		textOf(c.File), textOf(c.Format), textOf(c.Host), textOf(c.OS), textOf(c.Kernel), textOf(c.Tool), timeOf(c.Start),
		timeOf(c.End), {Bits: c.Rows}, boolOf(c.Complete), textOf(c.Integrity),
	}
}

// lines are the column of a list of texts.
var lines = []Column{{Doc: "a sentence"}}

// findings is the table of findings.
var findings = Table{Name: "findings", Doc: "a finding, as 'lostbeat findings' prints it", Columns: []Column{
	{Name: captureColumn.Name, Doc: captureColumn.Doc + "; none for one that several show together", Optional: true},
	{Name: "id", Doc: "identity"},
	{Name: "detector", Doc: "which detector"},
	{Name: "severity", Doc: "info, warning or critical"},
	{Name: "title", Doc: "the finding in one sentence"},
	{Name: "start_time", Type: Time, Unit: "time", Doc: "when the fault began", Optional: true},
	{Name: "end_time", Type: Time, Unit: "time", Doc: "when it ended or was last seen", Optional: true},
	{Name: "ongoing", Type: Bool, Unit: "bool", Doc: "whether it still held at its end"},
	{Name: "subject", Doc: "what it is about: cpu, device, process, pool, socket, host"},
	{Name: "cpu", Type: Small, Unit: "number", Doc: "the processor", Optional: true},
	{Name: "vector", Doc: "kind of deferred work"},
	{Name: "driver", Doc: "driver"},
	{Name: "device", Doc: "device"},
	{Name: "queue", Doc: "queue of the device"},
	{Name: "pid", Type: Small, Unit: "number", Doc: "the process", Optional: true},
	{Name: "process", Doc: "its name"},
	{Name: "pool", Doc: "pool of ports"},
	{Name: "protocol", Doc: "transport protocol"},
	{Name: "port", Type: Unsigned, Unit: "port", Doc: "local port, 0 when it is about none"},
	{Name: "netns", Doc: "network namespace of a pool"},
	{Name: "evidence", Type: List, Doc: "the numbers that it rests on, the strongest first", Of: []Column{
		{Name: "name", Doc: "what was measured"},
		{Name: "value", Type: Float, Unit: "float", Doc: "the number, in its unit", Optional: true},
		{Name: "unit", Doc: "packets, packets/s, ns, ratio, ports, s, ..."},
	}},
	{Name: "causes", Type: List, Doc: "the chain of causes, the first being what the fault comes from", Of: lines},
	{Name: "ruled_out", Type: List, Doc: "what was excluded, each with what excluded it", Of: lines},
	{Name: "advice", Type: List, Doc: "what to do", Of: lines},
	{Name: "loss", Type: Unsigned, Unit: "count", Doc: "events that were lost while it was formed"},
}}

func findingRow(capture string, f *model.Finding) []Value {
	s := &f.Subject
	var evidence [][]Value
	for _, e := range f.Evidence {
		evidence = append(evidence, []Value{textOf(e.Name), floatOf(e.Value), textOf(e.Unit)})
	}
	return []Value{
		{Text: capture, Null: capture == ""}, textOf(f.ID), textOf(f.Detector), textOf(f.Severity.String()),
		textOf(f.Title), timeOf(f.Start), timeOf(f.End), boolOf(f.Ongoing), textOf(s.Kind), known(s.CPU), textOf(s.Vector),
		textOf(s.Driver), textOf(s.Device), textOf(s.Queue), known(s.PID), textOf(s.Process), textOf(s.Pool),
		textOf(s.Protocol), {Bits: uint64(s.Port)}, textOf(s.Netns), {List: evidence}, listOf(f.Causes),
		listOf(f.RuledOut), listOf(f.Advice), {Bits: f.Loss},
	}
}

func listOf(texts []string) Value {
	list := make([][]Value, len(texts))
	for i, s := range texts {
		list[i] = []Value{textOf(s)}
	}
	return Value{List: list}
}
