package perfmon

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/stats"
	"lostbeat/model"
	"lostbeat/source"
)

// batchEvents is how many events a batch has at least, at the end of a sample,
// and about how many it has at most.
const (
	batchEvents    = 1024
	batchEventsMax = 4096
)

// Names of what counters cannot tell apart.
const (
	allDPCs       = "all DPCs"
	allInterrupts = "all interrupts"
)

// converter turns samples into events.
type converter struct {
	log     *Log
	emit    source.Emit
	builder model.Builder
	from    model.Time
	// at and before are the times of this sample and the last one, 0 for none.
	at, before model.Time
	// err is the receiver's, from a batch sent in the middle of a sample.
	err     error
	started bool
	cadence cadence
	// several says that the log has counters of several machines.
	several bool
	// damaged says that a part of the file since the last sample could not be read.
	damaged bool
	// totals are the last values of running totals, by column.
	totals  map[*column]float64
	cpus    map[int32]*processor
	devices map[string]*device
	// groups is the number of processors in each processor group before it.
	groups []int32
	notes  [noteCount]int
	// samples counts, shortest and longest bound the intervals between them.
	samples           int
	shortest, longest time.Duration
}

// processor gathers one CPU's values in a sample, by role; NaN is missing.
type processor struct {
	cpu    int32
	values [roleInterrupts + 1]float64
	used   bool
}

// device gathers one adapter's counts in a sample, by role; NaN is missing.
type device struct {
	name, object string
	counts       [roleTXErrors + 1]float64
	used         bool
}

func newConverter(l *Log, from model.Time, emit source.Emit) *converter {
	c := &converter{
		log:     l,
		emit:    emit,
		from:    from,
		totals:  map[*column]float64{},
		cpus:    map[int32]*processor{},
		devices: map[string]*device{},
	}
	c.groups = groupStarts(l.first.list)
	return c
}

// groupStarts returns the number of the first CPU of each processor group, as
// Windows numbers them one behind the other.
func groupStarts(columns []*column) []int32 {
	var sizes []int32
	for _, col := range columns {
		if col.cpu < 0 {
			continue
		}
		for int(col.group) >= len(sizes) {
			sizes = append(sizes, 0)
		}
		sizes[col.group] = max(sizes[col.group], col.cpu+1)
	}
	starts := make([]int32, len(sizes))
	for i := 1; i < len(sizes); i++ {
		starts[i] = starts[i-1] + sizes[i-1]
	}
	return starts
}

// cpu returns the number of a column's processor, -1 for none.
func (c *converter) cpu(col *column) int32 {
	return c.number(col.group, col.cpu)
}

func (c *converter) number(group, cpu int32) int32 {
	if cpu < 0 || int(group) >= len(c.groups) {
		return cpu
	}
	return c.groups[group] + cpu
}

func (c *converter) columns(list []*column) error {
	// Another header: its columns have no earlier values.
	clear(c.totals)
	return nil
}

func (c *converter) begin(at model.Time) (bool, error) {
	if c.err != nil {
		return false, c.err
	}
	if c.at != 0 && at <= c.at {
		c.note(noteBackwards, 1)
		c.builder.AddLoss(
			model.Loss{Time: c.at, CPU: -1, Lost: 1, Origin: model.OriginFile, Detail: "perfmon: " + noteBackwards.String()},
		)
		return false, nil
	}
	c.before, c.at = c.at, at
	c.samples++
	if d := c.interval(); d > 0 {
		c.longest = max(c.longest, d)
		if c.shortest == 0 || d < c.shortest {
			c.shortest = d
		}
	}
	if !c.started {
		c.started = true
		c.describe()
	}
	missing := c.cadence.next(at)
	if c.damaged {
		// What lies between this sample and the one before is not known: it is the
		// first of its intervals again.
		c.damaged = false
		c.builder.AddLoss(model.Loss{
			Time: at, Dur: c.interval(), CPU: -1, Lost: uint64(max(missing, 1)), Origin: model.OriginFile,
			Detail: "perfmon: samples in a damaged part of the file",
		})
		c.before = 0
		clear(c.totals)
		c.notes[noteGap] += missing
	} else if missing > 0 {
		c.note(noteMissing, missing)
		c.builder.AddLoss(
			model.Loss{
				Time:   at,
				Dur:    at.Sub(c.before),
				CPU:    -1,
				Lost:   uint64(missing),
				Origin: "perfmon",
				Detail: noteMissing.String(),
			},
		)
	}
	return true, nil
}

// interval is the time since the last sample, 0 for the first.
func (c *converter) interval() time.Duration {
	if c.before == 0 {
		return 0
	}
	return c.at.Sub(c.before)
}

// silent reports whether this sample only serves the next as its start.
func (c *converter) silent() bool { return c.at < c.from }

func (c *converter) wants(col *column) bool {
	return c.log.options.AllCounters || col.spec != nil
}

func (c *converter) value(col *column, v, count float64) {
	cpu := c.cpu(col)
	if !c.silent() {
		c.counter(col, v, cpu)
	}
	if col.spec == nil || col.spec.role == roleNone {
		return
	}
	role := col.spec.role
	if col.spec.mode == model.CounterTotal {
		last, ok := c.totals[col]
		c.totals[col] = v
		if !ok {
			return
		}
		if v, ok = stats.Grown(last, v); !ok {
			return
		}
	}
	switch {
	case role <= roleInterrupts:
		if cpu >= 0 {
			c.processor(cpu, role, v)
		}
	case role <= roleTXErrors:
		if !col.total {
			c.device(col, role, v, count)
		}
	case v > 0 && !c.silent():
		c.datagrams(col, role, v)
	}
}

// counter adds a value as a counter event.
func (c *converter) counter(col *column, v float64, cpu int32) {
	e := model.Counter{Time: c.at, CPU: cpu, Value: v, Name: col.name, Instance: col.instance}
	if c.several {
		e.Host = col.machine
	}
	if col.total {
		e.Flags = model.FlagSecondary
	}
	switch {
	case col.spec != nil:
		e.Mode, e.Unit = col.spec.mode, col.spec.unit
	case col.typed && col.kind.isTimeShare():
		e.Mode, e.Unit = model.CounterShare, unitRatio
	case col.typed && col.kind&displayMask == displayPerSecond:
		e.Mode, e.Unit = model.CounterRate, "1/s"
	case col.typed && col.kind&displayMask == displayPercent:
		e.Unit = "%"
	case col.typed && col.kind&displayMask == displaySeconds:
		e.Unit = "s"
	}
	switch e.Mode {
	case model.CounterShare:
		e.Value /= 100
		e.Dur = c.interval()
	case model.CounterRate:
		e.Dur = c.interval()
	}
	c.builder.AddCounter(e)
	if c.builder.Len() >= batchEventsMax && c.err == nil {
		c.err = c.flush()
	}
}

func (c *converter) processor(cpu int32, r role, v float64) {
	p := c.cpus[cpu]
	if p == nil {
		p = &processor{cpu: cpu}
		c.cpus[cpu] = p
	}
	if !p.used {
		p.used = true
		for i := range p.values {
			p.values[i] = math.NaN()
		}
	}
	// Processor and Processor Information say the same: the first counts.
	if math.IsNaN(p.values[r]) {
		p.values[r] = v
	}
}

func (c *converter) device(col *column, r role, v, count float64) {
	d := c.devices[col.instance]
	if d == nil {
		d = &device{name: col.instance}
		c.devices[col.instance] = d
	}
	if !d.used {
		d.used, d.object = true, col.known.name
		for i := range d.counts {
			d.counts[i] = math.NaN()
		}
	}
	if col.spec.mode == model.CounterRate {
		// A text log has the rate only.
		if v *= c.interval().Seconds(); !math.IsNaN(count) {
			v = count
		}
	}
	if math.IsNaN(d.counts[r]) {
		d.counts[r] = v
	}
}

// datagrams adds lost UDP datagrams. Windows does not say where Datagrams
// Received Errors were lost; Dropped Datagrams are those for which a socket had
// no room.
func (c *converter) datagrams(col *column, r role, n float64) {
	place := model.PlaceUnknown
	if r == roleDroppedDatagrams {
		place = model.PlaceSocket
	}
	c.builder.AddDrop(
		model.Drop{
			Time:     c.at,
			Dur:      c.interval(),
			CPU:      -1,
			PID:      -1,
			TID:      -1,
			Place:    place,
			Count:    uint64(n),
			Protocol: model.ProtocolUDP,
			Queue:    -1,
			Reason:   col.name,
		},
	)
}

func (c *converter) end() error {
	if c.err != nil {
		return c.err
	}
	if c.before != 0 && !c.silent() {
		c.addProcessors()
		c.addDevices()
	}
	for _, p := range c.cpus {
		p.used = false
	}
	for _, d := range c.devices {
		d.used = false
	}
	if c.builder.Len() >= batchEvents {
		return c.flush()
	}
	return nil
}

func (c *converter) addProcessors() {
	used := make([]*processor, 0, len(c.cpus))
	for _, p := range c.cpus {
		if p.used {
			used = append(used, p)
		}
	}
	slices.SortFunc(used, func(a, b *processor) int { return cmp.Compare(a.cpu, b.cpu) })
	for _, p := range used {
		c.addProcessor(p)
	}
}

// share returns a role's share of the interval as a time, ok when it is known.
func (p *processor) share(r role, of time.Duration) (time.Duration, bool) {
	v := p.values[r]
	if math.IsNaN(v) {
		return 0, false
	}
	return time.Duration(min(max(v, 0), 100) / 100 * float64(of)), true
}

// count returns how often something that is logged as a rate happened in the interval.
func (p *processor) count(r role, interval time.Duration) uint64 {
	if v := p.values[r] * interval.Seconds(); v > 0 {
		return uint64(math.Round(v))
	}
	return 0
}

func (c *converter) addProcessor(p *processor) {
	interval := c.interval()
	user, hasUser := p.share(roleUserTime, interval)
	privileged, hasPrivileged := p.share(rolePrivilegedTime, interval)
	dpc, hasDPC := p.share(roleDPCTime, interval)
	irq, hasIRQ := p.share(roleInterruptTime, interval)
	idle, hasIdle := p.share(roleIdleTime, interval)
	if busy, ok := p.share(roleProcessorTime, interval); ok && !hasIdle {
		idle, hasIdle = interval-busy, true
	}
	t := model.CPUTime{Time: c.at, Dur: interval, CPU: p.cpu, Softirq: dpc, IRQ: irq}
	switch {
	case hasUser && hasPrivileged:
		// Windows counts DPCs and interrupts as privileged time as well.
		t.User, t.System = user, max(0, privileged-dpc-irq)
		t.Idle = max(0, interval-t.User-t.System-dpc-irq)
		if hasIdle {
			t.Idle = min(t.Idle, idle)
		}
		c.builder.AddCPUTime(t)
	case hasIdle:
		// User and kernel time are not told apart: the rest stands under user.
		t.Flags = model.FlagSecondary
		t.Idle = min(idle, max(0, interval-dpc-irq))
		t.User = max(0, interval-t.Idle-dpc-irq)
		c.builder.AddCPUTime(t)
	}
	if hasDPC {
		n := p.count(roleDPCsQueued, interval)
		c.builder.AddDeferredHist(
			model.DeferredHist{
				Time:   c.at,
				Dur:    interval,
				Flags:  model.FlagSecondary,
				CPU:    p.cpu,
				Class:  model.ClassDPC,
				Count:  n,
				Raised: n,
				Busy:   dpc,
				Name:   allDPCs,
			},
		)
	}
	if hasIRQ {
		c.builder.AddInterruptHist(
			model.InterruptHist{
				Time:  c.at,
				Dur:   interval,
				Flags: model.FlagSecondary,
				CPU:   p.cpu,
				Class: model.ClassISR,
				Count: p.count(roleInterrupts, interval),
				Busy:  irq,
				Name:  allInterrupts,
			},
		)
	}
}

func (c *converter) addDevices() {
	used := make([]*device, 0, len(c.devices))
	for _, d := range c.devices {
		if d.used {
			used = append(used, d)
		}
	}
	slices.SortFunc(used, func(a, b *device) int { return strings.Compare(a.name, b.name) })
	for _, d := range used {
		c.addDevice(d)
	}
}

func (d *device) count(r role) uint64 {
	if v := d.counts[r]; v > 0 {
		return uint64(math.Round(v))
	}
	return 0
}

func (c *converter) addDevice(d *device) {
	interval := c.interval()
	c.builder.AddDeviceStats(model.DeviceStats{Time: c.at, Dur: interval, Device: d.name, Source: "perfmon " + d.object,
		RXPackets: d.count(roleRXPackets), TXPackets: d.count(roleTXPackets), RXBytes: d.count(roleRXBytes),
		RXDropped: d.count(roleRXDiscarded), TXDropped: d.count(roleTXDiscarded), RXErrors: d.count(roleRXErrors)})
	for _, loss := range [...]struct {
		role   role
		reason string
	}{{roleRXDiscarded, "Packets Received Discarded"}, {roleRXErrors, "Packets Received " +
		"Errors"}, {roleTXDiscarded, "Packets Outbound Discarded"}, {roleTXErrors, "Packets Outbound Errors"}} {
		if n := d.count(loss.role); n > 0 {
			c.builder.AddDrop(
				model.Drop{
					Time:   c.at,
					Dur:    interval,
					CPU:    -1,
					PID:    -1,
					TID:    -1,
					Place:  model.PlaceRing,
					Count:  n,
					Queue:  -1,
					Reason: d.object + "/" + loss.reason,
					Device: d.name,
				},
			)
		}
	}
}

func (c *converter) note(what note, n int) {
	c.notes[what] += n
	switch what {
	case noteTorn, noteDamage, noteUnknown, noteBackwards:
		c.damaged = c.damaged || n > 0
	}
}

func (c *converter) flush() error {
	if b := c.builder.Take(); b != nil {
		return c.emit(b)
	}
	return nil
}

// finish sends what is left, with what could not be read as loss.
func (c *converter) finish() error {
	c.log.notes.Store(c.describeRun())
	if c.from == 0 && c.err == nil {
		c.log.verify(c)
	}
	if c.err != nil {
		return c.err
	}
	for _, what := range [...]note{noteDamage, noteTorn, noteUnknown, noteColumns} {
		if n := c.notes[what]; n > 0 && c.at != 0 {
			c.builder.AddLoss(
				model.Loss{Time: c.at, CPU: -1, Lost: uint64(n), Origin: model.OriginFile, Detail: "perfmon: " + what.String()},
			)
		}
	}
	return c.flush()
}

// describe adds what the log says of itself: where it is from and what it can show.
func (c *converter) describe() {
	l := c.log
	at, flags := c.at, model.Flags(0)
	if c.from != 0 {
		at, flags = c.at, model.FlagKeyframe
	}
	meta := func(key, value string) {
		if value != "" {
			c.builder.AddMeta(model.Meta{Time: at, Flags: flags, Key: key, Value: value})
		}
	}
	info := summarise(l.first.list)
	c.several = len(info.machines) > 1
	meta("host", strings.Join(info.machines, ", "))
	meta("os", "windows")
	if l.binary != nil {
		meta("kernel", fmt.Sprintf("build %d", l.binary.header.Build))
	}
	meta("cpus", info.processors(c.number))
	meta("source", string(l.format)+" "+filepath.Base(l.name))
	meta("clock", "the machine's wall clock, as logged")
	meta("utc_offset", formatOffset(l.offset()))
	c.builder.AddClock(model.Clock{Time: at, Flags: flags, Wall: at})
	for _, p := range info.probes() {
		p.Time, p.Flags = at, flags
		c.builder.AddProbe(p)
	}
}

// UTCOffset returns local time minus UTC at the start of the log.
func (l *Log) UTCOffset() time.Duration { return l.offset() }

// offset is local time minus UTC at the start of the log.
func (l *Log) offset() time.Duration {
	if l.text != nil {
		return l.text.header.offset
	}
	return l.binary.offset
}

func formatOffset(d time.Duration) string {
	sign := '+'
	if d < 0 {
		sign, d = '-', -d
	}
	return fmt.Sprintf("%c%02d:%02d", sign, int(d.Hours()), int(d.Minutes())%60)
}

// cadence finds samples that are missing between two.
type cadence struct {
	last   model.Time
	recent [31]time.Duration
	n      int
}

// next takes the time of a sample and returns how many should lie between it
// and the one before, judged by the median of the intervals so far.
func (c *cadence) next(at model.Time) (missing int) {
	last := c.last
	c.last = at
	if last == 0 {
		return 0
	}
	d := at.Sub(last)
	if c.n >= 3 {
		recent := slices.Clone(c.recent[:min(c.n, len(c.recent))])
		slices.Sort(recent)
		if usual := recent[len(recent)/2]; usual > 0 && d > usual*5/2 {
			return int(math.Round(float64(d)/float64(usual))) - 1
		}
	}
	c.recent[c.n%len(c.recent)] = d
	c.n++
	return 0
}
