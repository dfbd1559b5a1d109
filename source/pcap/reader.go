package pcap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"lostbeat/internal/frame"
	"lostbeat/model"
	"lostbeat/source"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// captured is one packet of a file. Its data is valid until the next is read.
type captured struct {
	at   model.Time // 0 unknown
	data []byte
	// length is what it had on the wire.
	length int
	// iface is its interface in the file, way which way it went, as far as its block says.
	iface int
	link  frame.Link
	way   frame.Direction
}

// decode reads the headers of the packet and reports whether it has IP.
func (c *captured) decode(p *frame.Packet) bool {
	ok := frame.Decode(c.link, c.data, c.length, p)
	if c.way != frame.Unknown {
		p.Direction = c.way
	}
	return ok
}

// packets reads the packets of a file, in its order. At the end the error is io.EOF.
type packets interface {
	next(p *captured) error
	// offset is about where in the file the reading is.
	offset() int64
}

// damage is a part of a file that could not be read.
type damage struct {
	what  string
	bytes int64
}

// Bounds of what is read.
const (
	maxPacket = 1 << 20
	// bufferBytes is how much of the file is read at a time.
	bufferBytes = 256 << 10
	// resyncBytes is how far behind a damage the next whole record is looked for.
	resyncBytes = 16 << 20
	// maxResyncs is how often: a file that is damaged everywhere ends somewhere.
	maxResyncs = 256
)

// Magic numbers of files.
const (
	magicMicro   = 0xa1b2c3d4
	magicNano    = 0xa1b23c4d
	magicSection = 0x0a0d0d0a
	magicOrder   = 0x1a2b3c4d
)

// Detect reports whether a file that begins with head is a capture of packets, or one of a format that has to be
// converted first.
func Detect(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	_, foreign := foreignMagic(head)
	return foreign || isPcap(head) || isNG(head)
}

func isPcap(head []byte) bool {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if m := order.Uint32(head); m == magicMicro || m == magicNano {
			return true
		}
	}
	return false
}

func isNG(head []byte) bool {
	return len(head) >= 12 && binary.BigEndian.Uint32(head) == magicSection &&
		(binary.LittleEndian.Uint32(head[8:]) == magicOrder || binary.BigEndian.Uint32(head[8:]) == magicOrder)
}

// foreignMagic names formats that are recognised and not read.
func foreignMagic(head []byte) (name string, ok bool) {
	switch {
	case string(head[:4]) == "GMBU":
		return "a capture of Microsoft Network Monitor", true
	case binary.LittleEndian.Uint32(head) == 0xa1b2cd34, binary.BigEndian.Uint32(head) == 0xa1b2cd34:
		return "a pcap file with modified records", true
	case len(head) >= 8 && string(head[:8]) == "snoop\x00\x00\x00":
		return "a capture of snoop", true
	}
	return "", false
}

// moment converts the time of a packet; 0 for one that no host has.
func moment(t time.Time) model.Time {
	if s := t.Unix(); s <= 0 || s > math.MaxInt64/int64(time.Second)-1 {
		return 0
	}
	at := model.TimeOf(t)
	if source.PlausibleTime(at) != at {
		return 0
	}
	return at
}

// classic reads a pcap file.
type classic struct {
	file    io.ReaderAt
	size    int64
	head    [24]byte
	order   binary.ByteOrder
	nano    bool
	at      int64 // where the next record begins
	last    uint32
	tries   int // how often the next record was looked for
	r       *pcapgo.Reader
	damaged func(damage)
}

const (
	fileHeader   = 24
	recordHeader = 16
)

func newClassic(file io.ReaderAt, size int64, damaged func(damage)) (*classic, error) {
	c := &classic{file: file, size: size, order: binary.LittleEndian, at: fileHeader, damaged: damaged}
	if _, err := file.ReadAt(c.head[:], 0); err != nil {
		return nil, errors.New("the file ends within its header")
	}
	if m := c.order.Uint32(c.head[:]); m != magicMicro && m != magicNano {
		c.order = binary.BigEndian
	}
	c.nano = c.order.Uint32(c.head[:]) == magicNano
	// The link is in the lower 16 bits; those above say whether frames end in a checksum.
	c.order.PutUint32(c.head[20:], c.order.Uint32(c.head[20:])&0xffff)
	return c, c.begin()
}

// begin reads on from c.at.
func (c *classic) begin() error {
	rest := io.NewSectionReader(c.file, c.at, c.size-c.at)
	r, err := pcapgo.NewReader(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(c.head[:]), rest), bufferBytes))
	if err != nil {
		return fmt.Errorf("the header of the file: %w", err)
	}
	c.r = r
	return nil
}

func (c *classic) offset() int64 { return c.at }

func (c *classic) next(p *captured) error {
	for {
		data, info, err := c.r.ZeroCopyReadPacketData()
		switch {
		case err == nil && c.plausible(&info):
			c.at += recordHeader + int64(info.CaptureLength)
			c.last = uint32(info.Timestamp.Unix())
			*p = captured{
				at: moment(info.Timestamp), data: data, length: info.Length, link: frame.Link(c.r.LinkType()),
			}
			return nil
		case errors.Is(err, io.EOF) && c.at >= c.size:
			return io.EOF
		}
		if err := c.skip(); err != nil {
			return err
		}
	}
}

// plausible says that a record is one that a capture would have.
func (c *classic) plausible(info *gopacket.CaptureInfo) bool {
	return info.CaptureLength <= maxPacket && info.Length <= 16*maxPacket
}

// skip looks for the next whole record behind one that is damaged.
func (c *classic) skip() error {
	begin := c.at
	if c.size-begin < recordHeader {
		c.damaged(damage{fmt.Sprintf("the file ends within the record at offset %d", begin), c.size - begin})
		c.at = c.size
		return io.EOF
	}
	if c.tries++; c.tries <= maxResyncs {
		if i := search(c.file, begin, c.size, 1, c.recordAt); i > 0 {
			return c.resume(begin, i)
		}
	}
	what := fmt.Sprintf("the record at offset %d is damaged, and none is found behind it", begin)
	head := make([]byte, recordHeader)
	if _, err := c.file.ReadAt(head, begin); err == nil {
		if size := recordHeader + int64(c.order.Uint32(head[8:])); size > c.size-begin && size <= maxPacket {
			what = fmt.Sprintf("the file ends within the record at offset %d", begin)
		}
	}
	c.damaged(damage{what, c.size - begin})
	c.at = c.size
	return io.EOF
}

func (c *classic) resume(begin, skipped int64) error {
	c.damaged(damage{fmt.Sprintf("the record at offset %d is damaged", begin), skipped})
	c.at = begin + skipped
	return c.begin()
}

// recordAt reports whether a record begins at the place in the file at which the window does: one more, or the end,
// has to follow.
func (c *classic) recordAt(window []byte, at int64) bool {
	size, ok := c.record(window, c.size-at)
	if !ok {
		return false
	}
	next := at + int64(size)
	if next == c.size {
		return true
	}
	head := make([]byte, recordHeader)
	if _, err := c.file.ReadAt(head, next); err != nil {
		return false
	}
	_, ok = c.record(head, c.size-next)
	return ok
}

// search looks behind begin for a place, step by step, that is one; it returns how far behind, 0 for none.
func search(file io.ReaderAt, begin, size int64, step int, is func(window []byte, at int64) bool) int64 {
	const head = recordHeader
	var window []byte
	for from, length := begin+int64(step), int64(64<<10); from < size && from-begin < resyncBytes; length *= 4 {
		if int64(cap(window)) < length {
			window = make([]byte, length)
		}
		n, _ := file.ReadAt(window[:length], from)
		if n < head {
			return 0
		}
		i := 0
		for ; i+head <= n; i += step {
			if is(window[i:n], from+int64(i)) {
				return from + int64(i) - begin
			}
		}
		from += int64(i)
	}
	return 0
}

// record returns the size of the record that b seems to begin with, left bytes before the end of the file.
func (c *classic) record(b []byte, left int64) (size int, ok bool) {
	const slack = 24 * 60 * 60
	seconds, fraction := c.order.Uint32(b), c.order.Uint32(b[4:])
	kept, length := c.order.Uint32(b[8:]), c.order.Uint32(b[12:])
	limit := uint32(1_000_000)
	if c.nano {
		limit = 1_000_000_000
	}
	near := c.last == 0 || seconds+slack >= c.last && seconds <= c.last+slack
	if !near || fraction >= limit || kept == 0 || kept > length || length > maxPacket ||
		int64(kept)+recordHeader > left {
		return 0, false
	}
	return recordHeader + int(kept), true
}

// sections reads a pcapng file.
type sections struct {
	blocks *blocks
	r      *pcapgo.NgReader
	// first is the number of the first interface of the present section, count that of all interfaces before.
	first, known int
	ifaces       []iface
}

// iface is an interface of a file.
type iface struct {
	Name, Description, Filter, OS string
	Link                          frame.Link
	SnapLength                    uint32
}

// maxIfaces bounds the interfaces that are told apart.
const maxIfaces = 1 << 10

func newSections(file io.ReaderAt, size int64, damaged func(damage)) (*sections, error) {
	s := &sections{blocks: newBlocks(file, size, damaged)}
	r, err := pcapgo.NewNgReader(s.blocks, pcapgo.NgReaderOptions{
		WantMixedLinkType: true, SkipUnknownVersion: true,
		SectionEndCallback: func(list []pcapgo.NgInterface, _ pcapgo.NgSectionInfo) {
			for i := range list {
				s.note(i, &list[i])
			}
			s.first, s.known = len(s.ifaces), 0
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the first section: %w", err)
	}
	s.r = r
	return s, nil
}

func (s *sections) offset() int64 { return s.blocks.at }

// note remembers an interface of the present section.
func (s *sections) note(i int, n *pcapgo.NgInterface) {
	if i < s.known || len(s.ifaces) >= maxIfaces {
		return
	}
	s.known = i + 1
	s.ifaces = append(s.ifaces, iface{
		Name: n.Name, Description: n.Description, Filter: n.Filter, OS: n.OS, Link: frame.Link(n.LinkType),
		SnapLength: n.SnapLength,
	})
}

func (s *sections) next(p *captured) error {
	data, info, opts, err := s.r.ZeroCopyReadPacketDataWithOptions()
	s.noteAll()
	if err != nil {
		switch {
		case s.blocks.failed != nil:
			return s.blocks.failed
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			s.blocks.damaged(damage{fmt.Sprintf("a block before offset %d: %v", s.blocks.at, err), s.blocks.size - s.blocks.at})
		}
		return io.EOF
	}
	*p = captured{
		at: moment(info.Timestamp), data: data, length: info.Length, iface: min(s.first+info.InterfaceIndex, maxIfaces-1),
	}
	if s.first+info.InterfaceIndex < len(s.ifaces) {
		p.link = s.ifaces[s.first+info.InterfaceIndex].Link
	} else if n, err := s.r.Interface(info.InterfaceIndex); err == nil {
		p.link = frame.Link(n.LinkType)
	}
	if opts.Flags != nil {
		switch opts.Flags.Direction {
		case pcapgo.NgEpbFlagDirectionInbound:
			p.way = frame.In
		case pcapgo.NgEpbFlagDirectionOutbound:
			p.way = frame.Out
		}
	}
	return nil
}

// noteAll remembers the interfaces of the present section that were read so far.
func (s *sections) noteAll() {
	for i := s.known; i < s.r.NInterfaces() && len(s.ifaces) < maxIfaces; i++ {
		if n, err := s.r.Interface(i); err == nil {
			s.note(i, &n)
		}
	}
}

// openPackets returns a reader of the packets of a file.
func openPackets(file io.ReaderAt, size int64, damaged func(damage)) (packets, error) {
	var head [12]byte
	n, _ := file.ReadAt(head[:], 0)
	if isNG(head[:n]) {
		return newSections(file, size, damaged)
	}
	return newClassic(file, size, damaged)
}
