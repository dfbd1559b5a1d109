package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestCatalogue checks that every kind is described, well named and unique.
func TestCatalogue(t *testing.T) {
	var (
		kindName  = regexp.MustCompile(`^[a-z]+(\.[a-z]+)?$`)
		fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z0-9]$`)
		slotName  = regexp.MustCompile(`^(time|kind|dur|dur_ns|cpu|pid|tid|flags|stack|resource|arg\d|str\d|hist\d)$`)
	)
	names, numbers, views := map[string]bool{}, map[Kind]bool{}, map[string]bool{}
	last := Kind(0)
	for _, s := range Specs {
		t.Run(s.Name, func(t *testing.T) {
			if !kindName.MatchString(s.Name) || names[s.Name] || numbers[s.Kind] || views[s.View] || s.Kind <= last {
				t.Errorf("name %q, number %d or view %q is malformed, taken or out of order", s.Name, s.Kind, s.View)
			}
			names[s.Name], numbers[s.Kind], views[s.View], last = true, true, true, s.Kind
			if SpecOf(s.Kind) == nil || SpecOf(s.Kind).Name != s.Name || s.Kind.String() != s.Name {
				t.Errorf("SpecOf(%d) does not find the kind", s.Kind)
			}
			if k, ok := KindNamed(s.Name); !ok || k != s.Kind {
				t.Errorf("KindNamed(%q) = %d, %v", s.Name, k, ok)
			}
			if len(s.Doc) < 10 || s.Since < 0 {
				t.Errorf("no documentation")
			}
			if len(s.Args) > MaxArgs || len(s.Strings) > MaxStrings || len(s.Hists) > MaxHists {
				t.Errorf("more fields than an event has slots")
			}
			fields := append(append(append([]Field{}, s.Args...), s.Strings...), s.Hists...)
			if s.Resource.Name != "" {
				fields = append(fields, s.Resource)
			}
			keys := map[string]bool{}
			for _, f := range fields {
				if !fieldName.MatchString(f.Name) || slotName.MatchString(f.Name) || keys[f.Name] || keys[f.textKey()] {
					t.Errorf("field name %q is malformed, reserved or taken", f.Name)
				}
				keys[f.Name], keys[f.textKey()] = true, true
				if f.Doc == "" {
					t.Errorf("field %s is not documented", f.Name)
				}
				if (f.Unit == UnitEnum) != (f.Enum != nil) {
					t.Errorf("field %s: enumeration and unit disagree", f.Name)
				}
				if f.Unit == UnitNanoseconds && !strings.HasSuffix(f.Name, "_ns") {
					t.Errorf("field %s does not end in its unit", f.Name)
				}
				if f.Enum == nil {
					continue
				}
				values := map[string]bool{}
				for i, name := range f.Enum.Names {
					if !fieldName.MatchString(name) || values[name] || f.Enum.Name(uint64(i)) != name {
						t.Errorf("%s: name %q is malformed or taken", f.Enum.Type, name)
					}
					values[name] = true
				}
			}
		})
	}
}

// TestViewsRoundTrip fills every field of every typed view, adds it and reads it back.
func TestViewsRoundTrip(t *testing.T) {
	var builder Builder
	for _, s := range Specs {
		t.Run(s.Name, func(t *testing.T) {
			add := reflect.ValueOf(&builder).MethodByName("Add" + s.View)
			want := reflect.New(add.Type().In(0)).Elem()
			for i := range want.NumField() {
				fill(want.Field(i), i+1)
			}
			add.Call([]reflect.Value{want})
			b := builder.Take()
			e := &b.Events[0]
			view := reflect.ValueOf(b).MethodByName(s.View)
			got := view.Call([]reflect.Value{reflect.ValueOf(e)})
			if !got[1].Bool() || !reflect.DeepEqual(got[0].Interface(), want.Interface()) {
				t.Errorf("got %+v, want %+v", got[0].Interface(), want.Interface())
			}
			for _, other := range Specs {
				if other.Kind == s.Kind {
					continue
				}
				if out := reflect.ValueOf(b).MethodByName(other.View).Call([]reflect.Value{reflect.ValueOf(e)}); out[1].Bool() {
					t.Errorf("view %s takes an event of kind %s", other.View, s.Name)
				}
			}
		})
	}
}

// fill sets v, a field of a typed view, to a value of its own that is not zero.
func fill(v reflect.Value, n int) {
	switch v.Interface().(type) {
	case *Histogram:
		h := new(Histogram)
		for i := range n {
			h.Observe(uint64(i) * 1000)
		}
		v.Set(reflect.ValueOf(h))
		return
	case Stack:
		v.Set(reflect.ValueOf(Stack{{Addr: uint64(n), Name: "f"}, {Name: fmt.Sprint("g", n)}}))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(n) + 0.1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	default:
		v.SetUint(uint64(n))
	}
}

func TestViewsNeverPanic(t *testing.T) {
	// Ids far outside the tables, as a broken source could make them.
	for _, s := range Specs {
		e := NewEvent(s.Kind, 1)
		for i := range e.Str {
			e.Str[i] = math.MaxUint32
		}
		for i := range e.Hist {
			e.Hist[i] = math.MaxUint32
		}
		e.Stack = math.MaxUint32
		b := &Batch{Events: []Event{e}}
		reflect.ValueOf(b).MethodByName(s.View).Call([]reflect.Value{reflect.ValueOf(&b.Events[0])})
		AppendText(nil, b, &e)
		AppendJSON(nil, b, &e)
		if err := Validate(b); err == nil {
			t.Errorf("%s: ids outside the tables pass", s.Name)
		}
	}
}

func TestBuilderImport(t *testing.T) {
	var from, to Builder
	run := new(Histogram)
	run.Observe(1500)
	to.Intern("shift the ids")
	from.AddDeferredHist(
		DeferredHist{Time: 5, CPU: 1, Class: ClassSoftirq, Count: 1, MaxRun: 1500, Name: "NET_RX", RunHist: run},
	)
	from.AddPortAcquire(
		PortAcquire{
			Time:      6,
			PID:       1,
			TID:       2,
			Cookie:    9,
			LocalPort: 53,
			Process:   "named",
			Stack:     Stack{{Addr: 1, Name: "bind"}},
		},
	)
	source := from.Take()
	to.Import(source, source.Events...)
	got := to.Take()
	for i := range source.Events {
		want := string(AppendText(nil, source, &source.Events[i]))
		if text := string(AppendText(nil, got, &got.Events[i])); text != want {
			t.Errorf("imported as %s, want %s", text, want)
		}
	}
	if to.Take() != nil {
		t.Error("an empty Builder gives a batch")
	}
}

func TestBuilderSortByTime(t *testing.T) {
	var b Builder
	for i, when := range []Time{30, 10, 20, 10} {
		b.AddCounter(Counter{Time: when, CPU: -1, Value: float64(i)})
	}
	b.SortByTime()
	var order []float64
	batch := b.Take()
	for i := range batch.Events {
		order = append(order, batch.Events[i].Float(0))
	}
	if want := []float64{1, 3, 2, 0}; !reflect.DeepEqual(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestFindingRoundTrip(t *testing.T) {
	want := Finding{
		ID:       "x",
		Detector: "port-leak",
		Severity: SeverityCritical,
		Title:    "a \"leak\"\x1b",
		Start:    5,
		End:      1e9 + 7,
		Ongoing:  true,
		Subject: Subject{
			Kind:    "process",
			CPU:     -1,
			PID:     0,
			Process: "idle",
			Port:    53,
		},
		Evidence: []Evidence{{"ports held", 12.5, "ports"}},
		Causes:   []string{"a"},
		RuledOut: []string{},
		Advice:   []string{"b"},
		Loss:     3,
	}
	var b Builder
	b.AddFinding(2e9, want)
	batch := b.Take()
	got, ok := batch.Finding(&batch.Events[0])
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := Validate(batch); err != nil {
		t.Error(err)
	}
}

// A finding that travels as a value and one whose text was read say the same,
// also after its batch has become part of others.
func TestFindingTravelsAsValue(t *testing.T) {
	want := Finding{
		ID: "x", Detector: "dpc-starvation", Severity: SeverityWarning, Title: "CPU 0", Start: 1, End: 2,
		Subject:  Subject{Kind: "cpu", CPU: 0, PID: -1},
		Evidence: []Evidence{{"busy", 0.5, "ratio"}, {"none", math.NaN(), ""}},
	}
	const text = `{"id":"x","detector":"dpc-starvation","severity":"warning","title":"CPU 0",` +
		`"start":"1970-01-01T00:00:00.000000001Z","end":"1970-01-01T00:00:00.000000002Z","ongoing":false,` +
		`"subject":{"kind":"cpu","cpu":0},"evidence":[{"name":"busy","value":0.5,"unit":"ratio"}],` +
		`"causes":[],"ruled_out":[],"advice":[],"loss":0}`
	var b Builder
	b.AddMeta(Meta{Time: 1, Key: "k", Value: "v"})
	b.AddFinding(3, want)
	value := b.Take()
	want.Evidence[0].Value = 9 // whoever made it goes on using its lists
	if v, ok := value.FindingEvent(&value.Events[1]); !ok || v.Body != text {
		t.Errorf("got  %s\nwant %s", v.Body, text)
	}
	b.AddFinding(1, Finding{ID: "first", Subject: Subject{CPU: -1, PID: -1}})
	b.Import(value, value.Events...)
	imported := b.Take()
	adopted := &Batch{}
	adopted.Events = adopted.Adopt(imported)
	for name, batch := range map[string]*Batch{"value": value, "imported": imported, "adopted": adopted} {
		if err := Validate(batch); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		e := &batch.Events[len(batch.Events)-1]
		if batch.String(e.Str[3]) != text || !strings.Contains(string(AppendJSON(nil, batch, e)), text) {
			t.Errorf("%s: %s", name, AppendJSON(nil, batch, e))
		}
		var read Builder
		if err := ParseText(&read, string(AppendText(nil, batch, e))); err != nil {
			t.Fatal(err)
		}
		parsed := read.Take()
		got, ok := parsed.Finding(&parsed.Events[0])
		direct, _ := batch.Finding(e)
		if !ok || len(got.Evidence) != 1 || got.Evidence[0].Value != 0.5 || direct.Evidence[0].Value != 0.5 ||
			got.Subject != direct.Subject || got.End != direct.End {
			t.Errorf("%s: parsed %+v, direct %+v", name, got, direct)
		}
	}
	if out := (&Batch{}).String(valueBody | 7); out != "" {
		t.Errorf("a finding outside the table is %q", out)
	}
}

func TestTime(t *testing.T) {
	e := NewEvent(KindDrop, TimeOf(time.Date(2026, 11, 22, 14, 3, 9, 5, time.UTC)))
	e.Dur = time.Second
	if got := e.Start().String(); got != "2026-11-22T14:03:08.000000005Z" {
		t.Errorf("start %s", got)
	}
	if e.Time.Sub(e.Start()) != time.Second || e.Start().Add(time.Second) != e.Time {
		t.Error("Sub and Add disagree")
	}
}

func BenchmarkBuilderAdd(b *testing.B) {
	var builder Builder
	random := rand.New(rand.NewPCG(1, 2))
	vectors := []string{"TIMER", "NET_RX", "SCHED", "RCU"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		builder.AddDeferredRun(
			DeferredRun{
				Time:  Time(i),
				Dur:   time.Duration(random.Uint32()),
				CPU:   1,
				PID:   2,
				TID:   2,
				Class: ClassSoftirq,
				Name:  vectors[i&3],
				Task:  "swapper/1",
			},
		)
		if builder.Len() == 4096 {
			builder.Take()
		}
	}
}

// TestBuilderAllocs holds the rule that an event costs no allocation of its own.
func TestBuilderAllocs(t *testing.T) {
	var builder Builder
	batch := func() {
		for i := range 4096 {
			builder.AddDeferredRun(
				DeferredRun{Time: Time(i), CPU: 1, PID: 2, TID: 2, Class: ClassSoftirq, Name: "NET_RX", Task: "swapper/1"},
			)
		}
		builder.Take()
	}
	batch()
	if allocs := testing.AllocsPerRun(20, batch); allocs > 8 {
		t.Errorf("%.0f allocations to a batch of 4096 events", allocs)
	}
}

// An interned string has the right id in every batch, whichever Builder makes it.
func TestInterned(t *testing.T) {
	name, empty := NewInterned("NET_RX"), Interned{}
	var one, other Builder
	one.Intern("first")
	for i, b := range []*Builder{&one, &one, &other, &one} {
		e := b.Append(KindDeferredRun)
		e.Str[StrDeferredRunName], e.Str[StrDeferredRunTask] = b.ID(&name), b.ID(&empty)
		if again := b.ID(&name); again != e.Str[StrDeferredRunName] {
			t.Errorf("batch %d: id %d, then %d", i, e.Str[StrDeferredRunName], again)
		}
		batch := b.Take()
		run, ok := batch.DeferredRun(&batch.Events[0])
		if !ok || run.Name != "NET_RX" || run.Task != "" || run.CPU != -1 {
			t.Errorf("batch %d: %+v", i, run)
		}
	}
}

// The constants of a kind's slots agree with its typed view.
func TestSlotNames(t *testing.T) {
	var b Builder
	b.AddDeferredRun(DeferredRun{Wait: 1, Exclusive: 2, Routine: 3, Vector: 4, Class: ClassDPC, Before: "b"})
	b.AddInterruptRun(InterruptRun{Exclusive: 1, Routine: 2, Handled: true, Class: ClassISR, Driver: "d"})
	batch := b.Take()
	run, interrupt := &batch.Events[0], &batch.Events[1]
	for name, pair := range map[string][2]uint64{
		"wait":      {run.Args[ArgDeferredRunWait], 1},
		"exclusive": {run.Args[ArgDeferredRunExclusive], 2},
		"routine":   {run.Args[ArgDeferredRunRoutine], 3},
		"vector":    {run.Args[ArgDeferredRunVector], 4},
		"class":     {run.Args[ArgDeferredRunClass], uint64(ClassDPC)},
		"handled":   {interrupt.Args[ArgInterruptRunHandled], 1},
		"isr":       {interrupt.Args[ArgInterruptRunClass], uint64(ClassISR)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %d, want %d", name, pair[0], pair[1])
		}
	}
	before := batch.String(run.Str[StrDeferredRunBefore])
	if driver := batch.String(interrupt.Str[StrInterruptRunDriver]); before != "b" ||
		driver != "d" {
		t.Errorf("before %q, driver %q", before, driver)
	}
}

// A batch is released once, and by itself only: a copy may share its events
// with others.
func TestRelease(t *testing.T) {
	released := 0
	b := &Batch{}
	b.Release()
	b.OnRelease(func() { released++ })
	part := *b
	part.Release()
	if released != 0 {
		t.Error("a copy has released the batch")
	}
	b.Release()
	b.Release()
	if released != 1 {
		t.Errorf("released %d times", released)
	}
}

func TestReuse(t *testing.T) {
	var b Builder
	memory := make([]Event, 2, 8)
	b.Reuse(memory)
	b.AddMeta(Meta{Time: 1})
	b.Reuse(make([]Event, 8)) // too late
	batch := b.Take()
	if &batch.Events[0] != &memory[0] || batch.Events[0].Kind != KindMeta || cap(batch.Events) != 8 {
		t.Errorf("the batch is not in the memory given: %+v", batch.Events)
	}
}

func TestNextSecond(t *testing.T) {
	for _, test := range []struct{ t, want Time }{
		{1, 1e9}, {1e9 - 1, 1e9}, {1e9, 2e9}, {1e9 + 1, 2e9},
	} {
		if got := test.t.NextSecond(); got != test.want {
			t.Errorf("%d.NextSecond() = %d, want %d", test.t, got, test.want)
		}
	}
}
