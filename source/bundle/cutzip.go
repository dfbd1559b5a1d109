package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The signatures of a zip's parts: a member, what may be behind its content, and an entry of the directory.
const (
	localMagic      = "PK\x03\x04"
	descriptorMagic = "PK\x07\x08"
	entryMagic      = "PK\x01\x02"
)

const (
	// localBytes is how long the header of a member is without the name and what follows it, localMost with them.
	localBytes = 30
	localMost  = localBytes + 2*(1<<16-1)
	// sizeLater is the flag of a member whose size is behind its content.
	sizeLater = 8
	// zip64Size is the size of a member whose real one is in an extra field.
	zip64Size = 1<<32 - 1
)

// cutZip is a zip without its directory, which is at the end.
type cutZip struct {
	r    io.ReaderAt
	size int64
	file *io.SectionReader
	b    *bufio.Reader
	// ends are where members end whose size is behind them, by where their content starts; nil when not looked for yet.
	ends map[int64]int64
}

// localHeader is what is before the content of a member.
type localHeader struct {
	name          string
	flags, method uint16
	modified      time.Time
	// packed is the size of the content in the zip, -1 where the header does not say it; bytes is that of the header.
	packed int64
	bytes  int
	// likely says that it is the header of a member: the signature may also be in the content of one.
	likely bool
}

// cutZip reads the members of a zip without its directory: those before the place where it was cut off. It reports
// whether there were any.
func (w *walker) cutZip(under string, r io.ReaderAt, size int64, depth int) (found bool, err error) {
	file := io.NewSectionReader(r, 0, size)
	z := &cutZip{r: r, size: size, file: file, b: bufio.NewReaderSize(file, 2*localMost)}
	for nextMagic(z.b) {
		h, ok := readLocal(z.b)
		if !ok || strings.HasSuffix(h.name, "/") || strings.HasSuffix(h.name, `\`) {
			_, _ = z.b.Discard(len(localMagic))
			continue
		}
		if err := h.unread(); err != nil {
			// What it holds is looked through: the header may be none.
			_, _ = z.b.Discard(len(localMagic))
			if !h.likely {
				continue
			}
			found = true
			if err := w.lost(join(under, tidy(h.name)), err); err != nil {
				return found, err
			}
			continue
		}
		_, _ = z.b.Discard(h.bytes)
		content, err := z.content(&h)
		if err != nil {
			return found, err
		}
		read, err := w.cutMember(&h, under, content, depth)
		found = found || read
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// lost counts a member that cannot be read, and says why.
func (w *walker) lost(name string, err error) error {
	w.report.Members++
	if err := w.local(name, err); err != nil {
		return err
	}
	return w.count()
}

// readLocal reads the header of a member and leaves it in b; ok is false where it is cut off.
func readLocal(b *bufio.Reader) (h localHeader, ok bool) {
	le := binary.LittleEndian
	fixed, err := b.Peek(localBytes)
	if err != nil {
		return h, false
	}
	nameBytes, extraBytes := int(le.Uint16(fixed[26:])), int(le.Uint16(fixed[28:]))
	h.bytes = localBytes + nameBytes + extraBytes
	all, err := b.Peek(h.bytes)
	if err != nil {
		return h, false
	}
	h.flags, h.method = le.Uint16(all[6:]), le.Uint16(all[8:])
	h.modified = dosTime(le.Uint16(all[12:]), le.Uint16(all[10:]))
	h.packed = int64(le.Uint32(all[18:]))
	h.name = string(all[localBytes : localBytes+nameBytes])
	switch {
	case h.flags&sizeLater != 0:
		h.packed = -1
	case h.packed == zip64Size:
		h.packed = packed64(all[localBytes+nameBytes:])
	}
	// APPNOTE.TXT 4.4.3 has versions up to 6.3, and 4.4.5 methods up to 99.
	const newest, mostName, mostMethod = 63, 4 << 10, 99
	control := strings.ContainsFunc(h.name, func(r rune) bool { return r < ' ' })
	h.likely = all[4] <= newest && h.method <= mostMethod && nameBytes > 0 && nameBytes <= mostName && !control
	return h, true
}

// packed64 is the size of a member's content by the extra field for large ones, -1 where there is none.
func packed64(extra []byte) int64 {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			break
		}
		const large, both = 1, 16
		if id == large && n >= both {
			return max(int64(binary.LittleEndian.Uint64(extra[8:])), -1)
		}
		extra = extra[n:]
	}
	return -1
}

// unread says why the content of a member is not read, nil where it is.
func (h *localHeader) unread() error {
	_, known := zipMethods[h.method]
	switch {
	case h.flags&encrypted != 0:
		return errEncrypted
	case h.packed < 0 && h.method == zip.Store && !h.likely:
		return errNoHeader
	case !known && h.method != zip.Deflate && h.method != zip.Store:
		return methodError(h.method)
	}
	return nil
}

// content returns what b has of a member, still packed or not, unpacked.
func (z *cutZip) content(h *localHeader) (io.ReadCloser, error) {
	if h.method == zip.Deflate {
		return flate.NewReader(z.b), nil // it ends by itself
	}
	size := h.packed
	if size < 0 {
		end, err := z.end()
		if err != nil {
			return nil, err
		}
		size = end
	}
	part := &exactly{r: z.b, left: size}
	if h.method == zip.Store {
		return io.NopCloser(part), nil
	}
	return inZip(zipMethods[h.method], part), nil
}

// exactly is a reader of so many bytes; that there are fewer is an error.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); e.left > 0 {
		err = noEOF(err)
	}
	return n, err
}

// end returns how long the content is that begins where b stands, by what is behind it: the sizes, or else the next
// member, or else the place where the zip was cut off.
func (z *cutZip) end() (int64, error) {
	at, err := z.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	at -= int64(z.b.Buffered())
	if z.ends == nil {
		z.ends = descriptors(z.r, z.size)
	}
	if end, ok := z.ends[at]; ok {
		return end - at, nil
	}
	rest := bufio.NewReaderSize(io.NewSectionReader(z.r, at, z.size-at), 64<<10)
	n := int64(0)
	for {
		head, err := rest.Peek(max(rest.Buffered(), len(localMagic)))
		if i := bytes.Index(head, []byte(localMagic)); i >= 0 {
			return n + int64(i), nil
		}
		if err != nil {
			return z.size - at + 1, nil // it is cut off
		}
		k, _ := rest.Discard(len(head) - len(localMagic) + 1)
		n += int64(k)
	}
}

// descriptors finds the sizes that are behind the content of members, in one pass over all of the zip: where members
// end, by where their content starts.
func descriptors(r io.ReaderAt, size int64) map[int64]int64 {
	const (
		most   = 1 << 20
		before = 20 // sizes without a signature, see APPNOTE.TXT 4.3.9.3
		after  = 16 // a signature, a checksum and a size of 64 bits
	)
	ends := map[int64]int64{}
	le := binary.LittleEndian
	b := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)
	for at := int64(0); len(ends) < most; {
		head, err := b.Peek(max(b.Buffered(), before+after))
		for i := 0; ; i++ {
			k := bytes.Index(head[i:], []byte("PK"))
			if k < 0 || i+k+after > len(head) {
				break
			}
			i += k
			end := at + int64(i)
			add := func(packed, end int64) {
				if _, known := ends[end-packed]; !known && packed >= 0 && packed <= end {
					ends[end-packed] = end
				}
			}
			switch string(head[i : i+4]) {
			case descriptorMagic:
				add(int64(le.Uint32(head[i+8:])), end)
				add(int64(le.Uint64(head[i+8:])), end)
			case localMagic, entryMagic:
				if i >= before {
					add(int64(le.Uint32(head[i-8:])), end-12)
					add(int64(le.Uint64(head[i-16:])), end-20)
				}
			}
		}
		if err != nil {
			break
		}
		n, _ := b.Discard(len(head) - before - after + 1)
		at += int64(n)
	}
	return ends
}

// cutMember reads one member to its end, where the next one begins, and reports whether it is one.
func (w *walker) cutMember(h *localHeader, under string, content io.ReadCloser, depth int) (bool, error) {
	defer content.Close()
	m := Member{Name: tidy(h.name), Modified: h.modified}
	c := &counted{r: content, w: w}
	b := bufio.NewReaderSize(c, plainBytes)
	head, err := b.Peek(HeadBytes)
	if len(head) == 0 && err != nil {
		switch {
		case w.ctx.Err() != nil:
			return false, w.ctx.Err()
		case c.failed != nil && h.likely:
			return true, w.lost(join(under, m.Name), c.failed)
		case c.failed != nil:
			var limit *limitError
			if errors.As(c.failed, &limit) {
				return false, c.failed
			}
		}
		return false, nil
	}
	if err := w.member(m, under, b, kindOf(head), depth); err != nil {
		return true, err
	}
	_, _ = io.Copy(io.Discard, b)
	return true, w.local(join(under, m.Name), c.failed)
}

// errEncrypted is why a member cannot be read without its password.
var errEncrypted = errors.New("it is encrypted: unpack the archive with its password, and give the folder")

// errNoHeader is the error of what only begins like the header of a member.
var errNoHeader = errors.New("it is not a member of the zip")

// methodNames are methods of compression that are not read, see APPNOTE.TXT 4.4.5.
var methodNames = map[uint16]string{
	1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 94: "MP3", 96: "JPEG", 97: "WavPack", 98: "PPMd",
}

// methodError says that the compression of a member is not known here.
func methodError(method uint16) error {
	return fmt.Errorf("its compression (method %d, %s) is not known: unpack the zip (7z x reads most methods), and give "+
		"the folder", method, cmp.Or(methodNames[method], "which has no common name"))
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
