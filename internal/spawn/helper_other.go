//go:build !linux

package spawn

import (
	"context"
	"errors"
)

// Program is what a helper may run.
type Program struct {
	Path string
	Args []string
}

// Helper is a process that runs programs for this one; there are none on this system.
type Helper struct{}

// Start returns an error: no process is confined on this system.
func Start([]byte, ...Program) (*Helper, error) { return nil, errors.ErrUnsupported }

// Run is Direct.
func (*Helper) Run(ctx context.Context, c Command) error { return Direct(ctx, c) }

// Close does nothing.
func (*Helper) Close() error { return nil }

// Child reports that this process is no helper.
func Child([]string, func([]byte)) (handled bool, status int) { return false, 0 }
