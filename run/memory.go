package run

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A tracing command shares the host with the work that it watches: garbage may
// take tracingGCPercent of what is in use, and all of the process's own memory
// memoryFloor, or, where more is in use, memorySpare more than that.
const (
	tracingGCPercent = 50
	memoryFloor      = 32 << 20
	memorySpare      = 6 << 20
)

// boundMemory keeps the memory of this process small from now on. The limit
// makes the runtime give back at once what was needed for a moment, such as a
// listing of all sockets. It follows what is in use: below a fixed one the
// collector would run without end on a host with very many ports.
func boundMemory() {
	debug.SetGCPercent(tracingGCPercent)
	debug.SetMemoryLimit(memoryFloor)
	afterCollection()
}

// memoryLimit returns the limit while inUse bytes of the heap are in use.
func memoryLimit(inUse uint64) int64 {
	return int64(max(memoryFloor, inUse+inUse/4+memorySpare))
}

// collected is what afterCollection leaves to the collector; it is too large to
// share a block with other values, which could keep it alive.
type collected struct{ _ [64]byte }

// afterCollection sets the limit after the next collection, and all others.
func afterCollection() {
	runtime.AddCleanup(new(collected), func(struct{}) {
		inUse := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(inUse)
		debug.SetMemoryLimit(memoryLimit(inUse[0].Value.Uint64()))
		afterCollection()
	}, struct{}{})
}

// boundReading makes the collector work harder, the closer this process comes
// to the given memory. What it keeps is bounded by itself, see package budget;
// this is for what it throws away.
func boundReading(memory int64) { debug.SetMemoryLimit(memory / 32 * 25) }
