package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"lostbeat/record/recordpb"
)

// Version of the recording format, see docs/FORMAT.md.
const (
	FormatMajor = 1
	FormatMinor = 2
)

// storage is what a recording is written to: an *os.File, or a test's.
type storage interface {
	io.WriterAt
	Truncate(size int64) error
	Close() error
}

// createFile creates path, which must not exist, or replaces it when told.
func createFile(path string, mode fs.FileMode, overwrite bool) (storage, error) {
	if overwrite {
		// Removed and created anew: never written through a link, never with the old file's mode.
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
}

// file is one recording file being written. Its frames always end where the
// last good one ended, whatever happened to a write in between.
type file struct {
	storage
	path   string
	size   int64
	frames []frame
	index  []byte // Index.blocks, encoded
	zstd   *zstd.Encoder
	// blocks and events are what has been written.
	blocks int
	events uint64
}

// startFile writes the header frame to a new file.
func startFile(s storage, path string, h *recordpb.Header, enc *zstd.Encoder) (*file, error) {
	f := &file{storage: s, path: path, zstd: enc}
	body, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	raw := appendEnvelope(nil, envelopeHeader, body)
	return f, f.write(enc.EncodeAll(raw, nil), len(raw))
}

// write appends a frame. When it fails the file is as before.
func (f *file) write(data []byte, raw int) error {
	if err := writeAll(f.storage, data, f.size); err != nil {
		// Should cutting off the torn frame fail as well, the next write covers it,
		// and a reader knows how to leave it out.
		_ = f.Truncate(f.size)
		return err
	}
	f.frames = append(f.frames, frame{f.size, len(data), uint32(raw)})
	f.size += int64(len(data))
	return nil
}

// block appends a block and notes it in the index.
func (f *file) block(b sealed) error {
	entry, err := proto.Marshal(
		&recordpb.IndexEntry{Offset: uint64(f.size), Size: uint32(len(b.frame)), Summary: b.summary},
	)
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if err := f.write(b.frame, b.raw); err != nil {
		return err
	}
	f.index = appendBytes(f.index, 1, entry)
	f.blocks++
	f.events += b.summary.Events
	return nil
}

// writeAll writes data at offset off. Part of it is no error where a storage says
// so: the rest follows; nor is a signal.
func writeAll(s io.WriterAt, data []byte, off int64) error {
	for idle := 0; len(data) > 0; {
		n, err := s.WriteAt(data, off)
		n = max(0, min(n, len(data)))
		data, off = data[n:], off+int64(n)
		if idle++; n > 0 {
			idle = 0
		}
		if idle > maxIdleWrites {
			return errors.Join(io.ErrNoProgress, err)
		}
		if err != nil && !errors.Is(err, syscall.EINTR) && !errors.Is(err, io.ErrShortWrite) {
			return err
		}
	}
	return nil
}

// maxIdleWrites is how many writes may end without an error and without progress.
const maxIdleWrites = 100

// closing is about what finish will add to the file.
func (f *file) closing() int64 { return int64(len(f.index)) + 64 + seekTableSize(len(f.frames)+1) }

// finish writes the index and the seek table and closes the file.
func (f *file) finish() error {
	raw := appendEnvelope(nil, envelopeIndex, f.index)
	var err error
	if len(raw) <= maxRaw { // or else readers scan the file
		err = f.write(f.zstd.EncodeAll(raw, nil), len(raw))
	}
	if err == nil {
		err = f.write(appendSeekTable(nil, f.frames), 0)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// done describes the file once it is complete.
func (f *file) done() rotated {
	return rotated{path: f.path, size: f.size, own: true, events: f.events}
}

// present is the size that the file would have if it were closed now; a nil file has none.
func (f *file) present() int64 {
	if f == nil {
		return 0
	}
	return f.size + f.closing()
}
