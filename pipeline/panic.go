package pipeline

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a fault of the program itself in the source, a detector or a
// sink. It is returned rather than let through: a terminal that is in use can
// be given back before it is told, and recordings can be closed.
type PanicError struct {
	// Value is what was panicked with, Trace the goroutine's stack.
	Value any
	Trace []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("internal error: %v", e.Value) }

// Hint asks for a report.
func (e *PanicError) Hint() string { return "this is a bug: please report it with the trace above" }

// guarded calls f and returns its panic as an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
	}()
	return f()
}
