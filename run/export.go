package run

import (
	"context"

	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"
)

// Stream is Findings that also hands on the stream, without the findings that were recorded with it.
func Stream(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress, emit source.Emit,
) (Judgement, error) {
	return judge(ctx, c, settings, progress, func(b *model.Batch, _ []pipeline.Verdict) error {
		return emit(withoutFindings(b))
	}, nil)
}
