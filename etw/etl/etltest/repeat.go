package etltest

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Repeat writes an uncompressed capture with its buffers repeated n times, each
// time later by the given number of ticks, so that a large file of any size has
// the mixture of records that the small one has.
func Repeat(out io.Writer, data []byte, n int, ticks uint64) error {
	le := binary.LittleEndian
	head := int(le.Uint32(data))
	if _, err := out.Write(data[:head]); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	body := append([]byte(nil), data[head:]...)
	var count uint64
	for at := 0; at < len(body); at += int(le.Uint32(body[at:])) {
		count = max(count, le.Uint64(body[at+0x18:]))
	}
	for range n {
		if _, err := out.Write(body); err != nil {
			return fmt.Errorf("write buffers: %w", err)
		}
		for at := 0; at < len(body); at += int(le.Uint32(body[at:])) {
			shift(body[at:at+int(le.Uint32(body[at:]))], count, ticks)
		}
	}
	return nil
}

// shift moves a buffer in time and in its processor's sequence.
func shift(b []byte, sequence, ticks uint64) {
	le := binary.LittleEndian
	add := func(at int, n uint64) { le.PutUint64(b[at:], le.Uint64(b[at:])+n) }
	add(0x10, ticks)
	add(0x18, sequence)
	for at := 72; at+8 <= int(le.Uint32(b[0x30:])); {
		size := int(le.Uint16(b[at+4:]))
		switch b[at+2] {
		case 16, 17:
			add(at+8, ticks)
			if b[at+7] == 0x0f && b[at+6] != 46 {
				add(at+16, ticks) // InitialTime
			}
		case 10, 11, 18, 19, 20, 21:
			size = int(le.Uint16(b[at:]))
			add(at+16, ticks)
		default:
			add(at+16, ticks)
		}
		at += (size + 7) &^ 7
	}
}
