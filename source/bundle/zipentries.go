package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Sizes of the parts of a zip's directory, without names and comments, see APPNOTE.TXT 4.3, and where package zip looks
// for its end.
const (
	zipEntry     = 46
	zipEnd       = 22
	zipEnd64     = 56
	zipLocator64 = 20
	zipTail      = 65 << 10
)

// zipEntries counts the entries of a zip's directory, most+1 for more than most: package zip keeps all of them at once,
// however many there are by the end of the directory. It is 0 for a directory that is not found, which package zip
// refuses.
func zipEntries(r io.ReaderAt, size int64, most int) (n int) {
	tail := make([]byte, min(size, zipTail))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	end := bytes.LastIndex(tail[:max(0, len(tail)-zipEnd+4)], []byte("PK\x05\x06"))
	if end < 0 {
		return 0
	}
	// The offset of a directory is from the start of the file, or of what is before the archive in it.
	count := func(at, length, offset int64) {
		n = max(n, entriesAt(r, size, offset, most), entriesAt(r, size, at-length, most))
	}
	at := size - int64(len(tail)) + int64(end)
	count(at, int64(binary.LittleEndian.Uint32(tail[end+12:])), int64(binary.LittleEndian.Uint32(tail[end+16:])))
	var locator [zipLocator64]byte
	if _, err := r.ReadAt(locator[:], at-zipLocator64); err != nil || !bytes.HasPrefix(locator[:], []byte("PK\x06\x07")) {
		return n
	}
	var end64 [zipEnd64]byte
	at = int64(binary.LittleEndian.Uint64(locator[8:]))
	if _, err := r.ReadAt(end64[:], at); err != nil || !bytes.HasPrefix(end64[:], []byte("PK\x06\x06")) {
		return n
	}
	// Room is made for as many as there are said to be.
	n = max(n, int(min(binary.LittleEndian.Uint64(end64[32:]), uint64(most)+1)))
	count(at, int64(binary.LittleEndian.Uint64(end64[40:])), int64(binary.LittleEndian.Uint64(end64[48:])))
	return n
}

// entriesAt counts the entries of a directory that begins at a place.
func entriesAt(r io.ReaderAt, size, at int64, most int) (n int) {
	if at < 0 || at >= size {
		return 0
	}
	b := bufio.NewReaderSize(io.NewSectionReader(r, at, size-at), 64<<10)
	for n <= most {
		head, err := b.Peek(zipEntry)
		if err != nil || !bytes.HasPrefix(head, []byte("PK\x01\x02")) {
			return n
		}
		n++
		names := 0
		for _, field := range []int{28, 30, 32} { // name, extra, comment
			names += int(binary.LittleEndian.Uint16(head[field:]))
		}
		if _, err := b.Discard(zipEntry + names); err != nil {
			return n
		}
	}
	return n
}
