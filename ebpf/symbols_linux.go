package ebpf

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
)

// maxResolved bounds the addresses whose names are kept.
const maxResolved = 1 << 14

// symbols turns kernel addresses into function names. The kernel's table is
// large and the addresses asked for are few: it is read when one is asked for
// that was not before, and kept only for a while: addresses that are new come
// together.
type symbols struct {
	path     string // "/proc/kallsyms"
	table    symbolTable
	loaded   bool
	unused   int // calls of forget since the table was used
	resolved map[uint64]string
}

// name returns the function that contains addr, "" when it is unknown or the
// kernel hides its addresses.
func (s *symbols) name(addr uint64) string {
	if addr == 0 {
		return ""
	}
	if name, ok := s.resolved[addr]; ok {
		return name
	}
	s.load()
	name := s.table.name(addr)
	if s.resolved == nil || len(s.resolved) >= maxResolved {
		s.resolved = make(map[uint64]string)
	}
	s.resolved[addr] = name
	return name
}

// function returns the address of a function, and how many bytes it has up to the next one; 0 where it is unknown.
func (s *symbols) function(name string) (address, size uint64) {
	s.load()
	for i := range s.table.symbols {
		e := &s.table.symbols[i]
		if string(s.table.text(e)) == name && i+1 < len(s.table.symbols) {
			return e.addr, s.table.symbols[i+1].addr - e.addr
		}
	}
	return 0, 0
}

func (s *symbols) load() {
	s.unused = 0
	if s.loaded {
		return
	}
	s.loaded = true
	if f, err := os.Open(s.path); err == nil {
		s.table = parseSymbols(f)
		f.Close()
	}
}

// keepSymbols is the number of intervals for which the table is kept unused.
const keepSymbols = 10

// forget is called at the end of each interval. It gives back the memory of a
// table that was not used for a while.
func (s *symbols) forget() {
	if s.unused++; s.loaded && s.unused > keepSymbols {
		s.table, s.loaded = symbolTable{}, false
	}
}

// symbolTable are the kernel's functions by address. Its names stand in chunks:
// each alone would cost more than itself, and one long text would be copied
// again and again while it grows.
type symbolTable struct {
	names   [][]byte
	symbols []symbol
}

type symbol struct {
	addr         uint64
	chunk, begin uint16 // of the name
	length       uint16
}

const (
	// symbolChunk is the size of a chunk of names.
	symbolChunk = 1 << 16
	// usualSymbols is room for the functions of most kernels.
	usualSymbols = 1 << 16
)

func (t *symbolTable) name(addr uint64) string {
	i, found := slices.BinarySearchFunc(
		t.symbols,
		addr,
		func(e symbol, addr uint64) int { return cmp.Compare(e.addr, addr) },
	)
	if !found {
		i--
	}
	if i < 0 {
		return ""
	}
	return string(t.text(&t.symbols[i]))
}

func (t *symbolTable) text(e *symbol) []byte { return t.names[e.chunk][e.begin : e.begin+e.length] }

// add appends a function.
func (t *symbolTable) add(addr uint64, name []byte) {
	last := len(t.names) - 1
	if last < 0 || len(t.names[last])+len(name) >= symbolChunk {
		if last++; last > math.MaxUint16 {
			return // no kernel has 4 GiB of names
		}
		t.names = append(t.names, make([]byte, 0, symbolChunk))
	}
	begin := len(t.names[last])
	t.names[last] = append(t.names[last], name...)
	t.symbols = append(t.symbols, symbol{addr, uint16(last), uint16(begin), uint16(len(name))})
}

// parseSymbols reads the functions of /proc/kallsyms: "address type name",
// with the module in brackets where there is one. It returns nothing when the
// addresses are hidden, that is, all zero. The padding in front of functions,
// which is half of the table where the kernel has it, is left out.
func parseSymbols(r io.Reader) symbolTable {
	table := symbolTable{symbols: make([]symbol, 0, usualSymbols)}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addrText, rest, _ := bytes.Cut(lines.Bytes(), []byte{' '})
		kind, name, ok := bytes.Cut(rest, []byte{' '})
		if !ok || len(kind) != 1 || bytes.IndexByte([]byte("tTwW"), kind[0]) < 0 || bytes.HasPrefix(name, []byte("__pfx_")) {
			continue
		}
		addr, err := strconv.ParseUint(string(addrText), 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		name, _, _ = bytes.Cut(name, []byte{'\t'})
		table.add(addr, name)
	}
	if byAddr := func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) }; !slices.IsSortedFunc(
		table.symbols,
		byAddr,
	) {
		slices.SortStableFunc(table.symbols, byAddr)
	}
	return table
}
