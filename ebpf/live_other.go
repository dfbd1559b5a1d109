//go:build !linux

package ebpf

import (
	"context"
	"runtime"

	"lostbeat/internal/platform"
	"lostbeat/model"
	"lostbeat/source"
)

// Probe is the Linux half of one signal; there are none on this system.
type Probe interface {
	// Name is the probe's name.
	Name() string
}

// Live is the running host as a source of events; it does not exist on this system.
type Live struct{}

// New returns a *platform.UnsupportedError.
func New(Options, []Probe) (*Live, error) {
	return nil, &platform.UnsupportedError{What: "tracing with eBPF", OS: runtime.GOOS}
}

// Run implements source.Source.
func (*Live) Run(context.Context, source.Emit) error {
	return &platform.UnsupportedError{What: "tracing with eBPF", OS: runtime.GOOS}
}

// Request does nothing on this system.
func (*Live) Request(model.Request) {}
