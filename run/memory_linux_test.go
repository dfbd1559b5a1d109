package run

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct {
		inUse uint64
		want  int64
	}{{0, 32 << 20}, {19 << 20, 32 << 20}, {40 << 20, 56 << 20}, {1 << 30, 1<<30 + 1<<28 + 6<<20}} {
		if got := memoryLimit(tt.inUse); got != tt.want {
			t.Errorf("%d in use: %d, want %d", tt.inUse, got, tt.want)
		}
	}
}

// The limit goes with what is in use, up and down again.
func TestMemoryLimitFollows(t *testing.T) {
	percent := debug.SetGCPercent(100)
	limit := debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	boundMemory()
	reached := func(what string, done func(limit int64) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			runtime.GC()
			if done(debug.SetMemoryLimit(-1)) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("still waiting for %s", what)
			}
		}
	}
	reached("the floor", func(limit int64) bool { return limit < 100<<20 })
	much := make([]byte, 128<<20)
	reached("a limit above what is in use", func(limit int64) bool { return limit >= 160<<20 })
	runtime.KeepAlive(much)
	reached("the lower limit", func(limit int64) bool { return limit < 100<<20 })
}
