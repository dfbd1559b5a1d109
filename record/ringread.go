package record

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"lostbeat/record/recordpb"
)

// ringContent is what can be read of a ring.
type ringContent struct {
	// header is that of the ring; known is false where it cannot be read, and the session then that of most slots.
	header *recordpb.Header
	known  bool
	// slots are those that belong to the newest one, oldest first, begun with a keyframe where there is one. Their numbers
	// rise by one where nothing is missing.
	slots []slot
	// often says that the newest block was synced soon after it was written.
	often bool
}

// gaps returns how many blocks are missing between the others.
func (c *ringContent) gaps() (blocks uint64) {
	for i := 1; i < len(c.slots); i++ {
		blocks += c.slots[i].seq - c.slots[i-1].seq - 1
	}
	return blocks
}

// blocks returns where the blocks are.
func (c *ringContent) blocks() []block {
	blocks := make([]block, len(c.slots))
	for i, s := range c.slots {
		blocks[i].frame = frame{offset: s.offset + slotHeader, size: s.length}
	}
	return blocks
}

// isRing reports whether a file begins as a ring does.
func isRing(head []byte) bool { return bytes.HasPrefix(head, ringMagic[:]) }

// beginsRing reports whether r is a ring. What cannot be read is none: the error comes again when more is read.
func beginsRing(r io.ReaderAt, size int64) bool {
	head := make([]byte, min(size, int64(len(ringMagic))))
	n, _ := r.ReadAt(head, 0)
	return isRing(head[:n])
}

// readRing finds the blocks in a ring file. What is damaged is left out.
func readRing(r io.ReaderAt, size int64) (*ringContent, error) {
	if size > MostRing {
		return nil, fmt.Errorf("%w: a ring of %d bytes; at most %d are read", ErrNotRecording, size, MostRing)
	}
	c := &ringContent{header: new(recordpb.Header)}
	known, err := readRingHeader(r, size, c.header)
	if err != nil {
		return nil, err
	}
	c.known = known
	found, err := findSlots(r, size)
	if err != nil {
		return nil, err
	}
	session := c.header.Session
	if !c.known {
		session = commonSession(found)
		c.header = &recordpb.Header{FormatMajor: FormatMajor, FormatMinor: FormatMinor, Session: session}
	}
	c.choose(found, session)
	return c, nil
}

// readRingHeader reads the first page; ok is false where it is damaged. Only a failed read and a newer format are
// errors.
func readRingHeader(r io.ReaderAt, size int64, h *recordpb.Header) (ok bool, err error) {
	page := make([]byte, min(ringPage, size))
	if n, err := r.ReadAt(page, 0); n < len(page) {
		return false, fmt.Errorf("read the ring's header: %w", err)
	}
	if len(page) < ringPage || !isRing(page) ||
		crc32.Checksum(page[12:], castagnoli) != binary.LittleEndian.Uint32(page[8:]) {
		return false, nil
	}
	if v := binary.LittleEndian.Uint32(page[12:]); v != ringVersion {
		return false, fmt.Errorf("%w: a ring of version %d, this version reads %d", ErrNewerFormat, v, ringVersion)
	}
	n := binary.LittleEndian.Uint32(page[24:])
	if n > ringPage-ringHead || proto.Unmarshal(page[ringHead:ringHead+n], h) != nil || len(h.Session) != sessionSize {
		return false, nil
	}
	if h.FormatMajor != FormatMajor {
		return false, fmt.Errorf("%w: %d.%d, this version reads %d",
			ErrNewerFormat, h.FormatMajor, h.FormatMinor, FormatMajor)
	}
	return true, nil
}

// foundSlot is a slot whose block is whole.
type foundSlot struct {
	slotHead
	offset int64
}

// findSlots looks for whole slots at each page.
func findSlots(r io.ReaderAt, size int64) ([]foundSlot, error) {
	var found []foundSlot
	w := &window{r: r, size: size}
	var block []byte
	// Torn slots overlap others, and a hostile file could make each page one.
	budget := 4 * size
	for at := int64(ringPage); at+slotHeader <= size; {
		head, err := w.at(at, slotHeader)
		if err != nil {
			return nil, fmt.Errorf("read the ring at %d: %w", at, err)
		}
		x, ok := parseSlot(head)
		length := int64(x.length)
		if !ok || at+slotHeader+length > size || pages(x.length) > (size-ringPage)/slotShare {
			at += ringPage
			continue
		}
		if budget -= length; budget < 0 {
			return nil, fmt.Errorf("%w: the slots of the ring overlap", ErrNotRecording)
		}
		block = slices.Grow(block[:0], int(length))[:length]
		if n, err := r.ReadAt(block, at+slotHeader); n < len(block) {
			return nil, fmt.Errorf("read the ring at %d: %w", at, err)
		}
		if crc32.Checksum(block, castagnoli) != x.sum {
			at += ringPage
			continue
		}
		x.session = bytes.Clone(x.session)
		found = append(found, foundSlot{x, at})
		at += pages(x.length)
	}
	return found, nil
}

// commonSession returns the session of most slots.
func commonSession(found []foundSlot) []byte {
	counts := map[string]int{}
	most := ""
	for _, f := range found {
		s := string(f.session)
		if counts[s]++; counts[s] > counts[most] {
			most = s
		}
	}
	return []byte(most)
}

// choose takes the slots that belong together: those that the newest one of the session says are still in the ring.
func (c *ringContent) choose(found []foundSlot, session []byte) {
	found = slices.DeleteFunc(found, func(f foundSlot) bool { return !bytes.Equal(f.session, session) })
	slices.SortFunc(found, func(a, b foundSlot) int { return cmp.Compare(a.seq, b.seq) })
	found = slices.CompactFunc(found, func(a, b foundSlot) bool { return a.seq == b.seq })
	if len(found) == 0 {
		return
	}
	newest := found[len(found)-1]
	c.often = newest.flags&slotOften != 0
	first := slices.IndexFunc(found, func(f foundSlot) bool { return f.seq >= newest.oldest && f.flags&slotKeyframe != 0 })
	if first < 0 { // none can be read without those before it
		first = slices.IndexFunc(found, func(f foundSlot) bool { return f.seq >= newest.oldest })
	}
	for _, f := range found[max(first, 0):] {
		c.slots = append(c.slots, slot{f.seq, f.offset, f.length, f.flags&slotKeyframe != 0})
	}
}

// ringLooks is how often a ring is read in which blocks are missing: one may have been written behind the place that
// was being read, and the next one before it.
const ringLooks = 3

// newRingInput opens a ring as a recording. It is read into memory, since it may be written over meanwhile.
func newRingInput(path string, r io.ReaderAt, size int64, u *unpacker) (*input, error) {
	in := &input{path: path, size: size, unpacker: u, close: func() error { return nil }}
	var c *ringContent
	for range ringLooks {
		held, err := inMemory(r, size)
		if err != nil {
			return nil, err
		}
		if c, err = readRing(held, size); err != nil {
			return nil, err
		}
		if in.r = held; c.gaps() == 0 {
			break
		}
	}
	if !c.known && len(c.slots) == 0 {
		return nil, ErrNotRecording
	}
	if len(c.slots) == 0 {
		return nil, ErrEmpty
	}
	in.header = c.header
	in.note("the ring of a flight recorder: it holds the last minutes, and is being written or was left behind")
	if !c.known {
		in.wrong("the header of the ring is damaged: which host it is of is in its blocks alone")
	}
	if n := c.gaps(); n > 0 {
		in.note("%d blocks between the others are missing", n)
	}
	in.blocks = c.blocks()
	return in, nil
}

// inMemory returns a copy of what r holds.
func inMemory(r io.ReaderAt, size int64) (io.ReaderAt, error) {
	if _, ok := r.(*bytes.Reader); ok {
		return r, nil
	}
	if size > MostRing {
		return nil, fmt.Errorf("%w: a ring of %d bytes; at most %d are read", ErrNotRecording, size, MostRing)
	}
	held := make([]byte, size)
	if n, err := r.ReadAt(held, 0); n < len(held) {
		return nil, fmt.Errorf("read the ring: %w", err)
	}
	return bytes.NewReader(held), nil
}
