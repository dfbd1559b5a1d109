package ebpf

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lostbeat/internal/testutil/fuzztest"
)

func TestSymbols(t *testing.T) {
	const content = `ffffffff81000000 T _text
ffffffff81000100 t tcp_v4_rcv
ffffffff81000040 T startup_64
ffffffff81000200 D not_a_function
0000000000000000 A absolute
ffffffffc0000000 t e1000_clean	[e1000]
malformed
zzzz t not_hexadecimal
`
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	s := symbols{path: path}
	for addr, want := range map[uint64]string{
		0xffffffff81000000: "_text",
		0xffffffff81000041: "startup_64",
		0xffffffff81000100: "tcp_v4_rcv",
		0xffffffff810001ff: "tcp_v4_rcv",
		0xffffffffc0000123: "e1000_clean",
		0x1000:             "",
		0:                  "",
	} {
		if got := s.name(addr); got != want {
			t.Errorf("name(%#x) = %q, want %q", addr, got, want)
		}
	}
	for range keepSymbols {
		s.forget()
	}
	if !s.loaded {
		t.Error("the table was forgotten at once")
	}
	if s.forget(); s.loaded {
		t.Error("the table is kept without being used")
	}
	for _, addr := range []uint64{0xffffffff81000100, 0xffffffff81000108} { // asked for before forget, and not
		if got := s.name(addr); got != "tcp_v4_rcv" {
			t.Errorf("after forget: name(%#x) = %q", addr, got)
		}
	}
}

func TestSymbolsHidden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte("0000000000000000 T _text\n0000000000000000 T tcp_v4_rcv\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []symbols{{path: path}, {path: filepath.Join(t.TempDir(), "absent")}} {
		if got := s.name(0xffffffff81000000); got != "" {
			t.Errorf("name %q from %s, want none", got, s.path)
		}
	}
}

func FuzzSymbols(f *testing.F) {
	fuzztest.Quick(f)
	f.Add("ffffffff81000000 T _text\nffffffffc0000000 t e1000_clean\t[e1000]\n", uint64(0xffffffff81000010))
	f.Add("2 t b\n1 T a\n3 w \n1 W c\n0 t zero\n", uint64(2))
	f.Fuzz(func(t *testing.T, text string, addr uint64) {
		table := parseSymbols(strings.NewReader(text))
		if n := len(table.symbols); n > strings.Count(text, "\n")+1 {
			t.Errorf("%d functions of %q", n, text)
		}
		if !slices.IsSortedFunc(table.symbols, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) }) {
			t.Errorf("functions out of order: %v", table.symbols)
		}
		if name := table.name(addr); !strings.Contains(text, name) {
			t.Errorf("%q at %#x is not in %q", name, addr, text)
		}
	})
}

// A function ends where the next one begins.
func TestFunction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kallsyms")
	text := "ffff800000001000 t first\nffff800000001040 T second\nffff800000001100 t last\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := symbols{path: path}
	for name, want := range map[string][2]uint64{
		"first": {0xffff800000001000, 0x40}, "second": {0xffff800000001040, 0xc0}, "last": {}, "none": {},
	} {
		if address, size := s.function(name); address != want[0] || size != want[1] {
			t.Errorf("%s: %#x, %d bytes; want %#x, %d", name, address, size, want[0], want[1])
		}
	}
}
