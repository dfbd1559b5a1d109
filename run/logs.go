package run

import (
	"context"
	"errors"
	"math"

	"lostbeat/internal/guard"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/applog"
)

// WithLogs returns a live source whose stream has what the logs say, too. Their
// events stand behind the host's batch that was under way when they were read,
// and say themselves how much earlier their lines were written.
func WithLogs(host source.Source, logs []applog.Followed) (source.Source, error) {
	if len(logs) == 0 {
		return host, nil
	}
	f, err := applog.NewFollower(logs)
	if err != nil {
		return nil, err
	}
	with := &withLogs{Source: host, logs: f}
	if r, ok := host.(source.Requester); ok {
		return &requestedLogs{with, r}, nil
	}
	return with, nil
}

type withLogs struct {
	source.Source
	logs *applog.Follower
}

// requestedLogs is a source with logs that can look closer.
type requestedLogs struct {
	*withLogs
	source.Requester
}

// Run implements source.Source.
func (w *withLogs) Run(ctx context.Context, emit source.Emit) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	var logs guard.Background
	var fault error
	started := false
	var last model.Time
	give := func(until model.Time) error {
		if b := w.logs.Take(until, last); b != nil {
			return emit(b)
		}
		return nil
	}
	err := w.Source.Run(ctx, func(b *model.Batch) error {
		for i := range b.Events {
			last = max(last, b.Events[i].Time)
			if v, ok := b.Clock(&b.Events[i]); ok && !started {
				started = true
				now := streamClock(v)
				logs.Go("the logs", func() { fault = w.logs.Run(following, now) })
			}
		}
		if err := emit(b); err != nil {
			return err
		}
		return give(last)
	})
	stop()
	logs.Wait()
	logs.Rethrow()
	if err == nil && started {
		err = give(math.MaxInt64)
	}
	return errors.Join(err, fault)
}
