package probes

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/source"
)

// replay decodes a capture with the given probes.
func replay(t *testing.T, data []byte, o etw.Options, make func() []etw.Probe) []*model.Batch {
	t.Helper()
	f, err := etl.New(bytes.NewReader(data), int64(len(data)), etl.Options{Options: o, Probes: make})
	if err != nil {
		t.Fatal(err)
	}
	var batches []*model.Batch
	if err := f.Run(t.Context(), func(b *model.Batch) error {
		batches = append(batches, b)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	return batches
}

// followAll follows every flow.
func followAll(model.Protocol, netip.AddrPort, netip.AddrPort) (source.Follow, bool) {
	return source.Follow{KnownAs: "test"}, true
}

// TestETWGolden decodes a capture with every record that the probes know, for
// both pointer sizes, and compares the text of the stream.
func TestETWGolden(t *testing.T) {
	for name, size := range map[string]uint8{"etw32.golden": 4, "etw64.golden": 8} {
		var text strings.Builder
		for _, b := range replay(
			t, etltest.Everything(etltest.Options{PointerSize: size}),
			etw.Options{Trace: true, Switches: true, Follow: followAll}, ETW,
		) {
			for i := range b.Events {
				text.Write(model.AppendText(nil, b, &b.Events[i]))
				text.WriteByte('\n')
			}
		}
		testutil.Golden(t, name, text.String())
	}
}

// TestETWKinds checks that each probe emits every kind that it lists, from the
// same capture, and no other.
func TestETWKinds(t *testing.T) {
	for i, p := range ETW() {
		t.Run(p.Name(), func(t *testing.T) {
			seen := make(map[model.Kind]bool)
			one := func() []etw.Probe { return ETW()[i : i+1] }
			for _, b := range replay(
				t, etltest.Everything(etltest.Options{}),
				etw.Options{Trace: true, Switches: true, SkipRaw: true, Follow: followAll},
				one,
			) {
				for i := range b.Events {
					seen[b.Events[i].Kind] = true
				}
			}
			shared := []model.Kind{
				model.KindMeta,
				model.KindClock,
				model.KindProbe,
				model.KindProcess,
				model.KindImage,
				model.KindRaw,
				model.KindLoss,
			}
			for _, k := range p.Kinds() {
				if !seen[k] {
					t.Errorf("no %v", k)
				}
				delete(seen, k)
			}
			for k := range seen {
				if !slices.Contains(shared, k) {
					t.Errorf("%v is not listed", k)
				}
			}
		})
	}
}

// TestETWStatus checks that a capture without a signal says so.
func TestETWStatus(t *testing.T) {
	empty := etltest.New(etltest.Options{}).Bytes()
	off := 0
	for _, b := range replay(t, empty, etw.Options{}, ETW) {
		for i := range b.Events {
			if v, ok := b.Probe(&b.Events[i]); ok && v.Name != "etw" {
				if v.State == model.ProbeOn || v.Reason == "" || v.Hint == "" {
					t.Errorf("%+v", v)
				}
				off++
			}
		}
	}
	if off < len(ETW()) {
		t.Errorf("%d probe events for %d probes", off, len(ETW()))
	}
}

// TestETWConnections follows TCP connections through the kernel's network
// events, which count only where nothing better is in the capture.
func TestETWConnections(t *testing.T) {
	for _, better := range []bool{false, true} {
		w := etltest.New(etltest.Options{})
		event := func(id uint16, ns int64, lport uint16) {
			p := etltest.NewPayload(8).
				U32(700).
				U32(0).
				Raw([]byte{10, 0, 0, 2}).
				Raw([]byte{10, 0, 0, 1}).
				Port(443).
				Port(lport).
				Raw(make([]byte, 28))
			w.Event(0, ns, etw.ProviderKernelNetwork, id, 0, 4, 8, etw.GUID{}, p)
		}
		event(13, 1000, 49999) // connected before the capture
		event(12, 2000, 50000)
		event(12, 3000, 50001)
		event(15, 4000, 80)
		event(13, 5000, 50000)
		if better {
			w.Socket(0, 6000, 0x1000, 700)
			w.Bind(0, 8000, 0x1000, 700, 0, 5000, 0)
		}
		var got []string
		for _, b := range replay(t, w.Bytes(), etw.Options{SkipRaw: true}, ETW) {
			for i := range b.Events {
				e := &b.Events[i]
				if v, ok := b.PortAcquire(e); ok {
					got = append(got, fmt.Sprintf("take %d %v", v.LocalPort, v.How))
				}
				if v, ok := b.PortRelease(e); ok {
					got = append(got, fmt.Sprintf("give %d after %v", v.LocalPort, v.Dur))
				}
			}
		}
		want := []string{"take 50000 connect", "take 50001 connect", "take 80 accept", "give 50000 after 3µs"}
		if better {
			want = []string{"take 5000 bind_any"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("better=%v: %q, want %q", better, got, want)
		}
	}
}
