package etw

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestLossLedger wants each loss once, whichever counters have it, and in whichever order they show it.
func TestLossLedger(t *testing.T) {
	type c = lossCounters
	for name, test := range map[string]struct {
		readings        []lossCounters
		events, buffers []uint64
	}{
		"nothing":          {[]c{{}, {dropped: []uint64{0, 0}}, {}}, []uint64{0, 0, 0}, []uint64{0, 0, 0}},
		"the session only": {[]c{{events: 5}, {events: 5}, {events: 7}}, []uint64{5, 0, 2}, []uint64{0, 0, 0}},
		"records only":     {[]c{{records: 3}, {records: 3}, {records: 4}}, []uint64{3, 0, 1}, []uint64{0, 0, 0}},
		"buffers only":     {[]c{{buffers: 2}, {buffers: 2}, {}}, []uint64{0, 0, 0}, []uint64{2, 0, 0}},
		"reports only":     {[]c{{reports: 1}, {reports: 1}, {reports: 2}}, []uint64{0, 0, 0}, []uint64{1, 0, 1}},
		"both at once":     {[]c{{events: 5, records: 5}, {events: 5, records: 5}}, []uint64{5, 0}, []uint64{0, 0}},
		"one after the other": {
			[]c{{events: 5}, {events: 5, records: 3}, {events: 5, records: 5}, {events: 5, records: 6}},
			[]uint64{5, 0, 0, 1}, []uint64{0, 0, 0, 0},
		},
		"a time stamp only": {
			slices.Repeat([]c{{dropped: []uint64{0, 900}}}, 4),
			[]uint64{0, 0, 1, 0}, []uint64{0, 0, 0, 0},
		},
		"a time stamp, and the counter a second later": {
			[]c{
				{dropped: []uint64{900}}, {events: 4, dropped: []uint64{900}}, {events: 4, dropped: []uint64{900}},
				{events: 4, dropped: []uint64{900}},
			},
			[]uint64{0, 4, 0, 0}, []uint64{0, 0, 0, 0},
		},
		"a time stamp, and the counter much later": {
			[]c{
				{dropped: []uint64{900}}, {dropped: []uint64{900}}, {dropped: []uint64{900}}, {events: 4, dropped: []uint64{900}},
			},
			[]uint64{0, 0, 1, 3}, []uint64{0, 0, 0, 0},
		},
		"a time stamp and a buffer": {
			slices.Repeat([]c{{buffers: 1, dropped: []uint64{900}}}, 3),
			[]uint64{0, 0, 0}, []uint64{1, 0, 0},
		},
		"all of them": {
			[]c{
				{events: 5, records: 5, buffers: 1, reports: 1, dropped: []uint64{900}},
				{events: 5, records: 5, buffers: 1, reports: 1, dropped: []uint64{900}},
			},
			[]uint64{5, 0}, []uint64{1, 0},
		},
	} {
		var l lossLedger
		var events, buffers []uint64
		for _, r := range test.readings {
			e, b := l.take(r, false)
			events, buffers = append(events, e), append(buffers, b)
		}
		if !slices.Equal(events, test.events) || !slices.Equal(buffers, test.buffers) {
			t.Errorf("%s: events %v, want %v; buffers %v, want %v", name, events, test.events, buffers, test.buffers)
		}
	}
	var l lossLedger
	if events, _ := l.take(lossCounters{dropped: []uint64{1, 2}}, true); events != 2 {
		t.Errorf("%d at the end of the session", events)
	}
}

func TestParseDropped(t *testing.T) {
	le := binary.LittleEndian
	packed := le.AppendUint64(le.AppendUint64(le.AppendUint32(nil, 2), 7), 8)
	aligned := le.AppendUint64(le.AppendUint64(le.AppendUint32(le.AppendUint32(nil, 2), 0), 7), 8)
	for _, data := range [][]byte{packed, aligned} {
		if got := parseDropped(data); !slices.Equal(got, []uint64{7, 8}) {
			t.Errorf("% x: %v", data, got)
		}
		for n := range len(packed) {
			if got := parseDropped(data[:n]); got != nil {
				t.Errorf("%d bytes: %v", n, got)
			}
		}
	}
}
