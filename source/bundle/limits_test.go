package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// manyZip is a zip of n empty members; before is what is before it in the file.
func manyZip(t testing.TB, before string, n int) []byte {
	t.Helper()
	b := bytes.NewBufferString(before)
	w := zip.NewWriter(b)
	for i := range n {
		if _, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestZipEntries counts the entries of a directory without keeping them, whatever its end says.
func TestZipEntries(t *testing.T) {
	small := manyZip(t, "", 7)
	lies := bytes.Clone(small)
	binary.LittleEndian.PutUint16(lies[len(lies)-zipEnd+10:], 2)
	comment := append(bytes.Clone(small), "PK\x05\x06"...)
	binary.LittleEndian.PutUint16(comment[len(small)-2:], 4)
	for name, test := range map[string]struct {
		data       []byte
		most, want int
	}{
		"few": {small, 10, 7}, "as many as may be": {small, 7, 7}, "one more": {small, 6, 7}, "many": {small, 3, 4},
		"behind something else": {manyZip(t, strings.Repeat("x", 100), 7), 10, 7}, "a wrong count": {lies, 10, 7},
		"a comment like an end": {comment, 10, 7}, "zip64": {manyZip(t, "", 1<<16), 1 << 17, 1 << 16},
		"no zip": {[]byte("PK\x05\x06"), 10, 0},
	} {
		if got := zipEntries(bytes.NewReader(test.data), int64(len(test.data)), test.most); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	_, report, err := walk(t, "x.zip", small, Limits{Members: 6})
	if err != nil || len(report.Damage) != 1 || !strings.Contains(report.Damage[0], "more than 6 members") {
		t.Errorf("%v, %+v", err, report)
	}
}

// xzBlocks is a stream of n blocks without data that each ask for a dictionary of 64 MiB.
func xzBlocks(n int) []byte {
	sum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	block := append(sum([]byte{2, 0, 0x21, 1, 28, 0, 0, 0}), 0, 0, 0, 0)
	out := append([]byte("\xfd7zXZ\x00"), sum([]byte{0, 0})...)
	return append(out, bytes.Repeat(block, n)...)
}

// TestEmptyBlocks gives a file of blocks without data up instead of making room for each.
func TestEmptyBlocks(t *testing.T) {
	r := newXZ(bytes.NewReader(xzBlocks(1000)))
	for n := 0; ; n++ {
		if _, err := r.Read(make([]byte, 10)); err != nil {
			if n < freeDictionaries || n > 2*freeDictionaries || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after %d blocks: %v", n, err)
			}
			break
		}
	}
}
