package record

import (
	"fmt"
	"time"

	"lostbeat/internal/guard"
)

// closeTimeout is how long a disk may take to create or to complete a file,
// unless Options say otherwise.
const closeTimeout = 5 * time.Second

// turn is a lock that is held across disk operations, which may never end:
// whoever needs an answer waits for it in a goroutine that it can leave behind.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take() { t <- struct{}{} }
func (t turn) give() { <-t }

// within calls f, which waits for a disk, and returns its error, or ErrBlocked
// when it has not returned in time. f then goes on by itself: it ends when the
// disk responds, or with the process.
func within(limit time.Duration, op, path string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guard.Do("the recorder", f) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return wrap(op, path, fmt.Errorf("%w for %s", ErrBlocked, limit))
	}
}
