package etl_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/probes"
)

// moment is what a reader has at a time: what holds, and what follows.
type moment struct{ Held, Follows []string }

// known reports whether an event only makes a name known: a jump does so when
// the name is first needed, which may be after the time it leads to.
func known(b *model.Batch, e *model.Event) bool {
	v, ok := b.Process(e)
	return ok && v.State == model.ProcessActive
}

// keep adds the text of an event.
func keep(list []string, b *model.Batch, e *model.Event) []string {
	if known(b, e) {
		return list
	}
	return append(list, string(model.AppendText(nil, b, e)))
}

// played reads a file from its start and stops the clock at from.
func played(t *testing.T, f *etl.File, from model.Time) moment {
	t.Helper()
	var m moment
	st := state.New()
	if err := f.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if e := &b.Events[i]; e.Time < from {
				st.ApplyEvent(b, e)
			} else {
				m.Follows = keep(m.Follows, b, e)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var b model.Builder
	st.Snapshot(from, &b)
	if batch := b.Take(); batch != nil {
		for i := range batch.Events {
			m.Held = keep(m.Held, batch, &batch.Events[i])
		}
	}
	slices.Sort(m.Held)
	return m
}

// jumped reads a file from a time on.
func jumped(t *testing.T, f *etl.File, from model.Time) moment {
	t.Helper()
	var m moment
	var v model.Validator
	if err := f.RunFrom(t.Context(), from, func(b *model.Batch) error {
		for i := range b.Events {
			if e := &b.Events[i]; e.Flags&model.FlagKeyframe != 0 {
				m.Held = keep(m.Held, b, e)
			} else {
				m.Follows = keep(m.Follows, b, e)
			}
		}
		return v.Check(b)
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(m.Held)
	return m
}

// TestJump compares what a jump gives with what reading from the start gives.
func TestJump(t *testing.T) {
	captures := map[string][]byte{
		"storm":            etltest.DPCStorm(etltest.Options{}),
		"storm compressed": etltest.DPCStorm(etltest.Options{Compression: xca.Xpress, BufferSize: 4096}),
		"storm cycles":     etltest.DPCStorm(etltest.Options{Clock: etw.ClockCycles}),
		"storm system":     etltest.DPCStorm(etltest.Options{Clock: etw.ClockSystem, PointerSize: 4}),
		"leak":             etltest.PortLeak(etltest.Options{}),
		"leak unfinalised": etltest.PortLeak(etltest.Options{Unfinalised: true, BufferSize: 4096}),
		"mixture":          etltest.Mixture(etltest.Options{}, 20000),
	}
	for name, data := range captures {
		t.Run(name, func(t *testing.T) {
			f := openBytes(t, data, etl.Options{Options: etw.Options{SkipRaw: true}, Probes: probes.ETW})
			start, end := f.Span()
			for n := range model.Time(8) {
				from := start + (end-start)*n/7 + 1
				if diff := cmp.Diff(played(t, f, from), jumped(t, f, from)); diff != "" {
					t.Errorf("at %v: played (-), jumped (+)\n%.4000s", from, diff)
				}
			}
		})
	}
}

// TestJumpReal does the same with real captures.
func TestJumpReal(t *testing.T) {
	for _, path := range realFiles(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := etl.Open(path, etl.Options{Options: etw.Options{SkipRaw: true}, Probes: probes.ETW})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			start, end := f.Span()
			for n := range model.Time(4) {
				from := start + (end-start)*n/3 + 1
				if diff := cmp.Diff(played(t, f, from), jumped(t, f, from)); diff != "" {
					t.Errorf("at %v: played (-), jumped (+)\n%.4000s", from, diff)
				}
			}
		})
	}
}

// realFiles are the captures beside the repository.
func realFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testutil.DataDir(t), "etl", "*.etl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	return paths
}

// TestJumpDecodesLittle counts the records that a jump to the end of a storm
// decodes: without a floor under what lies before it, all of them.
func TestJumpDecodesLittle(t *testing.T) {
	f := openBytes(
		t,
		etltest.DPCStorm(etltest.Options{}),
		etl.Options{Options: etw.Options{Trace: true, SkipRaw: true}, Probes: probes.ETW},
	)
	_, end := f.Span()
	all := len(played(t, f, 1).Follows)
	probe := &countingProbe{}
	f = openBytes(
		t,
		etltest.DPCStorm(etltest.Options{}),
		etl.Options{Options: etw.Options{SkipRaw: true}, Probes: func() []etw.Probe { return []etw.Probe{probe} }},
	)
	if err := f.RunFrom(t.Context(), end.Add(-time.Second), func(*model.Batch) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if probe.decoded == 0 || probe.decoded > all/2 {
		t.Errorf("%d of %d DPCs decoded", probe.decoded, all)
	}
}

// countingProbe counts DPCs.
type countingProbe struct{ decoded int }

func (p *countingProbe) Name() string                       { return "counting" }
func (p *countingProbe) Kinds() []model.Kind                { return nil }
func (p *countingProbe) Status(etw.Census) []model.Probe    { return nil }
func (p *countingProbe) count(*etw.Record, model.Time) bool { p.decoded++; return true }
func (p *countingProbe) Register(d *etw.Decoder) {
	d.HandlePassing(p.count, etw.Opcode(etw.ClassPerfInfo, 68), etw.Opcode(etw.ClassPerfInfo, 69))
}

func TestTicks(t *testing.T) {
	start := model.TimeOf(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC))
	for _, c := range []etw.Clock{
		{Type: etw.ClockQPC, Frequency: 10_000_000, Origin: 123456789, Start: start},
		{Type: etw.ClockQPC, Frequency: 2_994_853, Origin: 123456789, Start: start},
		{Type: etw.ClockCycles, Frequency: 3_200_000_000, Origin: 1 << 60, Start: start},
		{Type: etw.ClockSystem},
		{Type: etw.ClockQPC, Frequency: 0, Start: start},
	} {
		for _, d := range []time.Duration{
			-time.Hour, -time.Nanosecond, 0, 1, 99, 100, time.Second, 1_000_000_007, 24 * time.Hour,
		} {
			at := start.Add(d)
			n := c.Ticks(at)
			switch {
			case c.Frequency == 0 && c.Type != etw.ClockSystem: // a damaged header: no panic
			case n > 0 && c.Time(n) > at:
				t.Errorf("%v: tick %d of %v is %v", c, n, at, c.Time(n))
			case n > 0 && at.Sub(c.Time(n)) > time.Microsecond:
				t.Errorf("%v: tick %d of %v is %v too early", c, n, at, at.Sub(c.Time(n)))
			}
		}
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	bytes.Reader
	n int64
}

func (r *countingReader) ReadAt(p []byte, offset int64) (int, error) {
	r.n += int64(len(p))
	return r.Reader.ReadAt(p, offset)
}

func openCounting(t *testing.T, data []byte) (*etl.File, *countingReader) {
	t.Helper()
	r := &countingReader{Reader: *bytes.NewReader(data)}
	f, err := etl.New(r, int64(len(data)), etl.Options{Options: etw.Options{SkipRaw: true}, Probes: probes.ETW})
	if err != nil {
		t.Fatal(err)
	}
	return f, r
}

// TestInventoryReadsOnce bounds what an inventory reads: the file, once.
func TestInventoryReadsOnce(t *testing.T) {
	data := etltest.Mixture(etltest.Options{}, 20000)
	f, r := openCounting(t, data)
	r.n = 0
	if v, err := f.Inventory(t.Context()); err != nil || v.EventsTotal < 20000 || len(v.Probes) < 5 {
		t.Fatalf("%d events, %d probes, %v", v.EventsTotal, len(v.Probes), err)
	}
	if r.n > int64(len(data))*11/10 {
		t.Errorf("%d bytes read of a file of %d", r.n, len(data))
	}
}

// TestJumpsReadLess bounds what jumps read: the first one reads the file for
// its names and its state, the next one neither names nor what has no state.
func TestJumpsReadLess(t *testing.T) {
	data := etltest.DPCStorm(etltest.Options{BufferSize: 4096})
	f, r := openCounting(t, data)
	_, end := f.Span()
	jump := func(back time.Duration) int64 {
		r.n = 0
		if err := f.RunFrom(t.Context(), end.Add(-back), func(*model.Batch) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return r.n
	}
	first, second := jump(time.Second), jump(2*time.Second)
	if first < int64(len(data)) || second > first/3 {
		t.Errorf("%d bytes, then %d of a file of %d", first, second, len(data))
	}
}
