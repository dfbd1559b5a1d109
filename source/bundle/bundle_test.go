package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
)

var changed = time.Date(2026, 11, 28, 21, 3, 31, 0, time.UTC)

func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i+1 < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644, ModTime: changed}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}),
		w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i+1 < len(files); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: files[i], Method: zip.Deflate, Modified: changed, NonUTF8: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packed compresses data with a writer that a function makes.
func packed[W io.WriteCloser](t testing.TB, data []byte, writer func(io.Writer) (W, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := writer(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriter(w), nil })
}

func xzOf(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (*xz.Writer, error) { return xz.NewWriter(w) })
}

func zst(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (*zstd.Encoder, error) { return zstd.NewWriter(w) })
}

// bz2 is the line "hello" and its end: the standard library has no writer.
func bz2(t testing.TB) []byte {
	b, err := hex.DecodeString("425a6839314159265359c1c080e2000001410000100244a00030cd00c3462997177245385090c1c080e2")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// walk returns the members of a bundle, each as its name, "=" and its content.
func walk(t testing.TB, name string, data []byte, limits Limits) (members []string, report Report, err error) {
	t.Helper()
	dir := testutil.TempDir(t)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err = Walk(t.Context(), path, dir, limits, func(m Member, r io.Reader) error {
		text, err := io.ReadAll(r)
		if err == nil {
			members = append(members, m.Name+"="+string(text))
		}
		return nil
	})
	if left, _ := filepath.Glob(filepath.Join(dir, "inner-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	return members, report, err
}

func TestWalk(t *testing.T) {
	files := []string{"a/date", "Sat", "a/b", "two"}
	want := []string{"a/date=Sat", "a/b=two"}
	flat := tarOf(t, files...)
	for _, test := range []struct {
		name string
		data []byte
		want []string
	}{
		{"x.tar", flat, want},
		{"x.tar.gz", gz(t, flat), want},
		{"x.tgz", gz(t, flat), want},
		{"x.tar.xz", xzOf(t, flat), want},
		{"x.tar.zst", zst(t, flat), want},
		{"without extension", xzOf(t, flat), want},
		{"x.zip", zipOf(t, files...), want},
		{"windows.zip", zipOf(t, `a\date`, "Sat", `..\..\b`, "two"), []string{"a/date=Sat", "b=two"}},
		{"code page.zip", zipOf(t, "\x81bung.txt", "two"), []string{"übung.txt=two"}},
		{"netstat.txt.gz", gz(t, []byte("rows")), []string{"netstat.txt=rows"}},
		{"netstat.txt.xz", xzOf(t, []byte("rows")), []string{"netstat.txt=rows"}},
		{"netstat.txt.zst", zst(t, []byte("rows")), []string{"netstat.txt=rows"}},
		{"two streams.xz", append(xzOf(t, []byte("one ")), append(make([]byte, 8), xzOf(t, []byte("two"))...)...),
			[]string{"two streams=one two"}},
		{"outer.zip", zipOf(t, "in/node.tar.gz", string(gz(t, flat)), "c", "three"),
			[]string{"in/node.tar/a/date=Sat", "in/node.tar/a/b=two", "c=three"}},
		{"collect.tar.xz", xzOf(t, tarOf(t, "n/one.tar.xz", string(xzOf(t, flat)), "n/two.zip", string(zipOf(t, files...)),
			"n/log.gz", string(gz(t, []byte("line"))))), []string{"n/one.tar/a/date=Sat", "n/one.tar/a/b=two",
			"n/two.zip/a/date=Sat", "n/two.zip/a/b=two", "n/log=line"}},
		{"empty.zip", zipOf(t), nil},
	} {
		got, report, err := walk(t, test.name, test.data, Limits{})
		if err != nil || !slices.Equal(got, test.want) || len(report.Damage) > 0 || report.Members != len(test.want) {
			t.Errorf("%s: %q, want %q; %+v, %v", test.name, got, test.want, report, err)
		}
	}
}

func TestBzip2(t *testing.T) {
	data := bz2(t)
	if kindOf(data) != isBzip2 {
		t.Fatal("not recognised")
	}
	got, report, err := walk(t, "x.txt.bz2", data, Limits{})
	if err != nil || len(report.Damage) > 0 || !slices.Equal(got, []string{"x.txt=hello\n"}) {
		t.Errorf("%q, %+v, %v", got, report, err)
	}
	if kindOf([]byte("BZhello, this is a text")) != plain {
		t.Error("a text that begins with BZh is taken for bzip2")
	}
}

// TestDamage reads what is there of bundles that are cut off, and says that the rest is missing.
func TestDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	text := string(noise)
	whole := tarOf(t, "a", "first", "b", text)
	for name, data := range map[string][]byte{
		"x.tar": whole[:len(whole)-40000], "x.tar.gz": gz(t, whole)[:200_000], "x.tar.xz": xzOf(t, whole)[:200_000],
	} {
		got, report, err := walk(t, name, data, Limits{})
		if err != nil || len(got) == 0 || got[0] != "a=first" || len(report.Damage) != 1 {
			t.Errorf("%s: %d members, %+v, %v", name, len(got), report, err)
		}
	}
	good := xzOf(t, whole)
	good[len(good)-50] ^= 1 // the checksum or the end of the data
	if _, report, err := walk(t, "sum.tar.xz", good, Limits{}); err == nil && len(report.Damage) == 0 {
		t.Error("a changed byte is not noticed")
	}
	z := zipOf(t, "a", "first", "b", text, "c", "third")
	z[bytes.Index(z, []byte("first"))+40] ^= 0xff
	got, report, err := walk(t, "x.zip", z, Limits{})
	if err != nil || !slices.Contains(got, "c=third") {
		t.Errorf("one damaged member: %d others, %+v, %v", len(got), report, err)
	}
}

// TestCutZip reads the members of zips without their directory, which is at the end.
func TestCutZip(t *testing.T) {
	zeros := strings.Repeat("0", 8<<20)
	inner := zipOf(t, "a", "first", "b", "second", "c", "third")
	inner = inner[:bytes.Index(inner, []byte("PK\x01\x02"))-20]
	stored := []byte("PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x7c\x5b\x00\x00\x00\x00\x06\x00\x00\x00\x06\x00\x00\x00" +
		"\x05\x00\x00\x00d/e.fstored")
	for _, test := range []struct {
		name   string
		data   []byte
		want   []string
		damage int
	}{
		{"cut.zip", inner, []string{"a=first", "b=second"}, 2},
		{"stored.zip", stored, []string{"d/e.f=stored"}, 1},
		{"noise.zip", append(bytes.Repeat([]byte("PK\x03\x04"), 50), stored...), []string{"d/e.f=stored"}, 1},
		{"outer.zip", zipOf(t, "in.zip", string(inner), "z", "last"),
			[]string{"in.zip/a=first", "in.zip/b=second", "z=last"}, 2},
	} {
		got, report, err := walk(t, test.name, test.data, Limits{})
		if slices.Sort(got); err != nil || !slices.Equal(got, test.want) || len(report.Damage) != test.damage {
			t.Errorf("%s: %q, want %q; %+v, %v", test.name, got, test.want, report, err)
		}
	}
	bomb := zipOf(t, "a", zeros, "b", "x")
	_, report, err := walk(t, "bomb.zip", bomb[:len(bomb)-30], Limits{Bytes: 1 << 20})
	if err != nil || report.Bytes > 2<<20 || !strings.Contains(strings.Join(report.Damage, "\n"), "more than 1 MiB") {
		t.Errorf("a bomb that is cut off: %+v, %v", report, err)
	}
	if _, _, err := walk(t, "no.zip", []byte("PK\x03\x04"+strings.Repeat("no zip ", 99)), Limits{}); err == nil {
		t.Error("what is no zip is read")
	}
}

func TestLimits(t *testing.T) {
	zeros := make([]byte, 8<<20)
	bomb := gz(t, zeros)
	nested := tarOf(t, "in.tar.gz", string(gz(t, tarOf(t, "in.zip", string(zipOf(t, "in.tar", string(tarOf(t, "in.gz",
		string(gz(t, []byte("deep")))))))))))
	for _, test := range []struct {
		name   string
		data   []byte
		limits Limits
		says   string
	}{
		{"bytes", bomb, Limits{Bytes: 1 << 20}, "unpacks to more than 1 MiB"},
		{"bytes of a zip", zipOf(t, "a", string(zeros), "b", "x"), Limits{Bytes: 1 << 20}, "unpacks to more than 1 MiB"},
		{"members", tarOf(t, "a", "1", "b", "2", "c", "3"), Limits{Members: 2}, "more than 2 members"},
		{"depth", nested, Limits{Depth: 2}, "was not unpacked"},
		{"7z", zipOf(t, "x.7z", "7z\xbc\xaf\x27\x1c"+strings.Repeat("x", 600)), Limits{}, ".7z archive"},
	} {
		_, report, err := walk(t, test.name, test.data, test.limits)
		if err != nil || len(report.Damage) != 1 || !strings.Contains(report.Damage[0], test.says) {
			t.Errorf("%s: %+v, %v", test.name, report, err)
		}
		if test.limits.Bytes > 0 && report.Bytes > test.limits.Bytes+1<<20 {
			t.Errorf("%s: %d bytes were read", test.name, report.Bytes)
		}
	}
	if _, report, err := walk(t, "deep", nested, Limits{Depth: 6}); err != nil || len(report.Damage) > 0 {
		t.Errorf("archives within the depth: %+v, %v", report, err)
	}
}

// TestUnsupported has the command that unpacks what is not unpacked here.
func TestUnsupported(t *testing.T) {
	for name, head := range map[string]string{"x.7z": "7z\xbc\xaf\x27\x1c",
		"x.rar": "Rar!\x1a\x07\x01\x00"} {
		_, _, err := walk(t, name, []byte(head+strings.Repeat("x", 600)), Limits{})
		var hinter interface{ Hint() string }
		if !errors.As(err, &hinter) || !strings.Contains(hinter.Hint(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDictionary refuses a block of xz data whose header asks for more memory than is given.
func TestDictionary(t *testing.T) {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte("x"))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(newXZ(&b)); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	big := new(bytes.Buffer)
	w, err = xz.WriterConfig{DictCap: maxDictionary + 1}.NewWriter(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(newXZ(big))
	if err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("a dictionary above the limit: %v", err)
	}
}

func FuzzWalk(f *testing.F) {
	fuzztest.Quick(f)
	flat := tarOf(f, "a/date", "Sat", "b", "two")
	for _, seed := range [][]byte{flat, gz(f, flat), xzOf(f, flat), zst(f, flat), bz2(f), zipOf(f, "a", "x"),
		zipOf(f, "a", "x", "b", "y")[:150], zipOf(f, "in.tar.xz", string(xzOf(f, flat))), xzOf(f, nil),
		cabOf(f, cabMSZIP, true, "a", "x", "b", strings.Repeat("y", 40_000)),
		cabOf(f, cabStored, false, "a", "x")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 20
		_, report, _ := walk(t, "x", data, Limits{Bytes: most, Members: 100})
		if report.Bytes > most+1<<16 || report.Members > 101 {
			t.Errorf("%+v", report)
		}
	})
}

// oldSparse is a tar with a sparse file in the old format of GNU tar: a hole of size bytes, and then the content.
func oldSparse(size int, content string) []byte {
	head := make([]byte, 512)
	copy(head, "sosreport-a/proc/net/snmp")
	copy(head[100:], "0000644\x000000000\x000000000\x00")
	copy(head[124:], fmt.Sprintf("%011o\x00", len(content)))
	copy(head[136:], "00000000000\x00        S")
	copy(head[257:], "ustar  \x00")
	copy(head[386:], fmt.Sprintf("%011o\x00%011o\x00", size, len(content)))
	copy(head[483:], fmt.Sprintf("%011o\x00", size+len(content)))
	sum := 0
	for _, c := range head {
		sum += int(c)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	data := make([]byte, (len(content)+511)/512*512)
	copy(data, content)
	return append(append(head, data...), make([]byte, 1024)...)
}

// TestSparse reads sparse files in the format of GNU tar, and bounds their holes.
func TestSparse(t *testing.T) {
	for size, whole := range map[int]bool{4096: true, 1 << 20: false} {
		path := filepath.Join(testutil.TempDir(t), "x.tar")
		if err := os.WriteFile(path, oldSparse(size, "the end\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		read := 0
		var failed error
		_, err := Walk(t.Context(), path, testutil.TempDir(t), Limits{Bytes: 64 << 10}, func(_ Member, r io.Reader) error {
			data, err := io.ReadAll(r)
			read, failed = len(data), err
			if err == nil && !bytes.HasSuffix(data, []byte("\x00the end\n")) {
				t.Errorf("%q", data[max(0, len(data)-20):])
			}
			return nil
		})
		if err != nil || (failed == nil) != whole || whole && read != size+8 || read > 128<<10 {
			t.Errorf("%d: %d bytes, %v, %v", size, read, failed, err)
		}
	}
}

// TestZipMethods reads members of a zip in other methods of compression than its usual one.
func TestZipMethods(t *testing.T) {
	text := []byte("hello\n")
	for method, data := range map[uint16][]byte{12: bz2(t), 93: zst(t, text), 95: xzOf(t, text)} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		m, err := w.CreateRaw(&zip.FileHeader{
			Name: "a", Method: method, CompressedSize64: uint64(len(data)), UncompressedSize64: 6,
			CRC32: crc32.ChecksumIEEE(text),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Write(data)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		got, report, err := walk(t, "x.zip", b.Bytes(), Limits{})
		if err != nil || !slices.Equal(got, []string{"a=hello\n"}) {
			t.Errorf("method %d: %q, %+v, %v", method, got, report, err)
		}
		whole := b.Bytes()
		at := bytes.Index(whole, data)
		clear(whole[at : at+len(data)])
		if got, report, err := walk(t, "x.zip", whole, Limits{}); err == nil && len(report.Damage) == 0 {
			t.Errorf("damaged, method %d: %q, %+v", method, got, report)
		}
	}
}

// TestCutZipBetween reads members of a zip without its directory that are packed in other ways, and says which of them
// cannot be read there.
func TestCutZipBetween(t *testing.T) {
	text := []byte("hello\n")
	const flagLater = 8
	for _, test := range []struct {
		name   string
		method uint16
		flags  uint16
		data   []byte
		says   string // empty where it is read
	}{
		{"bzip2", 12, 0, bz2(t), ""},
		{"zstd", 93, 0, zst(t, text), ""},
		{"xz", 95, 0, xzOf(t, text), ""},
		{"size later", 93, flagLater, zst(t, text), ""},
		{"stored, size later", 0, flagLater, text, ""},
		{"LZMA", 14, 0, []byte("packed"), "m: its compression (method 14, LZMA) is not known"},
		{"encrypted", 8, 1, []byte("secret"), "m: it is encrypted: unpack the archive with its password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for _, m := range []struct {
				header zip.FileHeader
				data   []byte
			}{
				{zip.FileHeader{Name: "before", CompressedSize64: 5, UncompressedSize64: 5}, []byte("first")},
				{zip.FileHeader{Name: "m", Method: test.method, Flags: test.flags, CompressedSize64: uint64(len(test.data)),
					UncompressedSize64: 6}, test.data},
				{zip.FileHeader{Name: "behind", CompressedSize64: 4, UncompressedSize64: 4}, []byte("last")},
			} {
				out, err := w.CreateRaw(&m.header)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := out.Write(m.data); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			cut := b.Bytes()[:bytes.Index(b.Bytes(), []byte("PK\x01\x02"))]
			want, damage := []string{"before=first", "behind=last"}, 2
			if test.says == "" {
				want, damage = []string{"before=first", "m=hello\n", "behind=last"}, 1
			}
			got, report, err := walk(t, "x.zip", cut, Limits{})
			if slices.Sort(got); err != nil || !slices.Equal(got, slices.Sorted(slices.Values(want))) ||
				len(report.Damage) != damage || !strings.Contains(strings.Join(report.Damage, "\n"), test.says) {
				t.Errorf("%q, want %q; %+v, %v", got, want, report, err)
			}
		})
	}
}
