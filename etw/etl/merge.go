package etl

import (
	"cmp"
	"io"
	"slices"

	"lostbeat/etw"
)

// memoryGoal is what the windows of all processors together may hold of
// uncompressed buffers; a compressed one is held whole.
const memoryGoal = 24 << 20

// cursor reads one processor's buffers in order.
type cursor struct {
	buffers []buffer
	// current is the buffer being read and at the position in it that follows
	// the window.
	current int
	at      uint32
	open    bool
	window  window
	// refs are the records of the window that are still to come, in order of time.
	refs []ref
	next int
	// latest is the time of the last record handed out; rank breaks ties.
	latest uint64
	rank   int
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
	// heap has the cursors that have a record, the earliest first.
	heap   []*cursor
	last   *cursor
	record etw.Record
	// damaged takes what cannot be read, entered each buffer that is begun.
	damaged func(*Damage)
	entered func(*buffer)
	// late counts records that are older than one handed out before them.
	late   uint64
	newest uint64
}

func newMerger(r io.ReaderAt, h *Header, groups [][]buffer, entered func(*buffer), damaged func(*Damage)) *merger {
	m := &merger{r: r, header: h, entered: entered, damaged: damaged}
	m.limit = uint32(min(max(memoryGoal/max(len(groups), 1), 72<<10), chunk))
	for i, group := range groups {
		c := &cursor{buffers: group, rank: i}
		if m.fill(c) {
			m.heap = append(m.heap, c)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m
}

// Next returns the next record, nil at the end. It is valid until the call
// after.
func (m *merger) Next() *etw.Record {
	if c := m.last; c != nil {
		m.last = nil
		if c.next >= len(c.refs) && !m.fill(c) {
			c.window.release()
			n := len(m.heap) - 1
			m.heap[0] = m.heap[n]
			m.heap = m.heap[:n]
		}
		m.down(0)
	}
	if len(m.heap) == 0 {
		return nil
	}
	c := m.heap[0]
	ref := c.refs[c.next]
	c.next++
	m.last = c
	m.record.CPU = m.header.cpu(&c.buffers[c.current])
	parse(c.window.data[ref.offset:ref.offset+uint32(ref.size)], ref.kind, &m.record)
	m.record.Time = ref.time
	if ref.time < m.newest {
		m.late++
	}
	m.newest = max(m.newest, ref.time)
	c.latest = ref.time
	return &m.record
}

// before orders cursors by the time of their next record.
func (m *merger) before(i, j int) bool {
	a, b := m.heap[i], m.heap[j]
	if ta, tb := a.refs[a.next].time, b.refs[b.next].time; ta != tb {
		return ta < tb
	}
	return a.rank < b.rank
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
			if c.current >= len(c.buffers) {
				return false
			}
			c.open, c.at = true, bufferHeaderSize
			m.entered(&c.buffers[c.current])
		}
		b := &c.buffers[c.current]
		if !m.load(c, b) && len(c.refs) == 0 {
			c.open = false
			c.current++
		}
	}
	return true
}

// load reads the next window of b and lists its records. It returns false when
// b has no further window.
func (m *merger) load(c *cursor, b *buffer) bool {
	if c.at >= b.filled {
		return false
	}
	if err := c.window.load(m.r, b, c.at, m.limit, m.header.format(b)); err != nil {
		m.damaged(&Damage{Offset: b.offset, Bytes: int64(b.size), Reason: err.Error()})
		c.at = b.filled
		return false
	}
	data := c.window.data
	last := b.compressed() || c.at+uint32(len(data)) >= b.filled
	offset, sorted := 0, true
	previous := c.latest
	for {
		size, kind, what := measure(data[offset:])
		if what == isPartial && !last {
			break // it begins the next window
		}
		if what == isEnd && !last && len(data)-offset < minRecord {
			break
		}
		if what != isRecord {
			if what != isEnd {
				m.damaged(&Damage{Offset: b.position(c.at, offset), Bytes: int64(len(data) - offset), Reason: reasonOf(what)})
			}
			c.at = b.filled
			m.sort(c, sorted)
			return false
		}
		time := timeOf(data[offset:offset+size], kind)
		if time == 0 {
			time = previous
		}
		sorted = sorted && (len(c.refs) == 0 || time >= previous)
		previous = time
		c.refs = append(c.refs, ref{time, uint32(offset), uint16(size), kind})
		offset = min(offset+align8(size), len(data))
	}
	c.at += uint32(offset)
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
