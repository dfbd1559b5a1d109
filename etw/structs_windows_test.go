package etw

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// TestSystemLayout compares the structures of golang.org/x/sys/windows with what TestLayout finds in C.
func TestSystemLayout(t *testing.T) {
	var (
		row   windows.MibIfRow2
		table windows.MibIfTable2
	)
	for name, got := range map[string]uintptr{
		"MIB_IF_ROW2":                             unsafe.Sizeof(row),
		"MIB_IF_ROW2.InterfaceIndex":              unsafe.Offsetof(row.InterfaceIndex),
		"MIB_IF_ROW2.Description":                 unsafe.Offsetof(row.Description),
		"MIB_IF_ROW2.InterfaceAndOperStatusFlags": unsafe.Offsetof(row.InterfaceAndOperStatusFlags),
		"MIB_IF_ROW2.OperStatus":                  unsafe.Offsetof(row.OperStatus),
		"MIB_IF_ROW2.InOctets":                    unsafe.Offsetof(row.InOctets),
		"MIB_IF_ROW2.InUcastPkts":                 unsafe.Offsetof(row.InUcastPkts),
		"MIB_IF_ROW2.InNUcastPkts":                unsafe.Offsetof(row.InNUcastPkts),
		"MIB_IF_ROW2.InDiscards":                  unsafe.Offsetof(row.InDiscards),
		"MIB_IF_ROW2.InErrors":                    unsafe.Offsetof(row.InErrors),
		"MIB_IF_ROW2.OutUcastPkts":                unsafe.Offsetof(row.OutUcastPkts),
		"MIB_IF_ROW2.OutNUcastPkts":               unsafe.Offsetof(row.OutNUcastPkts),
		"MIB_IF_ROW2.OutDiscards":                 unsafe.Offsetof(row.OutDiscards),
		"MIB_IF_TABLE2.Table":                     unsafe.Offsetof(table.Table),
	} {
		if want, ok := systemLayout[name]; !ok || got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}
