package tui

import "context"

// Run returns ErrNoTerminal.
func Run(context.Context, Options) error { return ErrNoTerminal }
