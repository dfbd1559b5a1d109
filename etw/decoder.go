package etw

import (
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// Key names a kind of record: a class or provider with an opcode or event id.
type Key struct {
	Class GUID
	ID    uint16
	// Classic says that ID is an opcode.
	Classic bool
}

// Key returns the kind of r.
func (r *Record) Key() Key { return Key{r.Class, r.ID, r.Classic()} }

// Event returns the Key of a provider's event id.
func Event(provider GUID, id uint16) Key { return Key{Class: provider, ID: id} }

// Opcode returns the Key of a class's opcode.
func Opcode(class GUID, opcode uint8) Key {
	return Key{Class: class, ID: uint16(opcode), Classic: true}
}

// Handler decodes a record that was logged at time t into d.Out. It returns
// false when the payload is shorter than its layout; the record then becomes
// a raw event that says so, and must not have been decoded otherwise.
type Handler func(r *Record, t model.Time) bool

// Probe is the Windows half of one signal, in probes/<name>/etw.go. A Probe
// serves one Decoder.
type Probe interface {
	// Name is the probe's name, as on Linux.
	Name() string
	// Kinds lists the kinds of events that it emits.
	Kinds() []model.Kind
	// Register adds its handlers to d and keeps d for their use.
	Register(d *Decoder)
	// Status says which parts of the signal a capture has, judged by its census.
	Status(c Census) []model.Probe
}

// Options configure decoding; the zero value is the usual replay.
type Options struct {
	// Trace emits every single run of a DPC or ISR.
	Trace bool
	// Threshold is the shortest run that is emitted singly without Trace; 0 means 1 ms.
	Threshold time.Duration
	// Switches emits every context switch.
	Switches bool
	// Follow says which flows of captured packets are followed, nil none.
	Follow source.FollowRule
	// SkipRaw leaves out records that no probe takes.
	SkipRaw bool
}

// Census counts the records of each kind. A nil Census is that of a live
// session, about which nothing is known in advance.
type Census map[Key]uint64

// Has reports whether there are records of one of the kinds, or whether that
// is not known.
func (c Census) Has(keys ...Key) bool {
	for _, k := range keys {
		if c == nil || c[k] > 0 {
			return true
		}
	}
	return false
}

// Decoder turns records into events. Its fields are for probes; users set
// Options and Clock, register probes and call Decode for each record in order
// of time.
type Decoder struct {
	Options Options
	Clock   Clock
	// Out takes the events.
	Out *model.Builder
	// State is what is known about images, processes, threads and schemas.
	State *State
	// Sockets are the endpoints of Winsock and of the transports.
	Sockets Sockets

	handlers map[Key]Handler
	// byGroup and byKey remember the handlers that were looked up: of records of the kernel by their group and type, of
	// others by a hash of their key.
	byGroup []remembered
	byKey   [1 << 8]rememberedKey
	// passing are the kinds that leave nothing behind.
	passing map[Key]bool
	ticks   []func(begin, end model.Time)
	starts  []func(model.Time)
	ends    []func(model.Time)
	// begin and next are the limits of the current interval; next is 0 before the first record.
	begin, next model.Time
	cpus        []cpu
	known       map[int32]string
	symbols     map[uint64]Symbol
	render      renderer
	partial     uint64
}

// NewDecoder returns a decoder that adds to out what the probes make of the
// records. state comes from a survey of the capture, or is empty.
func NewDecoder(o Options, c Clock, state *State, out *model.Builder, probes ...Probe) *Decoder {
	d := &Decoder{
		Options:  o,
		Clock:    c,
		Out:      out,
		State:    state,
		handlers: make(map[Key]Handler),
		passing:  make(map[Key]bool),
		known:    make(map[int32]string),
		symbols:  make(map[uint64]Symbol),
	}
	d.registerSystem()
	for _, p := range probes {
		p.Register(d)
	}
	return d
}

// remembered is a handler that was looked up, nil where there is none.
type remembered struct {
	handler Handler
	known   bool
}

// rememberedKey is a handler of a key that was looked up.
type rememberedKey struct {
	key Key
	remembered
}

// handler returns what decodes r, nil for nothing. The map of handlers takes as long as the decoding of most records.
func (d *Decoder) handler(r *Record) Handler {
	if i := int(r.Group) - 1; i >= 0 {
		if i >= len(d.byGroup) {
			d.byGroup = append(d.byGroup, make([]remembered, max(1<<16, i+1)-len(d.byGroup))...)
		}
		m := &d.byGroup[i]
		if !m.known {
			*m = remembered{d.handlers[r.Key()], true}
		}
		return m.handler
	}
	classic := r.Classic()
	m := &d.byKey[r.Class[0]^r.Class[5]^byte(r.ID)]
	if !m.known || m.key.ID != r.ID || m.key.Classic != classic || m.key.Class != r.Class {
		k := r.Key()
		*m = rememberedKey{k, remembered{d.handlers[k], true}}
	}
	return m.handler
}

// Handle makes h decode the records of the given kinds. The last handler of a
// kind wins.
func (d *Decoder) Handle(h Handler, kinds ...Key) {
	for _, k := range kinds {
		d.handlers[k] = h
		delete(d.passing, k)
	}
	clear(d.byGroup)
	clear(d.byKey[:])
}

// HandlePassing is Handle for records that tell of their moment only: what
// holds some seconds after them is the same without them, so that a jump into
// a capture leaves out those before it.
func (d *Decoder) HandlePassing(h Handler, kinds ...Key) {
	d.Handle(h, kinds...)
	for _, k := range kinds {
		d.passing[k] = true
	}
}

// Lasting reports whether records of a kind change what holds after them.
func (d *Decoder) Lasting(k Key) bool { return d.handlers[k] != nil && !d.passing[k] }

// EveryInterval calls f at the end of each source.Interval of the capture's
// time, and once at its end: the first and the last interval are shorter.
func (d *Decoder) EveryInterval(f func(begin, end model.Time)) { d.ticks = append(d.ticks, f) }

// AtStart calls f at the time of the first record.
func (d *Decoder) AtStart(f func(model.Time)) { d.starts = append(d.starts, f) }

// AtEnd calls f when the capture ends, after the last interval.
func (d *Decoder) AtEnd(f func(model.Time)) { d.ends = append(d.ends, f) }

// Threshold returns the shortest run that is emitted singly.
func (d *Decoder) Threshold() time.Duration {
	switch {
	case d.Options.Trace:
		return 0
	case d.Options.Threshold > 0:
		return d.Options.Threshold
	}
	return time.Millisecond
}

// Partial returns how many records were shorter than their layout.
func (d *Decoder) Partial() uint64 { return d.partial }

// Decode adds the events that r makes.
func (d *Decoder) Decode(r *Record) { d.DecodeAt(r, d.Clock.Time(r.Time)) }

// DecodeAt is Decode for a record whose time is known.
func (d *Decoder) DecodeAt(r *Record, t model.Time) {
	if t >= d.next {
		d.advance(t)
	}
	if h := d.handler(r); h != nil {
		if h(r, t) {
			return
		}
		d.partial++
		d.raw(r, t, true)
		return
	}
	if !d.Options.SkipRaw {
		d.raw(r, t, false)
	}
}

// Advance ends the intervals that end at or before t, where no record does: the
// caller knows that none before t follows.
func (d *Decoder) Advance(t model.Time) {
	if t >= d.next {
		d.advance(t)
	}
}

// advance ends the interval that t lies behind. Intervals without records are
// passed over.
func (d *Decoder) advance(t model.Time) {
	const interval = model.Time(source.Interval)
	first := d.next == 0
	if !first {
		d.tick(d.next)
	}
	d.next = (t/interval + 1) * interval
	if d.begin = d.next - interval; first {
		d.begin = t
		for _, f := range d.starts {
			f(t)
		}
		d.starts = nil
	}
}

func (d *Decoder) tick(end model.Time) {
	for _, f := range d.ticks {
		f(d.begin, end)
	}
}

// Finish ends the last interval at time t, that of the last record.
func (d *Decoder) Finish(t model.Time) {
	if d.next != 0 {
		d.tick(max(d.begin, min(t, d.next)))
	}
	d.next = 0
	for _, f := range d.ends {
		f(t)
	}
}

// cpu is what is known about a processor.
type cpu struct {
	// thread is what runs on it, -1 unknown: from context switches.
	thread int32
	// runs are the completed runs that no later run has enclosed yet, the
	// latest last; n is how many there are.
	runs *[maxRuns]run
	n    int
}

type run struct{ start, end uint64 }

// maxRuns limits the runs that are remembered for each processor: interrupts
// that a run encloses are at its very end of the list.
const maxRuns = 64

func (d *Decoder) cpu(n int32) *cpu {
	if n < 0 || n > 1<<16 {
		n = 1 << 16
	}
	for int(n) >= len(d.cpus) {
		d.cpus = append(d.cpus, cpu{thread: -1})
	}
	return &d.cpus[n]
}

// Completed records that a DPC or ISR ran on a processor between two time
// stamps, and returns how many ticks of it other runs had: those that began
// after it and completed before it.
func (d *Decoder) Completed(processor int32, start, end uint64) (nested uint64) {
	c := d.cpu(processor)
	if c.runs == nil {
		c.runs = new([maxRuns]run)
	}
	n := c.n
	for n > 0 && c.runs[n-1].start >= start && c.runs[n-1].end <= end {
		n--
		nested += c.runs[n].end - c.runs[n].start
	}
	if n == maxRuns {
		n = copy(c.runs[:], c.runs[maxRuns/2:])
	}
	c.runs[n] = run{start, max(start, end)}
	c.n = n + 1
	return min(nested, max(start, end)-start)
}

// Switched records that a processor now runs a thread.
func (d *Decoder) Switched(processor, tid int32) { d.cpu(processor).thread = tid }

// Running returns the process and thread that run on a processor, -1 unknown.
// It is known only from captures with context switches.
func (d *Decoder) Running(processor int32) (pid, tid int32) {
	tid = d.cpu(processor).thread
	return d.ProcessOf(tid), tid
}

// ProcessOf returns the process of a thread, -1 unknown.
func (d *Decoder) ProcessOf(tid int32) int32 {
	if pid, ok := d.State.threads[tid]; ok && tid >= 0 {
		return pid
	}
	return -1
}

// Process returns the name of a process at time t, "" unknown, and adds its
// process event when it is new to the stream.
func (d *Decoder) Process(pid int32, t model.Time) string {
	if pid < 0 {
		return ""
	}
	if name, ok := d.known[pid]; ok {
		return name
	}
	p := d.State.processes.at(pid, t)
	d.known[pid] = p.Name
	if p.Name != "" {
		d.Out.AddProcess(
			model.Process{
				Time:    t,
				PID:     pid,
				TID:     -1,
				State:   model.ProcessActive,
				PPID:    int64(p.Parent),
				Name:    p.Name,
				Cmdline: p.Command,
			},
		)
	}
	return p.Name
}

// Symbol is what a code address belongs to.
type Symbol struct {
	// Name is driver+offset, or the address where the driver is not known.
	Name string
	// Driver is the image's file name in lower case, "<unknown>" where it is not known.
	Driver string
}

// Symbol names a kernel address at time t.
func (d *Decoder) Symbol(addr uint64, t model.Time) Symbol {
	if s, ok := d.symbols[addr]; ok {
		return s
	}
	s, lasting := d.State.images.symbol(addr, t)
	if lasting && len(d.symbols) < 1<<16 {
		d.symbols[addr] = s
	}
	return s
}
