package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
)

// rawMember is a member of a zip, already packed.
type rawMember struct {
	name    string
	method  uint16
	flags   uint16
	content []byte
	// later says that its size is behind its content.
	later bool
}

// noClose is a writer that is not closed.
type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }

// cutOf is a zip with such members, without its directory.
func cutOf(t testing.TB, members ...rawMember) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: m.method, Flags: m.flags}
		var to io.Writer
		var err error
		if m.later {
			w.RegisterCompressor(m.method, func(w io.Writer) (io.WriteCloser, error) { return noClose{w}, nil })
			to, err = w.CreateHeader(h)
		} else {
			h.CompressedSize64, h.UncompressedSize64 = uint64(len(m.content)), uint64(len(m.content))
			h.CRC32 = crc32.ChecksumIEEE(m.content)
			to, err = w.CreateRaw(h)
		}
		if err == nil {
			_, err = to.Write(m.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.CreateRaw(&zip.FileHeader{Name: "cut off"})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:bytes.LastIndex(b.Bytes(), []byte(localMagic))]
}

// TestCutZipMethods reads members in every method that is read of a whole zip, wherever their size is.
func TestCutZipMethods(t *testing.T) {
	text := []byte("hello\n")
	for method, data := range map[uint16][]byte{zip.Store: text, 12: bz2(t), 93: zst(t, text), 95: xzOf(t, text)} {
		for _, later := range []bool{false, true} {
			first, second := rawMember{"a", method, 0, data, later}, rawMember{"b", method, 0, data, later}
			whole := cutOf(t, first, second)
			bare := bytes.ReplaceAll(append(bytes.Clone(whole), entryMagic+strings.Repeat("\x00", 42)...),
				[]byte(descriptorMagic), nil)
			for form, z := range map[string][]byte{
				"whole": whole, "sizes without a signature": bare, "large": zip64Of(whole, len(data), later),
			} {
				name := fmt.Sprintf("method %d, size later %v, %s", method, later, form)
				got, report, err := walk(t, "x.zip", z, Limits{})
				want := []string{"a=hello\n", "b=hello\n"}
				if err != nil || !slices.Equal(got, want) || report.Members != 2 || len(report.Damage) != 1 ||
					!strings.Contains(report.Damage[0], "directory at the end") {
					t.Errorf("%s: %q, %+v, %v", name, got, report, err)
				}
			}
			// Cut off within the content of the second one.
			z := whole[:len(cutOf(t, first))+localBytes+1+len(data)/2]
			got, report, err := walk(t, "x.zip", z, Limits{})
			if err != nil || !slices.Equal(got, []string{"a=hello\n"}) || len(report.Damage) != 2 ||
				!strings.HasPrefix(report.Damage[0], "b: ") {
				t.Errorf("cut, method %d, size later %v: %q, %+v, %v", method, later, got, report, err)
			}
			// Damaged in the first one: the second one is read.
			if method == zip.Store {
				continue
			}
			z = bytes.Clone(whole)
			at := bytes.Index(z, data)
			clear(z[at : at+len(data)])
			got, report, err = walk(t, "x.zip", z, Limits{})
			if err != nil || !slices.Equal(got, []string{"b=hello\n"}) || report.Members != 2 ||
				len(report.Damage) != 2 || !strings.HasPrefix(report.Damage[0], "a: ") {
				t.Errorf("damaged, method %d, size later %v: %q, %+v, %v", method, later, got, report, err)
			}
		}
	}
}

// zip64Of moves the size of the first member to where that of a large one is: an extra field, or one of 64 bits.
func zip64Of(z []byte, packed int, later bool) []byte {
	le := binary.LittleEndian
	z = bytes.Clone(z)
	if later {
		at := bytes.Index(z, []byte(descriptorMagic)) + 12
		return slices.Insert(z, at, make([]byte, 8)...) // after the low half of the first size, so both have 64 bits
	}
	extra := le.AppendUint64(le.AppendUint64([]byte{1, 0, 16, 0}, uint64(packed)), uint64(packed))
	le.PutUint32(z[18:], zip64Size)
	le.PutUint32(z[22:], zip64Size)
	at := localBytes + int(le.Uint16(z[26:]))
	extra = append([]byte{0x55, 0x54, 1, 0, 0}, extra...) // another field before it
	le.PutUint16(z[28:], uint16(len(extra)))
	return slices.Insert(z, at, extra...)
}

// TestCutZipUnread names the members that cannot be read, with the reason, and reads those around them.
func TestCutZipUnread(t *testing.T) {
	noise := []byte(strings.Repeat("\x93\x01\xfe", 40))
	good := rawMember{"dir/good", 93, 0, zst(t, []byte("hello")), false}
	for _, test := range []struct {
		member rawMember
		says   string
	}{
		{rawMember{"dir/a", 14, 0, noise, false}, "dir/a: its compression (method 14, LZMA) is not known"},
		{rawMember{"dir/a", 14, 0, noise, true}, "dir/a: its compression (method 14, LZMA) is not known"},
		{rawMember{"dir/a", 9, 0, noise, false}, "dir/a: its compression (method 9, Deflate64) is not known"},
		{rawMember{"dir/a", 99, 0, noise, false}, "dir/a: its compression (method 99, which has no common name)"},
		{rawMember{"dir/a", zip.Deflate, encrypted, noise, false}, "dir/a: it is encrypted"},
		{rawMember{"dir/a", zip.Deflate, 0, []byte("\xff\xff\xff"), false}, "dir/a: flate: corrupt input"},
	} {
		got, report, err := walk(t, "x.zip", cutOf(t, good, test.member, good), Limits{})
		want := []string{"dir/good=hello", "dir/good=hello"}
		if err != nil || !slices.Equal(got, want) || report.Members != 3 || len(report.Damage) != 2 ||
			!strings.HasPrefix(report.Damage[0], test.says) {
			t.Errorf("%s: %q, %+v, %v", test.says, got, report, err)
		}
		// One with nothing else is a zip, too.
		_, report, err = walk(t, "x.zip", cutOf(t, test.member), Limits{})
		if err != nil || report.Members != 1 || len(report.Damage) != 2 {
			t.Errorf("%s, alone: %+v, %v", test.says, report, err)
		}
	}
	_, report, err := walk(t, "x.zip", cutOf(t, slices.Repeat([]rawMember{{"a", 14, 0, noise, false}}, 9)...),
		Limits{Members: 5})
	if err != nil || report.Members != 6 || !strings.Contains(strings.Join(report.Damage, "\n"), "more than 5 members") {
		t.Errorf("more than may be: %+v, %v", report, err)
	}
}

// TestCutInner reads what is there of a zip in a zip that is cut off within it.
func TestCutInner(t *testing.T) {
	inner := zipOf(t, "a", "first", "b", strings.Repeat("second", 99))
	whole := cutOf(t, rawMember{"in.zip", zip.Store, 0, inner, false})
	end := len(whole) - len(inner) + bytes.LastIndex(inner, []byte(entryMagic))
	got, report, err := walk(t, "x.zip", whole[:end], Limits{})
	if err != nil || len(got) != 2 || got[0] != "in.zip/a=first" || len(report.Damage) != 3 {
		t.Errorf("%q, %+v, %v", got, report, err)
	}
	whole = whole[:len(whole)-len(inner)+10]
	got, report, err = walk(t, "x.zip", whole, Limits{})
	if err != nil || len(got) != 0 || len(report.Damage) != 2 {
		t.Errorf("nothing of it: %q, %+v, %v", got, report, err)
	}
}

// TestPacked64 finds the size in the extra field for large members, wherever that is.
func TestPacked64(t *testing.T) {
	large := []byte("\x01\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00")
	for name, test := range map[string]struct {
		extra []byte
		want  int64
	}{
		"alone": {large, 1<<32 + 5}, "behind another": {append([]byte("UT\x01\x00x"), large...), 1<<32 + 5},
		"none": {nil, -1}, "another": {[]byte("UT\x01\x00x"), -1}, "cut off": {large[:19], -1},
		"one size":  {[]byte("\x01\x00\x08\x00\x05\x00\x00\x00\x00\x00\x00\x00"), -1},
		"too large": {append(bytes.Clone(large[:12]), bytes.Repeat([]byte{0xff}, 8)...), -1},
	} {
		if got := packed64(test.extra); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
