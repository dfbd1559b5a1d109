package run

import (
	"context"
	"fmt"

	"lostbeat/compare"
	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// SideOf reads and judges captures of one host for a comparison; name is what the user calls them.
func SideOf(
	ctx context.Context, name string, captures []*Capture, settings detect.Settings, progress source.Progress,
) (*compare.Side, error) {
	start, end := SpanOf(captures)
	side := compare.NewSide(name, start, end)
	var all []Judgement
	for i, c := range captures {
		if i > 0 {
			side.Next()
			progress = nil
		}
		j, err := judge(ctx, c, settings, progress, func(b *model.Batch, _ []pipeline.Verdict) error {
			side.Apply(b)
			return nil
		}, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		all = append(all, j)
	}
	side.Incomplete = incompleteOf(captures)
	side.Finish(together(captures, all, settings))
	return side, nil
}
