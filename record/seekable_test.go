package record

import (
	"bytes"
	"io"
	"testing"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
)

// Another implementation of the seekable format reads a recording: from its
// start, and from the middle of any frame.
func TestSeekableFormat(t *testing.T) {
	data, _ := smallRecording(t)
	frames, err := readSeekTable(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	r, err := seekable.NewReader(bytes.NewReader(data), dec)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var want []byte
	for _, f := range frames {
		raw, err := dec.DecodeAll(data[f.offset:f.offset+int64(f.size)], nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) != int(f.raw) {
			t.Errorf("frame at %d: %d bytes, the table says %d", f.offset, len(raw), f.raw)
		}
		want = append(want, raw...)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that differ from the %d here, %v", len(got), len(want), err)
	}
	var at int64
	for _, f := range frames {
		middle := at + int64(f.raw)/2
		part := make([]byte, min(64, int64(len(want))-middle))
		if _, err := r.ReadAt(part, middle); err != nil || !bytes.Equal(part, want[middle:middle+int64(len(part))]) {
			t.Errorf("at %d: %v", middle, err)
		}
		at += int64(f.raw)
	}
	if len(frames) < 3 {
		t.Errorf("%d frames are too few to show anything", len(frames))
	}
}
