package model

import (
	"slices"
	"strings"
)

// Frame is one level of a user stack.
type Frame struct {
	// Addr is the instruction address in the process; 0 where only the name is known.
	Addr uint64
	// Name is the symbol, "module+0xoffset" where there is none, or empty before symbolisation.
	Name string
}

// Stack is a call stack, innermost frame first.
type Stack []Frame

// Batch is events in time order with the tables that their ids refer to. Entry
// 0 of each table is empty. A batch that has been handed on is immutable.
type Batch struct {
	Events  []Event
	Strings []string
	Stacks  []Stack
	Hists   []Histogram
	// Findings are those that finding events carry as values. It has no empty entry.
	Findings []Finding

	// owner is the batch itself where release may be called: no copy of it.
	owner   *Batch
	release func()
}

// OnRelease makes the first Release call release, which may come from another
// goroutine. It is for the source that makes the batch.
func (b *Batch) OnRelease(release func()) { b.owner, b.release = b, release }

// Release says that nobody reads b.Events any more, so that their memory can
// hold later ones; what b's tables hold stays. It is for whoever a batch has
// been handed on to and who hands it on no further. What is not released is
// left to the garbage collector, and so is what a copy of the Batch shares:
// Release does nothing on a copy.
func (b *Batch) Release() {
	if release := b.release; release != nil && b.owner == b {
		b.release = nil
		release()
	}
}

// String returns the string with the given id, or "" for an id outside the
// table. The body of a finding that is a value is made for the caller.
func (b *Batch) String(id StringID) string {
	if uint(id) < uint(len(b.Strings)) {
		return b.Strings[id]
	}
	return b.body(id)
}

// Stack returns the stack with the given id, or nil for an id outside the table.
func (b *Batch) Stack(id StackID) Stack {
	if int(id) < len(b.Stacks) {
		return b.Stacks[id]
	}
	return nil
}

// Hist returns the histogram with the given id, or nil for id 0 and for an id
// outside the table.
func (b *Batch) Hist(id HistID) *Histogram {
	if id == 0 || int(id) >= len(b.Hists) {
		return nil
	}
	return &b.Hists[id]
}

// Builder makes a Batch. The zero Builder is ready for use. A Builder is not
// safe for concurrent use.
type Builder struct {
	batch   Batch
	strings map[string]StringID
	// taken is how many batches have been taken.
	taken uint64
	// room is for how many events the batch begins.
	room int
	// recent are strings interned lately, by recentSlot: events repeat a few
	// names, and comparing is cheaper than hashing.
	recent [16]recentString
}

type recentString struct {
	text string
	id   StringID
}

// recentSlot returns where in Builder.recent a string would be; s is not empty.
func recentSlot(s string) int { return (len(s) ^ int(s[0])>>1 ^ int(s[len(s)-1])<<1) & 15 }

// Len returns the number of events added since the last Take.
func (b *Builder) Len() int { return len(b.batch.Events) }

// Intern returns the id of s in the batch being built.
func (b *Builder) Intern(s string) StringID {
	if s == "" {
		return 0
	}
	recent := &b.recent[recentSlot(s)]
	if recent.text == s {
		return recent.id
	}
	if id, ok := b.strings[s]; ok {
		*recent = recentString{s, id}
		return id
	}
	if b.strings == nil {
		b.strings = make(map[string]StringID)
	}
	if len(b.batch.Strings) == 0 {
		b.batch.Strings = append(b.batch.Strings, "")
	}
	id := StringID(len(b.batch.Strings))
	b.batch.Strings = append(b.batch.Strings, s)
	b.strings[s] = id
	*recent = recentString{s, id}
	return id
}

// internCopy is Intern for a part of a longer string, which is not to stay in
// memory for it.
func (b *Builder) internCopy(s string) StringID {
	if _, ok := b.strings[s]; !ok {
		s = strings.Clone(s)
	}
	return b.Intern(s)
}

// Interned is a string that goes into many events. It remembers its id in the
// batch under way, so that interning it again takes no look-up. The zero
// Interned is the empty string.
type Interned struct {
	text string
	id   StringID
	// id holds for the batch that by builds after it has taken so many.
	by    *Builder
	taken uint64
}

// NewInterned returns s, ready to be interned often.
func NewInterned(s string) Interned { return Interned{text: s} }

// String returns the string itself.
func (s *Interned) String() string { return s.text }

// ID returns the id of s in the batch being built, as Intern does.
func (b *Builder) ID(s *Interned) StringID {
	if s.by != b || s.taken != b.taken {
		b.renew(s)
	}
	return s.id
}

// renew interns s for the batch being built; it is kept out of ID, which is
// small enough to be inlined without it.
//
//go:noinline
func (b *Builder) renew(s *Interned) { s.id, s.by, s.taken = b.Intern(s.text), b, b.taken }

// InternStack adds s to the batch being built and returns its id. Stacks are
// not compared: a caller that sees the same stack often keeps the id until Take.
func (b *Builder) InternStack(s Stack) StackID {
	if len(s) == 0 {
		return 0
	}
	if len(b.batch.Stacks) == 0 {
		b.batch.Stacks = append(b.batch.Stacks, nil)
	}
	b.batch.Stacks = append(b.batch.Stacks, s)
	return StackID(len(b.batch.Stacks) - 1)
}

// InternHist adds h to the batch being built and returns its id; an empty or
// nil histogram has id 0.
func (b *Builder) InternHist(h *Histogram) HistID {
	if h == nil || h.Count == 0 {
		return 0
	}
	if len(b.batch.Hists) == 0 {
		b.batch.Hists = append(b.batch.Hists, Histogram{})
	}
	b.batch.Hists = append(b.batch.Hists, *h)
	return HistID(len(b.batch.Hists) - 1)
}

// Add appends an event whose ids were interned with this Builder since the
// last Take.
func (b *Builder) Add(e Event) {
	if len(b.batch.Events) == cap(b.batch.Events) {
		b.grow()
	}
	b.batch.Events = append(b.batch.Events, e)
}

// Append adds an event of kind k with CPU, PID and TID unknown, and returns it
// to be filled in before anything else is added. It is for the kinds that come
// by the million, whose slots have names ([ArgDeferredRunWait]); the typed Add
// methods take the place of it for all others.
func (b *Builder) Append(k Kind) *Event {
	n := len(b.batch.Events)
	if n == cap(b.batch.Events) {
		b.grow()
	}
	b.batch.Events = b.batch.Events[:n+1]
	e := &b.batch.Events[n]
	*e = Event{Kind: k, CPU: -1, PID: -1, TID: -1}
	return e
}

// grow makes room for another event.
func (b *Builder) grow() {
	room := 1
	if b.batch.Events == nil {
		room = max(b.room, 1)
	}
	b.batch.Events = slices.Grow(b.batch.Events, room)
}

// Reuse gives memory for the events of the batch under way, which has none yet.
func (b *Builder) Reuse(memory []Event) {
	if len(b.batch.Events) == 0 {
		b.batch.Events = memory[:0]
	}
}

// Import appends events from another batch, interning what their ids refer to.
func (b *Builder) Import(from *Batch, events ...Event) {
	for _, e := range events {
		for i, id := range e.Str {
			if f := from.value(id); f != nil {
				e.Str[i] = b.internFinding(*f)
			} else {
				e.Str[i] = b.Intern(from.String(id))
			}
		}
		for i, id := range e.Hist {
			e.Hist[i] = b.InternHist(from.Hist(id))
		}
		e.Stack = b.InternStack(from.Stack(e.Stack))
		b.Add(e)
	}
}

// SortByTime puts the events added since the last Take in time order, keeping
// the order of equal times.
func (b *Builder) SortByTime() { sortEvents(b.batch.Events) }

// maxGuess bounds the room, in events, that a new batch begins with.
const maxGuess = 4096

// Take returns the batch built so far and starts the next; nil when no event
// was added. The next batch begins with room for as many events as this one
// had: after a burst, small batches do not go on holding memory for large ones.
func (b *Builder) Take() *Batch {
	if len(b.batch.Events) == 0 {
		return nil
	}
	out := b.batch
	b.batch = Batch{}
	b.room = min(len(out.Events), maxGuess)
	b.taken++
	clear(b.strings)
	clear(b.recent[:])
	return &out
}
