package run

import (
	"context"
	"errors"
	"sync"

	"lostbeat/internal/guard"
)

// group is goroutines that end together: the panic of one stops the others.
type group struct {
	stop context.CancelFunc
	wait sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// begin returns a group and the context that ends it.
func begin(ctx context.Context) (context.Context, *group) {
	ctx, stop := context.WithCancel(ctx)
	return ctx, &group{stop: stop}
}

// run starts f; name says what it is when it panics.
func (g *group) run(name string, f func() error) { g.wait.Go(func() { g.call(name, f) }) }

// call is run in this goroutine.
func (g *group) call(name string, f func() error) {
	err := guard.Do(name, f)
	var panicked *guard.PanicError
	if errors.As(err, &panicked) {
		g.stop()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, err)
}

// end stops the group, waits for all of it and returns its errors.
func (g *group) end() error {
	g.stop()
	g.wait.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
