package applog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
	"unicode/utf8"

	encoding "golang.org/x/text/encoding/unicode"

	"lostbeat/model"
	"lostbeat/source"
)

const (
	// maxLook is how much of a file is read at one look: 40 MB/s, an eighth of what a CPU can.
	maxLook = 4 << 20
	// maxBehind is how far reading may fall behind before what is in between is passed over, but for the last maxLook.
	maxBehind = 64 << 20
	// prefillBytes is how much of what is there already is learned from.
	prefillBytes = 4 << 20
	// keepOld is for how long a file that was renamed is read after its successor has grown.
	keepOld = 5 * time.Second
	// markBytes is how much before the present place is compared, so that a file that was written anew is noticed.
	markBytes = 64
)

// fileTail follows a file by its name.
type fileTail struct {
	path string
	// open is the file of that name, old the one before it, which its program may still write to; nil for none.
	open, old *handle
	trouble   error
	deleted   bool
	buf       []byte
}

// handle is a file that is read as it grows.
type handle struct {
	f    *os.File
	info fs.FileInfo
	at   int64
	// mark are the bytes before at.
	mark []byte
	// part is a line whose end has not come, long says that the rest of one that is too long is passed over.
	part []byte
	long bool
	// wide is the order of UTF-16, odd what is left of the bytes of a character.
	wide  encoding.Endianness
	utf16 bool
	odd   []byte
	// head is how the file begins, as text, until the form of its times is known.
	head []byte
	grew model.Time
}

func openHandle(path string) (*handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &handle{f: f, info: info}, nil
}

// start implements input: it learns from the end of the file, and of the one that was rotated before it.
func (t *fileTail) start(_ context.Context, l *live) {
	t.buf = make([]byte, maxLook)
	h, err := openHandle(t.path)
	if t.trouble = err; err != nil {
		return
	}
	t.open = h
	if h.info.Size() < headBytes {
		if before, err := openHandle(t.path + ".1"); err == nil {
			t.learn(l, before)
			before.f.Close()
		}
	}
	t.learn(l, h)
}

// learn reads the end of a file that is there already, and stands behind it.
func (t *fileTail) learn(l *live, h *handle) {
	size := h.info.Size()
	head := make([]byte, min(size, headBytes))
	n, _ := h.f.ReadAt(head, 0)
	h.begin(head[:n])
	h.at = max(size-prefillBytes, 0)
	if h.utf16 {
		h.at &^= 1
	}
	part := make([]byte, size-h.at)
	n, _ = h.f.ReadAt(part, h.at)
	part = part[:n]
	last := bytes.LastIndexByte(part, '\n') + 1
	if h.utf16 {
		last = n &^ 1
	}
	if h.at > 0 {
		if first := bytes.IndexByte(part, '\n') + 1; !h.utf16 {
			part, h.at, last = part[first:], h.at+int64(first), max(last-first, 0)
		}
	}
	beginning := text(head, head)
	modified := l.moment(h.info.ModTime())
	l.shape(beginning, modified)
	h.feed(l, part[:last], modified)
	h.at += int64(last)
	h.remember(part[:last])
	h.part, h.long = h.part[:0], false
}

// begin notes the encoding of a file by how it begins.
func (h *handle) begin(head []byte) { h.wide, h.utf16 = utf16Order(head) }

// remember keeps the bytes before the present place.
func (h *handle) remember(read []byte) {
	h.mark = append(h.mark, read[max(len(read)-markBytes, 0):]...)
	h.mark = h.mark[max(len(h.mark)-markBytes, 0):]
}

// moment returns the time of the stream at which something happened by the wall clock.
func (l *live) moment(wall time.Time) model.Time {
	return l.now.Add(-max(time.Since(wall), 0))
}

// poll implements input.
func (t *fileTail) poll(l *live) {
	if t.old != nil {
		if _, grew := t.old.read(t, l); !grew && t.open != nil && t.open.grew != 0 && l.now.Sub(t.old.grew) > keepOld {
			t.old.f.Close()
			t.old = nil
		}
	}
	info, err := os.Stat(t.path)
	switch {
	case err != nil && t.open == nil:
		t.trouble = err
		return
	case err != nil:
		t.deleted = errors.Is(err, fs.ErrNotExist)
	case t.open == nil || !os.SameFile(info, t.open.info):
		t.next(l)
	default:
		t.deleted = false
	}
	if t.open == nil {
		return
	}
	if err, _ := t.open.read(t, l); err != nil {
		t.trouble = err
	}
}

// next goes over to the file that has the name now.
func (t *fileTail) next(l *live) {
	h, err := openHandle(t.path)
	if err != nil {
		if t.open == nil {
			t.trouble = err
		}
		return
	}
	t.trouble, t.deleted = nil, false
	if t.open != nil {
		_, _ = t.open.read(t, l) // what cannot be read is tried again as the old file
		if t.old != nil {
			t.old.f.Close()
		}
		t.old = t.open
		t.old.grew = l.now
	}
	t.open = h
}

// read takes what has come.
func (h *handle) read(t *fileTail, l *live) (err error, grew bool) {
	info, err := h.f.Stat()
	if err != nil {
		return err, false
	}
	size := info.Size()
	if size < h.at || h.rewritten(size) {
		h.at, h.mark, h.part, h.odd, h.long = 0, h.mark[:0], h.part[:0], h.odd[:0], false
	}
	if size == h.at {
		return nil, false
	}
	h.grew = l.now
	if behind := size - h.at; behind > maxBehind {
		to := size - maxLook
		if h.utf16 {
			to -= (to - h.at) & 1
		}
		l.skipped(to - h.at)
		h.at, h.part, h.odd, h.long = to, h.part[:0], h.odd[:0], true
	}
	if h.at == 0 {
		head := make([]byte, 512)
		n, _ := h.f.ReadAt(head, 0)
		h.begin(head[:n])
	}
	n, err := h.f.ReadAt(t.buf[:min(size-h.at, maxLook)], h.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err, false
	}
	part := t.buf[:n]
	h.at += int64(n)
	h.remember(part)
	// It was not there at the last look.
	h.feed(l, part, min(max(l.moment(info.ModTime()), l.before), l.now))
	return nil, true
}

// rewritten reports whether what stands before the present place is not what was read there.
func (h *handle) rewritten(size int64) bool {
	if size == h.at || len(h.mark) == 0 {
		return false
	}
	now := make([]byte, len(h.mark))
	n, err := h.f.ReadAt(now, h.at-int64(len(now)))
	return err == nil && n == len(now) && !bytes.Equal(now, h.mark)
}

// feed gives the lines of a piece of a file to l.
func (h *handle) feed(l *live, piece []byte, grew model.Time) {
	if h.utf16 {
		piece = h.decode(piece)
	}
	if !l.clock.firm && len(h.head) < headBytes {
		h.head = append(h.head, piece[:min(len(piece), headBytes-len(h.head))]...)
		if l.shape(h.head, grew) && l.clock.firm {
			h.head = nil
		}
	}
	whole := bytes.LastIndexByte(piece, '\n') + 1
	l.compare(piece[:whole], grew)
	for {
		i := bytes.IndexByte(piece, '\n')
		if i < 0 {
			break
		}
		line := piece[:i]
		piece = piece[i+1:]
		if h.long {
			h.long = false
			continue
		}
		if len(h.part) > 0 {
			line = append(h.part, line[:min(len(line), maxLine-min(len(h.part), maxLine))]...)
		}
		l.entry(trimmed(line), grew)
		h.part = h.part[:0]
	}
	switch {
	case h.long:
	case len(h.part)+len(piece) > maxLine:
		l.entry(trimmed(append(h.part, piece...)), grew)
		h.part, h.long = h.part[:0], true
	default:
		h.part = append(h.part, piece...)
	}
}

// trimmed returns a line without its marks and colours.
func trimmed(line []byte) []byte {
	line = line[:min(len(line), maxLine)]
	return uncoloured(bytes.TrimPrefix(bytes.TrimRight(line, "\r"), utf8Mark))
}

// decode returns a piece of UTF-16 as UTF-8.
func (h *handle) decode(piece []byte) []byte {
	piece = append(h.odd, piece...)
	end := len(piece) &^ 1
	if end >= 2 { // half a character of two
		high := piece[end-1]
		if h.wide == encoding.BigEndian {
			high = piece[end-2]
		}
		if high >= 0xd8 && high < 0xdc {
			end -= 2
		}
	}
	h.odd = bytes.Clone(piece[end:])
	out, err := encoding.UTF16(h.wide, encoding.IgnoreBOM).NewDecoder().Bytes(piece[:end])
	if err != nil {
		return nil
	}
	if mark := []byte(string(rune(0xfeff))); utf8.Valid(out[:min(len(out), 3)]) {
		out = bytes.TrimPrefix(out, mark)
	}
	return out
}

// state implements input.
func (t *fileTail) state() (model.LogFileState, string) {
	switch {
	case t.open == nil:
		if errors.Is(t.trouble, fs.ErrNotExist) {
			return model.LogMissing, "there is no file " + t.path + " yet"
		}
		return model.LogMissing, "cannot be read: " + t.trouble.Error()
	case t.deleted:
		return model.LogDeleted, ""
	}
	return model.LogFollowed, ""
}

// close implements input.
func (t *fileTail) close() {
	for _, h := range []*handle{t.open, t.old} {
		if h != nil {
			h.f.Close()
		}
	}
}

// firmLines is how many lines show the form of their times for good; one shows it until then.
const firmLines = 10

// shape finds the form of the times in how a log begins, and reports whether it is known.
func (l *live) shape(beginning []byte, modified model.Time) bool {
	if l.clock.firm {
		return true
	}
	sh, ok := shapeOf(beginning)
	lines := bytes.Count(beginning, []byte("\n"))
	if lines == 1 {
		sh, ok = shapeOf(append(bytes.Clone(beginning), beginning...))
	}
	l.clock.firm = ok && lines >= firmLines
	if !ok || l.clock.known && l.clock.read.form == sh.form {
		l.clock.known = l.clock.known && (ok || lines < firmLines)
		return l.clock.known
	}
	of := &Log{name: l.name}
	last := of.stampIn(sh, beginning, true)
	if last == nil {
		return false
	}
	var said *source.LogTime
	if o := l.options.LogTime; o != nil && o.Zone != nil {
		said = &source.LogTime{Zone: o.Zone, Source: o.Source}
		l.clock.said = o.Source
	}
	of.settle(sh, said, last, last, modified.Std())
	l.clock.known, l.clock.read = true, of.clock
	if l.clock.read.shape.zoned {
		l.clock.said = ""
	} else {
		_, seconds := modified.Std().In(of.clock.zone).Zone()
		l.clock.base = time.Duration(seconds) * time.Second
	}
	l.cadence.grain = time.Millisecond
	if !sh.fraction {
		l.cadence.grain = time.Second
	}
	return true
}

// compare compares the times of the last and the first line of a piece with the moment at which it was written.
func (l *live) compare(piece []byte, grew model.Time) {
	if !l.clock.known || len(piece) == 0 {
		return
	}
	stamped := func(line []byte) (at model.Time, ok bool) {
		st, _, _, ok := find(trimmed(bytes.Clone(line)), l.clock.read.form, l.clock.read.hint)
		if !ok {
			return 0, false
		}
		read := l.clock.read
		if st.zoned && read.zoned {
			l.clock.base = time.Duration(st.offset) * time.Second
		}
		return read.time(&st), true
	}
	var first, last model.Time
	found := false
	for line := range bytes.Lines(piece[:min(len(piece), maxLine)]) {
		if first, found = stamped(bytes.TrimRight(line, "\n")); found {
			break
		}
	}
	if !found {
		return
	}
	last = first
	for rest := piece[max(len(piece)-maxLine, 0):]; len(rest) > 0; {
		begin := bytes.LastIndexByte(rest[:len(rest)-1], '\n') + 1
		if at, ok := stamped(rest[begin : len(rest)-1]); ok {
			last = at
			break
		}
		rest = rest[:begin]
	}
	l.clock.compare(first, last, grew)
}
