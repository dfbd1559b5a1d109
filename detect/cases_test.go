package detect

import (
	"slices"
	"testing"
)

func TestMoments(t *testing.T) {
	var m Moments[string, int]
	if cause, at := m.Worst(); cause != "" || at != 0 {
		t.Errorf("before any moment: %q, %d", cause, at)
	}
	m.Note("begins", 30, 1)
	m.Note("stopped", 20, 2)
	if cause, _ := m.Worst(); cause != "begins" {
		t.Errorf("cause is %q", cause)
	}
	m.Note("stopped", 25, 3)
	m.Note("stopped", 25, 4)
	m.Note("stopped", 24, 5)
	m.Note("ends", 93, 6)
	m.Note("stopped", 0, 7)
	if cause, at := m.Worst(); cause != "stopped" || at != 4 {
		t.Errorf("worst is %q at %d, want stopped at 4", cause, at)
	}
	m.Note("ends", 2, 8)
	if cause, at := m.Worst(); cause != "ends" || at != 6 {
		t.Errorf("worst is %q at %d, want ends at 6", cause, at)
	}
	m.Move("stopped", 10)
	if cause, _ := m.Worst(); cause != "stopped" {
		t.Errorf("cause is %q after 10 were moved", cause)
	}
	m.Move("stopped", 1e9)
	m.Move("never noted", 5)
	var lost []float64
	for _, c := range m.list {
		lost = append(lost, c.lost)
	}
	if want := []float64{0, 94 + 95 + 30, 0}; !slices.Equal(lost, want) {
		t.Errorf("lost under each cause: %v, want %v", lost, want)
	}
}

func TestCaseWorst(t *testing.T) {
	var c Case[int]
	for i, tt := range []struct {
		weights []float64
		worst   bool
	}{
		{[]float64{0, 0}, false},
		{[]float64{0, 7}, true},
		{[]float64{0, 6}, false},
		{[]float64{0, 7}, true},
		{[]float64{3, 1}, true},
		{[]float64{2, 9}, false},
		{[]float64{3, 2}, true},
		{[]float64{3, 1}, false},
	} {
		if got := c.Worst(tt.weights...); got != tt.worst {
			t.Errorf("moment %d is the worst: %v", i, got)
		}
	}
}
