package ebpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	cebpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Layout of a record in the ringbuf: a 32-bit length with two flag bits and a
// 32-bit page offset, then the data, all padded to 8 bytes (BPF_RINGBUF_*_BIT
// and struct bpf_ringbuf_hdr of the kernel).
const (
	ringHeaderSize = 8
	ringBusy       = 1 << 31
	ringDiscard    = 1 << 30
	// ringReleaseBytes is how much is read before the space is given back.
	ringReleaseBytes = 64 << 10
	// ringWindowBytes is how much of the ring is mapped at a time.
	ringWindowBytes = 512 << 10
)

// ring reads a BPF ringbuf through its memory mapping: no system call and no
// copy per record. It has one consumer.
//
// The kernel counts what is mapped as memory of this process, so only a window
// of the ring is, and moves on with the records. The ring appears twice in a row
// in the space that can be mapped: a record that goes over its end is in one piece.
type ring struct {
	consumerPage, producerPage []byte
	consumer, producer         *atomic.Uint64
	size                       uint64
	// window holds the bytes of the ring from start on.
	window []byte
	start  uint64
	// mapping and unmap map bytes from an offset of the ring on, and give them back.
	mapping func(offset, length uint64) ([]byte, error)
	unmap   func([]byte) error
}

// newRing maps a BPF_MAP_TYPE_RINGBUF.
func newRing(m *cebpf.Map) (*ring, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ringbuf's consumer page: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the ringbuf's producer page: %w", err), unix.Munmap(consumer))
	}
	return &ring{
		consumerPage: consumer,
		producerPage: producer,
		consumer:     (*atomic.Uint64)(unsafe.Pointer(&consumer[0])),
		producer:     (*atomic.Uint64)(unsafe.Pointer(&producer[0])),
		size:         uint64(m.MaxEntries()),
		mapping: func(offset, length uint64) ([]byte, error) {
			return unix.Mmap(m.FD(), int64(2*page)+int64(offset), int(length), unix.PROT_READ, unix.MAP_SHARED)
		},
		unmap: unix.Munmap,
	}, nil
}

// end returns the position up to which records have been reserved.
func (r *ring) end() uint64 { return r.producer.Load() }

// read passes the records before position end to handle, stopping early at one
// that is not complete yet. The slice is valid only during the call. It
// returns the number of records. After an error, the next call goes on where
// this one has stopped.
func (r *ring) read(end uint64, handle func(raw []byte)) (int, error) {
	n := 0
	position := r.consumer.Load()
	defer func() { r.consumer.Store(position) }()
	released := position
	for position < end {
		offset := position & (r.size - 1)
		head, err := r.bytes(offset, ringHeaderSize)
		if err != nil {
			return n, err
		}
		header := (*atomic.Uint32)(unsafe.Pointer(&head[0])).Load()
		if header&ringBusy != 0 {
			break
		}
		length := uint64(header &^ (ringBusy | ringDiscard))
		if header&ringDiscard == 0 {
			record, err := r.bytes(offset, ringHeaderSize+length)
			if err != nil {
				return n, err
			}
			handle(record[ringHeaderSize:])
			n++
		}
		position += (length + ringHeaderSize + 7) &^ 7
		if position-released >= ringReleaseBytes {
			r.consumer.Store(position)
			released = position
		}
	}
	return n, nil
}

// bytes returns length bytes of the ring from an offset on, which is below its
// size. They are valid until the next call.
func (r *ring) bytes(offset, length uint64) ([]byte, error) {
	if offset < r.start || offset+length > r.start+uint64(len(r.window)) {
		if err := r.move(offset, length); err != nil {
			return nil, err
		}
	}
	from := offset - r.start
	return r.window[from : from+length : from+length], nil
}

// move maps another window: one that begins with the page of the offset.
func (r *ring) move(offset, length uint64) error {
	if err := r.giveBack(); err != nil {
		return err
	}
	page := uint64(os.Getpagesize())
	start := offset &^ (page - 1)
	length = max((offset-start+length+page-1)&^(page-1), min(ringWindowBytes, r.size))
	window, err := r.mapping(start, length)
	if err != nil {
		return fmt.Errorf("map %d bytes of the ringbuf: %w", length, err)
	}
	r.window, r.start = window, start
	return nil
}

func (r *ring) giveBack() error {
	if r.window == nil {
		return nil
	}
	window := r.window
	r.window, r.start = nil, 0
	if err := r.unmap(window); err != nil {
		return fmt.Errorf("unmap a part of the ringbuf: %w", err)
	}
	return nil
}

func (r *ring) close() error {
	return errors.Join(r.giveBack(), unix.Munmap(r.consumerPage), unix.Munmap(r.producerPage))
}
