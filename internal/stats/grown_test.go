package stats

import (
	"math"
	"testing"
)

func TestGrown(t *testing.T) {
	for _, test := range []struct {
		earlier, later, want float64
		ok                   bool
	}{
		{5, 5, 0, true}, {5, 7, 2, true}, {7, 5, 0, false},
		{math.MaxUint32, 0, 1, true}, {4294967290, 100, 106, true},
		{1 << 31, 0, 1 << 31, true}, {1<<31 - 1, 0, 0, false},
		{1 << 32, 0, 0, false}, {math.MaxUint32, -1, 0, false},
		{math.NaN(), 1, 0, false}, {1, math.NaN(), 0, false},
	} {
		if got, ok := Grown(test.earlier, test.later); got != test.want || ok != test.ok {
			t.Errorf("from %v to %v: %v, %v", test.earlier, test.later, got, ok)
		}
	}
}
