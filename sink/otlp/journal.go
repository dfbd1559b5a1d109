package otlp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lostbeat/record"
)

// Kinds of frames.
const (
	frameResource = 1
	frameFinding  = 2
	frameLoss     = 3
)

const (
	extension = ".otlp"
	frameHead = 4 + 4 + 1 + 8
	// maxFrame bounds the payload of a frame.
	maxFrame = 1 << 20
	// waiting bounds the records that are in memory, in number and bytes.
	maxWaiting      = 1024
	maxWaitingBytes = 4 << 20
	// segments is how many parts the largest journal has.
	segments = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a record of the journal.
type entry struct {
	seq     uint64
	kind    byte
	payload []byte
	// onDisk says that the journal's file has it.
	onDisk bool
}

// segment is a file of the journal.
type segment struct {
	path string
	// first is the number of its first record, next the one after its last.
	first, next uint64
	size        int64
}

// disk are the calls of the file system that write. Tests make them fail.
type disk interface {
	Create(path string) (diskFile, error)
	Remove(path string) error
}

type diskFile interface {
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

type realDisk struct{}

func (realDisk) Create(path string) (diskFile, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

func (realDisk) Remove(path string) error { return os.Remove(path) }

// journal keeps records on disk until they are confirmed. Add, Next, Confirm and State never wait for the disk, but
// that Next reads what was written before this process began, or what was too much for its memory. Flush writes; one
// goroutine calls it.
type journal struct {
	folder   string
	max      int64
	resource []byte
	disk     disk
	unlock   func()

	// flushing is held by Flush, which owns the open files and the slots of the cursor.
	flushing   sync.Mutex
	current    diskFile
	cursorFile diskFile
	generation uint64
	saved      cursor

	mu sync.Mutex
	// memory are the newest records, in order. Those before them are in segments only.
	memory []entry
	bytes  int
	// files are the segments, the oldest first.
	files []*segment
	next  uint64
	at    cursor
	// taken is the number after the last record of the batch that is being sent, 0 for none. In doubt are those of its
	// records that were removed meanwhile: they are lost unless the batch arrives.
	taken, doubt uint64
	// fault is why the last write failed, nil when it did not; since the last question new reasons of loss are kept.
	fault error
	lost  []string
}

// cursor is what the file of that name keeps.
type cursor struct {
	// next is the number of the next record to send.
	next uint64
	// delivered and lost are how many findings were confirmed, and lost, since the journal was made.
	delivered, lost uint64
}

// openJournal opens the journal of a folder, which it makes. resource describes who sends what is added from now on,
// max is how large the files may become.
func openJournal(folder string, resource []byte, max int64, d disk) (*journal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal of findings: %w", err)
	}
	unlock, err := record.Lock(filepath.Join(folder, "journal"))
	if err != nil {
		return nil, fmt.Errorf("lock the journal of findings in %s: %w", folder, err)
	}
	j := &journal{folder: folder, max: max, resource: resource, disk: d, unlock: unlock}
	if err := j.load(); err != nil {
		unlock()
		return nil, fmt.Errorf("open the journal of findings in %s: %w", folder, err)
	}
	return j, nil
}

// load finds out what there is. What is damaged is counted.
func (j *journal) load() error {
	j.at, j.generation = readCursor(filepath.Join(j.folder, cursorName))
	j.saved = j.at
	names, err := os.ReadDir(j.folder)
	if err != nil {
		return err
	}
	for _, n := range names {
		base, ok := strings.CutSuffix(n.Name(), extension)
		first, err := strconv.ParseUint(base, 10, 64)
		if !ok || err != nil || !n.Type().IsRegular() {
			continue
		}
		j.files = append(j.files, &segment{path: filepath.Join(j.folder, n.Name()), first: first, next: first})
	}
	slices.SortFunc(j.files, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	j.next = max(j.at.next, 1)
	for i, s := range j.files {
		whole, err := scan(s)
		if err != nil {
			return err
		}
		j.next = max(j.next, s.next)
		if last := i == len(j.files)-1; last && !whole {
			j.lose(1, "the end of the journal was not written whole")
			if err := os.Truncate(s.path, s.size); err != nil {
				return err
			}
		}
	}
	switch {
	case j.generation == 0 && len(j.files) > 0: // there is no cursor: all that is there is sent again
		j.at.next = j.files[0].first
	case len(j.files) > 0:
		j.at.next = max(j.at.next, 1)
		j.skip(j.files[0].first)
	default:
		j.at.next = j.next
	}
	// Both slots have their place on the disk from now on. A disk that is full is tried again.
	if j.fault = j.save(); j.fault == nil {
		j.saved = cursor{}
		j.fault = j.save()
	}
	return nil
}

// scan reads the numbers and the size of the whole frames of a segment, and reports whether it has nothing else.
func scan(s *segment) (whole bool, err error) {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return false, err
	}
	for len(text) > 0 {
		e, n, ok := parseFrame(text)
		if !ok || e.kind != frameResource && e.seq != s.next {
			return false, nil
		}
		text = text[n:]
		s.size += int64(n)
		if e.kind != frameResource {
			s.next++
		}
	}
	return true, nil
}

// appendFrame adds the frame of a record to a buffer.
func appendFrame(b []byte, e entry) []byte {
	head := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.payload)))
	b = append(b, 0, 0, 0, 0, e.kind)
	b = binary.LittleEndian.AppendUint64(b, e.seq)
	b = append(b, e.payload...)
	binary.LittleEndian.PutUint32(b[head+4:], crc32.Checksum(b[head+8:], castagnoli))
	return b
}

// parseFrame reads the frame at the beginning of a text, and returns its length.
func parseFrame(b []byte) (e entry, n int, ok bool) {
	if len(b) < frameHead {
		return entry{}, 0, false
	}
	size := int(binary.LittleEndian.Uint32(b))
	if size > maxFrame || len(b) < frameHead+size {
		return entry{}, 0, false
	}
	n = frameHead + size
	if binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:n], castagnoli) {
		return entry{}, 0, false
	}
	return entry{kind: b[8], seq: binary.LittleEndian.Uint64(b[9:]), payload: b[frameHead:n], onDisk: true}, n, true
}

// Add takes a record. It is lost, and counted, where neither the disk nor the memory has room.
func (j *journal) Add(kind byte, payload []byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.memory) >= maxWaiting || j.bytes+len(payload) > maxWaitingBytes {
		if len(j.memory) == 0 || !j.memory[0].onDisk {
			j.loseKind(kind, 1, "the disk takes nothing and the memory for findings is full")
			return false
		}
		j.forget()
	}
	if len(payload) > maxFrame {
		j.loseKind(kind, 1, "it is too large")
		return false
	}
	j.memory = append(j.memory, entry{seq: j.next, kind: kind, payload: payload})
	j.bytes += len(payload)
	j.next++
	return true
}

// forget takes the oldest record out of memory.
func (j *journal) forget() {
	j.bytes -= len(j.memory[0].payload)
	j.memory[0] = entry{}
	j.memory = j.memory[1:]
}

func (j *journal) loseKind(kind byte, n uint64, why string) {
	if kind == frameFinding {
		j.lose(n, why)
	}
}

// lose counts findings that are lost.
func (j *journal) lose(n uint64, why string) {
	j.at.lost += n
	if !slices.Contains(j.lost, why) {
		j.lost = append(j.lost, why)
	}
}

// Lose counts findings that were lost elsewhere.
func (j *journal) Lose(n uint64, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lose(n, why)
}

// Lost returns how many findings were lost since the journal was made, and the reasons that are new since the last
// call.
func (j *journal) Lost() (total uint64, reasons []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	reasons, j.lost = j.lost, nil
	return j.at.lost, reasons
}

// State returns where sending is, how many records wait, and why the disk took nothing at last.
func (j *journal) State() (at cursor, waiting uint64, fault error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.at, j.next - j.at.next, j.fault
}

// batch is what is sent in one request.
type batch struct {
	// resource is who made the records.
	resource []byte
	records  []entry
	// next is the number after the last record.
	next uint64
}

// Next returns the next records to send, nil for none.
func (j *journal) Next(maxRecords, maxBytes int) *batch {
	for {
		j.mu.Lock()
		at := j.at.next
		if len(j.memory) > 0 && j.memory[0].seq <= at {
			b := j.ofMemory(at, maxRecords, maxBytes)
			j.taken = b.next
			j.mu.Unlock()
			return b
		}
		s := j.segmentOf(at)
		if s == nil && at < j.next { // a gap
			to := j.next
			for _, f := range slices.Backward(j.files) {
				if f.first > at {
					to = f.first
				}
			}
			if len(j.memory) > 0 {
				to = min(to, j.memory[0].seq)
			}
			j.skip(to)
			j.mu.Unlock()
			continue
		}
		j.mu.Unlock()
		if s == nil {
			return nil
		}
		b, err := readSegment(s.path, at, maxRecords, maxBytes)
		j.mu.Lock()
		moved := j.at.next != at // what was read has been removed and counted
		switch {
		case moved:
		case err == nil && len(b.records) > 0:
			j.taken = b.next
			j.mu.Unlock()
			return b
		default: // nothing of the rest can be read
			j.skipDamaged(max(s.next, at+1), err)
		}
		j.mu.Unlock()
	}
}

// skip goes on at a record that was not sent yet: what lies between is missing.
func (j *journal) skip(to uint64) {
	if to > j.at.next {
		j.lose(to-j.at.next, "they are missing from the journal")
		j.at.next = to
	}
}

func (j *journal) skipDamaged(to uint64, err error) {
	why := "the journal is damaged"
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		why = "the journal cannot be read: " + err.Error()
	}
	j.lose(to-j.at.next, why)
	j.at.next = to
}

// segmentOf returns the segment with a record, nil for none.
func (j *journal) segmentOf(seq uint64) *segment {
	for _, s := range j.files {
		if s.first <= seq && seq < s.next {
			return s
		}
	}
	return nil
}

// ofMemory returns records that are in memory.
func (j *journal) ofMemory(at uint64, maxRecords, maxBytes int) *batch {
	b := &batch{resource: j.resource}
	size := 0
	for _, e := range j.memory {
		if e.seq < at {
			continue
		}
		if size += len(e.payload); len(b.records) == maxRecords || len(b.records) > 0 && size > maxBytes {
			break
		}
		b.records = append(b.records, e)
		b.next = e.seq + 1
	}
	if len(b.records) == 0 {
		return nil
	}
	return b
}

// readSegment reads records of a file, from a number on.
func readSegment(path string, at uint64, maxRecords, maxBytes int) (*batch, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b := &batch{}
	size := 0
	for len(text) > 0 {
		e, n, ok := parseFrame(text)
		if !ok {
			return b, io.ErrUnexpectedEOF
		}
		text = text[n:]
		switch {
		case e.kind == frameResource:
			b.resource = e.payload
			continue
		case e.seq < at:
			continue
		}
		if size += len(e.payload); len(b.records) == maxRecords || len(b.records) > 0 && size > maxBytes {
			break
		}
		e.payload = bytes.Clone(e.payload)
		b.records = append(b.records, e)
		b.next = e.seq + 1
	}
	b.resource = bytes.Clone(b.resource)
	return b, nil
}

// Confirm says that the receiver has all records before next. delivered of them are findings that it keeps, and lost
// ones that it refused for a reason.
func (j *journal) Confirm(next, delivered, lost uint64, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.taken, j.doubt = 0, 0
	j.at.next = max(j.at.next, next)
	j.at.delivered += delivered
	if lost > 0 {
		j.lose(lost, why)
	}
	for len(j.memory) > 0 && j.memory[0].seq < j.at.next {
		j.forget()
	}
}

// GiveBack says that the last batch did not arrive.
func (j *journal) GiveBack() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.doubt > 0 {
		j.lose(j.doubt, tooLarge)
	}
	j.taken, j.doubt = 0, 0
}

// Flush writes what is in memory only, removes what was sent, and saves the cursor. What fails is done by the next
// call.
func (j *journal) Flush() error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	err := cmp.Or(j.write(), j.bound(), j.save())
	j.mu.Lock()
	j.fault = err
	j.mu.Unlock()
	return err
}

// write writes the records that the disk does not have.
func (j *journal) write() error {
	for {
		j.mu.Lock()
		var todo []entry
		size := 0
		for _, e := range j.memory {
			if !e.onDisk && size < maxFrame {
				todo = append(todo, e)
				size += frameHead + len(e.payload)
			}
		}
		var last *segment
		if len(j.files) > 0 {
			last = j.files[len(j.files)-1]
		}
		j.mu.Unlock()
		if len(todo) == 0 {
			return nil
		}
		if j.current == nil || last == nil || last.size > j.max/segments || last.next != todo[0].seq {
			if err := j.begin(todo[0].seq); err != nil {
				return err
			}
			continue
		}
		var text []byte
		for _, e := range todo {
			text = appendFrame(text, e)
		}
		_, err := j.current.WriteAt(text, last.size)
		if err == nil {
			err = j.current.Sync()
		}
		if err != nil {
			// What is after the end is overwritten by the next call; if that does not come, it is read as damage.
			_ = j.current.Truncate(last.size)
			return fmt.Errorf("write the journal of findings: %w", err)
		}
		j.mu.Lock()
		last.size += int64(len(text))
		last.next = todo[len(todo)-1].seq + 1
		for i := range j.memory {
			if j.memory[i].seq < last.next {
				j.memory[i].onDisk = true
			}
		}
		j.mu.Unlock()
	}
}

// begin begins a segment.
func (j *journal) begin(first uint64) error {
	path := filepath.Join(j.folder, fmt.Sprintf("%020d%s", first, extension))
	f, err := j.disk.Create(path)
	if err != nil {
		return fmt.Errorf("write the journal of findings: %w", err)
	}
	head := appendFrame(nil, entry{kind: frameResource, seq: first, payload: j.resource})
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(head, 0)
	}
	if err != nil {
		f.Close()
		_ = j.disk.Remove(path)
		return fmt.Errorf("write the journal of findings: %w", err)
	}
	if j.current != nil {
		_ = j.current.Close() // all that was written is synced
	}
	j.current = f
	j.mu.Lock()
	// One of the same name had no record.
	j.files = slices.DeleteFunc(j.files, func(s *segment) bool { return s.path == path })
	j.files = append(j.files, &segment{path: path, first: first, next: first, size: int64(len(head))})
	j.mu.Unlock()
	return nil
}

// tooLarge is why bound removes what was not sent.
const tooLarge = "the journal has reached its largest size before they could be sent"

// bound removes segments that were sent, and the oldest ones where the journal is too large.
func (j *journal) bound() error {
	for {
		j.mu.Lock()
		if len(j.files) == 0 {
			j.mu.Unlock()
			return nil
		}
		size := int64(0)
		for _, s := range j.files {
			size += s.size
		}
		oldest, isLast := j.files[0], len(j.files) == 1
		sent := oldest.next <= j.at.next
		if isLast && j.current != nil || !sent && size <= j.max {
			j.mu.Unlock()
			return nil
		}
		if !sent {
			from := max(j.at.next, oldest.first)
			doubt := max(min(oldest.next, j.taken), from) - from
			j.doubt += doubt
			if n := oldest.next - from - doubt; n > 0 {
				j.lose(n, tooLarge)
			}
			j.at.next = max(j.at.next, oldest.next)
			for len(j.memory) > 0 && j.memory[0].seq < j.at.next {
				j.forget()
			}
		}
		j.mu.Unlock()
		// The count is on disk before the file is not.
		if err := j.save(); err != nil {
			return err
		}
		if err := j.disk.Remove(oldest.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove from the journal of findings: %w", err)
		}
		j.mu.Lock()
		j.files = j.files[1:]
		j.mu.Unlock()
	}
}

// Close writes what it can, and gives the folder back.
func (j *journal) Close() error {
	err := j.Flush()
	j.flushing.Lock()
	defer j.flushing.Unlock()
	for _, f := range []diskFile{j.current, j.cursorFile} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	j.current, j.cursorFile = nil, nil
	j.unlock()
	return err
}
