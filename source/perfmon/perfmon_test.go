package perfmon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/charmap"

	"lostbeat/model"
	"lostbeat/source/perfmon/perfmontest"
)

// open opens a log that is in memory.
func open(t testing.TB, data []byte, options Options) *Log {
	t.Helper()
	l, err := New(bytes.NewReader(data), int64(len(data)), "test", options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// collect runs a log and validates what it emits.
func collect(t testing.TB, l *Log) []*model.Batch {
	t.Helper()
	var out []*model.Batch
	if err := l.Run(t.Context(), func(b *model.Batch) error { out = append(out, b); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(out...); err != nil {
		t.Error(err)
	}
	return out
}

// lines returns the events of the given kinds as text.
func lines(batches []*model.Batch, kinds ...model.Kind) []string {
	var out []string
	for _, b := range batches {
		for i := range b.Events {
			for _, k := range kinds {
				if b.Events[i].Kind == k {
					out = append(out, string(model.AppendText(nil, b, &b.Events[i])))
				}
			}
		}
	}
	return out
}

// counters returns the values of a counter's instance in order.
func counters(batches []*model.Batch, name, instance string) (out []float64) {
	for _, b := range batches {
		for i := range b.Events {
			if v, ok := b.Counter(&b.Events[i]); ok && v.Name == name && v.Instance == instance {
				out = append(out, v.Value)
			}
		}
	}
	return out
}

var start = time.Date(2026, 3, 10, 19, 36, 40, 0, time.UTC)

func storm() *perfmontest.Scenario {
	return &perfmontest.Scenario{Machine: "CVP01", Start: start, Samples: 30, Cores: 4, Seed: 7,
		DPC: func(core, i int) float64 {
			if core == 2 && i >= 10 && i < 14 {
				return 0.97
			}
			return 0.01
		},
		Discards: func(i int) int {
			if i >= 11 && i < 14 {
				return 40
			}
			return 0
		},
		UDPErrors: func(i int) int {
			if i == 12 {
				return 7
			}
			return 0
		}}
}

// TestForms reads the same host from every form of log: the events must agree.
func TestForms(t *testing.T) {
	utc := 0 * time.Second
	forms := []struct {
		name    string
		data    []byte
		options Options
	}{
		{"csv", storm().Text(perfmontest.Text{Zone: " (GMT Standard Time)(0)"}).Bytes(), Options{}},
		{"csv lf", storm().Text(perfmontest.Text{Zone: " (GMT Standard Time)(0)", LF: true}).Bytes(), Options{}},
		{
			"tsv",
			storm().Text(perfmontest.Text{Magic: "(PDH-TSV 4.0)", Separator: '\t', Zone: " (GMT)(0)"}).Bytes(),
			Options{},
		},
		{"utf-8 bom", storm().Text(perfmontest.Text{Zone: " (GMT)(0)", BOM: true}).Bytes(), Options{}},
		{"utf-16", storm().Text(perfmontest.Text{Zone: " (GMT)(0)", UTF16: true}).Bytes(), Options{}},
		{"typeperf", storm().Text(perfmontest.Text{Typeperf: true}).Bytes(), Options{UTCOffset: &utc}},
		{"three-digit exponents", storm().Text(perfmontest.Text{Zone: " (GMT)(0)", Exponent: true}).Bytes(), Options{}},
		{
			"decimal commas",
			storm().Text(perfmontest.Text{Zone: " (GMT)(0)", Comma: true, Separator: ';'}).Bytes(),
			Options{},
		},
		{
			"decimal commas, comma separated",
			storm().Text(perfmontest.Text{Zone: " (GMT)(0)", Comma: true}).Bytes(),
			Options{},
		},
		{"unquoted", storm().Text(perfmontest.Text{Zone: " (GMT)(0)", Unquoted: true, Separator: ';'}).Bytes(), Options{}},
		{
			"description",
			storm().Text(perfmontest.Text{Zone: " (GMT)(0)", Description: "Generate a report detailing the status"}).Bytes(),
			Options{},
		},
		{"cut zone", storm().Text(perfmontest.Text{Zone: " (RTZ 2 ("}).Bytes(), Options{UTCOffset: &utc}},
		{"blg explicit", storm().Binary(&perfmontest.BLG{}, false).Bytes(), Options{}},
		{"blg wildcard", storm().Binary(&perfmontest.BLG{}, true).Bytes(), Options{}},
		{"blg 32-bit", storm().Binary(&perfmontest.BLG{PointerSize: 4}, false).Bytes(), Options{}},
		{"blg small parts", storm().Binary(&perfmontest.BLG{PartSize: 200, BufferSize: 4096}, true).Bytes(), Options{}},
		{"blg unfinished", storm().Binary(&perfmontest.BLG{Unfinished: true}, true).Bytes(), Options{}},
	}
	kinds := []model.Kind{
		model.KindCPUTime,
		model.KindDeferredHist,
		model.KindInterruptHist,
		model.KindDeviceStats,
		model.KindDrop,
		model.KindLoss,
	}
	want := strip(lines(collect(t, open(t, forms[0].data, forms[0].options)), kinds...))
	if len(want) != 29*(3*4+1)+4 {
		t.Errorf("%d events", len(want))
	}
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			if !Detect(f.data[:min(len(f.data), 128<<10)]) {
				t.Error("not detected")
			}
			l := open(t, f.data, f.options)
			got := strip(lines(collect(t, l), kinds...))
			if len(got) != len(want) {
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("event %d\n got %s\nwant %s", i, got[i], want[i])
				}
			}
			from, to := l.Span()
			if from.Std() != start || to.Std() != start.Add(29*time.Second) {
				t.Errorf("span %v to %v", from, to)
			}
		})
	}
}

// strip rounds times to microseconds: a text log has rates where a binary one has counts.
func strip(events []string) []string {
	for i, e := range events {
		fields := strings.Fields(e)
		for j, f := range fields {
			if key, v, ok := strings.Cut(f, "="); ok {
				if d, err := time.ParseDuration(v); err == nil {
					fields[j] = key + "=" + d.Round(10*time.Microsecond).String()
				}
			}
		}
		events[i] = strings.Join(fields, " ")
	}
	return events
}

func TestDrops(t *testing.T) {
	got := lines(collect(t, open(t, storm().Binary(&perfmontest.BLG{}, false).Bytes(), Options{})), model.KindDrop)
	want := []string{
		`2026-03-10T19:36:51.000000000Z drop dur=1s place=ring count=40 queue=-1 ` +
			`reason="Network Interface/Packets Received Discarded" device="Intel[R] Ethernet (2) I350"`,
		`2026-03-10T19:36:52.000000000Z drop dur=1s count=7 protocol=udp queue=-1 reason="UDPv4/Datagrams Received Errors"`,
		`2026-03-10T19:36:52.000000000Z drop dur=1s place=ring count=40 queue=-1 ` +
			`reason="Network Interface/Packets Received Discarded" device="Intel[R] Ethernet (2) I350"`,
		`2026-03-10T19:36:53.000000000Z drop dur=1s place=ring count=40 queue=-1 ` +
			`reason="Network Interface/Packets Received Discarded" device="Intel[R] Ethernet (2) I350"`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTotalIsSecondary checks that a sum over cores is never taken for a core.
func TestTotalIsSecondary(t *testing.T) {
	s := storm()
	s.TotalOnly = true
	batches := collect(t, open(t, s.Text(perfmontest.Text{Zone: " (GMT)(0)"}).Bytes(), Options{}))
	if got := lines(batches, model.KindCPUTime, model.KindDeferredHist, model.KindInterruptHist); len(got) != 0 {
		t.Errorf("events of cores from _Total: %q", got[0])
	}
	n := 0
	for _, e := range lines(batches, model.KindCounter) {
		if strings.Contains(e, "instance=_Total") {
			n++
			if !strings.Contains(e, "flags=secondary") || strings.Contains(e, "cpu=") {
				t.Fatalf("not marked secondary: %s", e)
			}
		}
	}
	if n == 0 {
		t.Error("no counters of _Total")
	}
	if got := lines(batches, model.KindProbe); !strings.Contains(got[0], "_Total only") {
		t.Errorf("probe %s", got[0])
	}
}

func TestRunFrom(t *testing.T) {
	big := storm()
	big.Samples, big.Cores = 600, 8
	for name, data := range map[string][]byte{
		"csv":      big.Text(perfmontest.Text{Zone: " (W. Europe Standard Time)(-60)"}).Bytes(),
		"utf-16":   big.Text(perfmontest.Text{Zone: " (W. Europe Standard Time)(-60)", UTF16: true}).Bytes(),
		"explicit": big.Binary(&perfmontest.BLG{Bias: -60}, false).Bytes(),
		"wildcard": big.Binary(&perfmontest.BLG{Bias: -60, PartSize: 700}, true).Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, data, Options{})
			first, last := l.Span()
			if first.Std() != start.Add(-time.Hour) || last.Sub(first) != 599*time.Second {
				t.Fatalf("span %v to %v", first, last)
			}
			all := lines(collect(t, l), model.KindCounter, model.KindCPUTime, model.KindDrop, model.KindDeviceStats)
			for _, second := range []int{0, 1, 2, 300, 598, 599} {
				from := first.Add(time.Duration(second) * time.Second)
				var got []*model.Batch
				if err := l.RunFrom(
					t.Context(), from, func(b *model.Batch) error { got = append(got, b); return nil },
				); err != nil {
					t.Fatal(err)
				}
				rest := lines(got, model.KindCounter, model.KindCPUTime, model.KindDrop, model.KindDeviceStats)
				if len(rest) == 0 || len(rest) > len(all) {
					t.Fatalf("from %v: %d events of %d", from, len(rest), len(all))
				}
				want := all[len(all)-len(rest):]
				for i := range rest {
					if rest[i] != want[i] {
						t.Fatalf("from %v event %d\n got %s\nwant %s", from, i, rest[i], want[i])
					}
				}
				if !strings.HasPrefix(rest[0], from.String()) {
					t.Errorf("from %v: starts with %s", from, rest[0])
				}
			}
		})
	}
}

func TestOffset(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		want       time.Duration
		cut        string // the zone of the OffsetError
	}{
		{"utc", " (UTC)(0)", 0, ""},
		{"china", " (China Standard Time)(-480)", 8 * time.Hour, ""},
		{"eastern", " (Eastern Daylight Time)(240)", -4 * time.Hour, ""},
		{"india", " (India Standard Time)(-330)", 5*time.Hour + 30*time.Minute, ""},
		{"parentheses", " (Hora (de verano)(x))(-60)", time.Hour, ""},
		{"russian, cut", " (RTZ 2 (", 0, "RTZ 2 ("},
		{"french, cut", " (Maroc (heure d", 0, "Maroc (heure d"},
		{"none", "", 0, "-"},
		{"no number", " (GMT)(x)", 0, "GMT)(x)"},
		{"out of range", " (GMT)(9999)", 0, "GMT)(9999)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := storm().Text(perfmontest.Text{Zone: c.zone}).Bytes()
			l, err := New(bytes.NewReader(data), int64(len(data)), "test", Options{})
			if c.cut == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := l.offset(); got != c.want {
					t.Errorf("offset %v, want %v", got, c.want)
				}
				return
			}
			var missing *OffsetError
			if !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "--utc-offset") {
				t.Fatalf("error %v", err)
			}
			if got := missing.Zone; got != strings.Trim(c.cut, "-") {
				t.Errorf("zone %q, want %q", got, c.cut)
			}
			given := 3 * time.Hour
			if l := open(t, data, Options{UTCOffset: &given}); l.start.Std() != start.Add(-given) {
				t.Errorf("start %v with the offset given", l.start)
			}
		})
	}
}

func TestSummerTimeBinary(t *testing.T) {
	// The header's bias is that of standard time; the log was made in summer.
	s := storm()
	for _, wildcard := range []bool{false, true} {
		l := open(t, s.Binary(&perfmontest.BLG{Bias: 300, Daylight: -60}, wildcard).Bytes(), Options{})
		if l.start.Std() != start.Add(4*time.Hour) {
			t.Errorf("wildcard %v: start %v", wildcard, l.start)
		}
	}
}

func TestSummerTimeEnds(t *testing.T) {
	text := storm().Text(perfmontest.Text{Zone: " (W. Europe Daylight Time)(-120)"})
	for i := 10; i < len(text.Rows); i++ {
		text.Rows[i].Time = text.Rows[i].Time.Add(-time.Hour)
	}
	l := open(t, text.Bytes(), Options{})
	batches := collect(t, l)
	if got := counters(batches, "UDPv4/Datagrams Received Errors", ""); len(got) != 30 {
		t.Errorf("%d samples", len(got))
	}
	info, err := l.Info(t.Context())
	if err != nil || len(info.Notes) != 1 || info.Notes[0].What != noteSummerTime.String() ||
		info.Longest != time.Second {
		t.Errorf("info %+v, %v", info, err)
	}
}

func TestCodePages(t *testing.T) {
	columns := []string{
		`\\СЕРВЕР\Процессор(0)\% загруженности процессора`,
		`\\СЕРВЕР\Сетевой интерфейс(Подключение)\Байт получено/с`,
	}
	german := []string{
		`\\SRV\Prozessor(0)\DPC-Zeit (%)`,
		`\\SRV\Netzwerkschnittstelle(Gerät)\Ausgabewarteschlangenlänge`,
		`\\SRV\Arbeitsspeicher\Verfügbare MB`,
	}
	czech := []string{`\\SRV\Procesor(0)\% času DPC`, `\\SRV\Procesor(0)\% času přerušení`}
	turkish := []string{`\\SRV\İşlemci(0)\% DPC Zamanı`, `\\SRV\Ağ Arabirimi(x)\Alınan Paket/sn`}
	for _, c := range []struct {
		page  string
		enc   *charmap.Charmap
		paths []string
		want  []string
	}{
		{"cp1251", charmap.Windows1251, columns, []string{"Processor/% Processor Time", "Network Interface/Bytes " +
			"Received/sec"}},
		{"cp1252", charmap.Windows1252, german, []string{"Processor/% DPC Time", "Network Interface/Output Queue " +
			"Length", "Memory/Available MBytes"}},
		{"cp1250", charmap.Windows1250, czech, []string{"Processor/% DPC Time", "Processor/% Interrupt Time"}},
		{"cp1254", charmap.Windows1254, turkish, []string{"Processor/% DPC Time", "Network Interface/Packets Received/sec"}},
	} {
		text := perfmontest.Text{Zone: " (x)(0)", Encoding: c.enc, Paths: c.paths}
		row := perfmontest.Row{Time: start}
		for i := range c.paths {
			row.Values = append(row.Values, float64(i))
		}
		text.Rows = []perfmontest.Row{row, row}
		for _, option := range []string{"", c.page} {
			l := open(t, text.Bytes(), Options{CodePage: option})
			if l.text.header.page != c.page {
				t.Errorf("%s: taken for %s", c.page, l.text.header.page)
			}
			for i, col := range l.first.list {
				if col.name != c.want[i] || col.String() != c.paths[i] {
					t.Errorf("%s: %s is %s, want %s", c.page, col.path, col.name, c.want[i])
				}
			}
		}
	}
	data := (&perfmontest.Text{Paths: columns, Encoding: charmap.Windows1251}).Bytes()
	if _, err := New(bytes.NewReader(data), int64(len(data)), "test", Options{CodePage: "ebcdic"}); !errors.Is(
		err,
		errCodePage,
	) {
		t.Errorf("error %v", err)
	}
}

func TestUserNames(t *testing.T) {
	text := perfmontest.Text{
		Zone:  " (x)(0)",
		Paths: []string{`\\A\Prosessori(0)\% DPC-aika`},
		Rows:  []perfmontest.Row{{Time: start, Values: []float64{1}}},
	}
	l := open(t, text.Bytes(), Options{Names: map[string]string{`Prosessori\% DPC-aika`: "Processor/% DPC Time"}})
	if col := l.first.list[0]; col.name != "Processor/% DPC Time" || col.cpu != 0 {
		t.Errorf("column %+v", col)
	}
}

func TestForeign(t *testing.T) {
	text := perfmontest.Text{
		Zone:  " (UTC)(0)",
		Paths: []string{`\\esx1\Physical Cpu(0)\% Util Time`, `\\esx1\Group Cpu(1:idle)\Members`},
	}
	data := text.Bytes()
	_, err := New(bytes.NewReader(data), int64(len(data)), "test", Options{})
	var foreign *ForeignError
	if !errors.As(err, &foreign) || !strings.Contains(err.Error(), "esxtop") {
		t.Errorf("error %v", err)
	}
}

func TestBroken(t *testing.T) {
	data := storm().Text(perfmontest.Text{Zone: " (x)(0)"}).Bytes()
	torn := data[:len(data)-300]
	l := open(t, torn, Options{})
	if got := lines(collect(t, l), model.KindLoss); len(got) != 1 || !strings.Contains(got[0], "torn") {
		t.Errorf("loss %q", got)
	}
	if _, end := l.Span(); end.Std() != start.Add(28*time.Second) {
		t.Errorf("end %v", end)
	}

	// A cut within the time of a sample, and one within its last value, are seen as well.
	row := bytes.LastIndexByte(data[:len(data)-2], '\n') + 1
	for _, n := range []int{row + 1, row + 5, len(data) - 3, len(data) - 4} {
		l := open(t, data[:n], Options{})
		if got := lines(collect(t, l), model.KindLoss); len(got) != 1 || !strings.Contains(got[0], "torn") {
			t.Errorf("cut at %d of %d: loss %q", n, len(data), got)
		}
	}
	l = open(t, data[:len(data)-2], Options{})
	if got := lines(collect(t, l), model.KindLoss); len(got) != 0 {
		t.Errorf("without the last end of a line: loss %q", got)
	}

	small := storm()
	blg := small.Binary(&perfmontest.BLG{BufferSize: 4096, PartSize: 600}, true).Bytes()
	copy(blg[5*4096+100:], bytes.Repeat([]byte{0xab}, 200))
	l = open(t, blg, Options{})
	got := lines(collect(t, l), model.KindLoss)
	if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), "damaged parts") {
		t.Errorf("loss %q", got)
	}
	if n := len(counters(collect(t, l), "UDPv4/Datagrams Received Errors", "")); n < 20 || n >= 30 {
		t.Errorf("%d samples around the damage", n)
	}
	for _, data := range [][]byte{nil, []byte("x"), []byte(`"(PDH-CSV 4.0) (x)(0)"`), []byte("\"(PDH-CSV 4.0) " +
		"(x)(0)\",\"\\\\A\\B\\C\"\r\n")} {
		if _, err := New(bytes.NewReader(data), int64(len(data)), "test", Options{}); !errors.Is(err, ErrFormat) &&
			!strings.Contains(err.Error(), "EOF") {
			t.Errorf("%q: error %v", data, err)
		}
	}
}

func TestMissingSamples(t *testing.T) {
	text := storm().Text(perfmontest.Text{Zone: " (x)(0)"})
	text.Rows = append(text.Rows[:12], text.Rows[17:]...)
	text.Rows = append(text.Rows, text.Rows[len(text.Rows)-2])
	got := lines(collect(t, open(t, text.Bytes(), Options{})), model.KindLoss)
	if len(got) != 2 || !strings.Contains(got[0], "lost=5") || !strings.Contains(got[1], "not later") {
		t.Errorf("loss %q", got)
	}
}

// TestAppended reads a log to which another was appended, with other columns.
func TestAppended(t *testing.T) {
	first := storm().Text(perfmontest.Text{Zone: " (x)(0)"})
	second := storm()
	second.Start, second.Cores = start.Add(time.Minute), 2
	data := append(first.Bytes(), second.Text(perfmontest.Text{Zone: " (x)(0)"}).Bytes()...)
	l := open(t, data, Options{})
	for range 2 { // the second pass starts with the first header again
		batches := collect(t, l)
		if got := len(counters(batches, "Processor/DPC Rate", "1")); got != 60 {
			t.Errorf("%d values of core 1", got)
		}
		if got := len(counters(batches, "Processor/DPC Rate", "3")); got != 30 {
			t.Errorf("%d values of core 3", got)
		}
	}
}

func TestCancelAndReceiver(t *testing.T) {
	l := open(t, storm().Text(perfmontest.Text{Zone: " (x)(0)"}).Bytes(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx, func(*model.Batch) error { return nil }); err != nil {
		t.Errorf("cancelled: %v", err)
	}
	gone := errors.New("gone")
	if err := l.Run(t.Context(), func(*model.Batch) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("receiver gone: %v", err)
	}
}

func TestAllCounters(t *testing.T) {
	text := perfmontest.Text{
		Zone:  " (x)(0)",
		Paths: []string{`\\A\GPU Engine(pid_1_luid_(0x0))\Utilization Percentage`},
		Rows: []perfmontest.Row{
			{Time: start, Values: []float64{12.5}},
			{Time: start.Add(time.Second), Values: []float64{math.NaN()}},
		},
	}
	if got := counters(collect(t, open(t, text.Bytes(), Options{})), "GPU Engine/Utilization "+
		"Percentage", "pid_1_luid_(0x0)"); len(
		got,
	) != 0 {
		t.Errorf("%v without AllCounters", got)
	}
	if got := counters(collect(t, open(t, text.Bytes(), Options{AllCounters: true})), "GPU Engine/Utilization "+
		"Percentage", "pid_1_luid_(0x0)"); len(
		got,
	) != 1 ||
		got[0] != 12.5 {
		t.Errorf("%v with AllCounters", got)
	}
}
