package ebpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryRing is a ringbuf in ordinary memory. As the kernel maps it, it appears
// twice in a row.
type memoryRing struct {
	ring
	data    []byte
	mapped  int   // bytes that are mapped now
	largest int   // the most that were
	refuse  error // what a mapping fails with
}

func newMemoryRing(size uint64) *memoryRing {
	m := &memoryRing{data: make([]byte, 2*size)}
	m.ring = ring{consumer: new(atomic.Uint64), producer: new(atomic.Uint64), size: size,
		mapping: m.mapPart, unmap: m.unmapPart}
	return m
}

func (m *memoryRing) mapPart(offset, length uint64) ([]byte, error) {
	if offset%uint64(os.Getpagesize()) != 0 || offset+length > 2*m.size || m.refuse != nil {
		return nil, cmp.Or(m.refuse, error(unix.EINVAL))
	}
	m.mapped += int(length)
	m.largest = max(m.largest, m.mapped)
	return m.data[offset : offset+length], nil
}

func (m *memoryRing) unmapPart(window []byte) error {
	m.mapped -= len(window)
	return nil
}

// put writes a record with flags in its header, as the kernel does.
func (m *memoryRing) put(content string, flags uint32) {
	position := m.producer.Load()
	record := binary.LittleEndian.AppendUint32(nil, uint32(len(content))|flags)
	record = append(append(record, 0, 0, 0, 0), content...)
	for i, c := range record {
		m.set(position+uint64(i), c)
	}
	m.producer.Store(position + (uint64(len(record))+7)&^7)
}

// set writes a byte at a position.
func (m *memoryRing) set(position uint64, c byte) {
	offset := position & (m.size - 1)
	m.data[offset], m.data[offset+m.size] = c, c
}

func (m *memoryRing) drain(t *testing.T) []string {
	t.Helper()
	var got []string
	if _, err := m.read(m.end(), func(raw []byte) { got = append(got, string(raw)) }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRing(t *testing.T) {
	m := newMemoryRing(8192)
	if got := m.drain(t); got != nil {
		t.Errorf("an empty ringbuf holds %q", got)
	}
	m.put("one", 0)
	m.put("", 0)
	m.put("discarded", ringDiscard)
	m.put("two", 0)
	if got, want := m.drain(t), []string{"one", "", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if m.consumer.Load() != m.producer.Load() {
		t.Errorf("space up to %d is given back, of %d", m.consumer.Load(), m.producer.Load())
	}
}

// Records of every length are whole wherever they lie: across two windows, over
// the end of the ring, as long as the ring. Little more than a window is mapped.
func TestRingWindows(t *testing.T) {
	for _, size := range []uint64{4096, 8192, 4 * ringWindowBytes} {
		m := newMemoryRing(size)
		random := rand.New(rand.NewPCG(1, size))
		for written := uint64(0); written < 6*size; {
			length := random.Uint64N(min(size, 100_000) - ringHeaderSize)
			if random.IntN(100) == 0 {
				length = size - ringHeaderSize
			}
			content := strings.Repeat(string(rune('a'+written%26)), int(length))
			m.put(content, 0)
			written += length + ringHeaderSize
			if got := m.drain(t); len(got) != 1 || got[0] != content {
				t.Fatalf("ring of %d, record of %d bytes at %d: not what was written", size, length, written)
			}
		}
		if most := int(size) + 2*os.Getpagesize(); m.largest > most {
			t.Errorf("ring of %d: %d bytes mapped at a time, want at most %d", size, m.largest, most)
		}
	}
	m := newMemoryRing(4 * ringWindowBytes)
	for range 100_000 {
		m.put("a record of usual length, as probes write them", 0)
		m.drain(t)
	}
	if m.largest != ringWindowBytes {
		t.Errorf("%d bytes mapped at a time, want %d", m.largest, ringWindowBytes)
	}
}

// What could not be mapped is neither lost nor read twice.
func TestRingMappingFails(t *testing.T) {
	m := newMemoryRing(4 * ringWindowBytes)
	for range 3 {
		m.put(strings.Repeat("x", ringWindowBytes/2), 0)
	}
	read := 0
	handle := func([]byte) {
		read++
		m.refuse = unix.ENOMEM
	}
	if n, err := m.read(m.end(), handle); !errors.Is(err, unix.ENOMEM) || n != 1 || read != 1 {
		t.Errorf("%d records, %d of them handled, error %v, want one and %v", n, read, err, unix.ENOMEM)
	}
	m.refuse = nil
	if got := m.drain(t); len(got) != 2 {
		t.Errorf("then %d records, want the other 2", len(got))
	}
}

// A record that is still being written holds up those behind it, and is read
// when it is complete.
func TestRingBusy(t *testing.T) {
	m := newMemoryRing(4096)
	m.put("first", 0)
	busy := m.producer.Load()
	m.put("busy", ringBusy)
	m.put("behind", 0)
	if got, want := m.drain(t), []string{"first"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for i, c := range binary.LittleEndian.AppendUint32(nil, 4) {
		m.set(busy+uint64(i), c)
	}
	if got, want := m.drain(t), []string{"busy", "behind"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is written after the end was sampled is left for the next time: its
// time stamps may be later than the cut.
func TestRingEnd(t *testing.T) {
	m := newMemoryRing(4096)
	m.put("before", 0)
	end := m.end()
	m.put("after", 0)
	var got []string
	if n, err := m.read(end, func(raw []byte) { got = append(got, string(raw)) }); n != 1 || got[0] != "before" {
		t.Errorf("%d records %q, error %v, want the first only", n, got, err)
	}
	if got := m.drain(t); len(got) != 1 || got[0] != "after" {
		t.Errorf("then %q, want the second", got)
	}
}
