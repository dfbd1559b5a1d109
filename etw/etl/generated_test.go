package etl_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/probes"
)

func openBytes(t testing.TB, data []byte, o etl.Options) *etl.File {
	t.Helper()
	f, err := etl.New(bytes.NewReader(data), int64(len(data)), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sessions are all kinds of sessions: each with each clock and compression.
func sessions() map[string]etltest.Options {
	out := make(map[string]etltest.Options)
	for _, pointer := range []uint8{4, 8} {
		for _, clock := range []etw.ClockType{etw.ClockQPC, etw.ClockSystem, etw.ClockCycles} {
			for _, format := range []xca.Format{xca.None, xca.Xpress, xca.LZNT1, xca.XpressHuffman} {
				o := etltest.Options{PointerSize: pointer, Clock: clock, Compression: format}
				out[fmt.Sprintf("%d-bit/%v/%v", 8*int(pointer), clock, format)] = o
			}
		}
	}
	out["old processor"] = etltest.Options{OldProcessor: true}
	out["unfinalised"] = etltest.Options{Unfinalised: true}
	out["odd frequency"] = etltest.Options{Frequency: 2_994_853}
	out["large buffers"] = etltest.Options{BufferSize: 1 << 20}
	return out
}

// TestRecordRoundTrip writes every kind of record and reads it back.
func TestRecordRoundTrip(t *testing.T) {
	class := etw.MustGUID("00112233-4455-6677-8899-aabbccddeeff")
	extended := etltest.Extended(map[uint16][]byte{
		1: make([]byte, 16), 11: []byte("\x05\x00\x00a\x00"), 12: []byte("\x06\x00abc\x00"),
	})
	payload := []byte("payload of some bytes")
	records := []etw.Record{
		{Header: etw.HeaderSystem, Class: etw.ClassThread, ID: 1, Opcode: 1, Version: 3, PID: 4, TID: 8, Payload: payload},
		{Header: etw.HeaderSystem, Class: etw.ClassImage, ID: 10, Opcode: 10, Version: 3, PID: 4, TID: 8, Payload: payload},
		{Header: etw.HeaderCompact, Class: etw.ClassProcess, ID: 2, Opcode: 2, Version: 4, PID: 4, TID: -1, Payload: payload},
		{
			Header: etw.HeaderPerfInfo, Class: etw.ClassPerfInfo, ID: 68, Opcode: 68, Version: 2, PID: -1, TID: -1,
			Payload: payload,
		},
		{Header: etw.HeaderFull, Class: class, ID: 7, Opcode: 7, Level: 3, Version: 9, PID: 4, TID: 8, Payload: payload},
		{
			Header: etw.HeaderInstance, Class: class, ID: 7, Opcode: 7, Version: 9, PID: 4, TID: 8, InstanceID: 11,
			ParentID: 12, Related: etw.ClassImage, Payload: payload,
		},
		{
			Header: etw.HeaderEvent, Class: class, ID: 1234, Version: 2, Channel: 16, Level: 4, Opcode: 5, Task: 6,
			Keyword: 1 << 63, PID: 4, TID: 8, Activity: class, Payload: payload,
		},
		{
			Header: etw.HeaderEvent, Class: class, ID: 0, Flags: etw.FlagExtended, PID: 4, TID: 8, Extended: extended,
			Payload: payload,
		},
		{Header: etw.HeaderEvent, Class: class, ID: 1, Flags: etw.FlagCPUIndex, PID: 4, TID: 8, CPU: 300, Payload: payload},
		{Header: etw.HeaderEvent, Class: class, ID: 1, PID: 4, TID: 8, Payload: []byte{}},
		{Header: etw.HeaderMessage, Class: class, ID: 43, Version: 0x2a, PID: 4, TID: 8, Payload: payload},
		{Header: etw.HeaderMessage, ID: 43, Version: 0x0c, PID: -1, TID: -1, Payload: payload},
		{Header: etw.HeaderError, PID: -1, TID: -1, PointerSize: 8, Payload: payload},
	}
	for _, pointer := range []uint8{4, 8} {
		w := etltest.New(etltest.Options{PointerSize: pointer})
		want := slices.Clone(records)
		for i := range want {
			r := &want[i]
			r.Time = w.Ticks(int64(i) * 1000)
			switch r.Header {
			case etw.HeaderError:
				r.PointerSize = 8
			case etw.HeaderMessage:
				r.PointerSize = pointer
				r.Version |= map[uint8]uint16{4: 0x40, 8: 0x80}[pointer]
			default:
				r.PointerSize = pointer
			}
			w.Add(*r)
			r.CPU = max(r.CPU, 0)
		}
		want[len(want)-1].Time = want[len(want)-2].Time // an error record has none: that of the one before it
		data := w.Bytes()
		var got []etw.Record
		for r, err := range etl.Records(bytes.NewReader(data), int64(len(data))) {
			if err != nil {
				t.Fatal(err)
			}
			c := *r
			if g := c.Group - 1; c.Group != 0 && etw.GroupClass(byte(g>>8), byte(g)) != c.Class {
				t.Errorf("group %#x is not that of class %s", g, c.Class)
			}
			if kernel := c.Header >= etw.HeaderSystem && c.Header <= etw.HeaderPerfInfo; kernel != (c.Group != 0) {
				t.Errorf("a record with a header %s has group %#x", c.Header, c.Group)
			}
			c.Group = 0
			c.Payload, c.Extended = bytes.Clone(r.Payload), bytes.Clone(r.Extended)
			if len(c.Payload) == 0 {
				c.Payload = []byte{}
			}
			got = append(got, c)
		}
		// Flag 0x200 sends its record to the buffer of another processor: at the end.
		slices.SortStableFunc(got, func(a, b etw.Record) int { return int(a.Time) - int(b.Time) })
		if d := cmp.Diff(want, got[1:]); d != "" {
			t.Errorf("pointer size %d (-want +got):\n%s", pointer, d)
		}
	}
}

// checkStorm compares a replay with what DPCStorm has written.
func checkStorm(t *testing.T, f *etl.File) {
	t.Helper()
	var busy, exclusive time.Duration
	var runs, packets, inclusive int
	start, _ := f.Span()
	for _, b := range collect(t, f) {
		for i := range b.Events {
			e := &b.Events[i]
			if v, ok := b.DeferredHist(e); ok && v.Driver == "badnic.sys" {
				busy += v.Busy
				if v.Name != "badnic.sys+0x1234" || v.CPU != 1 || v.Class != model.ClassDPC {
					t.Errorf("hist %+v", v)
				}
				if v.Flags&model.FlagInclusive != 0 {
					inclusive++
				}
			}
			if v, ok := b.DeferredRun(e); ok {
				runs++
				exclusive += v.Exclusive
				if at := v.Time.Sub(start); at < 3*time.Second || at > 8*time.Second {
					t.Errorf("run at %v", at)
				}
			}
			if v, ok := b.Packet(e); ok {
				packets++
				if v.LocalAddr != "10.0.0.1" || v.RemoteAddr != "10.0.0.2" ||
					v.LocalPort != 5405 || v.Process != "heartbeatd.exe" ||
					v.Direction != model.DirectionRX {
					t.Errorf("packet %+v", v)
				}
			}
		}
	}
	const rounding = time.Millisecond
	if busy < 4500*time.Millisecond-rounding || busy > 4500*time.Millisecond+rounding {
		t.Errorf("badnic.sys was busy for %v, want 4.5 s", busy)
	}
	if want := 500 * (9*time.Millisecond - 20*time.Microsecond); (exclusive - want).Abs() > rounding {
		t.Errorf("without interrupts %v, want %v", exclusive, want)
	}
	if runs != 500 || packets != 49 || inclusive == 0 {
		t.Errorf("%d runs above 1 ms, %d packets, %d inclusive intervals; want 500, 49 and some", runs, packets, inclusive)
	}
}

// TestSessions reads a DPC storm from every kind of session.
func TestSessions(t *testing.T) {
	for name, o := range sessions() {
		t.Run(name, func(t *testing.T) {
			f := openBytes(t, etltest.DPCStorm(o), etl.Options{Probes: probes.ETW})
			checkStorm(t, f)
			v, err := f.Inventory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if v.EventsTotal != 1+3+999+999+500+49+4 ||
				v.Damaged != 0 || v.Processors != 2 ||
				v.PointerSize != max(o.PointerSize, 4) && o.PointerSize != 0 {
				t.Errorf("inventory %+v", v)
			}
			if (v.End == 0) != o.Unfinalised {
				t.Errorf("end = %v", v.End)
			}
		})
	}
}

// TestPortLeak follows sockets through create, bind, close and failure.
func TestPortLeak(t *testing.T) {
	f := openBytes(t, etltest.PortLeak(etltest.Options{}), etl.Options{Probes: probes.ETW})
	held := make(map[uint16]bool)
	acquired, released, failed, dropped := 0, 0, 0, 0
	for _, b := range collect(t, f) {
		for i := range b.Events {
			e := &b.Events[i]
			if v, ok := b.PortAcquire(e); ok {
				acquired++
				held[v.LocalPort] = true
				if v.PID != 700 || v.Process != "leaky.exe" ||
					v.How != model.HowBindAny ||
					v.Protocol != model.ProtocolUDP || v.Cookie == 0 {
					t.Errorf("acquire %+v", v)
				}
			}
			if v, ok := b.PortRelease(e); ok {
				released++
				delete(held, v.LocalPort)
				if v.Dur != 18999*time.Microsecond {
					t.Errorf("held for %v, want 19 ms less 1 µs", v.Dur)
				}
			}
			if v, ok := b.PortFail(e); ok {
				failed++
				if v.ErrorName != "STATUS_TOO_MANY_ADDRESSES" || v.PID != 700 || v.How != model.HowBindAny {
					t.Errorf("fail %+v", v)
				}
			}
			if v, ok := b.Drop(e); ok {
				dropped++
				if v.Place != model.PlaceSocket || v.LocalPort != 50000 || v.PID != 700 || v.Process != "leaky.exe" {
					t.Errorf("drop %+v", v)
				}
			}
			if v, ok := b.Raw(e); ok && !v.Classic {
				t.Errorf("raw %+v", v)
			}
		}
	}
	if acquired != 200 || released != 133 || failed != 40 || dropped != 1 || len(held) != 67 {
		t.Errorf("%d acquired, %d released, %d failed, %d dropped, %d held", acquired, released, failed, dropped, len(held))
	}
}

// times returns the times of all records in the order of a replay.
func times(t *testing.T, data []byte) (list []model.Time, loss uint64) {
	t.Helper()
	for _, b := range collect(t, openBytes(t, data, etl.Options{})) {
		for i := range b.Events {
			if v, ok := b.Raw(&b.Events[i]); ok {
				list = append(list, v.Time)
			}
			if v, ok := b.Loss(&b.Events[i]); ok {
				loss += v.Lost
			}
		}
	}
	return list, loss
}

// TestMergeOrder spreads records over processors at random and expects them
// back in order.
func TestMergeOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, mode := range []string{"", "circular", "disordered"} {
		t.Run(mode, func(t *testing.T) {
			w := etltest.New(etltest.Options{Processors: 16, BufferSize: 4096})
			const n = 5000
			for i := range n {
				at := int64(i) * 1000
				if mode == "disordered" {
					at += int64(r.IntN(20)) * 1000
				}
				w.Add(etw.Record{
					Header: etw.HeaderPerfInfo, PointerSize: 8, Class: etw.ClassPerfInfo, ID: 200, CPU: int32(r.IntN(16)),
					Time: w.Ticks(at), Payload: make([]byte, r.IntN(100)),
				})
			}
			data := w.Bytes()
			if mode == "circular" {
				data = rotate(data, 4096)
			}
			got, loss := times(t, data)
			if len(got) != n+1 {
				t.Fatalf("%d records, want %d", len(got), n+1)
			}
			if !slices.IsSorted(got) && loss == 0 {
				t.Error("out of order, and not declared")
			}
			if mode != "disordered" && loss != 0 {
				t.Errorf("%d events late", loss)
			}
		})
	}
}

// rotate moves the first buffers behind the header to the end, as a circular
// file has them.
func rotate(data []byte, size int) []byte {
	head := int(binary.LittleEndian.Uint32(data))
	body := data[head:]
	k := len(body) / size / 3 * size
	return slices.Concat(data[:head], body[k:], body[:k])
}

// TestDamage breaks one thing at a time: only what is broken may be lost.
func TestDamage(t *testing.T) {
	const size = 8 << 10
	whole := etltest.DPCStorm(etltest.Options{BufferSize: size})
	packed := etltest.DPCStorm(etltest.Options{BufferSize: size, Compression: xca.Xpress})
	head := int(binary.LittleEndian.Uint32(whole))
	total := inventory(t, whole)
	tests := []struct {
		name    string
		data    []byte
		break_  func([]byte) []byte
		most    uint64
		damaged int
	}{
		{"marker", whole, func(b []byte) []byte { copy(b[head+size+72:], "garbage!"); return b }, size / 24, 1},
		{
			"record too long", whole,
			func(b []byte) []byte { b[head+size+72+4], b[head+size+72+5] = 0xff, 0xff; return b }, size / 24, 1,
		},
		{"truncated", whole, func(b []byte) []byte { return b[:len(b)-size-size/2] }, 2 * size / 24, 2},
		{"buffer header", whole, func(b []byte) []byte { copy(b[head+5*size:], []byte{9, 0, 0, 0}); return b }, total, 1},
		{"compressed data", packed, func(b []byte) []byte {
			for i := range 40 {
				b[head+72+100+i] ^= 0xff
			}
			return b
		}, size / 16, 1},
		{"trailing zeros", whole, func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := openBytes(t, tt.break_(bytes.Clone(tt.data)), etl.Options{Probes: probes.ETW})
			v, err := f.Inventory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if v.Damaged != tt.damaged || total-v.EventsTotal > tt.most || v.EventsTotal > total {
				t.Errorf("%d of %d events, %d damaged", v.EventsTotal, total, v.Damaged)
			}
			var lost uint64
			for _, b := range collect(t, f) {
				for i := range b.Events {
					if l, ok := b.Loss(&b.Events[i]); ok && l.Origin == "file" {
						lost += l.Lost
					}
				}
			}
			if lost != uint64(tt.damaged) {
				t.Errorf("%d loss events, want %d", lost, tt.damaged)
			}
		})
	}
}

func inventory(t testing.TB, data []byte) uint64 {
	t.Helper()
	v, err := openBytes(t, data, etl.Options{}).Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.EventsTotal
}

// TestLoss counts what a session says that it lost.
func TestLoss(t *testing.T) {
	w := etltest.New(etltest.Options{EventsLost: 7, BuffersLost: 2})
	w.Sample(0, 1000, 1, 0)
	w.Flush(0, 0x02)
	w.Sample(0, 2000, 1, 0)
	w.Add(etw.Record{Header: etw.HeaderFull, PointerSize: 8, Class: etw.ClassLost, ID: 32, Time: w.Ticks(4000)})
	origins := make(map[string]uint64)
	for _, b := range collect(t, openBytes(t, w.Bytes(), etl.Options{Probes: probes.ETW})) {
		for i := range b.Events {
			if v, ok := b.Loss(&b.Events[i]); ok {
				origins[v.Origin] += v.Lost
			}
			if v, ok := b.Probe(&b.Events[i]); ok && v.Name == "etw" && v.State != model.ProbeDegraded {
				t.Errorf("probe %+v", v)
			}
		}
	}
	if origins["etw"] != 7+1 || origins["etw-buffer"] != 2+1 {
		t.Errorf("lost: %v", origins)
	}
}

// TestInterrupt stops a replay by its context and by its receiver.
func TestInterrupt(t *testing.T) {
	var done, total int64
	f := openBytes(
		t, etltest.DPCStorm(etltest.Options{}),
		etl.Options{Probes: probes.ETW, Options: etw.Options{Trace: true}, Progress: func(d, n int64) { done, total = d, n }},
	)
	if err := f.Run(t.Context(), func(*model.Batch) error { return nil }); err != nil || done != total || total == 0 {
		t.Errorf("progress %d of %d: %v", done, total, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx, func(*model.Batch) error { return nil }); err != nil {
		t.Errorf("stopped: %v", err)
	}
	if _, err := f.Inventory(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("inventory: %v", err)
	}
	gone := errors.New("the receiver is gone")
	if err := f.Run(t.Context(), func(*model.Batch) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("Run = %v, want %v", err, gone)
	}
}

func TestDetect(t *testing.T) {
	data := etltest.PortLeak(etltest.Options{})
	if !etl.Detect(data[:128]) {
		t.Error("not detected")
	}
	for _, other := range [][]byte{
		nil, []byte("PK\x03\x04"), make([]byte, 200), bytes.Repeat([]byte{0xff}, 200),
		[]byte(`"(PDH-CSV 4.0) (UTC)(0)","\\HOST\Processor(_Total)\% DPC Time"` + string(make([]byte, 100))),
	} {
		if etl.Detect(other) {
			t.Errorf("%.20q was detected", other)
		}
	}
	if _, err := etl.New(bytes.NewReader(nil), 0, etl.Options{}); !errors.Is(err, etl.ErrNotETL) {
		t.Errorf("empty file: %v", err)
	}
}

// FuzzFile reads any bytes with everything on: no panic, a valid stream, and
// memory bounded by the size of the input.
func FuzzFile(f *testing.F) {
	fuzztest.Quick(f)
	small := etltest.Options{BufferSize: 1024}
	for _, o := range []etltest.Options{
		small, {BufferSize: 1024, PointerSize: 4, Clock: etw.ClockSystem},
		{BufferSize: 1024, Compression: xca.Xpress}, {BufferSize: 1024, Compression: xca.LZNT1},
		{BufferSize: 1024, Compression: xca.XpressHuffman},
	} {
		f.Add(etltest.Everything(o))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<18 {
			return
		}
		file, err := etl.New(
			bytes.NewReader(data), int64(len(data)),
			etl.Options{Probes: probes.ETW, Options: etw.Options{Trace: true, Switches: true}},
		)
		if err != nil {
			return
		}
		if _, err := file.Inventory(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = file.Run(t.Context(), func(b *model.Batch) error {
			for i := range b.Events {
				_ = model.AppendText(nil, b, &b.Events[i])
			}
			return nil
		})
	})
}

// TestMemory reads a file that is made to occupy memory: 2000 processors, each
// with a small compressed buffer that claims to be large.
func TestMemory(t *testing.T) {
	const processors, each = 2000, 240 << 10
	w := etltest.New(etltest.Options{BufferSize: each, Processors: processors, Compression: xca.Xpress})
	for cpu := range int32(processors) {
		for i := range 4 {
			w.Add(etw.Record{
				Header: etw.HeaderPerfInfo, PointerSize: 8, Class: etw.ClassPerfInfo, ID: 200, CPU: cpu,
				Time: w.Ticks(int64(i) * 1000), Payload: make([]byte, 58000),
			})
		}
	}
	data := w.Bytes()
	f := openBytes(t, data, etl.Options{Options: etw.Options{SkipRaw: false}})
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, events := uint64(0), 0
	err := f.Run(t.Context(), func(b *model.Batch) error {
		runtime.GC() // what is in use, rather than what was
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc)
		events += len(b.Events)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if events < 4*processors {
		t.Errorf("%d events", events)
	}
	t.Logf("peak %d MiB, file %d KiB, %d events", peak>>20, len(data)>>10, events)
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 200<<20 {
		t.Errorf("%d MiB in use for a file of %d KiB", grown>>20, len(data)>>10)
	}
}

// TestSharedBuffers reads a session whose processors share their buffers: the
// processor is known only where a record says it.
func TestSharedBuffers(t *testing.T) {
	w := etltest.New(etltest.Options{Mode: 0x10000000, Processors: 4})
	class := etw.MustGUID("00112233-4455-6677-8899-aabbccddeeff")
	for i, r := range []etw.Record{{CPU: 3, Flags: etw.FlagCPUIndex}, {CPU: 3}} {
		r.Header, r.PointerSize, r.Class, r.Time = etw.HeaderEvent, 8, class, w.Ticks(int64(2-i)*1000)
		w.AddRaw(0, r.Time, etltest.Encode(r))
	}
	data := w.Bytes()
	var got []int32
	for _, b := range collect(t, openBytes(t, data, etl.Options{})) {
		for i := range b.Events {
			if v, ok := b.Raw(&b.Events[i]); ok && !v.Classic {
				got = append(got, v.CPU)
			}
		}
	}
	if !slices.Equal(got, []int32{-1, 3}) {
		t.Errorf("processors %v, want the later record first and its processor unknown", got)
	}
}

// TestInventoryKeys has the keys that every kind of capture answers with.
func TestInventoryKeys(t *testing.T) {
	b := etltest.Everything(etltest.Options{PointerSize: 8})
	f, err := etl.New(bytes.NewReader(b), int64(len(b)), etl.Options{Probes: probes.ETW})
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"host", "os", "kernel", "start", "end", "events_total", "events", "lost", "probes", "processors",
	} {
		if _, ok := keys[key]; !ok {
			t.Errorf("info has no %q", key)
		}
	}
	if keys["os"] != "windows" || keys["kernel"] == "" || len(keys["probes"].([]any)) == 0 {
		t.Errorf("os %v, kernel %v, probes %v", keys["os"], keys["kernel"], keys["probes"])
	}
}
