package tui

import (
	"strings"
	"testing"
)

// A long text before the last column is whole where the row has room for it.
func TestTextHasItsRoom(t *testing.T) {
	type row struct{ why, fix string }
	long := strings.Repeat("x", 2*maxText)
	g := grid[row]{
		cols: []column[row]{
			textColumn("why", 10, 1, 0, func(r row) string { return r.why }),
			textColumn("fix", 10, 1, 0, func(r row) string { return r.fix }),
		},
		rows: []row{{why: long, fix: "a word"}},
	}
	for total, why := range map[int]int{200: 2 * maxText, 80: 80 - 10 - 2*2 - 1} {
		if got := g.widths(total); got[0] < why-1 || got[0] > 2*maxText {
			t.Errorf("%d columns: widths %v, want about %d for the first", total, got, why)
		}
	}
}
