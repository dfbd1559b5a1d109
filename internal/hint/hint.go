// Package hint joins errors with what a user can do about them.
package hint

import "errors"

// Error is a fault that a user can fix: a mistake in a command line, a file of another kind.
type Error struct {
	// Message says what is wrong.
	Message string
	// Text says what would have been right.
	Text string
}

// New returns an Error.
func New(message, text string) *Error { return &Error{message, text} }

func (e *Error) Error() string { return e.Message }

// Hint says what would have been right.
func (e *Error) Hint() string { return e.Text }

// Of returns the hint of the first error in err's tree that has one, or "".
func Of(err error) string {
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		return hinter.Hint()
	}
	return ""
}
