package etl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lostbeat/etw"
	"lostbeat/etw/xca"
	"lostbeat/model"
)

// LogFileMode bits that change how a file is read.
const (
	modeCircular       = 0x00000002
	modeCompressed     = 0x04000000
	modeNoPerProcessor = 0x10000000
)

// Header is the log header: the first record of a file.
type Header struct {
	// BufferSize is the session's buffer size in bytes.
	BufferSize uint32
	// Version is major, minor, sub and subminor of the recording Windows version.
	Version [4]uint8
	// Build is the build number of Windows.
	Build uint32
	// Processors is the number of processors.
	Processors uint32
	// LogFileMode are the session's mode bits.
	LogFileMode uint32
	// BuffersWritten is what the session counted; 0 in a file that was not finalised.
	BuffersWritten uint32
	// PointerSize is 4 or 8.
	PointerSize uint8
	// EventsLost and BuffersLost are what the session counted.
	EventsLost, BuffersLost uint32
	// CPUSpeed is the processor frequency in MHz.
	CPUSpeed uint32
	// TimeZoneBias is in minutes: UTC is local time plus the bias.
	TimeZoneBias int32
	// Boot is when Windows started; some builds round it. 0 unknown.
	Boot model.Time
	// Start is when the session started, End when it stopped; End is 0 in a
	// file that was not finalised.
	Start, End model.Time
	// Clock converts the time stamps of the file.
	Clock etw.Clock
	// LoggerName and LogFileName are the session's name and file.
	LoggerName, LogFileName string
	// Compression is the format of compressed buffers, None when the session did not compress.
	Compression xca.Format

	// packed is the format of buffers that are marked as compressed, whatever the mode says.
	packed xca.Format
}

// ErrNotETL is returned for data that is not an event trace log.
var ErrNotETL = errors.New("not an event trace log: no log header in its first buffer")

// headerRecordSize is the size of the log header's record with 32-bit pointers
// and without its names, the least there can be.
const headerRecordSize = 32 + 56 + 2*4 + 176 + 32

// Detect reports whether data, the first bytes of a file (128 suffice), begins
// an event trace log. Binary performance logs (.blg) are such files too: see
// package source/perfmon.
func Detect(data []byte) bool {
	if len(data) < bufferHeaderSize+32 {
		return false
	}
	size := binary.LittleEndian.Uint32(data)
	record := data[bufferHeaderSize:]
	kind := record[2]
	return size >= bufferHeaderSize+headerRecordSize && record[3]&markTrace == markTrace &&
		(kind == typeSystem32 || kind == typeSystem64) &&
		record[6] == 0 &&
		record[7] == 0 &&
		binary.LittleEndian.Uint16(record[4:]) >= headerRecordSize
}

// ReadHeader reads the log header of a file of the given size.
func ReadHeader(r io.ReaderAt, size int64) (Header, error) {
	var start [bufferHeaderSize]byte
	if size < bufferHeaderSize {
		return Header{}, ErrNotETL
	}
	if err := readFull(r, start[:], 0); err != nil {
		return Header{}, err
	}
	b, ok := parseBuffer(start[:], 0, size)
	if !ok || b.compressed() {
		return Header{}, ErrNotETL
	}
	var w window
	if err := w.load(r, &b, bufferHeaderSize, 1<<16, xca.None); err != nil {
		return Header{}, err
	}
	n, kind, what := measure(w.data)
	if what != isRecord || (kind != typeSystem32 && kind != typeSystem64) {
		return Header{}, ErrNotETL
	}
	var record etw.Record
	parse(w.data[:n], kind, &record)
	if record.Class != etw.ClassEventTrace || record.ID != 0 {
		return Header{}, ErrNotETL
	}
	h, err := parseHeader(&record)
	if err != nil {
		return Header{}, err
	}
	h.packed = xca.Format(b.state & 0xffff)
	if h.LogFileMode&modeCompressed != 0 {
		h.Compression = h.packed
	}
	return h, nil
}

func parseHeader(r *etw.Record) (Header, error) {
	f := r.Fields()
	h := Header{BufferSize: f.U32()}
	copy(h.Version[:], f.Bytes(4))
	h.Build = f.U32()
	h.Processors = f.U32()
	h.End = etw.FileTime(f.U64())
	f.Skip(8) // timer resolution, maximum file size
	h.LogFileMode = f.U32()
	h.BuffersWritten = f.U32()
	f.Skip(4) // buffers at the start of a boot log
	h.PointerSize = r.PointerSize
	f.Skip(4) // pointer size: the record's kind says the same
	h.EventsLost = f.U32()
	h.CPUSpeed = f.U32()
	f.SkipPointers(2)
	h.TimeZoneBias = int32(f.U32())
	f.Skip(176 - 4)
	h.Boot = etw.FileTime(f.U64())
	frequency := f.U64()
	h.Start = etw.FileTime(f.U64())
	clock := f.U32()
	h.BuffersLost = f.U32()
	if f.Short() {
		return Header{}, fmt.Errorf("log header: %d bytes are too few: %w", len(r.Payload), ErrNotETL)
	}
	h.LoggerName = f.UTF16()
	h.LogFileName = f.UTF16()
	h.Clock = etw.Clock{Type: etw.ClockType(clock & 0xff), Frequency: frequency, Origin: r.Time, Start: h.Start}
	if h.Clock.Type == etw.ClockCycles {
		h.Clock.Frequency = uint64(h.CPUSpeed) * 1e6
	}
	return h, nil
}

// describe returns the recording Windows version in words.
func (h *Header) describe() string { return "Windows " + h.version() }

// version is the version of the recording Windows, e.g. "10.0 build 20348".
func (h *Header) version() string {
	return fmt.Sprintf("%d.%d build %d", h.Version[0], h.Version[1], h.Build)
}

// kernel is the version with the name of the build, where the file has it.
func (h *Header) kernel(host *etw.Host) string {
	if host.BuildLab == "" {
		return h.version()
	}
	return h.version() + " (" + host.BuildLab + ")"
}

// index reads the log header and the buffer headers.
func index(ctx context.Context, r io.ReaderAt, size int64) (Header, outline, error) {
	h, err := ReadHeader(r, size)
	if err != nil {
		return h, outline{}, err
	}
	found, err := readOutline(ctx, r, size, &h)
	return h, found, err
}
