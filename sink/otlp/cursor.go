package otlp

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

const (
	cursorName  = "cursor"
	cursorMagic = "LBCURSOR"
	slotSize    = 512
	// slotUsed is what a slot has before its checksum.
	slotUsed = len(cursorMagic) + 4*8
)

// appendSlot adds a slot of the cursor's file to a buffer.
func appendSlot(b []byte, c cursor, generation uint64) []byte {
	start := len(b)
	b = append(b, cursorMagic...)
	for _, n := range []uint64{generation, c.next, c.delivered, c.lost} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, make([]byte, slotSize-(len(b)-start))...)
}

// parseSlot reads a slot.
func parseSlot(b []byte) (c cursor, generation uint64, ok bool) {
	if len(b) < slotUsed+4 || string(b[:len(cursorMagic)]) != cursorMagic ||
		binary.LittleEndian.Uint32(b[slotUsed:]) != crc32.Checksum(b[:slotUsed], castagnoli) {
		return cursor{}, 0, false
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[len(cursorMagic)+8*i:]) }
	return cursor{next: n(1), delivered: n(2), lost: n(3)}, n(0), true
}

// readCursor reads the file of the cursor. Without one, or with one that is damaged, everything is sent again.
func readCursor(path string) (c cursor, generation uint64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return cursor{}, 0
	}
	for i := 0; i+slotSize <= min(len(text), 2*slotSize); i += slotSize {
		if slot, g, ok := parseSlot(text[i : i+slotSize]); ok && g >= generation {
			c, generation = slot, g
		}
	}
	return c, generation
}

// save writes the cursor, unless it is written.
func (j *journal) save() error {
	j.mu.Lock()
	at := j.at
	at.lost += j.doubt
	j.mu.Unlock()
	if at == j.saved && j.cursorFile != nil {
		return nil
	}
	if j.cursorFile == nil {
		f, err := j.disk.Create(filepath.Join(j.folder, cursorName))
		if err != nil {
			return fmt.Errorf("write the cursor of findings: %w", err)
		}
		j.cursorFile = f
	}
	slot := appendSlot(nil, at, j.generation+1)
	_, err := j.cursorFile.WriteAt(slot, int64((j.generation+1)%2)*slotSize)
	if err == nil {
		err = j.cursorFile.Sync()
	}
	if err != nil {
		return fmt.Errorf("write the cursor of findings: %w", err)
	}
	j.generation++
	j.saved = at
	return nil
}
