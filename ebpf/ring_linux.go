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
)

// ring reads a BPF ringbuf through its memory mapping: no system call and no
// copy per record. It has one consumer.
type ring struct {
	consumerPage, producerPages []byte
	consumer, producer          *atomic.Uint64
	data                        []byte
	mask                        uint64
	// wrapped holds a copy of a record that goes over the end of data. The
	// kernel could map the ring twice in a row so that none does, but then each
	// of its pages counts twice as memory of this process.
	wrapped []byte
}

// newRing maps a BPF_MAP_TYPE_RINGBUF.
func newRing(m *cebpf.Map) (*ring, error) {
	size := int(m.MaxEntries())
	page := os.Getpagesize()
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ringbuf's consumer page: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the ringbuf's data: %w", err), unix.Munmap(consumer))
	}
	return &ring{
		consumerPage:  consumer,
		producerPages: producer,
		consumer:      (*atomic.Uint64)(unsafe.Pointer(&consumer[0])),
		producer:      (*atomic.Uint64)(unsafe.Pointer(&producer[0])),
		data:          producer[page:],
		mask:          uint64(size) - 1,
	}, nil
}

// end returns the position up to which records have been reserved.
func (r *ring) end() uint64 { return r.producer.Load() }

// read passes the records before position end to handle, stopping early at one
// that is not complete yet. The slice is valid only during the call. It
// returns the number of records.
func (r *ring) read(end uint64, handle func(raw []byte)) int {
	n := 0
	position := r.consumer.Load()
	released := position
	for position < end {
		offset := position & r.mask
		header := (*atomic.Uint32)(unsafe.Pointer(&r.data[offset])).Load()
		if header&ringBusy != 0 {
			break
		}
		length := uint64(header &^ (ringBusy | ringDiscard))
		if header&ringDiscard == 0 {
			handle(r.record((offset+ringHeaderSize)&r.mask, length))
			n++
		}
		position += (length + ringHeaderSize + 7) &^ 7
		if position-released >= ringReleaseBytes {
			r.consumer.Store(position)
			released = position
		}
	}
	r.consumer.Store(position)
	return n
}

// record returns the bytes of a record's data, which begin at the given place
// of the ring.
func (r *ring) record(start, length uint64) []byte {
	end := start + length
	if size := uint64(len(r.data)); end > size {
		r.wrapped = append(append(r.wrapped[:0], r.data[start:]...), r.data[:end-size]...)
		return r.wrapped
	}
	return r.data[start:end:end]
}

func (r *ring) close() error {
	return errors.Join(unix.Munmap(r.consumerPage), unix.Munmap(r.producerPages))
}
