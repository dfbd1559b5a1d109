// Package budget bounds the memory of what a stream of events makes known. The
// owner of a fact takes its bytes before it keeps the fact, and gives them back
// when it forgets it. Once the budget is used up, new facts are left out and
// counted, by what they are of, until others have been forgotten.
//
// Sizes are computed, never measured: the same events leave out the same facts,
// live and replayed, on every machine.
package budget

import (
	"maps"
	"slices"
	"strings"
)

// Default is the memory, in bytes, that a command takes for one input unless it
// is told another. It is that of the whole process: facts get a part of it, see
// [Facts].
const Default = 256 << 20

// Facts returns what part of a process's memory one fold's facts may take. The
// rest is for a second fold, for what is read, for what is shown, and for the
// collector.
func Facts(memory int64) int64 { return memory * 3 / 16 }

// Budget is the memory of the facts of one fold. The zero Budget and a nil one
// have no limit. A Budget is not safe for concurrent use.
type Budget struct {
	limit, used int64
	left        map[string]uint64
	// unreported counts by what, since the last Report.
	unreported map[string]uint64
	// earned is the work that may be done, see Spend.
	earned int64
}

// New returns a budget of so many bytes; 0 or less is no limit.
func New(bytes int64) *Budget { return &Budget{limit: bytes} }

// Take takes bytes for a fact. It returns false when there is no room for it:
// the caller then leaves the fact out, which has been counted under what.
func (b *Budget) Take(what string, bytes int) bool {
	if b == nil {
		return true
	}
	if b.limit > 0 && b.used+int64(bytes) > b.limit {
		b.LeaveOut(what)
		return false
	}
	b.used += int64(bytes)
	return true
}

// Room is like Take, but takes nothing: what the fact takes is known afterwards,
// and given to Adjust.
func (b *Budget) Room(what string, bytes int) bool {
	if !b.Take(what, bytes) {
		return false
	}
	b.Give(bytes)
	return true
}

// Adjust takes the bytes by which facts have grown, or gives back those by which
// they have shrunk.
func (b *Budget) Adjust(bytes int) {
	if b != nil {
		b.used += int64(bytes)
	}
}

// Give gives back the bytes of a fact that is forgotten.
func (b *Budget) Give(bytes int) {
	if b != nil {
		b.used -= int64(bytes)
	}
}

// Work is counted in steps of some ten nanoseconds. firstWork may be done at
// once, mostWork be saved.
const (
	firstWork = 48 << 20
	mostWork  = 256 << 20
)

// Earn allows so many steps of work: few events must not cause very much of it.
func (b *Budget) Earn(steps int) {
	if b != nil {
		b.earned = min(b.earned+int64(steps), mostWork-firstWork)
	}
}

// Spend takes so many steps of the work that was earned. It returns false when
// there are not enough: the caller then leaves the work out, which has been
// counted under what.
func (b *Budget) Spend(what string, steps int) bool {
	if b == nil || b.limit <= 0 {
		return true
	}
	if b.earned+firstWork < int64(steps) {
		b.LeaveOut(what)
		return false
	}
	b.earned -= int64(steps)
	return true
}

// Charge takes steps of work that were done, whether there are enough or not.
func (b *Budget) Charge(steps int) {
	if b != nil {
		b.earned -= int64(steps)
	}
}

// CanWork says that not all of the work that was earned is spent.
func (b *Budget) CanWork() bool { return b == nil || b.limit <= 0 || b.earned+firstWork > 0 }

// LeaveOut counts something that is left out for another bound than that of the
// memory.
func (b *Budget) LeaveOut(what string) {
	if b == nil {
		return
	}
	if b.left == nil {
		b.left, b.unreported = make(map[string]uint64), make(map[string]uint64)
	}
	b.left[what]++
	b.unreported[what]++
}

// Used returns the bytes taken and not given back, Limit the most that may be; 0 is no limit.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used
}

// Limit returns the most bytes that may be taken; 0 is no limit.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}

// LeftOut returns how often something was left out since the start.
func (b *Budget) LeftOut() (n uint64) {
	if b == nil {
		return 0
	}
	for _, c := range b.left {
		n += c
	}
	return n
}

// Report returns how often something was left out since the last Report, and
// of what, for a loss event; n is 0 when nothing was.
func (b *Budget) Report() (n uint64, what string) {
	if b == nil || len(b.unreported) == 0 {
		return 0, ""
	}
	names := slices.Sorted(maps.Keys(b.unreported))
	for _, name := range names {
		n += b.unreported[name]
	}
	clear(b.unreported)
	return n, strings.Join(names, ", ")
}

// Overheads of what is kept: of an entry of a map beside its key and value, and
// of a string beside its bytes.
const (
	MapEntry = 16
	String   = 16
)
