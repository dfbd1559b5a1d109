package etw

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

func TestGUID(t *testing.T) {
	const text = "3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c"
	g := MustGUID(text)
	if g.String() != text || g[0] != 0xd0 || g[15] != 0x7c {
		t.Errorf("%v, % x", g, g[:])
	}
	if braced, err := ParseGUID("{" + text + "}"); err != nil || braced != g {
		t.Errorf("%v %v", braced, err)
	}
	for _, bad := range []string{
		"", text[1:], text[:35] + "g", "3d6fa8d0fe0511d09dda00c04fd7ba7c0000", text + "-",
		"3d6fa8d0-fe05-11d0-9dda+00c04fd7ba7c",
	} {
		if g, err := ParseGUID(bad); err == nil {
			t.Errorf("%q = %v", bad, g)
		}
	}
}

func TestClock(t *testing.T) {
	start := model.TimeOf(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	fileTime := uint64(start/100) + fileTimeEpoch
	tests := []struct {
		name  string
		clock Clock
		ticks uint64
		want  time.Duration
	}{
		{"qpc", Clock{ClockQPC, 10_000_000, 5000, start}, 5000 + 15, 1500},
		{"qpc before the origin", Clock{ClockQPC, 10_000_000, 5000, start}, 4990, -1000},
		{"odd frequency", Clock{ClockQPC, 2_994_853, 0, start}, 2_994_853 * 3600, time.Hour},
		{
			"weeks at a high frequency",
			Clock{ClockQPC, 14_318_180_000, 0, start},
			14_318_180_000 * 86400 * 300,
			300 * 24 * time.Hour,
		},
		{"system", Clock{ClockSystem, 0, 1, start}, fileTime + 10, time.Microsecond},
		{"cycles", Clock{ClockCycles, 2_000_000_000, 0, start}, 3_000_000_000, 1500 * time.Millisecond},
		{"no frequency", Clock{ClockQPC, 0, 0, start}, 99, 0},
		{"damaged", Clock{ClockQPC, 1, 0, start}, 1 << 63, 100 * 365 * 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.clock.Time(tt.ticks).Sub(start); got != tt.want {
				t.Errorf("Time = start + %v, want %v", got, tt.want)
			}
		})
	}
	if FileTime(0) != 0 || FileTime(1<<63) != 0 || FileTime(1) != 0 || FileTime(fileTimeEpoch+1) != 100 {
		t.Error("FileTime")
	}
}

func TestFields(t *testing.T) {
	r := Record{PointerSize: 4, Payload: []byte{1, 2, 0, 3, 0, 0, 0, 'a', 0, 0xd8, 0, 'b', 0, 0, 0, 0xe4, 0}}
	f := r.Fields()
	if f.U8() != 1 || f.U16() != 2 || f.Pointer() != 3 {
		t.Error("numbers")
	}
	if s := f.UTF16(); s != "a\u00d8b" && s != "a�b" {
		t.Errorf("UTF16 = %q", s)
	}
	if f.Short() {
		t.Error("short too early")
	}
	f = Fields{data: []byte{'x', 0xe4, 0, 9}, ptr: 8}
	if s := f.ANSI(); s != "xä" || f.U64() != 0 || !f.Short() || f.Len() != 0 {
		t.Errorf("ANSI = %q, short %v", s, f.Short())
	}
	f = Fields{data: []byte{0, 0, 0, 0, 'n'}, ptr: 8}
	if f.SID(); f.Len() != 1 {
		t.Error("no SID")
	}
	sid := append(make([]byte, 16), 1, 2, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 2, 0, 0, 0, 'n')
	sid[0] = 1
	f = Fields{data: sid, ptr: 8}
	if f.SID(); f.Len() != 1 || f.Short() {
		t.Errorf("%d bytes behind the SID", f.Len())
	}
	v6 := append([]byte{28, 0, 0, 0, 23, 0, 0x1f, 0x90, 0, 0, 0, 0}, make([]byte, 20)...)
	v6[27] = 1
	f = Fields{data: v6, ptr: 8}
	if a := f.SockAddr(); a.String() != "[::1]:8080" {
		t.Errorf("SockAddr = %v", a)
	}
	f = Fields{data: []byte{0xff, 0xff, 0xff, 0xff, 1}, ptr: 8}
	if a := f.SockAddr(); a.IsValid() || !f.Short() {
		t.Errorf("SockAddr = %v", a)
	}
}

func mapped(op uint16, at model.Time, base uint64, file string) mapping {
	return mapping{Image{Base: base, Size: 0x1000, File: file}, at, op}
}

// TestImages looks addresses up that changed their image over time, with the
// records in any order.
func TestImages(t *testing.T) {
	var m images
	m.records = []mapping{
		mapped(opDCEnd, 100, 0x1000, `\late.sys`),
		mapped(opLoad, 50, 0x3000, `\b.sys`),
		mapped(opEnd, 40, 0x3000, `\A.SYS`),
		mapped(opDCStart, 0, 0x5000, `\c.sys`),
		mapped(opDCEnd, 100, 0x5000, `\c.sys`),
		mapped(opEnd, 60, 0x5000, `\c.sys`),
		mapped(opLoad, 10, 0x7000, `\d.sys`),
		mapped(opLoad, 20, 0x7000, `\e.sys`),
	}
	m.settle()
	tests := []struct {
		addr uint64
		at   model.Time
		want string
	}{
		{0x1010, 1, "late.sys+0x10"},
		{0x3000, 30, "a.sys+0x0"},
		{0x3000, 45, "0x3000"},
		{0x3000, 55, "b.sys+0x0"},
		{0x5fff, 30, "c.sys+0xfff"},
		{0x7001, 15, "d.sys+0x1"},
		{0x7001, 25, "e.sys+0x1"},
		{0x6000, 1, "0x6000"},
		{0, 1, "0x0"},
		{^uint64(0), 1, "0xffffffffffffffff"},
	}
	for _, tt := range tests {
		if got, _ := m.symbol(tt.addr, tt.at); got.Name != tt.want {
			t.Errorf("%#x at %d = %q, want %q", tt.addr, tt.at, got.Name, tt.want)
		}
	}
}

// TestProcesses names a process id that was used again.
func TestProcesses(t *testing.T) {
	var m processes
	add := func(op uint16, at model.Time, pid int32, name string) {
		m.add(process{PID: pid, Name: name}, op, at)
	}
	add(opStart, 50, 7, "second")
	add(opEnd, 40, 7, "first")
	add(opDCEnd, 100, 8, "rundown")
	add(opDCEnd, 100, 7, "second")
	m.settle()
	for _, tt := range []struct {
		pid  int32
		at   model.Time
		want string
	}{{7, 10, "first"}, {7, 60, "second"}, {8, 1, "rundown"}, {9, 1, ""}} {
		if got := m.at(tt.pid, tt.at).Name; got != tt.want {
			t.Errorf("process %d at %d = %q, want %q", tt.pid, tt.at, got, tt.want)
		}
	}
}

// TestNested subtracts what was nested, and only that.
func TestNested(t *testing.T) {
	d := NewDecoder(Options{}, Clock{}, NewState(), new(model.Builder))
	steps := []struct{ start, end, want uint64 }{
		{0, 10, 0},
		{20, 25, 0},
		{22, 24, 0}, // ended before the one above by its own account: neither encloses the other
		{18, 40, 5 + 2},
		{50, 60, 0},
		{55, 70, 0}, // overlaps, but does not enclose
		{5, 100, 22 + 10 + 15},
	}
	for _, s := range steps {
		if got := d.Completed(0, s.start, s.end); got != s.want {
			t.Errorf("%d to %d: %d nested, want %d", s.start, s.end, got, s.want)
		}
	}
	if got := d.Completed(1, 0, 1000); got != 0 {
		t.Errorf("another processor: %d", got)
	}
	for i := range uint64(1000) {
		d.Completed(0, i*10, i*10+5)
	}
	if n := len(d.cpus[0].runs); n > maxRuns {
		t.Errorf("%d runs are remembered", n)
	}
}

// TestBuiltin checks the built-in tables: every type is known, every length
// refers to an earlier field.
func TestBuiltin(t *testing.T) {
	s := newSchemas()
	if len(s.byKey) < 250 {
		t.Errorf("%d schemas", len(s.byKey))
	}
	for k, sch := range s.byKey {
		for i, f := range sch.fields {
			if f.in == inNull || f.name == "" {
				t.Errorf("%v %d: field %d %q has no type", k.class, k.id, i, f.name)
			}
			if f.length.field && int(f.length.n) >= i {
				t.Errorf("%v %d: the length of %s is not before it", k.class, k.id, f.name)
			}
		}
	}
}

func render(sch *schema, r *Record) string {
	var w renderer
	return w.payload(r, sch, false)
}

func TestRender(t *testing.T) {
	tests := []struct {
		name    string
		fields  []field
		payload string
		want    string
	}{
		{
			"numbers",
			[]field{{name: "a", in: inInt8}, {name: "b", in: inUint16}, {name: "c", in: inHex32}, {name: "d", in: inBool}},
			"\xff\x01\x02\x10\x00\x00\x00\x01\x00\x00\x00",
			`{"a":-1,"b":513,"c":"0x10","d":true}`,
		},
		{"names", []field{{name: "a", in: inUint8, values: map[uint32]string{2: "two"}}}, "\x02", `{"a":"two"}`},
		{"short", []field{{name: "a", in: inUint8}, {name: "b", in: inUint32}}, "\x01\x02", `{"a":1,"b":0,"_partial":true}`},
		{"longer", []field{{name: "a", in: inUint8}}, "\x01\x02", `{"a":1,"_rest":"02"}`},
		{
			"binary by field",
			[]field{
				{name: "n", in: inUint8},
				{name: "b", in: inBinary, length: quantity{n: 0, field: true, known: true}},
				{name: "c", in: inUint8},
			},
			"\x02abc",
			`{"n":2,"b":"6162","c":99}`,
		},
		{"array", []field{{name: "a", in: inUint8, count: quantity{n: 3, known: true}}}, "\x01\x02\x03", `{"a":[1,2,3]}`},
		{
			"counted structure",
			[]field{
				{name: "s", in: inStruct, members: 2, counted: true},
				{name: "x", in: inUint8},
				{name: "y", in: inUint8},
				{name: "z", in: inUint8},
			},
			"\x02\x00\x01\x02\x03\x04\x05",
			`{"s":[{"x":1,"y":2},{"x":3,"y":4}],"z":5}`,
		},
		{
			"structure behind the fields",
			[]field{
				{name: "s", in: inStruct, members: 1, length: quantity{n: 2}},
				{name: "a", in: inUint8},
				{name: "m", in: inUint8},
			},
			"\x01\x02",
			`{"s":{"m":1},"a":2}`,
		},
		{"control characters", []field{{name: "a", in: inANSI}}, "\x1b[31m\"\\\x7f\x00", `{"a":"\u001b[31m\"\\\u007f"}`},
		{
			"time",
			[]field{{name: "a", in: inSystemTime}},
			"\xea\x07\x0b\x00\x00\x00\x16\x00\x0c\x00\x22\x00\x38\x00\x07\x00",
			`{"a":"2026-11-22T12:34:56.007"}`,
		},
		{
			"addresses",
			[]field{{name: "a", in: inIPv4}, {name: "p", in: inPort}},
			"\x0a\x00\x00\x01\x00\x50",
			`{"a":"10.0.0.1","p":80}`,
		},
		{"not a number", []field{{name: "a", in: inFloat}}, "\xff\xff\xff\x7f", `{"a":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := render(&schema{fields: tt.fields}, &Record{Header: HeaderFull, PointerSize: 8, Payload: []byte(tt.payload)})
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not JSON")
			}
		})
	}
}

// FuzzSchema parses any schema and renders any payload with it: no panic,
// valid JSON, bounded length.
func FuzzSchema(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(
		[]byte("\x10\x00\x00ev\x00f\x00\x08g\x00\x42\x05s\x00\x98\x01"),
		[]byte{1, 2, 3, 4, 2, 0, 'a', 0, 'b', 0},
		false,
	)
	f.Add(make([]byte, 200), []byte{1}, true)
	f.Fuzz(func(t *testing.T, description, payload []byte, embedded bool) {
		if len(payload) > 1<<16 || len(description) > 1<<16 {
			return
		}
		r := &Record{Header: HeaderEvent, PointerSize: 8, Payload: payload}
		var sch *schema
		if embedded {
			s := newSchemas()
			before := len(s.byKey)
			s.addEventInfo(description)
			s.addEventMap(description)
			s.settle()
			if len(s.byKey) == before || len(description) < infoProperties {
				return
			}
			r.Class, r.ID, r.Version = GUID(
				description[:16],
			), le16(
				description[infoDescriptor:],
			), uint16(
				description[infoDescriptor+2],
			)
			sch = s.find(r)
		} else {
			sch = parseTraceLogging(description)
		}
		if sch == nil {
			return
		}
		text := render(sch, r)
		if !json.Valid([]byte(text)) {
			t.Errorf("not JSON: %s", text)
		}
		if len(text) > 64*(len(payload)+len(description))+8*maxRendered {
			t.Errorf("%d bytes out of %d", len(text), len(payload))
		}
	})
}

// FuzzManifest reads any manifest.
func FuzzManifest(f *testing.F) {
	fuzztest.Quick(f)
	f.Add(
		[]byte(
			`<instrumentationManifest><instrumentation><events><provider name="p"><events><event value="9" version="1" ` +
				`symbol="n" template="t"/></events><templates><template tid="t"><data name="a" inType="win:UInt32"/><data ` +
				`name="b" inType="win:Binary" length="a"/></template></templates></provider></events></instrumentation>` +
				`</instrumentationManifest>`,
		),
	)
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newSchemas()
		s.readManifest(GUID{1}, text)
		for k, sch := range s.byKey {
			if k.class == (GUID{1}) {
				_ = render(sch, &Record{Header: HeaderEvent, PointerSize: 8, Payload: []byte("payload")})
			}
		}
	})
}

func TestManifest(t *testing.T) {
	s := newSchemas()
	text := `<instrumentationManifest><instrumentation><events><provider name="p"><events><event value="9" version="1" ` +
		`symbol="Named" template="t"/></events>` +
		`<templates><template tid="t"><data name="n" inType="win:UInt32"/><data name="b" inType="win:Binary" length="n"/>` +
		`</template></templates></provider></events></instrumentation></instrumentationManifest>`
	for i, part := range []string{text[:100], text[100:]} {
		payload := append([]byte{1, 1, 0, manifestMagic, 2, 0, byte(i), 0}, part...)
		s.survey(&Record{Header: HeaderEvent, Class: GUID{1}, ID: manifestEvent, Payload: payload})
	}
	s.settle()
	r := &Record{
		Header:      HeaderEvent,
		PointerSize: 8,
		Class:       GUID{1},
		ID:          9,
		Version:     1,
		Payload:     []byte("\x02\x00\x00\x00ab"),
	}
	sch := s.find(r)
	if sch == nil || sch.name != "Named" {
		t.Fatalf("schema %+v", sch)
	}
	if got, want := render(sch, r), `{"n":2,"b":"6162"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestClassicNames(t *testing.T) {
	for _, c := range []struct {
		class GUID
		id    uint16
		want  string
	}{
		{ClassPerfInfo, 68, "PerfInfo/DPC"}, {
			ClassPerfInfo, 66, "PerfInfo/ThreadedDPC",
		}, {ClassPerfInfo, 69, "PerfInfo/TimerDPC"}, {ClassPerfInfo, 67, "PerfInfo/ISR"},
		{ClassPerfInfo, 50, "PerfInfo/ISR-MSI"},
		{
			ClassPerfInfo, 46, "PerfInfo/SampleProf",
		}, {ClassThread, 36, "Thread/CSwitch"}, {ClassImage, 10, "Image/Load"},
		{ClassImage, 2, "Image/Unload"}, {ClassProcess, 1, "Process/Start"},
		{ClassPerfInfo, 250, "PerfInfo/250"}, {GUID{1}, 68, ""},
	} {
		s := NewState()
		if got := s.Name(&Record{Class: c.class, ID: c.id, Version: 2, Header: HeaderFull}); got != c.want {
			t.Errorf("opcode %d of %v is called %q, want %q", c.id, c.class, got, c.want)
		}
	}
}

// TestAFD reads what Winsock events begin with, of both generations.
func TestAFD(t *testing.T) {
	located := []byte{1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7}
	for _, c := range []struct {
		name    string
		id      uint16
		payload []byte
		step    uint32
		short   bool
	}{
		{"since Windows 7", 1000, located, AFDExit, false},
		{"Vista", 13, located[8:], 0, false},
		{"cut off", 1000, located[:20], AFDExit, true},
		{"empty", 13, nil, 0, true},
	} {
		r := Record{ID: c.id, Payload: c.payload, PointerSize: 8}
		f, step, endpoint := r.AFD()
		if f.Short() != c.short || step != c.step || !c.short && (endpoint != 2 || f.U8() != 7) {
			t.Errorf("%s: step %d, endpoint %d, short %v", c.name, step, endpoint, f.Short())
		}
	}
}

// Records that are only counted give the same census as those that are surveyed.
func TestCensus(t *testing.T) {
	whole, counted := NewState(), NewState()
	var clock Clock
	random := rand.New(rand.NewPCG(1, 2))
	providers := []GUID{{1}, {2, 5: 3}, {3, 5: 2}, ClassEventInfo, ClassSystemConfig, {1, 5: 0xff}}
	n := 0
	for range 20_000 {
		r := Record{Header: HeaderPerfInfo, PID: -1, TID: -1, Payload: make([]byte, 40)}
		if random.IntN(3) == 0 {
			r.Header, r.Class, r.ID = HeaderEvent, providers[random.IntN(len(providers))], uint16(random.IntN(300))
			if random.IntN(50) == 0 {
				r.ID = manifestEvent
			}
		} else {
			group := uint16(random.IntN(0x20)<<8 | random.IntN(80))
			r.Group, r.Class, r.ID, r.Opcode = uint32(group)+1, GroupClass(byte(group>>8), byte(group)), group&0xff, byte(group)
		}
		whole.Survey(&r, &clock)
		switch {
		case r.Group > 0 && counted.CountGroup(uint16(r.Group-1)), r.Group == 0 && counted.CountEvent(r.Class, r.ID):
			n++
		default:
			counted.Survey(&r, &clock)
		}
	}
	whole.Settle()
	counted.Settle()
	if !maps.Equal(whole.Census, counted.Census) || n < 10_000 {
		t.Errorf("%d kinds and %d kinds, %d records were only counted", len(whole.Census), len(counted.Census), n)
	}
	if len(whole.threads) != len(counted.threads) || len(whole.processes.lives) != len(counted.processes.lives) {
		t.Error("what names others differs")
	}
}

// A decoder finds the handler of each kind, whatever it looked up before, also one that is registered later.
func TestHandlers(t *testing.T) {
	d := NewDecoder(Options{SkipRaw: true}, Clock{}, NewState(), new(model.Builder))
	got := ""
	name := func(s string) Handler { return func(*Record, model.Time) bool { got += s; return true } }
	d.Handle(name("a"), Event(GUID{1}, 7))
	d.Handle(name("b"), Event(GUID{5: 1}, 7)) // in the same place
	d.Handle(name("c"), Opcode(ClassPerfInfo, 68))
	records := []Record{
		{Header: HeaderEvent, Class: GUID{1}, ID: 7}, {Header: HeaderEvent, Class: GUID{5: 1}, ID: 7},
		{Header: HeaderPerfInfo, Class: ClassPerfInfo, ID: 68, Group: 0xf44 + 1}, {Header: HeaderFull, Class: GUID{1}, ID: 7},
		{Header: HeaderFull, Class: ClassPerfInfo, ID: 68},
	}
	for range 3 {
		for i := range records {
			d.Decode(&records[i])
		}
	}
	d.Handle(name("d"), Opcode(ClassPerfInfo, 68), Opcode(GUID{1}, 7))
	for i := range records {
		d.Decode(&records[i])
	}
	if want := "abcc" + "abcc" + "abcc" + "abddd"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
