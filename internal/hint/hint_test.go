package hint

import (
	"errors"
	"fmt"
	"testing"
)

func TestOf(t *testing.T) {
	if got := Of(fmt.Errorf("open: %w", errors.Join(errors.New("x"), New("wrong", "right")))); got != "right" {
		t.Errorf("got %q", got)
	}
	if got := Of(errors.New("x")) + Of(nil); got != "" {
		t.Errorf("got %q", got)
	}
}
