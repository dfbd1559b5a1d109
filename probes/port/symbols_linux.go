package port

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxSymbolBytes bounds the section of a file that is read for names.
const maxSymbolBytes = 128 << 20

// mapping is one executable mapping of a process.
type mapping struct {
	start, end uint64
	offset     uint64 // in the file
	path       string
	file       moduleKey // zero for memory without a file
}

// moduleKey identifies a mapped file.
type moduleKey struct {
	device string
	inode  uint64
}

func readMappings(proc string, pid int32) []mapping {
	f, err := os.Open(fmt.Sprintf("%s/%d/maps", proc, pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseMappings(f)
}

// parseMappings reads the executable mappings of a /proc/PID/maps file, which
// are in order of their addresses. Lines that it does not understand are left
// out.
func parseMappings(r io.Reader) (out []mapping) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// address perms offset dev inode path; the path may contain spaces.
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || len(fields[1]) < 3 || fields[1][2] != 'x' {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(low, 16, 64)
		end, err2 := strconv.ParseUint(high, 16, 64)
		offset, err3 := strconv.ParseUint(fields[2], 16, 64)
		inode, err4 := strconv.ParseUint(fields[4], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || start >= end {
			continue
		}
		m := mapping{start: start, end: end, offset: offset, path: "[anon]"}
		if len(fields) > 5 {
			m.path = strings.TrimSuffix(strings.Join(fields[5:], " "), " (deleted)")
		}
		if inode != 0 {
			m.file = moduleKey{fields[3], inode}
		}
		if n := len(out); n > 0 && start < out[n-1].end {
			continue
		}
		out = append(out, m)
	}
	return out
}

// startTicks returns when a process started, in ticks since boot; 0 when it
// has ended.
func startTicks(proc string, pid int32) uint64 {
	content, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, pid))
	if err != nil {
		return 0
	}
	// Behind the name, which may contain anything, field 3 comes first.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	const startField = 22 - 3
	if len(fields) <= startField {
		return 0
	}
	ticks, _ := strconv.ParseUint(fields[startField], 10, 64)
	return ticks
}

// module is the functions of one file.
type module struct {
	segments []elf.ProgHeader
	symbols  []symbol // in order of their addresses
	golang   *gosym.Table
}

type symbol struct {
	addr, size uint64
	name       string
}

// openModule reads the names of an ELF file's functions.
func openModule(path string) (*module, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &module{}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			m.segments = append(m.segments, p.ProgHeader)
		}
	}
	for _, s := range f.Sections {
		if (s.Type == elf.SHT_SYMTAB || s.Type == elf.SHT_DYNSYM) && s.Size > maxSymbolBytes {
			return m, nil
		}
	}
	static, _ := f.Symbols()
	dynamic, _ := f.DynamicSymbols()
	for _, s := range slices.Concat(static, dynamic) {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 && s.Name != "" {
			m.symbols = append(m.symbols, symbol{s.Value, s.Size, s.Name})
		}
	}
	slices.SortStableFunc(m.symbols, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	if len(static) == 0 {
		m.golang = goTable(f)
	}
	return m, nil
}

// goTable reads the line table of a Go program without symbols, nil for others.
func goTable(f *elf.File) *gosym.Table {
	section, text := f.Section(".gopclntab"), f.Section(".text")
	if section == nil || text == nil || section.Size > maxSymbolBytes {
		return nil
	}
	data, err := section.Data()
	if err != nil {
		return nil
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return nil
	}
	return table
}

// function returns the name of the function at an offset in the file, "" when
// it has none.
func (m *module) function(offset uint64) string {
	for _, p := range m.segments {
		if offset < p.Off || offset-p.Off >= p.Filesz {
			continue
		}
		addr := offset - p.Off + p.Vaddr
		i, found := slices.BinarySearchFunc(
			m.symbols,
			addr,
			func(s symbol, addr uint64) int { return cmp.Compare(s.addr, addr) },
		)
		if !found {
			i--
		}
		if i >= 0 {
			if s := m.symbols[i]; addr-s.addr < max(s.size, 1) {
				return s.name
			}
		}
		if m.golang != nil {
			if f := m.golang.PCToFunc(addr); f != nil {
				return f.Name
			}
		}
	}
	return ""
}
