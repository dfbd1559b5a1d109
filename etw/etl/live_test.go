package etl_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/etw/etl/etltest"
	"lostbeat/internal/testutil/fuzztest"
)

// buffersOf cuts a capture into its buffers.
func buffersOf(data []byte) (buffers [][]byte) {
	for len(data) >= 4 {
		n := min(int(binary.LittleEndian.Uint32(data)), len(data))
		buffers, data = append(buffers, data[:n]), data[n:]
	}
	return buffers
}

func copied(r *etw.Record) etw.Record {
	own := *r
	own.Payload, own.Extended = bytes.Clone(r.Payload), bytes.Clone(r.Extended)
	return own
}

// TestBufferReader reads the buffers of captures one by one: their records are those of the file.
func TestBufferReader(t *testing.T) {
	for name, data := range map[string][]byte{
		"everything": etltest.Everything(etltest.Options{}),
		"32 bits":    etltest.Everything(etltest.Options{PointerSize: 4}),
		"storm":      etltest.DPCStorm(etltest.Options{Processors: 4}),
		"mixture":    etltest.Mixture(etltest.Options{BufferSize: 1 << 20, Processors: 3}, 30_000),
	} {
		t.Run(name, func(t *testing.T) {
			var want, got []etw.Record
			for r, err := range etl.Records(bytes.NewReader(data), int64(len(data))) {
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, copied(r))
			}
			reader := etl.NewBufferReader()
			for _, buffer := range buffersOf(data) {
				if n := reader.Read(buffer, func(r *etw.Record) { got = append(got, copied(r)) }); n > 0 {
					t.Errorf("%d parts are damaged", n)
				}
			}
			if len(want) == 0 || len(got) != len(want) {
				t.Fatalf("%d records of the file, %d of its buffers", len(want), len(got))
			}
			for i := range want {
				if !reflect.DeepEqual(want[i], got[i]) {
					t.Fatalf("record %d is %+v in the file, %+v in its buffer", i, want[i], got[i])
				}
			}
		})
	}
}

// TestBufferReaderDamage counts what it cannot read, and gives the rest.
func TestBufferReaderDamage(t *testing.T) {
	data := etltest.DPCStorm(etltest.Options{})
	whole := buffersOf(data)[1]
	records := func(buffer []byte) (n int, damaged uint64) {
		damaged = etl.NewBufferReader().Read(buffer, func(*etw.Record) { n++ })
		return n, damaged
	}
	all, damaged := records(whole)
	if damaged != 0 || all < 3 {
		t.Fatalf("%d records, %d parts damaged", all, damaged)
	}
	for name, test := range map[string]struct {
		buffer []byte
		spoil  func(b []byte)
		some   bool
	}{
		"empty":        {buffer: nil},
		"header only":  {buffer: whole[:71]},
		"size of zero": {buffer: whole, spoil: func(b []byte) { clear(b[:4]) }},
		"compressed":   {buffer: whole, spoil: func(b []byte) { b[0x34] |= 0x40 }},
		"one record":   {buffer: whole, spoil: func(b []byte) { clear(b[72:80]) }, some: true},
	} {
		buffer := bytes.Clone(test.buffer)
		if test.spoil != nil {
			test.spoil(buffer)
		}
		if n, damaged := records(buffer); damaged != 1 || (n > 0) != test.some || n >= all {
			t.Errorf("%s: %d of %d records, %d parts damaged", name, n, all, damaged)
		}
	}
}

func FuzzBufferReader(f *testing.F) {
	fuzztest.Quick(f)
	for _, o := range []etltest.Options{{BufferSize: 1024}, {BufferSize: 1024, PointerSize: 4}} {
		for _, buffer := range buffersOf(etltest.Everything(o))[:3] {
			f.Add(buffer)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<18 {
			return
		}
		bytesOf := 0
		etl.NewBufferReader().Read(data, func(r *etw.Record) {
			if bytesOf += len(r.Payload) + len(r.Extended); bytesOf > len(data) {
				t.Fatal("the records have more bytes than their buffer")
			}
		})
	})
}
