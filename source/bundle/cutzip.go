package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// localMagic begins a member of a zip, localBytes is how long its header is without the name and what follows it.
const (
	localMagic = "PK\x03\x04"
	localBytes = 30
	// sizeLater is the flag of a member whose size is behind its content.
	sizeLater = 8
	// zip64Size is the size of a member whose real one is in an extra field.
	zip64Size = 1<<32 - 1
)

// cutZip reads the members of a zip without its directory, which is at the end: those before the place where it was cut
// off. It reports whether there were any.
func (w *walker) cutZip(under string, r io.ReaderAt, size int64, depth int) (found bool, err error) {
	b := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)
	for nextMagic(b) {
		h, err := b.Peek(localBytes)
		if err != nil {
			return found, nil
		}
		flags, method := binary.LittleEndian.Uint16(h[6:]), binary.LittleEndian.Uint16(h[8:])
		modified := dosTime(binary.LittleEndian.Uint16(h[12:]), binary.LittleEndian.Uint16(h[10:]))
		packed := binary.LittleEndian.Uint32(h[18:])
		name := make([]byte, binary.LittleEndian.Uint16(h[26:]))
		extra := int(binary.LittleEndian.Uint16(h[28:]))
		var content io.Reader
		switch {
		case flags&encrypted != 0:
		case method == zip.Deflate:
			content = flate.NewReader(b) // it ends by itself
		case method == zip.Store && flags&sizeLater == 0 && packed != zip64Size:
			content = io.LimitReader(b, int64(packed))
		}
		if content == nil {
			_, _ = b.Discard(len(localMagic))
			continue
		}
		_, _ = b.Discard(localBytes)
		if _, err := io.ReadFull(b, name); err != nil {
			return found, nil
		}
		if _, err := b.Discard(extra); err != nil {
			return found, nil
		}
		if len(name) == 0 || name[len(name)-1] == '/' || name[len(name)-1] == '\\' {
			continue
		}
		read, err := w.cutMember(Member{Name: tidy(string(name)), Modified: modified}, under, content, depth)
		found = found || read
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// cutMember reads one member to its end, where the next one begins, and reports whether it has content.
func (w *walker) cutMember(m Member, under string, content io.Reader, depth int) (bool, error) {
	c := &counted{r: content, w: w}
	b := bufio.NewReaderSize(c, plainBytes)
	head, err := b.Peek(HeadBytes)
	if len(head) == 0 && err != nil {
		var limit *limitError
		if errors.As(err, &limit) {
			return false, err
		}
		return false, w.ctx.Err()
	}
	if err := w.member(m, under, b, kindOf(head), depth); err != nil {
		return true, err
	}
	_, _ = io.Copy(io.Discard, b)
	return true, w.local(join(under, m.Name), c.failed)
}

// nextMagic goes to where a member may begin.
func nextMagic(b *bufio.Reader) bool {
	for {
		head, err := b.Peek(max(b.Buffered(), len(localMagic)))
		if i := bytes.Index(head, []byte(localMagic)); i >= 0 {
			_, _ = b.Discard(i)
			return true
		}
		if err != nil {
			return false
		}
		_, _ = b.Discard(len(head) - len(localMagic) + 1)
	}
}

// dosTime is a time as zips and cabinets have it: local time of a zone that is not said, in steps of two seconds.
func dosTime(date, clock uint16) time.Time {
	return time.Date(int(date>>9)+1980, time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63),
		int(clock&31)*2, 0, time.UTC)
}
