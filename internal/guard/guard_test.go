package guard

import (
	"errors"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	broken := errors.New("broken")
	if err := Do("x", func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := Do("x", func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
	err := Do("detectors", func() error { panic("oops") })
	var panicked *PanicError
	if !errors.As(err, &panicked) || err.Error() != "internal error in detectors: oops" || panicked.Hint() == "" {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(string(panicked.Trace), "TestDo") {
		t.Errorf("the trace does not name the caller:\n%s", panicked.Trace)
	}
}

func TestBackground(t *testing.T) {
	var b Background
	b.Go("listing", func() {})
	b.Wait()
	b.Rethrow()
	b.Go("listing", func() { panic("oops") })
	b.Wait()
	err := Do("source", func() error { b.Rethrow(); return nil })
	if err == nil || err.Error() != "internal error in listing: oops" {
		t.Errorf("got %v", err)
	}
}
