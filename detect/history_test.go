package detect

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// The compact history answers as one that keeps every second would.
func TestHolderHistory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h holder
	var lows, taken []int
	for range 5000 {
		now := 0
		switch random.IntN(8) {
		case 0:
			h.held += random.IntN(5)
		case 1:
			h.held = max(0, h.held-random.IntN(4))
			h.low = min(h.low, h.held)
		case 2:
			for range random.IntN(3) {
				h.acquiredIn.add(h.ticks)
				now++
			}
		}
		lows, taken = append(lows, h.low), append(taken, now)
		h.endSecond()

		ago, n := random.IntN(secondFloors), 1+random.IntN(30)
		if ago+n > secondFloors {
			continue
		}
		want, sum := lowestOf(lows, len(lows)-ago-n, len(lows)-ago), 0
		if got := h.floorOver(ago, n); got != want {
			t.Fatalf("tick %d: the floor of %d seconds, %d ago: %d, want %d", h.ticks, n, ago, got, want)
		}
		for _, c := range taken[max(0, len(taken)-n):] {
			sum += c
		}
		if got := h.sumOver(&h.acquiredIn, n); got != uint64(sum) {
			t.Fatalf("tick %d: %d acquired in %d seconds, want %d", h.ticks, got, n, sum)
		}
		coarse := random.IntN(120) * coarseSeconds
		n = secondFloors + coarseSeconds - secondFloors%coarseSeconds
		end := len(lows) - len(lows)%coarseSeconds - coarse
		if got, want := h.floorOver(coarse, n), lowestOf(lows, end-n, end); got != want {
			t.Fatalf("tick %d: the floor of %d seconds, %d ago: %d, want %d", h.ticks, n, coarse, got, want)
		}
	}
	if n := len(h.seconds) + len(h.acquiredIn); n > 2*secondFloors+2 {
		t.Errorf("%d entries are kept of the last seconds", n)
	}
	if len(h.coarse) > coarseFloors {
		t.Errorf("%d coarse floors are kept", len(h.coarse))
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
	h := holder{held: 1, low: 1}
	for range 2000 {
		h.endSecond()
	}
	size := int(unsafe.Sizeof(h)) + cap(h.seconds)*8 + cap(h.coarse)*8 + cap(h.acquiredIn)*8
	if size > 768 {
		t.Errorf("a process that holds one port takes %d bytes", size)
	}
}
