package run

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		use  memoryUse
		want int64
	}{
		{memoryUse{}, 32 * mib},
		{memoryUse{16 * mib, 9 * mib}, 32 * mib},
		{memoryUse{40 * mib, 8 * mib}, 55 * mib},
		{memoryUse{1024 * mib, 100 * mib}, 1254 * mib},
	} {
		b := memoryBound{last: time.Now()}
		if got := b.limit(b.last.Add(tooOften), tt.use); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.use, got, tt.want)
		}
	}
}

// The spare is larger while collections follow each other quickly, up to a
// quarter of what is in use, and smaller again later.
func TestMemorySpare(t *testing.T) {
	const mib = 1 << 20
	use := memoryUse{live: 64 * mib, beside: 10 * mib}
	now := time.Now()
	b := memoryBound{last: now}
	for i, tt := range []struct {
		since time.Duration
		spare int64
	}{
		{tooOften, 10}, {tooOften - 1, 16}, {tooOften, 16}, {tooOften - 1, 16}, {0, 16}, {0, 16},
		{seldom, 16}, {seldom + 1, 10}, {seldom + 1, 10},
	} {
		now = now.Add(tt.since)
		if got := b.limit(now, use)/mib - 74; got != tt.spare {
			t.Errorf("step %d: a spare of %d MiB, want %d", i, got, tt.spare)
		}
	}
}

// Memory that no collection can free, here that of stacks, does not make the
// collector run without end.
func TestMemoryLimitBesideStacks(t *testing.T) {
	percent := debug.SetGCPercent(100)
	limit := debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	end := make(chan struct{})
	var wait sync.WaitGroup
	for range 256 {
		wait.Go(func() {
			var deep [128 << 10]byte
			<-end
			runtime.KeepAlive(&deep)
		})
	}
	defer wait.Wait()
	defer close(end)
	boundMemory()
	cycles := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	garbage := func(mib int) {
		for range mib << 6 {
			sink = make([]byte, 16<<10)
		}
	}
	garbage(64) // until the limit has followed
	before := cycles()
	garbage(256)
	if n := cycles() - before; n > 150 {
		t.Errorf("%d collections for 256 MiB of garbage", n)
	} else {
		t.Logf("%d collections for 256 MiB of garbage", n)
	}
}

var sink []byte

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
