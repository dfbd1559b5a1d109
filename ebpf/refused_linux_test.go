package ebpf

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// The library blames the limit on locked memory for every refusal; a message for users does not.
func TestRefusedWithoutGuess(t *testing.T) {
	lost := fmt.Errorf("load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	err := explain(lost)
	if got, want := err.Error(), "load program: operation not permitted"; got != want || !errors.Is(err, unix.EPERM) {
		t.Errorf("got %q, want %q", got, want)
	}
}
