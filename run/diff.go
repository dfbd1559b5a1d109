package run

import (
	"context"
	"fmt"
	"strings"

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
	var incomplete []string
	for i, c := range captures {
		if i > 0 {
			side.Next()
			progress = nil
		}
		j, err := judge(ctx, c, settings, progress, func(b *model.Batch, _ []pipeline.Verdict) error {
			side.Apply(b)
			return nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		all = append(all, j)
		if i := c.Integrity(); !i.Complete() {
			incomplete = append(incomplete, IntegrityLine(i))
		}
	}
	side.Incomplete = strings.Join(incomplete, "; ")
	side.Finish(together(captures, all, settings))
	return side, nil
}
