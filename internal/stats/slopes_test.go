package stats

import "testing"

func TestSlopes(t *testing.T) {
	for _, tt := range []struct {
		name              string
		xs                []float64
		step              float64
		low, middle, high float64
	}{
		{"none", nil, 1, 0, 0, 0},
		{"one", []float64{7}, 1, 0, 0, 0},
		{"two", []float64{7, 3}, 2, -2, -2, -2},
		{"even", []float64{1, 3, 5, 7, 9}, 4, 0.5, 0.5, 0.5},
		{"an outlier", []float64{0, 2, 4, 600, 8, 10, 12}, 1, 2, 2, 2},
		{"uneven", []float64{0, 1, 3}, 1, 1.5, 1.5, 2},
	} {
		if low, middle, high := Slopes(tt.xs, tt.step); low != tt.low || middle != tt.middle || high != tt.high {
			t.Errorf("%s: %g, %g, %g; want %g, %g, %g", tt.name, low, middle, high, tt.low, tt.middle, tt.high)
		}
	}
}
