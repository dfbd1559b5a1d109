package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"lostbeat/record/recordpb"
)

// Sizes of ring files. docs/FORMAT.md specifies them.
const (
	// RingExtension is the ending of the names of ring files.
	RingExtension = ".ring"
	// LeastRing and MostRing bound the size of a ring file.
	LeastRing = 1 << 20
	MostRing  = 256 << 20

	// ringPage is what slots are aligned to: what has been synced shares no page with what comes after it.
	ringPage = 4096
	// slotHeader is the length of what stands in front of a block in its slot.
	slotHeader = 64
	// ringVersion is the version of the layout.
	ringVersion = 1

	// slotShare is the part of a ring that one slot takes at most, ringKeyframes the part after which another keyframe is
	// due, ringUnsynced the part that may wait to be synced.
	slotShare     = 4
	ringKeyframes = 8
	ringUnsynced  = 2
)

// Flags of a slot.
const (
	// slotKeyframe says that the block can be read without those before it.
	slotKeyframe = 1 << iota
	// slotOften says that the ring was synced with each block when this one was written, because something was wrong.
	slotOften
)

var (
	ringMagic = [8]byte{0x89, 'L', 'B', 'R', 'I', 'N', 'G', '\n'}
	slotMagic = [8]byte{0x89, 'L', 'B', 'S', 'L', 'O', 'T', '\n'}

	// errRingUnsynced says that a block has to wait: with it in the ring, nothing that is synced would be readable.
	errRingUnsynced = errors.New("what is in the ring has to be synced first")
	// errRingSlot is a block that no ring of this size can take.
	errRingSlot = errors.New("the block is too large for the ring")
)

// RingPath returns the path of the ring file of a flight recorder whose windows are named after path.
func RingPath(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + RingExtension
}

// ringStorage is what a ring is kept in: a file, or a test's.
type ringStorage interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns once everything that was written survives a loss of power.
	Sync() error
	// Removed says that the file has no name any more, or that its name is another file's.
	Removed() bool
}

// slot is where a block stands in a ring.
type slot struct {
	seq      uint64
	offset   int64
	length   int // of the block alone
	keyframe bool
}

// end is where the pages of a slot end.
func (s *slot) end() int64 { return s.offset + pages(s.length) }

// pages is the length of the slot of a block of n bytes.
func pages(n int) int64 { return (int64(n) + slotHeader + ringPage - 1) / ringPage * ringPage }

// ring is a ring file being written. It is not safe for concurrent use.
type ring struct {
	storage ringStorage
	size    int64
	session []byte
	// at is where the next slot begins, held are those in the ring, oldest first.
	at   int64
	held []slot
	// synced and written: all blocks with lower numbers have been.
	synced, written uint64
	// unsynced is what was written since the last sync, in bytes.
	unsynced int64
	buf      []byte
}

// startRing writes the header of a ring to a storage that is size zeros long, and syncs it.
func startRing(s ringStorage, size int64, h *recordpb.Header) (*ring, error) {
	body, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	page := make([]byte, ringPage)
	copy(page, ringMagic[:])
	if n := copy(page[ringHead:], body); n < len(body) {
		return nil, fmt.Errorf("header of %d bytes", len(body))
	}
	binary.LittleEndian.PutUint32(page[12:], ringVersion)
	binary.LittleEndian.PutUint64(page[16:], uint64(size))
	binary.LittleEndian.PutUint32(page[24:], uint32(len(body)))
	binary.LittleEndian.PutUint32(page[8:], crc32.Checksum(page[12:], castagnoli))
	if err := writeAll(s, page, 0); err != nil {
		return nil, err
	}
	if err := s.Sync(); err != nil {
		return nil, err
	}
	return &ring{storage: s, size: size, session: h.Session, at: ringPage}, nil
}

// ringHead is where the header begins in the first page.
const ringHead = 28

// place makes room for a block and returns its slot and what belongs there; took notes that it has been written.
// It returns errRingUnsynced, and has done nothing, when the ring has to be synced before. Otherwise the ring no longer
// has the blocks that are about to be overwritten.
func (r *ring) place(b *keptBlock, often bool) (data []byte, to slot, err error) {
	need := pages(len(b.frame))
	if need > (r.size-ringPage)/slotShare {
		return nil, to, errRingSlot
	}
	at := r.at
	if at+need > r.size {
		at = ringPage
	}
	// What is overwritten goes, and what is older than that.
	drop := 0
	for i := range r.held {
		if s := &r.held[i]; s.offset < at+need && at < s.end() {
			drop = i + 1
		}
	}
	left := r.held[drop:]
	if r.unsynced > 0 && (r.unsynced+need > (r.size-ringPage)/ringUnsynced || !r.opens(left)) {
		return nil, to, errRingUnsynced
	}
	oldest := b.summary.Seq
	if len(left) > 0 {
		oldest = left[0].seq
	}
	r.held = append(r.held[:0], left...)
	flags := uint32(0)
	if b.summary.Keyframe {
		flags |= slotKeyframe
	}
	if often {
		flags |= slotOften
	}
	data = append(r.buf[:0], slotMagic[:]...)
	data = append(data, r.session...)
	data = binary.LittleEndian.AppendUint64(data, b.summary.Seq)
	data = binary.LittleEndian.AppendUint64(data, oldest)
	data = binary.LittleEndian.AppendUint64(data, r.synced)
	data = binary.LittleEndian.AppendUint32(data, uint32(len(b.frame)))
	data = binary.LittleEndian.AppendUint32(data, flags)
	data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(b.frame, castagnoli))
	data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	data = append(data, b.frame...)
	data = append(data, make([]byte, int(need)-len(data))...)
	if r.buf = data; cap(data) > spareSlot && cap(data) > 4*len(data) {
		r.buf = nil
	}
	return data, slot{b.summary.Seq, at, len(b.frame), b.summary.Keyframe}, nil
}

// spareSlot is how large a buffer may be that stays for blocks that need a quarter of it or less.
const spareSlot = 256 << 10

// took notes that a slot has been written.
func (r *ring) took(s slot) {
	r.held = append(r.held, s)
	r.at = s.end()
	r.written = s.seq + 1
	r.unsynced += s.end() - s.offset
}

// opens says that one of slots is synced and can be read without those before it. Before the first sync there is none.
func (r *ring) opens(slots []slot) bool {
	if r.synced == 0 {
		return true
	}
	for i := range slots {
		if s := &slots[i]; s.keyframe && s.seq < r.synced {
			return true
		}
	}
	return false
}

// wasSynced notes that everything up to the block before written, unsynced bytes of it, has been synced.
func (r *ring) wasSynced(written uint64, unsynced int64) {
	r.synced = written
	r.unsynced -= unsynced
}

// oldest returns the number of the oldest block in the ring.
func (r *ring) oldest() uint64 {
	if len(r.held) == 0 {
		return r.written
	}
	return r.held[0].seq
}

// find returns the slot of a block.
func (r *ring) find(seq uint64) (slot, bool) {
	for i := len(r.held) - 1; i >= 0; i-- {
		if r.held[i].seq == seq {
			return r.held[i], true
		}
	}
	return slot{}, false
}

// readSlot returns the block in a slot of a session, checked.
func readSlot(r io.ReaderAt, session []byte, at slot) ([]byte, error) {
	buf := make([]byte, slotHeader+at.length)
	if n, err := r.ReadAt(buf, at.offset); n < len(buf) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", len(buf), at.offset, err)
	}
	x, ok := parseSlot(buf)
	if !ok || x.seq != at.seq || x.length != at.length || !bytes.Equal(x.session, session) ||
		crc32.Checksum(buf[slotHeader:], castagnoli) != x.sum {
		return nil, fmt.Errorf("block %d at %d: its checksum is wrong", at.seq, at.offset)
	}
	return buf[slotHeader:], nil
}

// slotHead is what stands in front of a block.
type slotHead struct {
	session             []byte
	seq, oldest, synced uint64
	length              int
	flags, sum          uint32
}

// parseSlot reads the header of a slot; ok is false where there is none.
func parseSlot(head []byte) (x slotHead, ok bool) {
	if len(head) < slotHeader || !bytes.Equal(head[:8], slotMagic[:]) ||
		crc32.Checksum(head[:60], castagnoli) != binary.LittleEndian.Uint32(head[60:]) {
		return x, false
	}
	return slotHead{
		session: head[8:24],
		seq:     binary.LittleEndian.Uint64(head[24:]),
		oldest:  binary.LittleEndian.Uint64(head[32:]),
		synced:  binary.LittleEndian.Uint64(head[40:]),
		length:  int(binary.LittleEndian.Uint32(head[48:])),
		flags:   binary.LittleEndian.Uint32(head[52:]),
		sum:     binary.LittleEndian.Uint32(head[56:]),
	}, true
}
