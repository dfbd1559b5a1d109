package ebpf

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
)

// memoryRing is a ringbuf in ordinary memory.
type memoryRing struct {
	ring
}

func newMemoryRing(size uint64) *memoryRing {
	return &memoryRing{
		ring{consumer: new(atomic.Uint64), producer: new(atomic.Uint64), data: make([]byte, size), mask: size - 1},
	}
}

// put writes a record with flags in its header, as the kernel does.
func (m *memoryRing) put(content string, flags uint32) {
	position := m.producer.Load()
	record := binary.LittleEndian.AppendUint32(nil, uint32(len(content))|flags)
	record = append(append(record, 0, 0, 0, 0), content...)
	for i, c := range record {
		m.data[(position+uint64(i))&m.mask] = c
	}
	m.producer.Store(position + (uint64(len(record))+7)&^7)
}

func (m *memoryRing) drain() []string {
	var got []string
	m.read(m.end(), func(raw []byte) { got = append(got, string(raw)) })
	return got
}

func TestRing(t *testing.T) {
	m := newMemoryRing(64)
	if got := m.drain(); got != nil {
		t.Errorf("an empty ringbuf holds %q", got)
	}
	m.put("one", 0)
	m.put("", 0)
	m.put("discarded", ringDiscard)
	m.put("two", 0)
	if got, want := m.drain(), []string{"one", "", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, content := range []string{"0123456789012345678901234567890", "wraps around the end of the ring"} {
		m.put(content, 0)
		if got, want := m.drain(), []string{content}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if m.consumer.Load() != m.producer.Load() {
		t.Errorf("space up to %d is given back, of %d", m.consumer.Load(), m.producer.Load())
	}
}

// A record that is still being written holds up those behind it, and is read
// when it is complete.
func TestRingBusy(t *testing.T) {
	m := newMemoryRing(64)
	m.put("first", 0)
	busy := m.producer.Load()
	m.put("busy", ringBusy)
	m.put("behind", 0)
	if got, want := m.drain(), []string{"first"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	binary.LittleEndian.PutUint32(m.data[busy&m.mask:], 4)
	if got, want := m.drain(), []string{"busy", "behind"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is written after the end was sampled is left for the next time: its
// time stamps may be later than the cut.
func TestRingEnd(t *testing.T) {
	m := newMemoryRing(64)
	m.put("before", 0)
	end := m.end()
	m.put("after", 0)
	var got []string
	if n := m.read(end, func(raw []byte) { got = append(got, string(raw)) }); n != 1 || got[0] != "before" {
		t.Errorf("%d records %q, want the first only", n, got)
	}
	if got := m.drain(); len(got) != 1 || got[0] != "after" {
		t.Errorf("then %q, want the second", got)
	}
}
