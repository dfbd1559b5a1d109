package source_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"lostbeat/model"
	"lostbeat/source"
)

// TestSeek checks what is emitted from a time on, in which order, and what counts as late.
func TestSeek(t *testing.T) {
	const keyframe = "keyframe 25"
	for _, test := range []struct {
		name    string
		from    model.Time
		batches [][]model.Time
		want    []string
		late    uint64
	}{
		{"everything", 0, [][]model.Time{{10, 20}, {30}}, []string{"10", "20", "30"}, 0},
		{"in the middle of a batch", 25, [][]model.Time{{10, 20, 30}, {40}}, []string{keyframe, "30", "40"}, 0},
		{"at an event", 25, [][]model.Time{{10}, {25, 30}}, []string{keyframe, "25", "30"}, 0},
		{"between batches", 25, [][]model.Time{{10, 24}, {26}}, []string{keyframe, "26"}, 0},
		{"behind the end", 25, [][]model.Time{{10, 20}}, []string{keyframe}, 0},
		{"late", 0, [][]model.Time{{10, 30}, {20, 29, 40}, {40, 50}}, []string{"10", "30", "20", "29", "40", "40", "50"}, 2},
		{"late and before the time", 25, [][]model.Time{{30}, {20, 40}}, []string{keyframe, "30", "20", "40"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			s := source.NewSeek(test.from, func(b *model.Batch) error {
				for i := range b.Events {
					e := &b.Events[i]
					text := fmt.Sprint(int64(e.Time))
					if e.Flags&model.FlagKeyframe != 0 {
						if text = "keyframe " + text; i > 0 {
							continue // a keyframe is one batch
						}
					}
					got = append(got, text)
				}
				return nil
			})
			var out model.Builder
			for _, times := range test.batches {
				for _, at := range times {
					out.AddMeta(model.Meta{Time: at, Key: "host", Value: "a"})
				}
				if err := s.Emit(out.Take()); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.End(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) || s.Late != test.late {
				t.Errorf("%q and %d late, want %q and %d", got, s.Late, test.want, test.late)
			}
		})
	}
	gone := errors.New("the receiver is gone")
	s := source.NewSeek(25, func(*model.Batch) error { return gone })
	var out model.Builder
	out.AddMeta(model.Meta{Time: 10, Key: "host", Value: "a"})
	out.AddMeta(model.Meta{Time: 30, Key: "host", Value: "a"})
	if err := s.Emit(out.Take()); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
}
