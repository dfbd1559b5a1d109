package fold

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// The compact history answers as one that keeps every second would.
func TestHolderHistory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Holder
	var lows, taken []int
	for range 5000 {
		now := 0
		switch random.IntN(8) {
		case 0:
			h.Held += random.IntN(5)
		case 1:
			h.Held = max(0, h.Held-random.IntN(4))
			h.Low = min(h.Low, h.Held)
		case 2:
			for range random.IntN(3) {
				h.AcquiredIn.Add(h.Ticks)
				now++
			}
		}
		lows, taken = append(lows, h.Low), append(taken, now)
		h.EndSecond()

		ago, n := random.IntN(SecondFloors), 1+random.IntN(30)
		if ago+n > SecondFloors {
			continue
		}
		want, sum := lowestOf(lows, len(lows)-ago-n, len(lows)-ago), 0
		if got := h.FloorOver(ago, n); got != want {
			t.Fatalf("tick %d: the floor of %d seconds, %d ago: %d, want %d", h.Ticks, n, ago, got, want)
		}
		for _, c := range taken[max(0, len(taken)-n):] {
			sum += c
		}
		if got := h.SumOver(&h.AcquiredIn, n); got != uint64(sum) {
			t.Fatalf("tick %d: %d acquired in %d seconds, want %d", h.Ticks, got, n, sum)
		}
		coarse := random.IntN(120) * CoarseSeconds
		n = SecondFloors + CoarseSeconds - SecondFloors%CoarseSeconds
		end := len(lows) - len(lows)%CoarseSeconds - coarse
		if got, want := h.FloorOver(coarse, n), lowestOf(lows, end-n, end); got != want {
			t.Fatalf("tick %d: the floor of %d seconds, %d ago: %d, want %d", h.Ticks, n, coarse, got, want)
		}
	}
	if n := len(h.Seconds) + len(h.AcquiredIn); n > 2*SecondFloors+2 {
		t.Errorf("%d entries are kept of the last seconds", n)
	}
	if len(h.Coarse) > CoarseFloors {
		t.Errorf("%d coarse floors are kept", len(h.Coarse))
	}
}

// lowestOf returns the lowest of values from first up to end; those before the
// first one count as 0.
func lowestOf(values []int, first, end int) int {
	low := int(^uint(0) >> 1)
	if first < 0 {
		low = 0
	}
	for i := max(first, 0); i < end; i++ {
		low = min(low, values[i])
	}
	return low
}

// A host has thousands of processes with a port or two: each takes little.
func TestHolderIsSmall(t *testing.T) {
	h := Holder{Held: 1, Level: Level{Low: 1}}
	for range 2000 {
		h.EndSecond()
	}
	size := int(unsafe.Sizeof(h)) + cap(h.Seconds)*8 + cap(h.Coarse)*8 + cap(h.AcquiredIn)*8
	if size > 768 {
		t.Errorf("a process that holds one port takes %d bytes", size)
	}
}
