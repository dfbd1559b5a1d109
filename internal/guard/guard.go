// Package guard turns panics into errors, so that a fault of the program itself
// gives the terminal back, closes recordings and says where it happened, in
// whichever goroutine it happens.
package guard

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
// what f is, for a reader of the error; a panic with a *PanicError, as Rethrow
// makes it, keeps its own.
func Do(where string, f func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *PanicError:
			err = v
		default:
			err = &PanicError{where, v, debug.Stack()}
		}
	}()
	return f()
}

// Background is goroutines of something that others call: a panic of one waits
// for a goroutine that can end the program in order. The zero Background is
// ready for use.
type Background struct {
	wait  sync.WaitGroup
	fault atomic.Pointer[PanicError]
}

// Go starts f; where names it.
func (b *Background) Go(where string, f func()) {
	b.wait.Go(func() {
		var panicked *PanicError
		if errors.As(Do(where, func() error { f(); return nil }), &panicked) {
			b.fault.CompareAndSwap(nil, panicked)
		}
	})
}

// Rethrow panics with the first panic of a goroutine, if there was one.
func (b *Background) Rethrow() {
	if fault := b.fault.Load(); fault != nil {
		panic(fault)
	}
}

// Wait waits for all goroutines.
func (b *Background) Wait() { b.wait.Wait() }
