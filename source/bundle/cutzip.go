package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// localMagic begins a member of a zip, localBytes is how long its header is without the name and what follows it.
const (
	localMagic = "PK\x03\x04"
	localBytes = 30
	// sizeLater is the flag of a member whose size is behind its content.
	sizeLater = 8
	// What a header has at most: the version that it needs (APPNOTE.TXT 4.4.3 knows up to 6.3), the number of its method
	// (4.4.5), and the length of its name, which is a path.
	newestZip     = 63
	highestMethod = 99
	longestName   = 4096
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
		sized := flags&sizeLater == 0 && packed != zip64Size
		length, extra := binary.LittleEndian.Uint16(h[26:]), int(binary.LittleEndian.Uint16(h[28:]))
		if h[4] > newestZip || method > highestMethod || length > longestName {
			_, _ = b.Discard(len(localMagic)) // not the header of a member
			continue
		}
		name := make([]byte, length)
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
		member := Member{Name: tidy(string(name)), Modified: modified}
		content, why := cutContent(b, flags, method, int64(packed), sized)
		if content == nil {
			w.report.Members++
			w.report.damage("%s %s", join(under, member.Name), why)
			if err := w.count(); err != nil {
				return found, err
			}
			if sized {
				_, _ = io.CopyN(io.Discard, b, int64(packed))
			}
			continue
		}
		read, err := w.cutMember(member, under, content, depth)
		if err := content.Close(); err != nil {
			return found, err
		}
		found = found || read
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// cutContent returns the content of a member from its beginning, to be read to its end; nil where its end is not known,
// or it cannot be read, and why.
func cutContent(b *bufio.Reader, flags, method uint16, packed int64, sized bool) (content io.ReadCloser, why string) {
	k, known := zipMethods[method]
	switch {
	case flags&encrypted != 0:
		return nil, "is encrypted: unpack the archive with its password"
	case method == zip.Deflate:
		return &zipContent{flate.NewReader(b), func() {}}, "" // it ends by itself
	case method != zip.Store && !known:
		return nil, fmt.Sprintf("was not read: its compression (method %d) is not known", method)
	case !sized:
		return nil, "was not read: its size is in the directory of the zip, which is missing"
	}
	only := io.LimitReader(b, packed)
	if method == zip.Store {
		return &zipContent{only, func() {}}, ""
	}
	unpacked := inZip(k, only)
	return &zipContent{unpacked, func() {
		_ = unpacked.Close()
		_, _ = io.Copy(io.Discard, only) // the next member is behind it
	}}, ""
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
