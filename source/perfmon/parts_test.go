package perfmon

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source/perfmon/perfmontest"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		in   string
		want path
		ok   bool
	}{
		{`\\HOST\System\Context Switches/sec`, path{"HOST", "System", "", "Context Switches/sec"}, true},
		{`\\HOST\Processor(0)\% DPC Time`, path{"HOST", "Processor", "0", "% DPC Time"}, true},
		{`\\HOST\Prozessor(_Total)\DPC-Zeit (%)`, path{"HOST", "Prozessor", "_Total", "DPC-Zeit (%)"}, true},
		{`\\H\Network Interface(Intel[R] X (2))\Packets/sec`, path{"H", "Network Interface", "Intel[R] X " +
			"(2)", "Packets/sec"}, true},
		{
			`\\H\GPU Engine(pid_1_luid_0x0_(3))\Running Time`,
			path{"H", "GPU Engine", "pid_1_luid_0x0_(3)", "Running Time"}, true,
		},
		{`\\H\LogicalDisk(C:\mount)\Free Megabytes`, path{"H", "LogicalDisk", `C:\mount`, "Free Megabytes"}, true},
		{`\\H\Arbeitsspeicher\Cachebytes (max.)`, path{"H", "Arbeitsspeicher", "", "Cachebytes (max.)"}, true},
		{`Generate a report detailing`, path{}, false},
		{`\\HOST`, path{}, false},
		{`\\HOST\Object`, path{}, false},
		{`\\HOST\Object(1)\`, path{}, false},
		{` `, path{}, false},
	} {
		got, ok := parsePath(c.in)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %v", c.in, got, ok)
		}
		if ok && got.String() != c.in {
			t.Errorf("%s is written %s", c.in, got)
		}
	}
}

func TestParseCPU(t *testing.T) {
	for _, c := range []struct {
		in         string
		group, cpu int32
	}{{"0", 0, 0}, {"63", 0, 63}, {"1,5", 1, 5}, {"_Total", 0, -1}, {"0,_Total", 0, -1}, {"", 0, -1},
		{"99999", 0, -1}, {"-1", 0, -1}, {"x,1", 0, -1}} {
		if group, cpu := parseCPU(c.in); group != c.group || cpu != c.cpu {
			t.Errorf("%q: group %d cpu %d", c.in, group, cpu)
		}
	}
}

// TestProcessorGroups numbers the CPUs of a second processor group behind
// those of the first.
func TestProcessorGroups(t *testing.T) {
	text := perfmontest.Text{Zone: " (x)(0)"}
	row := perfmontest.Row{Time: start}
	for _, in := range []string{"0,0", "0,1", "0,2", "0,_Total", "1,0", "1,1", "_Total"} {
		text.Paths = append(text.Paths, `\\A\Processor Information(`+in+`)\% DPC Time`)
		row.Values = append(row.Values, 1)
	}
	later := row
	later.Time = start.Add(time.Second)
	text.Rows = []perfmontest.Row{row, later}
	batches := collect(t, open(t, text.Bytes(), Options{}))
	got := lines(batches, model.KindDeferredHist)
	if len(got) != 5 {
		t.Fatalf("%d CPUs", len(got))
	}
	for i, e := range got {
		if !strings.Contains(e, " cpu="+string(rune('0'+i))+" ") {
			t.Errorf("event %d: %s", i, e)
		}
	}
	if meta := lines(batches, model.KindMeta); !strings.Contains(strings.Join(meta, "\n"), "key=cpus value=5") {
		t.Errorf("meta %q", meta)
	}
}

func TestNames(t *testing.T) {
	n := newNames(nil)
	for _, c := range []struct{ object, counter, want string }{
		{"Processor", "% DPC Time", "Processor/% DPC Time"},
		{"PROCESSOR", "% dpc time", "Processor/% DPC Time"},
		{"Procesor", "% času DPC", "Processor/% DPC Time"},
		{"Prozessor", "DPC-Zeit (%)", "Processor/% DPC Time"},
		{"Prozessor", "% DPC-Zeit", "Processor/% DPC Time"},
		{"Prozessorinformationen", "DPCs in Warteschlange/s", "Processor Information/DPCs Queued/sec"},
		{"Procesador", "% de tiempo de DPC", "Processor/% DPC Time"},
		{"Processeur", "% Temps DPC", "Processor/% DPC Time"},
		{"Processeur", "% temps d'interruption", "Processor/% Interrupt Time"},
		{"Processzor", "DPC-hívásokra fordított időhányad (%)", "Processor/% DPC Time"},
		{"Processore", "% Tempo DPC", "Processor/% DPC Time"},
		{"Processor", "Percentage DPC-tijd", "Processor/% DPC Time"},
		{"Procesor", "Czas DPC (%)", "Processor/% DPC Time"},
		{"Processador", "% tempo de DPC", "Processor/% DPC Time"},
		{"Informações do Processador", "% Tempo de DPC", "Processor Information/% DPC Time"},
		{"Processor", "% DPC-tid", "Processor/% DPC Time"},
		{"İşlemci", "% DPC Zamanı", "Processor/% DPC Time"},
		{"Процессор", "% загруженности процессора", "Processor/% Processor Time"},
		{"Netzwerkschnittstelle", "Empfangene Pakete, verworfen", "Network Interface/Packets Received Discarded"},
		{"UDPv4", "Erhaltene Datagramme, Fehler", "UDPv4/Datagrams Received Errors"},
		{"Rozhraní sítě", "Vyřazené přijaté pakety", "Network Interface/Packets Received Discarded"},
		{"Process", "% Processor Time", ""},
		{"Processor", "% C1 Time", ""},
	} {
		o, spec := n.find(c.object, c.counter)
		got := ""
		if spec != nil {
			got = o.canonical(spec)
		}
		if got != c.want {
			t.Errorf("%s\\%s is %q, want %q", c.object, c.counter, got, c.want)
		}
	}
	// Every name of the tables belongs to a counter or an object.
	known := map[string]bool{}
	for i := range objects {
		known[objects[i].name] = true
		for _, c := range objects[i].counters {
			known[c.name] = true
		}
	}
	for _, table := range []map[string][]string{localObjects, localCounters} {
		for name := range table {
			if !known[name] {
				t.Errorf("names of %q, which is not known", name)
			}
		}
	}
	// Within an object no two counters share a name in any language.
	for i := range objects {
		seen := map[string]string{}
		for _, c := range objects[i].counters {
			for _, local := range append(localCounters[c.name], c.name) {
				if other := seen[fold(local)]; other != "" && other != c.name {
					t.Errorf("%s: %q is both %s and %s", objects[i].name, local, other, c.name)
				}
				seen[fold(local)] = c.name
			}
		}
	}
}

func TestCells(t *testing.T) {
	for _, c := range []struct {
		in   string
		sep  byte
		want []string
	}{
		{`"a","b"," "`, ',', []string{"a", "b", " "}},
		{"\"a\"\t\"b\"", '\t', []string{"a", "b"}},
		{`a;1,5;`, ';', []string{"a", "1,5", ""}},
		{`"1,5","2,5"`, ',', []string{"1,5", "2,5"}},
		{`"say "hi" now","b"`, ',', []string{`say "hi" now`, "b"}},
		{`"","b"`, ',', []string{"", "b"}},
		{`"torn`, ',', []string{"torn"}},
		{`"a",`, ',', []string{"a", ""}},
		{``, ',', []string{""}},
	} {
		var got []string
		for r := (cells{[]byte(c.in), c.sep}); ; {
			cell, ok := r.next()
			if !ok {
				break
			}
			got = append(got, string(cell))
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
			t.Errorf("%s: %q", c.in, got)
		}
	}
}

func TestParseValue(t *testing.T) {
	for _, c := range []struct {
		in   string
		want float64
		ok   bool
	}{
		{"6.9494827586206889356e-005", 6.9494827586206889356e-05, true},
		{"0", 0, true}, {"100.000000", 100, true}, {"1,5", 1.5, true}, {"-1", -1, true}, {" 7 ", 7, true},
		{" ", 0, false}, {"", 0, false}, {"1.234,5", 0, false}, {"1,234,5", 0, false}, {"-1.#IND", 0, false},
		{"NaN", 0, false}, {"inf", 0, false}, {"abc", 0, false},
	} {
		if got, ok := parseValue([]byte(c.in)); ok != c.ok || got != c.want && ok {
			t.Errorf("%q: %v, %v", c.in, got, ok)
		}
	}
}

func TestParseTextTime(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"03/30/2013 19:36:46.531", "2013-03-30T19:36:46.531000000Z"},
		{"12/31/2025 23:59:59", "2025-12-31T23:59:59.000000000Z"},
		{"2013-03-30 19:36:46.531", "2013-03-30T19:36:46.531000000Z"},
		{"2013-03-30T19:36:46.531", "2013-03-30T19:36:46.531000000Z"},
		{"30.03.2013 19:36:46,531", "2013-03-30T19:36:46.531000000Z"},
		{"30/03/2013 19:36:46.531", ""},
		{"03/30/13 19:36", ""}, {"Exiting, please wait...", ""}, {"", ""}, {"01/01/1601 00:00:00.000", ""},
	} {
		got, ok := parseTextTime([]byte(c.in))
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%q: %v, %v", c.in, got, ok)
		}
	}
}

// TestProcessIdentity checks that a process that takes over another's name
// starts anew: "#N" is a position.
func TestProcessIdentity(t *testing.T) {
	l := &perfmontest.BLG{Start: start}
	l.Names(start, "A", [][2]string{{"230", "Process"}, {"6", "% Processor Time"}, {"784", "ID Process"}})
	l.Catalogue(start, perfmontest.Entry{Form: 16, Machine: "A", Object: "Process", Instance: "*", Counter: "*"})
	for i, processes := range [][][2]int64{
		{{0, 10}, {500_0000, 20}},
		{{500_0000, 10}, {600_0000, 20}, {0, 30}},
		{{700_0000, 20}, {900_0000, 30}}, // the first has ended: svchost is now 20
		{{800_0000, 20}, {1000_0000, 30}},
	} {
		at := start.Add(time.Duration(i) * time.Second)
		b := perfmontest.Block{Machine: "A", Object: 230, Time: perfmontest.FileTime(at), Frequency: 1e7, UTC: at,
			Counters: []perfmontest.BlockCounter{
				{Index: 6, Type: uint32(Timer100ns), Size: 8},
				{Index: 784, Type: uint32(RawCount), Size: 4},
			}}
		for _, p := range processes {
			b.Instances = append(b.Instances, perfmontest.BlockInstance{Name: "svchost", Values: p[:]})
		}
		l.Sample(at, b.Record())
	}
	batches := collect(t, open(t, l.Bytes(), Options{AllCounters: true}))
	if got := counters(batches, "Process/% Processor Time", "svchost"); len(got) != 2 || got[0] != 0.5 || got[1] != 0.1 {
		t.Errorf("svchost %v, want 0.5 of one process and 0.1 of the other", got)
	}
	if got := counters(batches, "Process/% Processor Time", "svchost#1"); len(got) != 2 || got[0] != 0.1 ||
		got[1] != 0.1 {
		t.Errorf("svchost#1 %v", got)
	}
}

// TestBases reads counters that need the counter behind them.
func TestBases(t *testing.T) {
	l := &perfmontest.BLG{Start: start}
	names := [][2]string{{"900", "Odd"}, {"901", "Average"}, {"903", "Share"}, {"905", "Many"}, {"907", "Age"}}
	l.Names(start, "A", names)
	l.Catalogue(start, perfmontest.Entry{Form: 16, Machine: "A", Object: "Odd", Counter: "*"})
	for i := range int64(2) {
		at := start.Add(time.Duration(i) * time.Second)
		clock := perfmontest.FileTime(at)
		b := perfmontest.Block{
			Machine:         "A",
			Object:          900,
			Single:          true,
			Time:            clock,
			Frequency:       1e7,
			UTC:             at,
			ObjectTime:      500 + 10*i,
			ObjectFrequency: 10,
			Counters: []perfmontest.BlockCounter{
				{Index: 901, Type: uint32(AverageTimer), Size: 4},
				{Index: 902, Type: uint32(AverageBase), Size: 4},
				{Index: 903, Type: uint32(RawFraction), Size: 4},
				{Index: 904, Type: uint32(RawBase), Size: 4},
				{
					Index: 905,
					Type:  uint32(MultiTimer100ns),
					Size:  8,
				},
				{Index: 906, Type: uint32(MultiBase), Size: 4},
				{Index: 907, Type: uint32(ElapsedTime), Size: 8},
			},
			Instances: []perfmontest.BlockInstance{{Values: []int64{5_000_000 * i, 10 * i, 1, 4, 20_000_000 * i, 4, 100}}},
		}
		l.Sample(at, b.Record())
	}
	batches := collect(t, open(t, l.Bytes(), Options{AllCounters: true}))
	for _, c := range []struct {
		name string
		want []float64
	}{{"Odd/Average", []float64{0.05}}, {"Odd/Share", []float64{25, 25}}, {"Odd/Many", []float64{0.5}},
		{"Odd/Age", []float64{40, 41}}} {
		got := counters(batches, c.name, "")
		if len(got) != len(c.want) {
			t.Errorf("%s: %v", c.name, got)
			continue
		}
		for i := range got {
			near(t, c.name, got[i], c.want[i], 1e-9)
		}
	}
}

func TestNotes(t *testing.T) {
	s := storm()
	l := open(
		t,
		s.Text(perfmontest.Text{Zone: " (Eastern Standard Time)(300)", Description: "for support", Typeperf: true}).Bytes(),
		Options{},
	)
	collect(t, l)
	want := []string{
		"PDH CSV, local times at UTC-05:00",
		"description: for support",
		"30 samples, 1s apart",
		"2 lines of text that are not samples",
		"Processor: 8 counters of 5 instances, 40 columns, 40 of them understood",
		"Network Interface: 2 counters of 1 instance, 2 columns, 2 of them understood",
		"UDPv4: 1 counter, 1 column, 1 of them understood",
		"Microsoft Winsock BSP: 1 counter, 1 column, 1 of them understood",
	}
	if got := l.Notes(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func FuzzOpen(f *testing.F) {
	fuzztest.Quick(f)
	small := &perfmontest.Scenario{Machine: "A", Start: start, Samples: 4, Cores: 2, Seed: 1}
	f.Add(small.Text(perfmontest.Text{Zone: " (x)(0)"}).Bytes())
	f.Add(small.Text(perfmontest.Text{Typeperf: true, Comma: true}).Bytes())
	f.Add(small.Text(perfmontest.Text{UTF16: true}).Bytes())
	f.Add(small.Binary(&perfmontest.BLG{BufferSize: 4096}, false).Bytes())
	f.Add(small.Binary(&perfmontest.BLG{BufferSize: 4096, PartSize: 300, PointerSize: 4}, true).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		Detect(data)
		utc := time.Duration(0)
		l, err := New(bytes.NewReader(data), int64(len(data)), "fuzz", Options{UTCOffset: &utc, AllCounters: true})
		if err != nil {
			return
		}
		var v model.Validator
		var last model.Time
		events := 0
		// A source that cannot go on says so; what it emits until then is valid.
		_ = l.Run(t.Context(), func(b *model.Batch) error {
			events += len(b.Events)
			last = b.Events[len(b.Events)-1].Time
			return v.Check(b)
		})
		if events > 100+8*len(data) {
			t.Errorf("%d events from %d bytes", events, len(data))
		}
		if _, err := l.Info(t.Context()); err != nil {
			return
		}
		if err := l.RunFrom(t.Context(), last, func(*model.Batch) error { return nil }); err != nil {
			t.Errorf("seek: %v", err)
		}
	})
}

func FuzzPerfData(f *testing.F) {
	fuzztest.Quick(f)
	b := perfmontest.Block{
		Machine:   "A",
		Object:    238,
		Counters:  []perfmontest.BlockCounter{{Index: 696, Type: uint32(Timer100ns), Size: 8}},
		Instances: []perfmontest.BlockInstance{{Name: "0", Values: []int64{1}}},
	}
	f.Add(b.Record()[8:])
	b.Single = true
	f.Add(b.Record()[8:])
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePerfData(data)
		if err != nil {
			return
		}
		for i := range p.objects {
			o := &p.objects[i]
			for j := range o.counters {
				p.raw(o, j, o.single)
				for _, in := range o.instances {
					p.raw(o, j, in.values)
				}
			}
		}
	})
}

// TestOverlappingNames gives a record whose instances all point to one long
// name: it must not cost memory out of proportion.
func TestOverlappingNames(t *testing.T) {
	list := make([]perfmontest.Reading, 3000)
	for i := range list {
		list[i].Name = "x"
	}
	record := perfmontest.Instances(start, list...)
	for i := range list {
		le.PutUint32(record[8+24+24*i:], uint32(24+24*len(list))) // the first name
	}
	for i := 8 + 24 + 24*len(list); i < len(record); i++ {
		record[i] = 'y' // without an end
	}
	l := &perfmontest.BLG{Start: start}
	l.Catalogue(
		start,
		perfmontest.Entry{Form: 1, Machine: "A", Object: "O", Instance: "*", Counter: "C", Type: uint32(LargeRawCount)},
	)
	l.Sample(start, record)
	l.Sample(start.Add(time.Second), record)
	info, err := open(t, l.Bytes(), Options{}).Info(t.Context())
	if err != nil || info.Columns > 20 || info.Lost == 0 {
		t.Errorf("%d columns, %d lost, %v", info.Columns, info.Lost, err)
	}
}
