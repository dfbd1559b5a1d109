// Package guard turns panics into errors, so that a fault of the program itself
// gives the terminal back, closes recordings and says where it happened, in
// whichever goroutine it happens.
package guard

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a fault of the program itself.
type PanicError struct {
	// Where names the part of the program that panicked: "detectors", "output recording".
	Where string
	// Value is what was panicked with.
	Value any
	// Trace is the stack of the goroutine.
	Trace []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("internal error in %s: %v", e.Where, e.Value) }

// Hint asks for a report.
func (e *PanicError) Hint() string { return "this is a bug: please report it with the trace above" }

// Do calls f and returns its error, or its panic as a *PanicError. where names
// what f is, for a reader of the error.
func Do(where string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{where, v, debug.Stack()}
		}
	}()
	return f()
}
