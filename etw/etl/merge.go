package etl

import (
	"cmp"
	"io"
	"slices"

	"lostbeat/etw"
)

const (
	// memoryGoal is what the windows of all processors together may hold of
	// uncompressed buffers.
	memoryGoal = 24 << 20
	// memoryLimit is what they may hold of compressed buffers, which are held
	// whole: beyond it, windows are dropped and decompressed once more.
	memoryLimit = 128 << 20
	// refSize is the memory of a ref.
	refSize = 16
)

// cursor reads one processor's buffers in order.
type cursor struct {
	buffers []buffer
	// current is the buffer being read and at the position in it that follows
	// the window.
	current int
	at      uint32
	open    bool
	// cpu is the processor of the current buffer, see Header.cpu.
	cpu int32
	// kept says that the buffer has a record that was not left out.
	kept   bool
	window window
	// refs are the records of the window that are still to come, in order of time.
	refs []ref
	next int
	// head is the time of the first record of the window.
	head uint64
	// held is the memory that the merger counts for the window; dropped says
	// that the window and refs have to be loaded again.
	held    int
	dropped bool
	// latest is the time of the last record of the window.
	latest uint64
	// before is latest as it was when the window was loaded.
	before uint64
}

// ref is a record of a window.
type ref struct {
	time   uint64
	offset uint32
	size   uint16
	kind   uint8
}

// merger hands out the records of all processors in order of time.
type merger struct {
	r      io.ReaderAt
	header *Header
	limit  uint32
	// cursors are those of all processors. heap has those that have a record, the earliest first; last says that the
	// first of them has handed out its record. They are numbers, because each pointer that is written costs while garbage
	// is collected.
	cursors []*cursor
	heap    []queued
	last    bool
	record  etw.Record
	// held is the memory of all compressed windows.
	held int
	// damaged takes what cannot be read, entered each buffer that is begun.
	damaged func(*Damage)
	entered func(*buffer)
	// late counts records that are older than one handed out before them.
	late   uint64
	newest uint64
	skip   skip
	// stopped ends the reading.
	stopped func() bool
}

// queued is a cursor that has a record: the time of that, and the cursor's place.
type queued struct {
	head   uint64
	cursor int32
}

// skip leaves records out that lie before the time stamp until, but for those
// of the kinds that lasting names. The zero skip leaves none out.
type skip struct {
	until   uint64
	lasting func(etw.Key) bool
	// groups remembers the answers for the records whose class is a group number.
	groups [1 << 16]uint8
	// passed remembers the buffers of which all was left out, by their offset:
	// the time stamp of their last record. It serves later readings too.
	passed map[int64]uint64
}

// record reports whether the record in b, of the given header type and older
// than until, is left out.
func (s *skip) record(b []byte, kind uint8) bool {
	k, group := keyOf(b, kind)
	if group < 0 {
		return !s.lasting(k)
	}
	if s.groups[group] == 0 {
		s.groups[group] = 1
		if s.lasting(k) {
			s.groups[group] = 2
		}
	}
	return s.groups[group] == 1
}

// start begins to read the groups of buffers.
func (m *merger) start(groups [][]buffer) {
	m.limit = uint32(min(max(memoryGoal/max(len(groups), 1), 72<<10), chunk))
	for i, group := range groups {
		c := &cursor{buffers: group}
		m.cursors = append(m.cursors, c)
		if m.fill(c) {
			m.heap = append(m.heap, queued{c.head, int32(i)})
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
}

// Next returns the next record, nil at the end. It is valid until the call
// after.
func (m *merger) Next() *etw.Record {
	if m.last {
		m.last = false
		c := m.cursors[m.heap[0].cursor]
		switch {
		case c.next < len(c.refs):
			m.heap[0].head = c.refs[c.next].time
		case m.fill(c):
			m.heap[0].head = c.head
		default:
			m.drop(c)
			n := len(m.heap) - 1
			m.heap[0] = m.heap[n]
			m.heap = m.heap[:n]
		}
		m.down(0)
	}
	if len(m.heap) == 0 {
		return nil
	}
	c := m.cursors[m.heap[0].cursor]
	if c.dropped {
		m.reload(c)
	}
	ref := c.refs[c.next]
	c.next++
	m.last = true
	m.record.CPU = c.cpu
	parse(c.window.data[ref.offset:ref.offset+uint32(ref.size)], ref.kind, &m.record)
	m.record.Time = ref.time
	if ref.time < m.newest {
		m.late++
	}
	m.newest = max(m.newest, ref.time)
	return &m.record
}

// before orders cursors by the time of their next record.
func (m *merger) before(i, j int) bool {
	a, b := m.heap[i], m.heap[j]
	if a.head != b.head {
		return a.head < b.head
	}
	return a.cursor < b.cursor
}

// down moves cursor i to its place.
func (m *merger) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if child+1 < len(m.heap) && m.before(child+1, child) {
			child++
		}
		if !m.before(child, i) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}

// fill loads windows until c has a record; it returns false when c has no more.
func (m *merger) fill(c *cursor) bool {
	c.refs, c.next = c.refs[:0], 0
	for len(c.refs) == 0 {
		if !c.open {
			if c.current >= len(c.buffers) || m.stopped() {
				return false
			}
			c.open, c.at, c.kept = true, bufferHeaderSize, false
			c.cpu = m.header.cpu(&c.buffers[c.current])
			m.entered(&c.buffers[c.current])
		}
		b := &c.buffers[c.current]
		if last, ok := m.skip.passed[b.offset]; ok && last < m.skip.until {
			c.at = b.filled
		}
		if !m.load(c, b) && len(c.refs) == 0 {
			if m.skip.until > 0 && !c.kept {
				m.skip.passed[b.offset] = c.latest
			}
			c.open = false
			c.current++
		}
	}
	c.head = c.refs[0].time
	m.count(c)
	return true
}

// count adds up the memory of compressed windows and drops some of them when it
// is too much: those whose next record is far off.
func (m *merger) count(c *cursor) {
	m.held -= c.held
	c.held = 0
	if !c.buffers[c.current].compressed() {
		return
	}
	c.held = cap(c.window.data) + cap(c.window.raw) + cap(c.refs)*refSize
	m.held += c.held
	for i := len(m.heap) - 1; i > 0 && m.held > memoryLimit; i-- {
		if far := m.cursors[m.heap[i].cursor]; far != c && far.held > 0 {
			far.dropped = true
			m.drop(far)
		}
	}
}

// drop gives a cursor's memory back.
func (m *merger) drop(c *cursor) {
	m.held -= c.held
	c.held = 0
	c.window.release()
	c.refs = nil
}

// reload loads the window that was dropped: a compressed buffer, from its
// beginning.
func (m *merger) reload(c *cursor) {
	c.dropped = false
	c.at, c.latest = bufferHeaderSize, c.before
	report := m.damaged
	m.damaged = func(*Damage) {} // it was reported the first time
	m.load(c, &c.buffers[c.current])
	m.damaged = report
	m.count(c)
}

// load reads the next window of b and lists its records. It returns false when
// b has no further window.
func (m *merger) load(c *cursor, b *buffer) bool {
	if c.at >= b.filled {
		return false
	}
	if err := c.window.load(m.r, b, c.at, m.limit, m.header.format(b)); err != nil {
		m.damaged(&Damage{Offset: b.offset, Bytes: int64(b.size), Reason: err.Error()})
		c.at, c.kept = b.filled, true
		return false
	}
	data := c.window.data
	last := b.compressed() || c.at+uint32(len(data)) >= b.filled
	offset, sorted := 0, true
	c.before = c.latest
	previous := c.latest
	for {
		size, kind, what := measure(data[offset:])
		if what != isRecord {
			p := locate(data, offset, last, previous, b.latest())
			if p.skipped > 0 {
				m.damaged(p.damage(b, c.at))
				c.kept = true
			}
			if offset, size, kind = p.at, p.size, p.kind; size == 0 {
				break
			}
		}
		record := data[offset : offset+size]
		time := timeOf(record, kind)
		if time == 0 {
			time = previous
		}
		sorted = sorted && time >= previous
		previous = time
		if time >= m.skip.until || !m.skip.record(record, kind) {
			c.kept = true
			c.refs = append(c.refs, ref{time, uint32(offset), uint16(size), kind})
		}
		offset = min(offset+align8(size), len(data))
	}
	if last {
		c.at = b.filled
		c.latest = previous
		m.sort(c, sorted)
		return false
	}
	c.at += uint32(offset)
	c.latest = previous
	m.sort(c, sorted)
	return true
}

// sort puts the records of a window in order where they are not: sessions
// without per-processor buffers and stepping clocks make such windows.
func (m *merger) sort(c *cursor, sorted bool) {
	if !sorted {
		slices.SortStableFunc(c.refs, func(a, b ref) int { return cmp.Compare(a.time, b.time) })
	}
}
