package xca_test

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	. "lostbeat/etw/xca"
	"lostbeat/etw/xca/xcatest"
	"lostbeat/internal/testutil/fuzztest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// song is the text of the LZNT1 example in MS-XCA 3.3.
const song = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# " +
	"E D E A F# F# G A A G F# E D D E F# E D D"

// alphabetTable is the table of the first Huffman example: 22 letters of 5
// bits, then four letters and the end symbol of 4.
func alphabetTable() string {
	return strings.Repeat(
		"00",
		48,
	) + "50" + strings.Repeat(
		"55",
		10,
	) + "454404" + strings.Repeat(
		"00",
		66,
	) + "04" + strings.Repeat(
		"00",
		127,
	)
}

func abcTable() string {
	return strings.Repeat(
		"00",
		48,
	) + "3023" + strings.Repeat(
		"00",
		78,
	) + "02" + strings.Repeat(
		"00",
		14,
	) + "20" + strings.Repeat(
		"00",
		112,
	)
}

// TestVectors decodes the examples that the specification publishes.
func TestVectors(t *testing.T) {
	tests := []struct {
		name   string
		format Format
		in     string
		want   string
	}{
		{"plain literals", Xpress, "3f000000 6162636465666768696a6b6c6d6e6f707172737475767778797a", alphabet},
		{"plain match", Xpress, "ffffff1f 616263 1700 0f ff 2601", strings.Repeat("abc", 100)},
		{"huffman literals", XpressHuffman, alphabetTable() + "d8523ed794115be9195ff9d67cdf8d0400000000", alphabet},
		{"huffman match", XpressHuffman, abcTable() + "a8dc0000ff2601", strings.Repeat("abc", 100)},
		{
			"lznt1",
			LZNT1,
			"38b08846232000204720410010a24701a045204400084501507900c045200524138805b4024a44ef0358" +
				"028c091601484500be009e000401189000",
			song + "\x00",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decompress(nil, unhex(t, tt.in), len(tt.want), tt.format)
			if err != nil {
				t.Fatalf("Decompress: %v (got %q)", err, got)
			}
			if string(got) != tt.want {
				t.Errorf("Decompress = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct {
		name   string
		format Format
		in     string
		want   int
	}{
		{"plain empty", Xpress, "", 1},
		{"plain distance", Xpress, "00000080 0000", 4},
		{"plain cut literal", Xpress, "00000000", 1},
		{"plain too short", Xpress, "00000040 61", 4},
		{"huffman empty", XpressHuffman, "", 1},
		{"huffman no codes", XpressHuffman, strings.Repeat("00", 260), 1},
		{"huffman too many codes", XpressHuffman, strings.Repeat("11", 260), 1},
		{"lznt1 signature", LZNT1, "0080 00", 1},
		{"lznt1 cut chunk", LZNT1, "ffbf 00", 1},
		{"lznt1 distance", LZNT1, "02b0 01 0000", 3},
		{"unknown", Format(9), "00", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Decompress(nil, unhex(t, tt.in), tt.want, tt.format); err == nil {
				t.Errorf("Decompress = %x, want an error", got)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 150_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	words := bytes.Repeat([]byte("deferred procedure call "), 9000)
	for i := 0; i < len(words); i += 97 {
		words[i] = byte(i)
	}
	inputs := map[string][]byte{
		"empty":         {},
		"one":           {7},
		"zeros":         make([]byte, 100_000),
		"random":        random,
		"words":         words,
		"alphabet":      []byte(alphabet),
		"block":         words[:1<<16],
		"block and one": words[:1<<16+1],
	}
	for name, in := range inputs {
		for _, format := range []Format{None, Xpress, LZNT1, XpressHuffman} {
			t.Run(name+"/"+format.String(), func(t *testing.T) {
				got, err := Decompress(nil, xcatest.Compress(in, format), len(in), format)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, in) {
					t.Errorf("got %d bytes that differ", len(got))
				}
			})
		}
	}
}

// FuzzDecompress checks that no input makes a decoder fail in any way but by
// an error, or exceed the length that was asked for.
func FuzzDecompress(f *testing.F) {
	fuzztest.Quick(f)
	for _, format := range []Format{Xpress, LZNT1, XpressHuffman} {
		f.Add(xcatest.Compress([]byte(song), format), uint16(format), len(song))
	}
	f.Fuzz(func(t *testing.T, in []byte, format uint16, want int) {
		if want < 0 || want > 1<<20 {
			return
		}
		got, err := Decompress(nil, in, want, Format(format%5))
		if len(got) > want || err == nil && len(got) != want {
			t.Errorf("%d bytes, want %d: %v", len(got), want, err)
		}
	})
}

// FuzzRoundTrip checks decode(encode(x)) = x.
func FuzzRoundTrip(f *testing.F) {
	fuzztest.Quick(f)
	f.Add([]byte(song), uint16(Xpress))
	f.Add([]byte(song), uint16(LZNT1))
	f.Add([]byte(song), uint16(XpressHuffman))
	f.Fuzz(func(t *testing.T, in []byte, format uint16) {
		want := []Format{None, LZNT1, Xpress, XpressHuffman}[format%4]
		got, err := Decompress(nil, xcatest.Compress(in, want), len(in), want)
		if err != nil || !bytes.Equal(got, in) {
			t.Errorf("%v: %v", want, err)
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	words := bytes.Repeat([]byte("deferred procedure call "), 2700)
	for i := 0; i < len(words); i += 37 {
		words[i] = byte(i)
	}
	for _, format := range []Format{Xpress, LZNT1, XpressHuffman} {
		b.Run(format.String(), func(b *testing.B) {
			in := xcatest.Compress(words, format)
			var out []byte
			b.SetBytes(int64(len(words)))
			for b.Loop() {
				out, _ = Decompress(out, in, len(words), format)
			}
		})
	}
}
