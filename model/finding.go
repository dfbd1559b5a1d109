package model

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Finding is a detector's verdict: one sentence that can be pasted into a
// ticket, with its evidence. Updates of one finding share its ID.
type Finding struct {
	// ID is the identity: detector, subject and start. It is the same live and replayed.
	ID string
	// Detector is the name of the detector, e.g. "dpc-starvation".
	Detector string
	Severity Severity
	// Title is the finding in one sentence.
	Title string
	// Start is when the fault began; End is when it ended or, while Ongoing, when it was last seen.
	Start, End Time
	// Ongoing says that the fault still held at End.
	Ongoing bool
	Subject Subject
	// Evidence are the numbers that the verdict rests on, the strongest first.
	Evidence []Evidence
	// Causes is the chain of causes, the first being what the fault comes from.
	Causes []string
	// RuledOut are the rivals that were excluded, each with what excluded it.
	RuledOut []string
	// Advice is what to do, each with the check that says when not to do it.
	Advice []string
	// Loss is how many events were lost while the finding was formed.
	Loss uint64
}

// Subject is what a finding is about; zero fields do not apply. CPU and PID are
// -1 where they do not apply.
type Subject struct {
	// Kind says which of the fields identify the subject: cpu, device, process, pool, socket, host.
	Kind     string
	CPU      int32
	Vector   string
	Driver   string
	Device   string
	Queue    string
	PID      int32
	Process  string
	Pool     string
	Protocol string
	Port     uint16
	// Netns is the network namespace of a pool, by name or inode; empty for the host's own.
	Netns string
}

// Evidence is one number of a finding.
type Evidence struct {
	// Name says what was measured, in words that a reader knows.
	Name string `json:"name"`
	// Value is the number in Unit.
	Value float64 `json:"value"`
	// Unit is the unit: packets, packets/s, ns, ratio, ports, ports/s, s, ...
	Unit string `json:"unit"`
}

type subjectJSON struct {
	Kind     string `json:"kind"`
	CPU      *int32 `json:"cpu,omitempty"`
	Vector   string `json:"vector,omitempty"`
	Driver   string `json:"driver,omitempty"`
	Device   string `json:"device,omitempty"`
	Queue    string `json:"queue,omitempty"`
	PID      *int32 `json:"pid,omitempty"`
	Process  string `json:"process,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Netns    string `json:"netns,omitempty"`
}

type findingJSON struct {
	ID       string      `json:"id"`
	Detector string      `json:"detector"`
	Severity string      `json:"severity"`
	Title    string      `json:"title"`
	Start    string      `json:"start"`
	End      string      `json:"end"`
	Ongoing  bool        `json:"ongoing"`
	Subject  subjectJSON `json:"subject"`
	Evidence []Evidence  `json:"evidence"`
	Causes   []string    `json:"causes"`
	RuledOut []string    `json:"ruled_out"`
	Advice   []string    `json:"advice"`
	Loss     uint64      `json:"loss"`
}

// MarshalJSON writes the finding as one object; lists are never null, times
// are RFC 3339 with nanoseconds in UTC. Evidence whose value is no finite number
// is left out: JSON has no form for it.
func (f Finding) MarshalJSON() ([]byte, error) {
	evidence := []Evidence{}
	for _, e := range f.Evidence {
		if !math.IsNaN(e.Value) && !math.IsInf(e.Value, 0) {
			evidence = append(evidence, e)
		}
	}
	j := findingJSON{
		ID:       f.ID,
		Detector: f.Detector,
		Severity: f.Severity.String(),
		Title:    f.Title,
		Start:    f.Start.String(),
		End:      f.End.String(),
		Ongoing:  f.Ongoing,
		Subject: subjectJSON{
			Kind:     f.Subject.Kind,
			Vector:   f.Subject.Vector,
			Driver:   f.Subject.Driver,
			Device:   f.Subject.Device,
			Queue:    f.Subject.Queue,
			Process:  f.Subject.Process,
			Pool:     f.Subject.Pool,
			Protocol: f.Subject.Protocol,
			Port:     f.Subject.Port,
			Netns:    f.Subject.Netns,
		},
		Evidence: evidence,
		Causes:   append([]string{}, f.Causes...),
		RuledOut: append([]string{}, f.RuledOut...),
		Advice:   append([]string{}, f.Advice...),
		Loss:     f.Loss,
	}
	if f.Subject.CPU >= 0 {
		j.Subject.CPU = &f.Subject.CPU
	}
	if f.Subject.PID >= 0 {
		j.Subject.PID = &f.Subject.PID
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Finding) UnmarshalJSON(data []byte) error {
	var j findingJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	start, err := time.Parse(time.RFC3339Nano, j.Start)
	if err != nil {
		return fmt.Errorf("finding start: %w", err)
	}
	end, err := time.Parse(time.RFC3339Nano, j.End)
	if err != nil {
		return fmt.Errorf("finding end: %w", err)
	}
	severity := SeverityInfo
	for i, name := range SeverityEnum.Names {
		if name == j.Severity {
			severity = Severity(i)
		}
	}
	*f = Finding{
		ID:       j.ID,
		Detector: j.Detector,
		Severity: severity,
		Title:    j.Title,
		Start:    TimeOf(start),
		End:      TimeOf(end),
		Ongoing:  j.Ongoing,
		Subject: Subject{
			Kind:     j.Subject.Kind,
			CPU:      -1,
			Vector:   j.Subject.Vector,
			Driver:   j.Subject.Driver,
			Device:   j.Subject.Device,
			Queue:    j.Subject.Queue,
			PID:      -1,
			Process:  j.Subject.Process,
			Pool:     j.Subject.Pool,
			Protocol: j.Subject.Protocol,
			Port:     j.Subject.Port,
			Netns:    j.Subject.Netns,
		},
		Evidence: j.Evidence,
		Causes:   j.Causes,
		RuledOut: j.RuledOut,
		Advice:   j.Advice,
		Loss:     j.Loss,
	}
	if j.Subject.CPU != nil {
		f.Subject.CPU = *j.Subject.CPU
	}
	if j.Subject.PID != nil {
		f.Subject.PID = *j.Subject.PID
	}
	return nil
}

// AddFinding adds f as a derived event at the time at which it was concluded.
func (b *Builder) AddFinding(at Time, f Finding) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode finding %s: %w", f.ID, err)
	}
	b.AddFindingEvent(
		FindingEvent{
			Time:     at,
			Dur:      at.Sub(f.Start),
			Flags:    FlagDerived,
			Severity: f.Severity,
			Ongoing:  f.Ongoing,
			ID:       f.ID,
			Detector: f.Detector,
			Title:    f.Title,
			Body:     string(body),
		},
	)
	return nil
}

// Finding decodes the finding that e carries; ok is false when e is of another
// kind or its body does not decode.
func (b *Batch) Finding(e *Event) (f Finding, ok bool) {
	v, ok := b.FindingEvent(e)
	if !ok || json.Unmarshal([]byte(v.Body), &f) != nil {
		return Finding{}, false
	}
	return f, true
}
