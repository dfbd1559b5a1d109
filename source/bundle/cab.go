package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"lostbeat/internal/hint"
)

// Cabinets are read as [MS-CAB] describes them: a header, folders (each one stream of data, in blocks of up to 32 KiB),
// and files, each a part of a folder's stream. Folders are stored or packed with MSZIP, a deflate stream for each block
// whose window goes on from block to block. LZX, which makecab and netsh use, and Quantum are not unpacked here.

// How a folder of a cabinet is packed.
const (
	cabStored  = 0
	cabMSZIP   = 1
	cabQuantum = 2
	cabLZX     = 3
)

const (
	// cabBlock is the most that a block unpacks to, and the window of MSZIP.
	cabBlock = 32 << 10
	// maxCabBlock is the most that a block takes: MSZIP adds no more than 12 bytes, LZX up to 6,144.
	maxCabBlock = cabBlock + 6144
	// maxCabName is the longest name in a cabinet. Files and folders are counted in 16 bits.
	maxCabName = 256
	// cabContinued is the first of the numbers of folders that are in another cabinet of a set, too.
	cabContinued = 0xfffd
)

// Flags of a cabinet's header.
const (
	cabPrevious = 1
	cabNext     = 2
	cabReserve  = 4
)

// cabFolder is one stream of data.
type cabFolder struct {
	offset   int64
	blocks   int
	packed   uint16
	reserved int // in front of the data of each block
}

// cabFile is a file in a cabinet.
type cabFile struct {
	Member
	folder       int
	offset, size int64
}

var errCab = errors.New("the cabinet is damaged")

// cabinet is the directory of a cabinet.
type cabinet struct {
	folders []cabFolder
	files   []cabFile
	// set says that it is one of several cabinets that belong together.
	set bool
}

// readCabinet reads the directory. most is how many files there may be.
func readCabinet(r io.ReaderAt, size int64, most int) (c cabinet, err error) {
	b := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 16<<10)
	var h [36]byte
	if _, err := io.ReadFull(b, h[:]); err != nil {
		return c, fmt.Errorf("%w: its header is cut off", errCab)
	}
	le := binary.LittleEndian
	folders, files, flags := int(le.Uint16(h[26:])), int(le.Uint16(h[28:])), le.Uint16(h[30:])
	if h[25] != 1 {
		return c, fmt.Errorf("%w: version %d.%d is not known", errCab, h[25], h[24])
	}
	if files > most {
		return c, &limitError{fmt.Sprintf("it has more than %d members", most)}
	}
	var reserve [4]byte
	if flags&cabReserve != 0 {
		if _, err := io.ReadFull(b, reserve[:]); err != nil {
			return c, fmt.Errorf("%w: its header is cut off", errCab)
		}
		if _, err := b.Discard(int(le.Uint16(reserve[:]))); err != nil {
			return c, fmt.Errorf("%w: its header is cut off", errCab)
		}
	}
	for _, flag := range []uint16{cabPrevious, cabPrevious, cabNext, cabNext} {
		if flags&flag != 0 { // the name of the cabinet, and of the disk
			c.set = true
			if _, err := cabName(b); err != nil {
				return c, err
			}
		}
	}
	for range folders {
		var f [8]byte
		_, err := io.ReadFull(b, f[:])
		if err == nil {
			_, err = b.Discard(int(reserve[2]))
		}
		if err != nil {
			return c, fmt.Errorf("%w: its list of folders is cut off", errCab)
		}
		c.folders = append(c.folders, cabFolder{
			offset: int64(le.Uint32(f[:])), blocks: int(le.Uint16(f[4:])), packed: le.Uint16(f[6:]) & 15,
			reserved: int(reserve[3]),
		})
	}
	b.Reset(io.NewSectionReader(r, int64(le.Uint32(h[16:])), max(0, size-int64(le.Uint32(h[16:])))))
	for range files {
		var f [16]byte
		if _, err := io.ReadFull(b, f[:]); err != nil {
			return c, fmt.Errorf("%w: its list of files is cut off", errCab)
		}
		name, err := cabName(b)
		if err != nil {
			return c, err
		}
		c.files = append(c.files, cabFile{
			Member: Member{Name: tidy(name), Modified: cabTime(le.Uint16(f[10:]), le.Uint16(f[12:]))},
			size:   int64(le.Uint32(f[:])), offset: int64(le.Uint32(f[4:])), folder: int(le.Uint16(f[8:])),
		})
	}
	slices.SortStableFunc(c.files, func(a, b cabFile) int {
		return cmp.Or(cmp.Compare(a.folder, b.folder), cmp.Compare(a.offset, b.offset))
	})
	return c, nil
}

// cabName reads a string that ends in a zero.
func cabName(b *bufio.Reader) (string, error) {
	var name []byte
	for len(name) <= maxCabName {
		c, err := b.ReadByte()
		if err != nil {
			break
		}
		if c == 0 {
			return string(name), nil
		}
		name = append(name, c)
	}
	return "", fmt.Errorf("%w: a name in it has no end", errCab)
}

// cabTime is dosTime of a cabinet, zero where it does not say one.
func cabTime(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return dosTime(date, clock)
}

// cabStream reads the data of a folder, block by block.
type cabStream struct {
	r      io.Reader
	folder cabFolder
	left   int
	raw    []byte
	// out is what is unpacked and not yet read, window the last 32 KiB before it.
	out, window []byte
	inflate     io.ReadCloser
}

func newCabStream(r io.ReaderAt, size int64, f cabFolder) *cabStream {
	return &cabStream{
		r:      bufio.NewReaderSize(io.NewSectionReader(r, f.offset, max(0, size-f.offset)), 64<<10),
		folder: f, left: f.blocks, raw: make([]byte, maxCabBlock),
	}
}

func (s *cabStream) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if s.left == 0 {
			return 0, io.EOF
		}
		s.left--
		if err := s.next(); err != nil {
			s.left = 0
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// next reads a block.
func (s *cabStream) next() error {
	var h [8]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return fmt.Errorf("%w: it is cut off", errCab)
	}
	if _, err := io.CopyN(io.Discard, s.r, int64(s.folder.reserved)); err != nil {
		return fmt.Errorf("%w: it is cut off", errCab)
	}
	le := binary.LittleEndian
	n, want := int(le.Uint16(h[4:])), int(le.Uint16(h[6:]))
	if n > len(s.raw) || want > cabBlock {
		return fmt.Errorf("%w: a block of %d bytes for %d", errCab, n, want)
	}
	raw := s.raw[:n]
	if _, err := io.ReadFull(s.r, raw); err != nil {
		return fmt.Errorf("%w: it is cut off", errCab)
	}
	if sum := le.Uint32(h[:]); sum != 0 && sum != cabSum(h[4:], cabSum(raw, 0)) {
		return fmt.Errorf("%w: the checksum of a block is wrong", errCab)
	}
	if s.folder.packed == cabStored {
		if n != want {
			return fmt.Errorf("%w: a stored block of %d bytes for %d", errCab, n, want)
		}
		s.out = raw
		return nil
	}
	if len(raw) < 2 || raw[0] != 'C' || raw[1] != 'K' {
		return fmt.Errorf("%w: a block does not begin as MSZIP does", errCab)
	}
	if s.inflate == nil {
		s.inflate = flate.NewReaderDict(bytes.NewReader(raw[2:]), nil)
	} else if err := s.inflate.(flate.Resetter).Reset(bytes.NewReader(raw[2:]), s.window); err != nil {
		return err
	}
	out := make([]byte, want)
	if _, err := io.ReadFull(s.inflate, out); err != nil {
		return fmt.Errorf("%w: a block does not unpack to %d bytes", errCab, want)
	}
	s.window = append(s.window, out...)
	if over := len(s.window) - cabBlock; over > 0 {
		s.window = append([]byte(nil), s.window[over:]...)
	}
	s.out = out
	return nil
}

// cabSum is the checksum of a block: its words, each xored with the last sum.
func cabSum(b []byte, sum uint32) uint32 {
	for ; len(b) >= 4; b = b[4:] {
		sum ^= binary.LittleEndian.Uint32(b)
	}
	var rest uint32
	for _, c := range b {
		rest = rest<<8 | uint32(c)
	}
	return sum ^ rest
}

// cab reads the members of a cabinet; name is its own, under is empty for the outermost.
func (w *walker) cab(name, under string, r io.ReaderAt, size int64, depth int) error {
	c, err := readCabinet(r, size, w.limits.Members-w.seen)
	if err != nil {
		return err
	}
	if c.set {
		w.report.damage("%s is one of several cabinets: what goes on in another one is not read; expand -F:* %s FOLDER, "+
			"with all of them in one folder, unpacks it", name, name)
	}
	for at := 0; at < len(c.files); {
		end := at
		for end < len(c.files) && c.files[end].folder == c.files[at].folder {
			end++
		}
		err := w.cabFolder(name, under, r, size, &c, c.files[at:end], depth)
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// cabFolder reads the files of one folder, which are in the order of their data.
func (w *walker) cabFolder(
	name, under string, r io.ReaderAt, size int64, c *cabinet, files []cabFile, depth int,
) error {
	number := files[0].folder
	why := ""
	switch {
	case number >= cabContinued:
		why = "they go on in another cabinet"
	case number >= len(c.folders):
		why = "their data is not in it"
	case c.folders[number].packed > cabMSZIP:
		if w.seen == 0 && under == "" && len(files) == len(c.files) {
			return cabPacked(name, c.folders[number].packed)
		}
		why = cabPacked(name, c.folders[number].packed).Error()
	}
	if why != "" {
		for range files {
			w.report.Members++
			if err := w.count(); err != nil {
				return err
			}
		}
		w.report.damage("%d files of %s were not unpacked: %s", len(files), name, why)
		return nil
	}
	stream := &counted{r: newCabStream(r, size, c.folders[number]), w: w}
	at := int64(0)
	for _, f := range files {
		if f.offset < at {
			w.report.Members++
			w.report.damage("%s: its data overlaps that of the file before it", join(under, f.Name))
			if err := w.count(); err != nil {
				return err
			}
			continue
		}
		if _, err := io.CopyN(io.Discard, stream, f.offset-at); err != nil {
			return w.cabBroken(join(under, f.Name), err, stream)
		}
		part := &io.LimitedReader{R: stream, N: f.size}
		b := bufio.NewReaderSize(part, plainBytes)
		head, err := b.Peek(HeadBytes)
		if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
			return w.cabBroken(join(under, f.Name), err, stream)
		}
		if err := w.member(f.Member, under, b, kindOf(head), depth); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, part); err != nil || part.N > 0 {
			return w.cabBroken(join(under, f.Name), err, stream)
		}
		at = f.offset + f.size
	}
	return nil
}

// cabBroken ends a folder whose data cannot be read any more.
func (w *walker) cabBroken(name string, err error, stream *counted) error {
	if stream.failed != nil {
		err = stream.failed
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: its data is cut off", errCab)
	}
	w.seen++
	return w.local(name+", and what is behind it", err)
}

// cabPacked says how a cabinet is unpacked whose compression is not known here.
func cabPacked(name string, packed uint16) error {
	what := map[uint16]string{cabQuantum: "Quantum", cabLZX: "LZX"}[packed]
	if what == "" {
		what = fmt.Sprintf("method %d", packed)
	}
	return hint.New(name+" is packed with "+what+", which lostbeat does not unpack",
		"unpack it: expand -F:* "+name+" FOLDER (Windows), or cabextract -d FOLDER "+name+"; then lostbeat findings FOLDER")
}
