package ebpf

import (
	"bufio"
	"cmp"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// symbols turns kernel addresses into function names. The table is read when
// the first address is asked for.
type symbols struct {
	path   string // "/proc/kallsyms"
	loaded bool
	table  []symbol // by address
}

type symbol struct {
	addr uint64
	name string
}

// name returns the function that contains addr, "" when it is unknown or the
// kernel hides its addresses.
func (s *symbols) name(addr uint64) string {
	if addr == 0 {
		return ""
	}
	if !s.loaded {
		s.loaded = true
		if f, err := os.Open(s.path); err == nil {
			s.table = parseSymbols(f)
			f.Close()
		}
	}
	i, found := slices.BinarySearchFunc(s.table, addr, func(e symbol, addr uint64) int { return cmp.Compare(e.addr, addr) })
	if !found {
		i--
	}
	if i < 0 {
		return ""
	}
	return s.table[i].name
}

// parseSymbols reads the functions of /proc/kallsyms: "address type name",
// with the module in brackets where there is one. It returns nothing when the
// addresses are hidden, that is, all zero.
func parseSymbols(r io.Reader) []symbol {
	var table []symbol
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addrText, rest, _ := strings.Cut(lines.Text(), " ")
		kind, name, ok := strings.Cut(rest, " ")
		if !ok || !strings.Contains("tTwW", kind) {
			continue
		}
		addr, err := strconv.ParseUint(addrText, 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		name, _, _ = strings.Cut(name, "\t")
		table = append(table, symbol{addr, strings.Clone(name)})
	}
	slices.SortStableFunc(table, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	return slices.Clip(table)
}
