package etl_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/probes"
)

// walked is what an independent reader counted in a real file.
type walked struct {
	File        string
	Size        int64
	Buffers     int        `json:"buffers_walked"`
	First       *time.Time `json:"first_event"`
	Last        *time.Time `json:"last_event"`
	Compression int        `json:"compression_format"`
	Header      map[string]any
	HeaderKinds map[string]int `json:"header_kinds"`
	EventsTotal uint64         `json:"events_total"`
	Events      []struct {
		GUID, Event, Version string
		Count                uint64
		PayloadLengths       map[string]int `json:"payload_lengths"`
	}
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func open(t testing.TB, path string, o etl.Options) *etl.File {
	t.Helper()
	f, err := etl.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// near reports whether a time is the one that a float of seconds was printed from.
func near(a model.Time, b time.Time) bool { return a.Sub(model.TimeOf(b)).Abs() <= 2*time.Microsecond }

func headerTime(t *testing.T, v any) *time.Time {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return &at
}

func expectTime(t *testing.T, what string, got model.Time, want *time.Time) {
	t.Helper()
	if want == nil && got != 0 || want != nil && !near(got, *want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// TestRealFiles compares the inventory of every real file with what an
// independent reader found in it.
func TestRealFiles(t *testing.T) {
	dir := filepath.Join(testutil.DataDir(t), "etl")
	files, err := filepath.Glob(filepath.Join(dir, "expected", "walker_*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no expectations: %v", err)
	}
	for _, path := range files {
		var want walked
		readJSON(t, path, &want)
		t.Run(want.File, func(t *testing.T) {
			f := open(t, filepath.Join(dir, want.File), etl.Options{})
			got, err := f.Inventory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkInventory(t, f, &got, &want)
		})
	}
}

func checkInventory(t *testing.T, f *etl.File, got *etl.Inventory, want *walked) {
	number := func(key string) uint32 { v, _ := want.Header[key].(float64); return uint32(v) }
	h := f.Header()
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"events", got.EventsTotal, want.EventsTotal},
		{"buffers", got.Buffers, want.Buffers},
		{"damaged", got.Damaged, 0},
		{"processors", got.Processors, number("NumberOfProcessors")},
		{"events lost", got.Lost, number("EventsLost")},
		{"buffers lost", got.BuffersLost, number("BuffersLost")},
		{"clock", int(h.Clock.Type), int(number("ReservedFlags(clock)"))},
		{"pointer size", uint32(got.PointerSize), number("PointerSize")},
		{"build", h.Build, number("ProviderVersion(build)")},
		{"buffers written", h.BuffersWritten, number("BuffersWritten")},
		{"CPU speed", h.CPUSpeed, number("CpuSpeedMHz")},
		{"time zone", h.TimeZoneBias, int32(number("TZBias"))},
		{"mode", fmt.Sprintf("0x%08x", h.LogFileMode), want.Header["LogFileMode"]},
		{
			"version", fmt.Sprintf("%d.%d.%d.%d", h.Version[0], h.Version[1], h.Version[2], h.Version[3]),
			want.Header["Version"],
		},
		{"logger", h.LoggerName, want.Header["LoggerName"]},
		{"log file", h.LogFileName, want.Header["LogFileName"]},
		{"compression", int(h.Compression), want.Compression},
	} {
		if c.got != c.want {
			t.Errorf("%s = %v, want %v", c.what, c.got, c.want)
		}
	}
	expectTime(t, "start", got.Start, headerTime(t, want.Header["StartTime"]))
	expectTime(t, "end", got.End, headerTime(t, want.Header["EndTime"]))
	expectTime(t, "first event", got.First, want.First)
	expectTime(t, "last event", got.Last, want.Last)
	wanted := make(map[string]uint64)
	for _, e := range want.Events {
		version := strings.TrimPrefix(e.Version, "v")
		if strings.HasPrefix(e.Version, "f") { // trace message: its flags
			flags, _ := strconv.ParseUint(e.Version[1:], 16, 16)
			version = strconv.FormatUint(flags, 10)
		}
		wanted[e.GUID+" "+e.Event+" "+version] += e.Count
	}
	for _, e := range got.Events {
		k := fmt.Sprintf("%s %s %d", e.Provider, e.Event, e.Version)
		if wanted[k] != e.Count {
			t.Errorf("%s: %d events, want %d", k, e.Count, wanted[k])
		}
		delete(wanted, k)
	}
	for k, n := range wanted {
		t.Errorf("%s: none, want %d", k, n)
	}
}

// TestRealRecords compares the header kinds and payload lengths of every file.
func TestRealRecords(t *testing.T) {
	dir := filepath.Join(testutil.DataDir(t), "etl")
	files, _ := filepath.Glob(filepath.Join(dir, "expected", "walker_*.json"))
	for _, path := range files {
		var want walked
		readJSON(t, path, &want)
		t.Run(want.File, func(t *testing.T) {
			file, err := os.Open(filepath.Join(dir, want.File))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			kinds := make(map[string]int)
			lengths := make(map[string]int)
			for r, err := range etl.Records(file, want.Size) {
				if err != nil {
					t.Fatal(err)
				}
				kind := r.Header.String()
				if r.Header != etw.HeaderMessage {
					kind += strconv.Itoa(int(r.PointerSize) * 8)
				}
				kinds[kind]++
				if r.Flags&etw.FlagExtended != 0 && r.Header == etw.HeaderEvent {
					kinds["evflag_EXT"]++
					for _, item := range []uint16{1, 6, 11, 12} {
						if _, ok := r.ExtendedItem(item); ok {
							kinds["ext_"+strconv.Itoa(int(item))]++
						}
					}
				}
				lengths[fmt.Sprintf("%v %d %d", r.Class, r.ID, len(r.Payload))]++
			}
			for k, n := range want.HeaderKinds {
				if kinds[k] != n {
					t.Errorf("%s: %d records, want %d", k, kinds[k], n)
				}
			}
			byLength := make(map[string]int)
			partial := make(map[string]bool)
			for _, e := range want.Events {
				id := strings.TrimLeft(e.Event, "idopmsg")
				guid := strings.TrimPrefix(e.GUID, "wpp:")
				sum := 0
				for length, n := range e.PayloadLengths {
					byLength[guid+" "+id+" "+length] += n
					sum += n
				}
				partial[guid+" "+id] = partial[guid+" "+id] || uint64(sum) != e.Count
			}
			for k, n := range byLength {
				if lengths[k] != n && !partial[k[:strings.LastIndexByte(k, ' ')]] {
					t.Errorf("payload %s: %d records, want %d", k, lengths[k], n)
				}
			}
		})
	}
}

// collect replays a file and validates the stream.
func collect(t testing.TB, f *etl.File) []*model.Batch {
	t.Helper()
	var batches []*model.Batch
	err := f.Run(t.Context(), func(b *model.Batch) error {
		batches = append(batches, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	return batches
}

// TestReplayRealFiles replays every file with everything on and checks that
// each record shows in the stream.
func TestReplayRealFiles(t *testing.T) {
	dir := filepath.Join(testutil.DataDir(t), "etl")
	files, _ := filepath.Glob(filepath.Join(dir, "*.etl"))
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := open(t, path, etl.Options{Options: etw.Options{Trace: true, Switches: true}, Probes: probes.ETW})
			batches := collect(t, f)
			if len(batches) == 0 {
				t.Fatal("no events")
			}
			if _, ok := batches[0].Meta(&batches[0].Events[0]); !ok {
				t.Errorf("the first event is %v, want meta", batches[0].Events[0].Kind)
			}
			for _, b := range batches {
				for i := range b.Events {
					if v, ok := b.Raw(&b.Events[i]); ok && strings.HasPrefix(v.Payload, "{") && !json.Valid([]byte(v.Payload)) {
						t.Fatalf("payload of %s %d is not JSON: %s", v.Provider, v.ID, v.Payload)
					}
					if v, ok := b.Loss(&b.Events[i]); ok {
						t.Logf("loss: %+v", v)
					}
				}
			}
		})
	}
}

type details struct {
	Processes []struct {
		PID, PPID int64
		Image     string
		Cmd       string
		Op        int
		Ms        float64
	}
	KernelImages []struct {
		Base string
		Size uint64
		File string
		Op   int
	} `json:"kernel_images"`
	TCPIP, UDPIP []struct {
		PID          int32
		Size         uint64
		Daddr, Saddr string
		Dport, Sport uint16
		Op           int
		Event        string
		Ms           float64
	}
	CPU *struct {
		MHz, NCPU uint32
		Computer  string
	}
	NIC []struct {
		IPv4idx uint32
		Desc    string
	}
	DPC, ISR       map[string][3]int64
	SampleIdleDPC  int `json:"sample_idle_dpcisr_flag"`
	SampleIdleNote string
}

// TestDetails compares decoded payloads with those of an independent decoder.
func TestDetails(t *testing.T) {
	dir := filepath.Join(testutil.DataDir(t), "etl")
	files, _ := filepath.Glob(filepath.Join(dir, "expected", "details_*.json"))
	files = append(files, filepath.Join(dir, "details_SYNTHETIC_dpcisr_x64.json"))
	for _, path := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "details_"), ".json") + ".etl"
		if strings.HasPrefix(name, "syzygy") {
			continue // written by a test program with a layout that Windows does not use
		}
		t.Run(name, func(t *testing.T) {
			var want details
			readJSON(t, path, &want)
			f := open(t, filepath.Join(dir, name), etl.Options{Probes: probes.ETW})
			checkDetails(t, f, collect(t, f), &want)
		})
	}
}

// checkDetails compares what a stream says with the expectations, both as
// multisets of texts.
func checkDetails(t *testing.T, f *etl.File, batches []*model.Batch, want *details) {
	got := make(map[string]int)
	base := f.Header().Start
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			if v, ok := b.Process(e); ok {
				got[fmt.Sprintf("process %d %d %s %q", v.PID, v.PPID, v.Name, v.Cmdline)]++
			}
			if v, ok := b.Image(e); ok && v.PID == 0 {
				got[fmt.Sprintf("image 0x%x %d %s", v.Base, v.SizeBytes, v.File)]++
			}
			if v, ok := b.Packet(e); ok {
				saddr, sport, daddr, dport := v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort
				if v.Protocol == model.ProtocolUDP && v.Direction == model.DirectionRX {
					saddr, sport, daddr, dport = daddr, dport, saddr, sport
				}
				ms := float64(v.Time.Sub(base)) / 1e6
				got[fmt.Sprintf("%v %v %d %d %s:%d %s:%d "+
					"%.2f", v.Protocol, v.Direction, v.PID, v.SizeBytes, saddr, sport, daddr, dport, ms)]++
			}
			if v, ok := b.Meta(e); ok {
				got["meta "+v.Key+" "+v.Value]++
			}
			if v, ok := b.DeviceConfig(e); ok {
				got[fmt.Sprintf("nic %d %s", v.Ifindex, v.Device)]++
			}
		}
	}
	expect := func(k string) {
		t.Helper()
		if got[k] == 0 {
			t.Errorf("missing: %s", k)
		}
	}
	for _, p := range want.Processes {
		if p.Op >= 1 && p.Op <= 3 {
			expect(fmt.Sprintf("process %d %d %s %q", p.PID, p.PPID, p.Image, p.Cmd))
		}
	}
	for _, m := range want.KernelImages {
		expect(fmt.Sprintf("image %s %d %s", m.Base, m.Size, m.File))
	}
	packets := func(protocol model.Protocol, rows int) {
		list := want.TCPIP
		if protocol == model.ProtocolUDP {
			list = want.UDPIP
		}
		for _, p := range list {
			op := p.Op
			if p.Event != "" {
				op, _ = strconv.Atoi(strings.TrimPrefix(p.Event, "manifest id"))
			}
			direction := model.DirectionTX
			switch op {
			case 11, 27:
				direction = model.DirectionRX
			case 10, 26:
			default:
				continue
			}
			expect(
				fmt.Sprintf(
					"%v %v %d %d %s:%d %s:%d %.2f",
					protocol,
					direction,
					p.PID,
					p.Size,
					p.Saddr,
					p.Sport,
					p.Daddr,
					p.Dport,
					p.Ms,
				),
			)
		}
	}
	packets(model.ProtocolTCP, len(want.TCPIP))
	packets(model.ProtocolUDP, len(want.UDPIP))
	if want.CPU != nil {
		expect("meta host " + want.CPU.Computer)
		expect(fmt.Sprintf("meta cpus %d", want.CPU.NCPU))
	}
	for _, n := range want.NIC {
		expect(fmt.Sprintf("nic %d %s", n.IPv4idx, n.Desc))
	}
}

// TestSamples counts the profile samples in a DPC or ISR against the number
// that PerfView gives for the same file.
func TestSamples(t *testing.T) {
	path := filepath.Join(testutil.DataDir(t), "etl", "net.4.5.2.x64.etl")
	f := open(t, path, etl.Options{Probes: probes.ETW, Options: etw.Options{SkipRaw: true}})
	var inside uint64
	for _, b := range collect(t, f) {
		for i := range b.Events {
			if v, ok := b.Profile(&b.Events[i]); ok {
				inside += v.DPCSamples + v.ISRSamples
				if v.Flags&model.FlagSecondary == 0 {
					t.Errorf("samples without DPC events are not marked secondary: %+v", v)
				}
			}
		}
	}
	if inside < 105 {
		t.Errorf("%d samples inside a DPC or ISR, want at least the 105 of the idle thread", inside)
	}
}

// TestRoutines compares durations by driver and kind with the expectations of
// the synthetic capture, whose images are those of a real one.
func TestRoutines(t *testing.T) {
	dir := filepath.Join(testutil.DataDir(t), "etl")
	var want struct {
		ByDriver map[string]map[string]struct {
			Count      uint64
			TotalTicks int64 `json:"total_ticks"`
			MaxTicks   int64 `json:"max_ticks"`
		} `json:"by_driver"`
		Events []struct {
			CPU     int32
			Routine string
			Driver  *string
			At      uint64 `json:"timestamp"`
			Initial uint64 `json:"initial_time"`
		}
	}
	readJSON(t, filepath.Join(dir, "SYNTHETIC_dpcisr_x64.expected.json"), &want)
	f := open(
		t,
		filepath.Join(dir, "SYNTHETIC_dpcisr_x64.etl"),
		etl.Options{Probes: probes.ETW, Options: etw.Options{Trace: true, SkipRaw: true}},
	)
	type sum struct {
		count      uint64
		total, max time.Duration
	}
	names := map[model.Class]string{
		model.ClassDPC:         "DPC",
		model.ClassThreadedDPC: "ThreadedDPC",
		model.ClassTimerDPC:    "TimerDPC",
		model.ClassISR:         "ISR",
		model.ClassISRMSI:      "ISR-MSI",
	}
	runs, hists := make(map[string]sum), make(map[string]sum)
	seen := make(map[string]bool)
	add := func(m map[string]sum, class model.Class, driver string, n uint64, total, longest time.Duration) {
		k := driver + " " + names[class]
		s := m[k]
		m[k] = sum{s.count + n, s.total + total, max(s.max, longest)}
	}
	for _, b := range collect(t, f) {
		for i := range b.Events {
			e := &b.Events[i]
			if v, ok := b.DeferredRun(e); ok {
				add(runs, v.Class, v.Driver, 1, v.Dur, v.Dur)
				seen[fmt.Sprintf("%d 0x%x %s %d", v.CPU, v.Routine, v.Driver, v.Dur)] = true
				if v.Exclusive > v.Dur {
					t.Errorf("exclusive %v exceeds %v", v.Exclusive, v.Dur)
				}
			}
			if v, ok := b.InterruptRun(e); ok {
				add(runs, v.Class, v.Driver, 1, v.Dur, v.Dur)
				seen[fmt.Sprintf("%d 0x%x %s %d", v.CPU, v.Routine, v.Driver, v.Dur)] = true
			}
			if v, ok := b.DeferredHist(e); ok {
				add(hists, v.Class, v.Driver, v.Count, v.Busy, v.MaxRun)
			}
			if v, ok := b.InterruptHist(e); ok {
				add(hists, v.Class, v.Driver, v.Count, v.Busy, v.MaxRun)
			}
		}
	}
	for driver, kinds := range want.ByDriver {
		for kind, w := range kinds {
			expected := sum{w.Count, time.Duration(w.TotalTicks) * 100, time.Duration(w.MaxTicks) * 100}
			if got := runs[driver+" "+kind]; got != expected {
				t.Errorf("single runs of %s %s: %+v, want %+v", driver, kind, got, expected)
			}
			if got := hists[driver+" "+kind]; got != expected {
				t.Errorf("intervals of %s %s: %+v, want %+v", driver, kind, got, expected)
			}
		}
	}
	for _, e := range want.Events {
		driver := "<unknown>"
		if e.Driver != nil {
			driver = *e.Driver
		}
		if k := fmt.Sprintf("%d %s %s %d", e.CPU, e.Routine, driver, (e.At-e.Initial)*100); !seen[k] {
			t.Errorf("missing run: %s", k)
		}
	}
}

// TestRunFrom replays from the middle and compares with the whole.
func TestRunFrom(t *testing.T) {
	path := filepath.Join(testutil.DataDir(t), "etl", "tx_KernelNetwork.etl")
	f := open(t, path, etl.Options{Probes: probes.ETW})
	start, end := f.Span()
	middle := start + (end-start)/2
	after := 0
	for _, b := range collect(t, f) {
		for i := range b.Events {
			if b.Events[i].Time >= middle {
				after++
			}
		}
	}
	got, keyframe := 0, 0
	err := f.RunFrom(t.Context(), middle, func(b *model.Batch) error {
		for i := range b.Events {
			e := &b.Events[i]
			switch {
			case e.Flags&model.FlagKeyframe != 0:
				keyframe++
			case e.Time < middle:
				return errors.New("an event before the time asked for")
			default:
				got++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got != after || keyframe == 0 {
		t.Errorf("%d events behind %d of the keyframe, want %d", got, keyframe, after)
	}
}
