package detecttest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/model"
)

// Boundary is a stream in which something measures exactly At: with the setting
// at that value a finding says so, with the next value beyond it none does.
type Boundary struct {
	// Setting is its name. A setting that is compared in several places has a boundary for each.
	Setting string
	// At is the value with which it just holds: int, float64 or time.Duration.
	At any
	// Next is the next value beyond At where that is not the one after it: for settings that are rounded.
	Next any
	// Upper says that the setting is an upper limit: the values below At are beyond it.
	Upper bool
	// With are other settings that must not decide, as text.
	With map[string]string
	// Says is what a finding says, as in line, while it holds.
	Says string
	// Stream builds the stream.
	Stream func() *model.Batch
}

// line is a finding in one line: what a boundary may look for.
func line(f model.Finding, times int) string {
	state := "closed"
	if f.Ongoing {
		state = "ongoing"
	}
	return fmt.Sprintf(
		"%s %s %s from %d until %d, emitted %d times: %s; %s", state, f.Severity, f.Detector,
		f.Start.Sub(Start)/time.Second, f.End.Sub(Start)/time.Second, times, f.Title,
		strings.Join(append(append(append([]string{}, f.Causes...), f.RuledOut...), f.Advice...), "; "),
	)
}

// beyond returns the next value of a setting that does not hold.
func (b *Boundary) beyond() any {
	if b.Next != nil {
		return b.Next
	}
	step := 1
	if b.Upper {
		step = -1
	}
	switch v := b.At.(type) {
	case int:
		return v + step
	case time.Duration:
		return v + time.Duration(step)
	case float64:
		return math.Nextafter(v, v+float64(step))
	}
	panic("no kind of setting")
}

func set(t *testing.T, s detect.Settings, name string, value any) {
	t.Helper()
	for _, f := range s.Fields() {
		if f.Name != name {
			continue
		}
		switch p := f.Value.(type) {
		case *uint64:
			*p = uint64(value.(int))
		case *float64:
			*p = value.(float64)
		case *detect.Duration:
			*p = detect.Duration(value.(time.Duration))
		}
		return
	}
	t.Fatalf("no setting %s", name)
}

func (b *Boundary) judged(t *testing.T, value any) (lines []string) {
	t.Helper()
	s := all.Settings()
	for name, text := range b.With {
		for _, f := range s.Fields() {
			if f.Name == name {
				if err := f.Set(text); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	set(t, s, b.Setting, value)
	var out []Emission
	emit := func(at model.Time, f model.Finding) { out = append(out, Emission{at, Blanks(f), f}) }
	e := detect.New(s, detect.Options{})
	e.Apply(b.Stream(), emit)
	e.Finish(emit)
	checkWords(t, out)
	times := make(map[string]int)
	for _, e := range out {
		times[e.Finding.ID]++
	}
	list := Latest(out)
	lines = append(lines, fmt.Sprintf("%d findings", len(list)))
	for _, f := range list {
		lines = append(lines, line(f, times[f.ID]))
	}
	return lines
}

// Boundaries tries each setting at the value that just holds and just beyond, and
// wants a boundary of every setting whose name begins with prefix and a dot.
func Boundaries(t *testing.T, prefix string, boundaries []Boundary, untried ...string) {
	t.Helper()
	tested := make(map[string]bool)
	for _, b := range boundaries {
		tested[b.Setting] = true
		t.Run(b.Setting, func(t *testing.T) {
			for _, holds := range []bool{true, false} {
				value := b.At
				if !holds {
					value = b.beyond()
				}
				lines := b.judged(t, value)
				if got := strings.Contains(strings.Join(lines, "\n"), b.Says); got != holds {
					t.Errorf("with %s = %v, %q is said: %v; findings:\n%s", b.Setting, value, b.Says, got,
						strings.Join(lines, "\n"))
				}
			}
		})
	}
	for _, f := range all.Settings().Fields() {
		if strings.HasPrefix(f.Name, prefix+".") && tested[f.Name] == slices.Contains(untried, f.Name) {
			t.Errorf("setting %s: tried %v, listed as untried %v", f.Name, tested[f.Name], !tested[f.Name])
		}
	}
}

// Once is a stream that is quiet but for its sixth second.
func Once(each func(s *Stream)) func() *model.Batch {
	return func() *model.Batch {
		s := New()
		s.Device(2, "eth0", 1, "0")
		s.Seconds(40, func(i int) {
			s.Quiet()
			if i == 5 {
				each(s)
			}
		})
		return s.Batch()
	}
}

// Loaded is a stream of a host whose first CPU has a load in each second.
func Loaded(l Load) func() *model.Batch {
	return func() *model.Batch {
		s := New()
		s.Device(2, "eth0", 1, "0")
		s.Seconds(12, func(int) {
			s.CPU(0, l)
			s.CPU(1, Load{User: 0.01})
			if l.Dropped > 0 {
				s.Drop(model.Drop{
					CPU: 0, Place: model.PlaceBacklog, Count: l.Dropped, Ifindex: 2, Device: "eth0", Reason: "CPU_BACKLOG",
				})
			}
		})
		return s.Batch()
	}
}
