package run

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A tracing command shares the host with the work that it watches. Garbage may
// take tracingGCPercent of what is in use, and the process's own memory
// memoryFloor in all, or, where more is in use, a spare more than that.
const (
	tracingGCPercent = 50
	memoryFloor      = 32 << 20
	// leastSpare is where the spare begins, besides 1/8 of what is in use.
	// It grows to 1/4 of that, or to smallSpare where little is in use.
	leastSpare = 2 << 20
	smallSpare = 6 << 20
	// Collections that follow each other within tooOften double the spare, as
	// each takes some 0.5 ms of CPU time for each MiB in use; the spare is
	// halved when there was none for seldom.
	tooOften = 500 * time.Millisecond
	seldom   = 2 * time.Second
)

// memoryBound follows what is in use. Below a fixed limit, the collector would
// run without end on a host with very many ports.
type memoryBound struct {
	// doublings is how often the spare is doubled at present.
	doublings int
	last      time.Time
}

// boundMemory keeps the memory of this process small from now on. The limit
// makes the runtime return what was needed for a moment, such as a listing of
// all sockets, to the system at once.
func boundMemory() {
	debug.SetGCPercent(tracingGCPercent)
	debug.SetMemoryLimit(memoryFloor)
	b := &memoryBound{last: time.Now()}
	b.afterCollection()
}

// memoryUse is what the runtime has mapped, in bytes.
type memoryUse struct {
	live uint64 // what the last collection found in use
	// beside is what counts against the limit besides objects: stacks, the
	// runtime's own tables, gaps between objects.
	beside uint64
}

func readMemoryUse() memoryUse {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(s)
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	return memoryUse{live: v(0), beside: v(1) - v(2) - v(3) - v(4)}
}

// limit returns the memory limit after a collection at now.
func (b *memoryBound) limit(now time.Time, use memoryUse) int64 {
	most := max(smallSpare, use.live/4)
	spare := func() uint64 { return (leastSpare + use.live/8) << b.doublings }
	switch since := now.Sub(b.last); {
	case since < tooOften && spare() < most:
		b.doublings++
	case since > seldom && b.doublings > 0:
		b.doublings--
	}
	b.last = now
	return int64(max(memoryFloor, use.live+use.beside+min(spare(), most)))
}

// collected is what afterCollection leaves to the collector; it is too large to
// share a block with other values, which could keep it alive.
type collected struct{ _ [64]byte }

// afterCollection sets the limit after the next collection, and all others.
func (b *memoryBound) afterCollection() {
	runtime.AddCleanup(new(collected), func(struct{}) {
		debug.SetMemoryLimit(b.limit(time.Now(), readMemoryUse()))
		b.afterCollection()
	}, struct{}{})
}

// boundReading makes the collector work harder, the closer this process comes
// to the given memory. What it keeps is bounded by itself, see package budget;
// this is for what it throws away.
func boundReading(memory int64) { debug.SetMemoryLimit(memory / 32 * 25) }
