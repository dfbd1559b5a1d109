package ebpf

import (
	"errors"
	"slices"
	"testing"
	"time"

	"lostbeat/model"

	"golang.org/x/sys/unix"
)

// fakeClocks is a machine whose readings take the given times.
type fakeClocks struct {
	boot    int64
	widths  []int64 // of each bracket
	reading int
}

// offset between the fake's clocks.
const fakeOffset = 1_700_000_000_000_000_000

func (f *fakeClocks) get(clock int32) (int64, error) {
	width := f.widths[f.reading%len(f.widths)]
	switch clock {
	case unix.CLOCK_BOOTTIME:
		f.boot += width / 2
		return f.boot, nil
	case unix.CLOCK_REALTIME:
		// Read at the beginning of the bracket, the worst place.
		return f.boot + fakeOffset, nil
	}
	f.reading++
	return f.boot, nil
}

func TestTightestReading(t *testing.T) {
	f := fakeClocks{widths: []int64{5000, 800, 90, 100000, 700, 650, 999}}
	r, err := tightestReading(f.get)
	if err != nil {
		t.Fatal(err)
	}
	if r.bracket != 45 {
		t.Errorf("bracket %d ns, want 45: the tightest", r.bracket)
	}
	if off := time.Duration(r.offset() - fakeOffset); off.Abs() > r.bracket {
		t.Errorf("offset is wrong by %v, more than the bracket of %v", off, r.bracket)
	}
}

func TestTightestReadingFails(t *testing.T) {
	broken := errors.New("no clock")
	if _, err := tightestReading(func(int32) (int64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestClockNow(t *testing.T) {
	r, err := tightestReading(clockGettime)
	if err != nil {
		t.Fatal(err)
	}
	clock := Clock{Offset: r.offset()}
	before := time.Now()
	now := clock.Now()
	if d := now.Sub(model.TimeOf(before)); d < -time.Millisecond || d > time.Second {
		t.Errorf("event time is %v from the wall clock", d)
	}
	if got := clock.Time(uint64(r.boot)); got != r.wall {
		t.Errorf("Time(boot) = %v, want %v", got, r.wall)
	}
}

// A wall clock that is set moves nothing but what clock events say of it: the
// stream's own times go on, and the events show by how much it moved.
func TestClockStep(t *testing.T) {
	boot, wall := int64(1000*time.Second), int64(1_800_000_000*time.Second)
	r := run{gettime: func(clock int32) (int64, error) {
		if clock == unix.CLOCK_REALTIME {
			return wall, nil
		}
		return boot, nil
	}}
	first, err := tightestReading(r.gettime)
	if err != nil {
		t.Fatal(err)
	}
	r.clock = Clock{Offset: first.offset()}
	for _, step := range []time.Duration{0, -time.Hour, 3 * time.Hour} {
		boot += int64(30 * time.Second)
		wall += int64(30*time.Second + step)
		r.at = r.clock.Time(uint64(boot))
		if err := r.readClock(); err != nil {
			t.Fatal(err)
		}
	}
	batch := r.builder.Take()
	var moved []time.Duration
	for i := range batch.Events {
		v, _ := batch.Clock(&batch.Events[i])
		if want := model.Time(1_800_000_000*time.Second + time.Duration(i+1)*30*time.Second); v.Time != want {
			t.Errorf("clock event %d is at %v, want %v", i, v.Time, want)
		}
		moved = append(moved, v.Wall.Sub(v.Time))
	}
	if want := []time.Duration{0, -time.Hour, 2 * time.Hour}; !slices.Equal(moved, want) {
		t.Errorf("the wall clock moved by %v, want %v", moved, want)
	}
	if err := model.Validate(batch); err != nil {
		t.Error(err)
	}
}
