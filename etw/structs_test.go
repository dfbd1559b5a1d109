package etw

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// systemLayout is what structures have that golang.org/x/sys/windows declares, see TestSystemLayout.
var systemLayout = map[string]uintptr{
	"MIB_IF_ROW2":                             1352,
	"MIB_IF_ROW2.InterfaceIndex":              8,
	"MIB_IF_ROW2.Description":                 542,
	"MIB_IF_ROW2.InterfaceAndOperStatusFlags": 1152,
	"MIB_IF_ROW2.OperStatus":                  1156,
	"MIB_IF_ROW2.InOctets":                    1208,
	"MIB_IF_ROW2.InUcastPkts":                 1216,
	"MIB_IF_ROW2.InNUcastPkts":                1224,
	"MIB_IF_ROW2.InDiscards":                  1232,
	"MIB_IF_ROW2.InErrors":                    1240,
	"MIB_IF_ROW2.OutUcastPkts":                1288,
	"MIB_IF_ROW2.OutNUcastPkts":               1296,
	"MIB_IF_ROW2.OutDiscards":                 1304,
	"MIB_IF_TABLE2.Table":                     8,
}

// TestLayout compares the structures of the binding with those that a C compiler makes of mingw's headers.
func TestLayout(t *testing.T) {
	const compiler = "x86_64-w64-mingw32-gcc"
	if _, err := exec.LookPath(compiler); err != nil {
		testutil.Unavailable(t, "%s is not installed; .ci/setup installs it", compiler)
	}
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the structures are those of 64-bit Windows")
	}
	var (
		wnode   wnodeHeader
		props   eventTraceProperties
		header  traceLogfileHeader
		logfile eventTraceLogfile
		event   eventHeader
		item    extendedItem
		record  eventRecord
		enable  enableTraceParameters
		open    openTraceOptions
		filter  eventFilterDescriptor
		times   processorTimes
	)
	want := map[string]uintptr{
		"WNODE_HEADER":                                        unsafe.Sizeof(wnode),
		"WNODE_HEADER.Guid":                                   unsafe.Offsetof(wnode.GUID),
		"WNODE_HEADER.ClientContext":                          unsafe.Offsetof(wnode.ClientContext),
		"WNODE_HEADER.Flags":                                  unsafe.Offsetof(wnode.Flags),
		"EVENT_TRACE_PROPERTIES":                              unsafe.Sizeof(props),
		"EVENT_TRACE_PROPERTIES.BufferSize":                   unsafe.Offsetof(props.BufferSize),
		"EVENT_TRACE_PROPERTIES.LogFileMode":                  unsafe.Offsetof(props.LogFileMode),
		"EVENT_TRACE_PROPERTIES.FlushTimer":                   unsafe.Offsetof(props.FlushTimer),
		"EVENT_TRACE_PROPERTIES.EnableFlags":                  unsafe.Offsetof(props.EnableFlags),
		"EVENT_TRACE_PROPERTIES.EventsLost":                   unsafe.Offsetof(props.EventsLost),
		"EVENT_TRACE_PROPERTIES.LogBuffersLost":               unsafe.Offsetof(props.LogBuffersLost),
		"EVENT_TRACE_PROPERTIES.RealTimeBuffersLost":          unsafe.Offsetof(props.RealTimeBuffersLost),
		"EVENT_TRACE_PROPERTIES.LoggerThreadId":               unsafe.Offsetof(props.LoggerThreadID),
		"EVENT_TRACE_PROPERTIES.LogFileNameOffset":            unsafe.Offsetof(props.LogFileNameOffset),
		"EVENT_TRACE_PROPERTIES.LoggerNameOffset":             unsafe.Offsetof(props.LoggerNameOffset),
		"TRACE_LOGFILE_HEADER":                                unsafe.Sizeof(header),
		"TRACE_LOGFILE_HEADER.EndTime":                        unsafe.Offsetof(header.EndTime),
		"TRACE_LOGFILE_HEADER.LoggerName":                     unsafe.Offsetof(header.LoggerName),
		"TRACE_LOGFILE_HEADER.BootTime":                       unsafe.Offsetof(header.BootTime),
		"TRACE_LOGFILE_HEADER.PerfFreq":                       unsafe.Offsetof(header.PerfFreq),
		"TRACE_LOGFILE_HEADER.StartTime":                      unsafe.Offsetof(header.StartTime),
		"TRACE_LOGFILE_HEADER.BuffersLost":                    unsafe.Offsetof(header.BuffersLost),
		"EVENT_TRACE_LOGFILEW":                                unsafe.Sizeof(logfile),
		"EVENT_TRACE_LOGFILEW.LoggerName":                     unsafe.Offsetof(logfile.LoggerName),
		"EVENT_TRACE_LOGFILEW.ProcessTraceMode":               unsafe.Offsetof(logfile.ProcessTraceMode),
		"EVENT_TRACE_LOGFILEW.CurrentEvent":                   unsafe.Offsetof(logfile.CurrentEvent),
		"EVENT_TRACE_LOGFILEW.LogfileHeader":                  unsafe.Offsetof(logfile.LogfileHeader),
		"EVENT_TRACE_LOGFILEW.BufferCallback":                 unsafe.Offsetof(logfile.BufferCallback),
		"EVENT_TRACE_LOGFILEW.EventRecordCallback":            unsafe.Offsetof(logfile.EventRecordCallback),
		"EVENT_TRACE_LOGFILEW.Context":                        unsafe.Offsetof(logfile.Context),
		"EVENT_HEADER":                                        unsafe.Sizeof(event),
		"EVENT_HEADER.Flags":                                  unsafe.Offsetof(event.Flags),
		"EVENT_HEADER.ThreadId":                               unsafe.Offsetof(event.ThreadID),
		"EVENT_HEADER.ProcessId":                              unsafe.Offsetof(event.ProcessID),
		"EVENT_HEADER.TimeStamp":                              unsafe.Offsetof(event.TimeStamp),
		"EVENT_HEADER.ProviderId":                             unsafe.Offsetof(event.ProviderID),
		"EVENT_HEADER.EventDescriptor":                        unsafe.Offsetof(event.ID),
		"EVENT_HEADER.ProcessorTime":                          unsafe.Offsetof(event.ProcessorTime),
		"EVENT_HEADER.ActivityId":                             unsafe.Offsetof(event.ActivityID),
		"EVENT_HEADER_EXTENDED_DATA_ITEM":                     unsafe.Sizeof(item),
		"EVENT_HEADER_EXTENDED_DATA_ITEM.ExtType":             unsafe.Offsetof(item.Type),
		"EVENT_HEADER_EXTENDED_DATA_ITEM.DataSize":            unsafe.Offsetof(item.DataSize),
		"EVENT_HEADER_EXTENDED_DATA_ITEM.DataPtr":             unsafe.Offsetof(item.Data),
		"EVENT_RECORD":                                        unsafe.Sizeof(record),
		"EVENT_RECORD.BufferContext":                          unsafe.Offsetof(record.ProcessorIndex),
		"EVENT_RECORD.ExtendedDataCount":                      unsafe.Offsetof(record.ExtendedDataCount),
		"EVENT_RECORD.UserDataLength":                         unsafe.Offsetof(record.UserDataLength),
		"EVENT_RECORD.ExtendedData":                           unsafe.Offsetof(record.ExtendedData),
		"EVENT_RECORD.UserData":                               unsafe.Offsetof(record.UserData),
		"EVENT_RECORD.UserContext":                            unsafe.Offsetof(record.UserContext),
		"ENABLE_TRACE_PARAMETERS":                             unsafe.Sizeof(enable),
		"ENABLE_TRACE_PARAMETERS.SourceId":                    unsafe.Offsetof(enable.SourceID),
		"ENABLE_TRACE_PARAMETERS.EnableFilterDesc":            unsafe.Offsetof(enable.EnableFilterDesc),
		"ENABLE_TRACE_PARAMETERS.FilterDescCount":             unsafe.Offsetof(enable.FilterDescCount),
		"ETW_OPEN_TRACE_OPTIONS":                              unsafe.Sizeof(open),
		"ETW_OPEN_TRACE_OPTIONS.EventCallback":                unsafe.Offsetof(open.EventCallback),
		"ETW_OPEN_TRACE_OPTIONS.EventCallbackContext":         unsafe.Offsetof(open.EventCallbackContext),
		"ETW_OPEN_TRACE_OPTIONS.BufferCallback":               unsafe.Offsetof(open.BufferCallback),
		"ETW_OPEN_TRACE_OPTIONS.BufferCallbackContext":        unsafe.Offsetof(open.BufferCallbackContext),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION":            unsafe.Sizeof(times),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION.IdleTime":   unsafe.Offsetof(times.Idle),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION.KernelTime": unsafe.Offsetof(times.Kernel),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION.UserTime":   unsafe.Offsetof(times.User),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION.Reserved1":  unsafe.Offsetof(times.DPC),
		"SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION.Reserved2":  unsafe.Offsetof(times.Interrupts),
		"EVENT_FILTER_DESCRIPTOR":                             unsafe.Sizeof(filter),
		"EVENT_FILTER_DESCRIPTOR.Size":                        unsafe.Offsetof(filter.Size),
		"EVENT_FILTER_DESCRIPTOR.Type":                        unsafe.Offsetof(filter.Type),
	}
	for i, table := range []string{"UDP", "UDP6", "TCP", "TCP6"} {
		k, v6 := tableKinds[i], strings.HasSuffix(table, "6")
		row := "MIB_" + table + "ROW_OWNER_MODULE"
		local, remote := "dwLocalAddr", "dwRemoteAddr"
		if v6 {
			local, remote = "ucLocalAddr", "ucRemoteAddr"
		}
		if udp := strings.HasPrefix(table, "UDP"); k.ipv6 != v6 || (k.protocol == model.ProtocolUDP) != udp {
			t.Errorf("table %d is not that of %s", i, table)
		}
		want[row] = uintptr(k.row)
		for member, offset := range map[string]int{
			"dwState": k.state, local: k.local, "dwLocalPort": k.port, remote: k.remote, "dwRemotePort": k.remotePort,
			"dwOwningPid": k.pid, "liCreateTimestamp": k.created,
		} {
			if offset >= 0 {
				want[row+"."+member] = uintptr(offset)
			}
		}
	}
	for _, name := range []string{"tables: rows", "tables: rows of UDP6", "tables: rows of TCP", "tables: rows of TCP6"} {
		want[name] = tableRows
	}
	maps.Copy(want, systemLayout)
	object := filepath.Join(testutil.TempDir(t), "layout.o")
	source := filepath.Join("..", "internal", "etwfake", "layout.c")
	if out, err := exec.Command(compiler, "-Wall", "-Werror", "-c", "-o", object, source).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v: %s", err, out)
	}
	got := table(t, object)
	for name, value := range got {
		if v, ok := want[name]; !ok || v != value {
			t.Errorf("%s is %d in C, %d in Go", name, value, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d values in C, %d in Go", len(got), len(want))
	}
}

// table reads the names and values that an object file has in its read-only data.
func table(t *testing.T, object string) map[string]uintptr {
	t.Helper()
	f, err := pe.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := f.Section(".rdata")
	if section == nil {
		t.Fatal("the object file has no read-only data")
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]uintptr{}
	for ; len(data) >= 80 && data[0] != 0; data = data[80:] {
		name, _, _ := bytes.Cut(data[:72], []byte{0})
		values[string(name)] = uintptr(binary.LittleEndian.Uint64(data[72:]))
	}
	return values
}
