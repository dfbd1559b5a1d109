package etl

import (
	"bytes"

	"lostbeat/etw"
)

// BufferReader reads the buffers of a real-time session, which are those that a file would have. It implements
// [etw.BufferReader].
type BufferReader struct {
	data   bytes.Reader
	walker walker
	header Header
}

// NewBufferReader returns a reader of buffers.
func NewBufferReader() *BufferReader {
	r := &BufferReader{}
	r.walker = walker{r: &r.data, header: &r.header}
	return r
}

// Read implements etw.BufferReader.
func (r *BufferReader) Read(data []byte, each func(*etw.Record)) (damaged uint64) {
	if len(data) < bufferHeaderSize || len(data) > maxBuffer {
		return 1
	}
	b, ok := parseBuffer(data, 0, int64(len(data)))
	if !ok || b.compressed() {
		return 1 // a session compresses only what it writes to a file
	}
	r.data.Reset(data)
	r.walker.buffer(&b, func(record *etw.Record) bool {
		each(record)
		return true
	}, func(*Damage) bool {
		damaged++
		return true
	})
	return damaged
}
