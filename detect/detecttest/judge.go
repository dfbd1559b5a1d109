package detecttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/model"
)

// Emission is one finding as it was emitted.
type Emission struct {
	// At is the event time of the emission.
	At model.Time
	// Finding is its state then, with blanks in the place of no-break spaces.
	Finding model.Finding

	// typeset is the finding as it was emitted.
	typeset model.Finding
}

// Run gives the stream to a new engine in batches of the given size (0: one batch).
func Run(b *model.Batch, size int) []Emission {
	if size == 0 {
		size = len(b.Events)
	}
	var parts []*model.Batch
	for from := 0; from < len(b.Events); from += size {
		part := *b
		part.Events = b.Events[from:min(from+size, len(b.Events))]
		parts = append(parts, &part)
	}
	return RunBatches(parts)
}

// RunBatches gives the batches of a stream to a new engine.
func RunBatches(batches []*model.Batch) []Emission {
	e := detect.New(all.Settings(), detect.Options{})
	var out []Emission
	emit := func(at model.Time, f model.Finding) { out = append(out, Emission{at, Blanks(f), f}) }
	for _, b := range batches {
		e.Apply(b, emit)
	}
	e.Finish(emit)
	return out
}

// Latest returns the last state of each finding, in order of first emission.
func Latest(out []Emission) []model.Finding {
	var list []model.Finding
	index := make(map[string]int)
	for _, e := range out {
		if i, ok := index[e.Finding.ID]; ok {
			list[i] = e.Finding
			continue
		}
		index[e.Finding.ID] = len(list)
		list = append(list, e.Finding)
	}
	return list
}

// Dump returns all emissions as text, one a line.
func Dump(out []Emission) string {
	var b strings.Builder
	for _, e := range out {
		body, _ := json.Marshal(e.Finding)
		fmt.Fprintf(&b, "%v %s\n", e.At, body)
	}
	return b.String()
}

// Want says which finding a scenario must give, and what it must contain.
type Want struct {
	// Detector is the name of the detector, Severity how bad it says it is.
	Detector string
	Severity model.Severity
	// Within is the longest time from the fault's start to the verdict, 0 unchecked.
	Within time.Duration
	// Contains are parts of the finding's JSON.
	Contains []string
	// Lacks are parts that it must not have.
	Lacks []string
	// Closed says that the finding must have been closed by the end.
	Closed bool
}

// Check runs the stream in one batch and in small ones and wants exactly the given
// findings, in the order of their first emission; fault is when the fault began.
func Check(t *testing.T, b *model.Batch, fault model.Time, wants ...Want) {
	t.Helper()
	out := Run(b, 0)
	if again := Dump(Run(b, 7)); again != Dump(out) {
		t.Errorf("other batches, other findings:\n%s\n%s", Dump(out), again)
	}
	checkWords(t, out)
	got := Latest(out)
	if len(got) != len(wants) {
		t.Fatalf("got %d findings, want %d:\n%s", len(got), len(wants), Dump(out))
	}
	for i, w := range wants {
		f := got[i]
		body, err := json.MarshalIndent(f, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		if f.Detector != w.Detector || f.Severity != w.Severity {
			t.Errorf("got %s %s, want %s %s:\n%s", f.Detector, f.Severity, w.Detector, w.Severity, text)
		}
		if f.Ongoing == w.Closed {
			t.Errorf("ongoing is %v:\n%s", f.Ongoing, text)
		}
		for _, part := range w.Contains {
			if !strings.Contains(text, part) {
				t.Errorf("finding lacks %q:\n%s", part, text)
			}
		}
		for _, part := range w.Lacks {
			if strings.Contains(text, part) {
				t.Errorf("finding has %q:\n%s", part, text)
			}
		}
		for _, e := range out {
			if e.Finding.ID == f.ID && w.Within > 0 && e.At.Sub(fault) > w.Within {
				t.Errorf("first verdict after %v, want %v", e.At.Sub(fault), w.Within)
			}
			if e.Finding.ID == f.ID {
				break
			}
		}
		for _, e := range f.Evidence {
			if e.Value != e.Value || e.Unit == "" || e.Name == "" {
				t.Errorf("bad evidence %+v", e)
			}
		}
	}
}

// Verdict is what a variant must bring: one finding above severity info, or
// none where Detector is empty. Notes of severity info may come as well.
type Verdict struct {
	// Detector is the name of the detector; empty when nothing above info may come.
	Detector string
	// First is the longest time to the first word of it, Sure to the first above info; 0 unchecked.
	First, Sure time.Duration
	// Contains are parts of its title, subject, causes or ruled out rivals.
	Contains []string
}

// Judge runs the stream and wants the verdict; fault is when the fault began.
func Judge(t *testing.T, b *model.Batch, fault model.Time, v Verdict) {
	t.Helper()
	out := Run(b, 0)
	checkWords(t, out)
	var sure []model.Finding
	for _, f := range Latest(out) {
		if f.Severity > model.SeverityInfo {
			sure = append(sure, f)
		}
	}
	if v.Detector == "" {
		if len(sure) > 0 {
			t.Errorf("false alarm:\n%s", Dump(out))
		}
		return
	}
	if len(sure) != 1 || sure[0].Detector != v.Detector {
		t.Fatalf("got %d findings, want one of %s:\n%s", len(sure), v.Detector, Dump(out))
	}
	f := sure[0]
	text := strings.Join(append(append([]string{f.Title, f.Subject.Process}, f.Causes...), f.RuledOut...), "\n")
	for _, part := range v.Contains {
		if !strings.Contains(text, part) {
			t.Errorf("the finding lacks %q:\n%s", part, text)
		}
	}
	var first, proof time.Duration
	for _, e := range out {
		if e.Finding.ID != f.ID {
			continue
		}
		if first == 0 {
			first = e.At.Sub(fault)
		}
		if e.Finding.Severity > model.SeverityInfo {
			proof = e.At.Sub(fault)
			break
		}
	}
	if v.First > 0 && first > v.First {
		t.Errorf("the first word came after %v, want %v", first, v.First)
	}
	if v.Sure > 0 && proof > v.Sure {
		t.Errorf("the verdict came after %v, want %v", proof, v.Sure)
	}
}
