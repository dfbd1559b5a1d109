package bundle

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// cabOf makes a cabinet of one folder, packed in one of the ways that are read; reserve adds what signed cabinets have
// room for. Another way is only claimed.
func cabOf(t testing.TB, packed uint16, reserve bool, files ...string) []byte {
	t.Helper()
	var data, list, blocks []byte
	le := binary.LittleEndian
	for i := 0; i+1 < len(files); i += 2 {
		list = le.AppendUint32(list, uint32(len(files[i+1])))
		list = le.AppendUint32(list, uint32(len(data)))
		list = append(list, 0, 0)
		list = le.AppendUint16(list, 46<<9|11<<5|28) // 2026-11-28
		list = le.AppendUint16(list, 21<<11|3<<5|15)
		list = append(append(append(list, 0x20, 0), files[i]...), 0)
		data = append(data, files[i+1]...)
	}
	n := 0
	for at := 0; at < len(data); at += cabBlock {
		part := data[at:min(at+cabBlock, len(data))]
		block := part
		if packed == cabMSZIP {
			var b bytes.Buffer
			b.WriteString("CK")
			w, err := flate.NewWriterDict(&b, 6, data[max(0, at-cabBlock):at])
			if err == nil {
				_, err = w.Write(part)
			}
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			block = b.Bytes()
		}
		sizes := le.AppendUint16(le.AppendUint16(nil, uint16(len(block))), uint16(len(part)))
		blocks = le.AppendUint32(blocks, cabSum(sizes, cabSum(block, 0)))
		blocks = append(blocks, sizes...)
		if reserve {
			blocks = append(blocks, "xx"...)
		}
		blocks = append(blocks, block...)
		n++
	}
	head := 36
	var room []byte
	flags := uint16(0)
	if reserve {
		flags, room = cabReserve, append([]byte{5, 0, 3, 2}, "sign!"...)
	}
	folder := 8 + 3*int(flags/cabReserve)
	first := head + len(room) + folder
	out := []byte("MSCF\x00\x00\x00\x00")
	out = le.AppendUint32(out, uint32(first+len(list)+len(blocks)))
	out = le.AppendUint32(out, 0)
	out = le.AppendUint32(out, uint32(first))
	out = append(le.AppendUint32(out, 0), 3, 1, 1, 0)
	out = le.AppendUint16(out, uint16(len(files)/2))
	out = append(le.AppendUint16(out, flags), 0, 0, 0, 0)
	out = append(out, room...)
	out = le.AppendUint32(out, uint32(first+len(list)))
	out = le.AppendUint16(le.AppendUint16(out, uint16(n)), packed)
	out = append(out, make([]byte, folder-8)...)
	return append(append(out, list...), blocks...)
}

// TestCab reads cabinets in both ways, with files over several blocks, in another archive, and damaged ones.
func TestCab(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(random.IntN(256))
	}
	text := strings.Repeat("the same line as in the block before\n", 3000)
	files := []string{"a.txt", "one", `dir\noise`, string(noise), "text.log", text, "again.log", text, "empty", ""}
	var want []string
	for i := 0; i < len(files); i += 2 {
		want = append(want, strings.ReplaceAll(files[i], `\`, "/")+"="+files[i+1])
	}
	for _, packed := range []uint16{cabStored, cabMSZIP} {
		for _, reserve := range []bool{false, true} {
			data := cabOf(t, packed, reserve, files...)
			got, report, err := walk(t, "report.cab", data, Limits{})
			if err != nil || len(report.Damage) > 0 || report.Members != len(want) || !slices.Equal(got, want) {
				t.Errorf("%d, %v: %d files, %+v, %v", packed, reserve, len(got), report, err)
			}
			got, report, err = walk(t, "x.zip", zipOf(t, "in.cab", string(data)), Limits{})
			if err != nil || len(report.Damage) > 0 || !slices.Contains(got, "in.cab/text.log="+text) {
				t.Errorf("in a zip: %+v, %v", report, err)
			}
		}
	}
	data := cabOf(t, cabMSZIP, false, files...)
	broken := bytes.Clone(data)
	broken[len(broken)-20] ^= 1
	for name, c := range map[string]struct {
		data []byte
		says string
	}{"checksum": {broken, "checksum"}, "cut": {data[:len(data)-100], "cut off"}} {
		got, report, err := walk(t, "x.cab", c.data, Limits{})
		if err != nil || len(report.Damage) != 1 || !strings.Contains(report.Damage[0], c.says) ||
			!slices.Contains(got, "a.txt=one") {
			t.Errorf("%s: %v, %+v, %v", name, len(got), report, err)
		}
	}
	bomb := cabOf(t, cabMSZIP, false, "bomb", strings.Repeat("x", 4<<20))
	if _, report, err := walk(t, "x.cab", bomb, Limits{Bytes: 1 << 20}); err != nil || report.Bytes > 1<<20+1<<16 ||
		len(report.Damage) == 0 {
		t.Errorf("a bomb: %+v, %v", report, err)
	}
	if _, _, err := walk(t, "x.cab", data[:30], Limits{}); err == nil {
		t.Error("a header that is cut off is no error")
	}
}

// TestCabLZX has the command for what is not unpacked.
func TestCabLZX(t *testing.T) {
	data := cabOf(t, cabLZX, false, "report.etl", "x")
	_, _, err := walk(t, "net.cab", data, Limits{})
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) || !strings.Contains(err.Error(), "LZX") ||
		!strings.Contains(hinter.Hint(), "expand -F:* net.cab FOLDER") {
		t.Errorf("%v", err)
	}
	got, report, err := walk(t, "x.zip", zipOf(t, "net.cab", string(data), "a", "x"), Limits{})
	if err != nil || len(report.Damage) != 1 || !strings.Contains(report.Damage[0], "LZX") ||
		!slices.Contains(got, "a=x") {
		t.Errorf("in a zip: %+v, %v", report, err)
	}
}
