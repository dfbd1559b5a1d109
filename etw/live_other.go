//go:build !windows

package etw

import (
	"context"
	"runtime"

	"lostbeat/internal/platform"
	"lostbeat/source"
)

// Live is the running Windows as a source of events; it does not exist on this system.
type Live struct{}

// NewLive returns a *platform.UnsupportedError.
func NewLive(LiveOptions) (*Live, error) {
	return nil, &platform.UnsupportedError{What: "tracing with ETW", OS: runtime.GOOS}
}

// Run implements source.Source.
func (*Live) Run(context.Context, source.Emit) error {
	return &platform.UnsupportedError{What: "tracing with ETW", OS: runtime.GOOS}
}
