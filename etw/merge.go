package etw

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"unsafe"
)

const (
	// chunkRecords and chunkBytes are how many records, and how many bytes of payload, are held in one piece of memory.
	chunkRecords = 512
	chunkBytes   = 24 << 10
	// spareChunks is how many unused pieces are kept.
	spareChunks = 256
)

// DefaultMergeBytes is what a Merger holds of records that wait for their turn.
const DefaultMergeBytes = 64 << 20

// Merger puts the records of several streams in order of time while they come. Each [Stream] may be fed by a goroutine
// of its own; Release is for one goroutine. What does not fit into its memory is dropped and counted.
type Merger struct {
	limit   int64
	streams []*Stream
	// newest is the time of the newest record that was released, late how many were released after a later one.
	newest uint64
	late   uint64
	// record is the one that is being handed on.
	record Record

	mu    sync.Mutex
	held  int64
	spare []*chunk
}

// NewMerger returns a Merger that holds limit bytes; 0 means DefaultMergeBytes.
func NewMerger(limit int64) *Merger {
	return &Merger{limit: cmp.Or(limit, DefaultMergeBytes)}
}

// Stream is one sequence of records: a session, or a file.
type Stream struct {
	merger *Merger

	mu sync.Mutex
	// filled are the chunks that were not taken wholly, the last of them the one being filled.
	filled []*chunk
	// received and dropped count records.
	received, dropped uint64

	// waiting are the records that were taken, in order of time, from next on.
	waiting []waiting
	next    int
}

// packed is a record as it is held: many wait at a time, and most have few of its fields.
type packed struct {
	time     uint64
	class    GUID
	pid, tid int32
	cpu      int32
	// at is where its data begins in that of its chunk: the payload, the extended items, and what more says.
	at                                           uint32
	payload, extended                            uint16
	id, version, task, flags                     uint16
	header                                       Header
	pointerSize, level, opcode, channel, present uint8
}

// What packed.present says.
const (
	hasEvent     = 1 << iota // keyword and activity follow the data
	hasInstance              // the parent class and the two instances do
	hasTruncated             // it is cut
)

// chunk holds records with their payloads.
type chunk struct {
	records [chunkRecords]packed
	// n is how many there are, guarded by the stream.
	n int
	// memory takes their data; used is how much of it the one who fills the chunk has taken.
	memory []byte
	used   int
	// taken and released count those that were taken and released, closed says that there will be no more.
	taken, released int
	closed          bool
}

// waiting is a record that was taken.
type waiting struct {
	time  uint64
	chunk *chunk
	index int
}

func (c *chunk) size() int64 { return int64(unsafe.Sizeof(*c)) + int64(len(c.memory)) }

// Stream adds a stream. All have to be added before the first Release.
func (m *Merger) Stream() *Stream {
	s := &Stream{merger: m}
	m.streams = append(m.streams, s)
	return s
}

// Put copies a record; it reports false where there is no memory for it. It may be called by any goroutine, and records
// of one stream may come in any order.
func (s *Stream) Put(r *Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received++
	const most = 24 // what an event or an instance has beside its data
	need := len(r.Payload) + len(r.Extended) + most
	if len(r.Payload) > math.MaxUint16 || len(r.Extended) > math.MaxUint16 {
		s.dropped++ // no session logs such a record
		return false
	}
	var c *chunk
	if n := len(s.filled); n > 0 {
		c = s.filled[n-1]
	}
	if c == nil || c.n == chunkRecords || c.used+need > len(c.memory) {
		if c = s.merger.chunk(need); c == nil {
			s.dropped++
			return false
		}
		s.filled = append(s.filled, c)
	}
	c.put(r)
	return true
}

// put packs a record, for which there is room.
func (c *chunk) put(r *Record) {
	own := &c.records[c.n]
	*own = packed{
		time: r.Time, class: r.Class, pid: r.PID, tid: r.TID, cpu: r.CPU, at: uint32(c.used),
		payload: uint16(len(r.Payload)), extended: uint16(len(r.Extended)), id: r.ID, version: r.Version, task: r.Task,
		flags: r.Flags, header: r.Header, pointerSize: r.PointerSize, level: r.Level, opcode: r.Opcode, channel: r.Channel,
	}
	data := append(append(c.memory[:c.used], r.Payload...), r.Extended...) // there is room: it stays where it is
	switch {
	case r.Header == HeaderInstance:
		own.present |= hasInstance
		data = append(data, r.Related[:]...)
		data = binary.LittleEndian.AppendUint32(data, r.InstanceID)
		data = binary.LittleEndian.AppendUint32(data, r.ParentID)
	case r.Keyword != 0 || r.Activity != (GUID{}):
		own.present |= hasEvent
		data = append(data, r.Activity[:]...)
		data = binary.LittleEndian.AppendUint64(data, r.Keyword)
	}
	if r.Truncated {
		own.present |= hasTruncated
	}
	c.n, c.used = c.n+1, len(data)
}

// unpack writes record i into r.
func (c *chunk) unpack(i int, r *Record) {
	p := &c.records[i]
	*r = Record{
		Time: p.time, Class: p.class, Header: p.header, PointerSize: p.pointerSize, ID: p.id, Version: p.version,
		Level: p.level, Opcode: p.opcode, Channel: p.channel, Task: p.task, Flags: p.flags, PID: p.pid, TID: p.tid,
		CPU: p.cpu, Truncated: p.present&hasTruncated != 0,
	}
	data := c.memory[p.at:]
	middle, end := int(p.payload), int(p.payload)+int(p.extended)
	r.Payload, r.Extended = data[:middle:middle], data[middle:end:end]
	switch {
	case p.present&hasInstance != 0:
		r.Related = GUID(data[end : end+16])
		r.InstanceID, r.ParentID = le32(data[end+16:]), le32(data[end+20:])
	case p.present&hasEvent != 0:
		r.Activity, r.Keyword = GUID(data[end:end+16]), le64(data[end+16:])
	}
}

// chunk returns an empty chunk for a record with n bytes, nil when the memory is used up.
func (m *Merger) chunk(n int) *chunk {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := len(m.spare) - 1; last >= 0 && n <= chunkBytes {
		c := m.spare[last]
		m.spare = m.spare[:last]
		return c
	}
	size := int64(unsafe.Sizeof(chunk{})) + int64(max(n, chunkBytes))
	if m.held+size > m.limit {
		return nil
	}
	m.held += size
	return &chunk{memory: make([]byte, max(n, chunkBytes))}
}

// recycle takes back a chunk of which all records were released.
func (m *Merger) recycle(c *chunk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(c.memory) != chunkBytes || len(m.spare) >= spareChunks {
		m.held -= c.size()
		return
	}
	c.n, c.used, c.taken, c.released, c.closed = 0, 0, 0, 0, false
	m.spare = append(m.spare, c)
}

// Counts returns how many records were put, and how many of them were dropped.
func (s *Stream) Counts() (received, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received, s.dropped
}

// take makes the records that were put wait for their turn.
func (s *Stream) take() {
	if s.next > 0 {
		s.waiting = slices.Delete(s.waiting, 0, s.next)
		s.next = 0
	}
	old := len(s.waiting)
	var empty []*chunk
	s.mu.Lock()
	for i, c := range s.filled {
		for ; c.taken < c.n; c.taken++ {
			s.waiting = append(s.waiting, waiting{c.records[c.taken].time, c, c.taken})
		}
		if i < len(s.filled)-1 {
			if c.closed = true; c.released == c.taken {
				empty = append(empty, c)
			}
		}
	}
	if n := len(s.filled); n > 1 {
		s.filled = slices.Delete(s.filled, 0, n-1)
	}
	s.mu.Unlock()
	for _, c := range empty {
		s.merger.recycle(c)
	}
	byTime := func(a, b waiting) int { return cmp.Compare(a.time, b.time) }
	added := s.waiting[old:]
	if len(added) == 0 {
		return
	}
	if !slices.IsSortedFunc(added, byTime) {
		slices.SortStableFunc(added, byTime)
	}
	if old > 0 && added[0].time < s.waiting[old-1].time {
		from, _ := slices.BinarySearchFunc(s.waiting[:old], added[0].time, func(w waiting, t uint64) int {
			if w.time <= t {
				return -1
			}
			return 1
		})
		slices.SortStableFunc(s.waiting[from:], byTime)
	}
}

// Release hands the records up to and including a time to each, in order of time; of equal times those of the stream
// that was added first come first. A record that comes after a later one was released is handed on as late as it is,
// and counted, see Late. A record is valid until each returns.
func (m *Merger) Release(until uint64, each func(*Record) error) error {
	for _, s := range m.streams {
		s.take()
	}
	for {
		var first *Stream
		for _, s := range m.streams {
			if s.next < len(s.waiting) && s.waiting[s.next].time <= until &&
				(first == nil || s.waiting[s.next].time < first.waiting[first.next].time) {
				first = s
			}
		}
		if first == nil {
			return nil
		}
		w := first.waiting[first.next]
		first.next++
		if w.time < m.newest {
			m.late++
		}
		m.newest = max(m.newest, w.time)
		w.chunk.unpack(w.index, &m.record)
		err := each(&m.record)
		if w.chunk.released++; w.chunk.closed && w.chunk.released == w.chunk.taken {
			m.recycle(w.chunk)
		}
		if err != nil {
			return err
		}
	}
}

// Late returns how many records were handed on after a later one.
func (m *Merger) Late() uint64 { return m.late }

// Filling reports whether three quarters of the memory are used by records that wait.
func (m *Merger) Filling() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	spare := int64(0)
	for _, c := range m.spare {
		spare += c.size()
	}
	return m.held-spare > m.limit*3/4
}

// Dropped returns how many records did not fit into memory.
func (m *Merger) Dropped() (n uint64) {
	for _, s := range m.streams {
		_, dropped := s.Counts()
		n += dropped
	}
	return n
}
