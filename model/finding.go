package model

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Finding is a detector's verdict: one sentence that can be pasted into a
// ticket, with its evidence. Updates of one finding share its ID.
type Finding struct {
	// ID is the identity: detector, subject and start. It is the same live and replayed.
	ID string `json:"id"`
	// Detector is the name of the detector, e.g. "dpc-starvation".
	Detector string   `json:"detector"`
	Severity Severity `json:"severity"`
	// Title is the finding in one sentence.
	Title string `json:"title"`
	// Start is when the fault began; End is when it ended or, while Ongoing, when it was last seen.
	Start Time `json:"start"`
	End   Time `json:"end"`
	// Ongoing says that the fault still held at End.
	Ongoing bool    `json:"ongoing"`
	Subject Subject `json:"subject"`
	// Evidence are the numbers that the verdict rests on, the strongest first.
	Evidence []Evidence `json:"evidence"`
	// Causes is the chain of causes, the first being what the fault comes from.
	Causes []string `json:"causes"`
	// RuledOut are the rivals that were excluded, each with what excluded it.
	RuledOut []string `json:"ruled_out"`
	// Advice is what to do, each with the check that says when not to do it.
	Advice []string `json:"advice"`
	// Loss is how many events were lost while the finding was formed.
	Loss uint64 `json:"loss"`
}

// Subject is what a finding is about; zero fields do not apply. CPU and PID are
// -1 where they do not apply.
type Subject struct {
	// Kind says which of the fields identify the subject: cpu, device, process, pool, socket, host.
	Kind     string `json:"kind"`
	CPU      int32  `json:"-"`
	Vector   string `json:"vector,omitempty"`
	Driver   string `json:"driver,omitempty"`
	Device   string `json:"device,omitempty"`
	Queue    string `json:"queue,omitempty"`
	PID      int32  `json:"-"`
	Process  string `json:"process,omitempty"`
	Pool     string `json:"pool,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	// Netns is the network namespace of a pool, by name or inode; empty for the host's own.
	Netns string `json:"netns,omitempty"`
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

// finding and subject are the types without their methods, for encoding/json.
type (
	finding Finding
	subject Subject
)

// subjectJSON adds to a subject what 0 is a value of.
type subjectJSON struct {
	*subject
	CPU *int32 `json:"cpu,omitempty"`
	PID *int32 `json:"pid,omitempty"`
}

// MarshalJSON writes the finding as one object; lists are never null, times
// are RFC 3339 with nanoseconds in UTC. Evidence whose value is no finite number
// is left out: JSON has no form for it.
func (f Finding) MarshalJSON() ([]byte, error) {
	f.Evidence = slices.DeleteFunc(slices.Clone(f.Evidence), func(e Evidence) bool {
		return math.IsNaN(e.Value) || math.IsInf(e.Value, 0)
	})
	if f.Evidence == nil {
		f.Evidence = []Evidence{}
	}
	for _, list := range []*[]string{&f.Causes, &f.RuledOut, &f.Advice} {
		if *list == nil {
			*list = []string{}
		}
	}
	return json.Marshal(finding(f))
}

// MarshalJSON leaves out what does not apply.
func (s Subject) MarshalJSON() ([]byte, error) {
	j := subjectJSON{subject: (*subject)(&s)}
	if s.CPU >= 0 {
		j.CPU = &s.CPU
	}
	if s.PID >= 0 {
		j.PID = &s.PID
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Subject) UnmarshalJSON(data []byte) error {
	*s = Subject{CPU: -1, PID: -1}
	return json.Unmarshal(data, &subjectJSON{(*subject)(s), &s.CPU, &s.PID})
}

// MarshalText writes t as String does.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *Time) UnmarshalText(text []byte) error {
	std, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return fmt.Errorf("parse a time: %w", err)
	}
	*t = TimeOf(std)
	return nil
}

// UnmarshalText reads the name of a severity; what is no name is info.
func (v *Severity) UnmarshalText(text []byte) error {
	*v = Severity(max(0, slices.Index(SeverityEnum.Names, string(text))))
	return nil
}

// valueBody marks a StringID that is the place of a finding in Batch.Findings.
const valueBody StringID = 1 << 31

// AddFinding adds f as a derived event at the time at which it was concluded. It
// travels as a value: its text is made where somebody asks for it.
func (b *Builder) AddFinding(at Time, f Finding) {
	f.Evidence, f.Causes = slices.Clone(f.Evidence), slices.Clone(f.Causes)
	f.RuledOut, f.Advice = slices.Clone(f.RuledOut), slices.Clone(f.Advice)
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
		},
	)
	b.batch.Events[len(b.batch.Events)-1].Str[3] = b.internFinding(f)
}

// Adopt adds the texts and findings of another batch to b's tables, and returns
// the other's events with the ids that they have in b. Those events have neither
// stacks nor histograms.
func (b *Batch) Adopt(other *Batch) []Event {
	if len(b.Strings) == 0 {
		b.Strings = []string{""}
	}
	texts, values := StringID(len(b.Strings)-1), StringID(len(b.Findings))
	b.Strings = append(b.Strings, other.Strings[1:]...)
	b.Findings = append(b.Findings, other.Findings...)
	events := slices.Clone(other.Events)
	for i := range events {
		for j, id := range events[i].Str {
			switch {
			case id&valueBody != 0:
				events[i].Str[j] = id + values
			case id != 0:
				events[i].Str[j] = id + texts
			}
		}
	}
	return events
}

func (b *Builder) internFinding(f Finding) StringID {
	b.batch.Findings = append(b.batch.Findings, f)
	return valueBody | StringID(len(b.batch.Findings)-1)
}

// value returns the finding that id is the place of, nil for any other id.
func (b *Batch) value(id StringID) *Finding {
	if i := int(id &^ valueBody); id&valueBody != 0 && i < len(b.Findings) {
		return &b.Findings[i]
	}
	return nil
}

// body returns the text of the finding that id is the place of, "" for any other id.
func (b *Batch) body(id StringID) string {
	f := b.value(id)
	if f == nil {
		return ""
	}
	text, err := json.Marshal(f)
	if err != nil {
		return "" // a finding holds texts and finite numbers only
	}
	return string(text)
}

// Finding returns the finding that e carries; ok is false when e is of another
// kind or its body does not decode.
func (b *Batch) Finding(e *Event) (f Finding, ok bool) {
	if e.Kind != KindFinding {
		return Finding{}, false
	}
	if f := b.value(e.Str[3]); f != nil {
		return *f, true
	}
	if json.Unmarshal([]byte(b.String(e.Str[3])), &f) != nil {
		return Finding{}, false
	}
	return f, true
}
