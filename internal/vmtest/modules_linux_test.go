package vmtest

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// object writes an ELF file with nothing in it but the section .modinfo.
func object(t *testing.T, path, modinfo string) {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var out bytes.Buffer
	section := func(name, kind uint32, offset, size uint64) []any {
		return []any{name, kind, uint64(0), uint64(0), offset, size, uint32(0), uint32(0), uint64(1), uint64(0)}
	}
	header := []any{[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, uint16(1), uint16(62), uint32(1), uint64(0), uint64(0),
		uint64(64 + len(modinfo) + len(names)), uint32(0), uint16(64), uint16(0), uint16(0), uint16(64), uint16(3), uint16(2)}
	data := slices.Concat(header, []any{[]byte(modinfo + names)}, section(0, 0, 0, 0),
		section(1, 1, 64, uint64(len(modinfo))), section(10, 3, 64+uint64(len(modinfo)), uint64(len(names))))
	for _, value := range data {
		if err := binary.Write(&out, binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFindModules orders modules so that each comes after those that it needs, and leaves out what is built in.
func TestFindModules(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules/6.1.0")
	object(t, dir+"/kernel/net/xt_string.ko", "license=GPL\x00depends=x_tables,ts-core\x00name=xt_string\x00")
	object(t, dir+"/kernel/net/x_tables.ko", "depends=\x00")
	object(t, dir+"/kernel/lib/ts_core.ko", "depends=x_tables,libcrc32c\x00")
	builtIn := []byte("kernel/lib/libcrc32c.ko\nkernel/net/veth.ko\n")
	if err := os.WriteFile(dir+"/modules.builtin", builtIn, 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := findModules(root, []string{"xt_string", "veth", "x_tables"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list {
		names = append(names, m.name)
	}
	if want := []string{"x_tables", "ts-core", "xt_string"}; !slices.Equal(names, want) {
		t.Errorf("modules %q, want %q", names, want)
	}
	if _, err := findModules(root, []string{"sch_tbf"}); err == nil {
		t.Error("a module is found that is nowhere")
	}
}
