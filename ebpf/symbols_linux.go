package ebpf

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxResolved bounds the addresses whose names are kept.
const maxResolved = 1 << 14

// symbols turns kernel addresses into function names. The kernel's table is
// large and the addresses asked for are few: it is read when one is asked for
// that was not before, and kept only until forget.
type symbols struct {
	path     string // "/proc/kallsyms"
	table    symbolTable
	loaded   bool
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
	if !s.loaded {
		s.loaded = true
		if f, err := os.Open(s.path); err == nil {
			s.table = parseSymbols(f)
			f.Close()
		}
	}
	name := strings.Clone(s.table.name(addr))
	if s.resolved == nil || len(s.resolved) >= maxResolved {
		s.resolved = make(map[uint64]string)
	}
	s.resolved[addr] = name
	return name
}

// forget gives back the memory of the table.
func (s *symbols) forget() { s.table, s.loaded = symbolTable{}, false }

// symbolTable are the kernel's functions by address. The names stand in one
// string: each alone would cost more than itself.
type symbolTable struct {
	names   string
	symbols []symbol
}

type symbol struct {
	addr       uint64
	begin, end uint32 // of the name
}

func (t *symbolTable) name(addr uint64) string {
	i, found := slices.BinarySearchFunc(t.symbols, addr, func(e symbol, addr uint64) int { return cmp.Compare(e.addr, addr) })
	if !found {
		i--
	}
	if i < 0 {
		return ""
	}
	return t.names[t.symbols[i].begin:t.symbols[i].end]
}

// parseSymbols reads the functions of /proc/kallsyms: "address type name",
// with the module in brackets where there is one. It returns nothing when the
// addresses are hidden, that is, all zero.
func parseSymbols(r io.Reader) symbolTable {
	var table symbolTable
	var names []byte
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addrText, rest, _ := bytes.Cut(lines.Bytes(), []byte{' '})
		kind, name, ok := bytes.Cut(rest, []byte{' '})
		if !ok || len(kind) != 1 || bytes.IndexByte([]byte("tTwW"), kind[0]) < 0 {
			continue
		}
		addr, err := strconv.ParseUint(string(addrText), 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		name, _, _ = bytes.Cut(name, []byte{'\t'})
		begin := uint32(len(names))
		names = append(names, name...)
		table.symbols = append(table.symbols, symbol{addr, begin, uint32(len(names))})
	}
	slices.SortStableFunc(table.symbols, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	table.symbols, table.names = slices.Clip(table.symbols), string(names)
	return table
}
