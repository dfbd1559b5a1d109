//go:build ignore

// SPDX-License-Identifier: see LICENSE
//
// The sizes and offsets of the structures that the binding uses, as a C compiler lays them out.
#define _WIN32_WINNT 0x0A00
#include <winsock2.h>
#include <windows.h>
#include <winternl.h>
#include <ws2tcpip.h>
#include <iphlpapi.h>
#include <netioapi.h>
#include <evntrace.h>
#include <evntcons.h>
#include <stddef.h>

#define SIZE(type) {#type, sizeof(type)}
#define AT(type, member) {#type "." #member, offsetof(type, member)}

// What newer headers declare, after Microsoft's documentation.
typedef struct {
	ULONG ProcessTraceModes;
	PEVENT_RECORD_CALLBACK EventCallback;
	PVOID EventCallbackContext;
	BOOL (WINAPI *BufferCallback)(const void *, ULONG, const void *, void *);
	PVOID BufferCallbackContext;
} ETW_OPEN_TRACE_OPTIONS;

const struct { char name[72]; unsigned long long value; } layout[] = {
	SIZE(WNODE_HEADER), AT(WNODE_HEADER, Guid), AT(WNODE_HEADER, ClientContext), AT(WNODE_HEADER, Flags),
	SIZE(EVENT_TRACE_PROPERTIES), AT(EVENT_TRACE_PROPERTIES, BufferSize), AT(EVENT_TRACE_PROPERTIES, LogFileMode),
	AT(EVENT_TRACE_PROPERTIES, FlushTimer), AT(EVENT_TRACE_PROPERTIES, EnableFlags),
	AT(EVENT_TRACE_PROPERTIES, EventsLost), AT(EVENT_TRACE_PROPERTIES, LogBuffersLost),
	AT(EVENT_TRACE_PROPERTIES, RealTimeBuffersLost), AT(EVENT_TRACE_PROPERTIES, LoggerThreadId),
	AT(EVENT_TRACE_PROPERTIES, LogFileNameOffset), AT(EVENT_TRACE_PROPERTIES, LoggerNameOffset),
	SIZE(TRACE_LOGFILE_HEADER), AT(TRACE_LOGFILE_HEADER, EndTime), AT(TRACE_LOGFILE_HEADER, LoggerName),
	AT(TRACE_LOGFILE_HEADER, BootTime), AT(TRACE_LOGFILE_HEADER, PerfFreq), AT(TRACE_LOGFILE_HEADER, StartTime),
	AT(TRACE_LOGFILE_HEADER, BuffersLost),
	SIZE(EVENT_TRACE_LOGFILEW), AT(EVENT_TRACE_LOGFILEW, LoggerName), AT(EVENT_TRACE_LOGFILEW, ProcessTraceMode),
	AT(EVENT_TRACE_LOGFILEW, CurrentEvent), AT(EVENT_TRACE_LOGFILEW, LogfileHeader),
	AT(EVENT_TRACE_LOGFILEW, BufferCallback), AT(EVENT_TRACE_LOGFILEW, EventRecordCallback),
	AT(EVENT_TRACE_LOGFILEW, Context),
	SIZE(EVENT_HEADER), AT(EVENT_HEADER, Flags), AT(EVENT_HEADER, ThreadId), AT(EVENT_HEADER, ProcessId),
	AT(EVENT_HEADER, TimeStamp), AT(EVENT_HEADER, ProviderId), AT(EVENT_HEADER, EventDescriptor),
	AT(EVENT_HEADER, ProcessorTime), AT(EVENT_HEADER, ActivityId),
	SIZE(EVENT_HEADER_EXTENDED_DATA_ITEM), AT(EVENT_HEADER_EXTENDED_DATA_ITEM, ExtType),
	AT(EVENT_HEADER_EXTENDED_DATA_ITEM, DataSize), AT(EVENT_HEADER_EXTENDED_DATA_ITEM, DataPtr),
	SIZE(EVENT_RECORD), AT(EVENT_RECORD, BufferContext), AT(EVENT_RECORD, ExtendedDataCount),
	AT(EVENT_RECORD, UserDataLength), AT(EVENT_RECORD, ExtendedData), AT(EVENT_RECORD, UserData),
	AT(EVENT_RECORD, UserContext),
	SIZE(ENABLE_TRACE_PARAMETERS), AT(ENABLE_TRACE_PARAMETERS, SourceId), AT(ENABLE_TRACE_PARAMETERS, EnableFilterDesc),
	AT(ENABLE_TRACE_PARAMETERS, FilterDescCount),
	{"EVENT_FILTER_DESCRIPTOR", sizeof(struct _EVENT_FILTER_DESCRIPTOR)},
	{"EVENT_FILTER_DESCRIPTOR.Size", offsetof(struct _EVENT_FILTER_DESCRIPTOR, Size)},
	{"EVENT_FILTER_DESCRIPTOR.Type", offsetof(struct _EVENT_FILTER_DESCRIPTOR, Type)},
	SIZE(ETW_OPEN_TRACE_OPTIONS), AT(ETW_OPEN_TRACE_OPTIONS, EventCallback),
	AT(ETW_OPEN_TRACE_OPTIONS, EventCallbackContext), AT(ETW_OPEN_TRACE_OPTIONS, BufferCallback),
	AT(ETW_OPEN_TRACE_OPTIONS, BufferCallbackContext),
	SIZE(MIB_UDPROW_OWNER_MODULE), AT(MIB_UDPROW_OWNER_MODULE, dwLocalAddr), AT(MIB_UDPROW_OWNER_MODULE, dwLocalPort),
	AT(MIB_UDPROW_OWNER_MODULE, dwOwningPid), AT(MIB_UDPROW_OWNER_MODULE, liCreateTimestamp),
	SIZE(MIB_UDP6ROW_OWNER_MODULE), AT(MIB_UDP6ROW_OWNER_MODULE, ucLocalAddr), AT(MIB_UDP6ROW_OWNER_MODULE, dwLocalPort),
	AT(MIB_UDP6ROW_OWNER_MODULE, dwOwningPid), AT(MIB_UDP6ROW_OWNER_MODULE, liCreateTimestamp),
	SIZE(MIB_TCPROW_OWNER_MODULE), AT(MIB_TCPROW_OWNER_MODULE, dwState), AT(MIB_TCPROW_OWNER_MODULE, dwLocalAddr),
	AT(MIB_TCPROW_OWNER_MODULE, dwLocalPort), AT(MIB_TCPROW_OWNER_MODULE, dwRemoteAddr),
	AT(MIB_TCPROW_OWNER_MODULE, dwRemotePort), AT(MIB_TCPROW_OWNER_MODULE, dwOwningPid),
	AT(MIB_TCPROW_OWNER_MODULE, liCreateTimestamp),
	SIZE(MIB_TCP6ROW_OWNER_MODULE), AT(MIB_TCP6ROW_OWNER_MODULE, dwState), AT(MIB_TCP6ROW_OWNER_MODULE, ucLocalAddr),
	AT(MIB_TCP6ROW_OWNER_MODULE, dwLocalPort), AT(MIB_TCP6ROW_OWNER_MODULE, ucRemoteAddr),
	AT(MIB_TCP6ROW_OWNER_MODULE, dwRemotePort), AT(MIB_TCP6ROW_OWNER_MODULE, dwOwningPid),
	AT(MIB_TCP6ROW_OWNER_MODULE, liCreateTimestamp),
	{"tables: rows", offsetof(MIB_UDPTABLE_OWNER_MODULE, table)},
	{"tables: rows of UDP6", offsetof(MIB_UDP6TABLE_OWNER_MODULE, table)},
	{"tables: rows of TCP", offsetof(MIB_TCPTABLE_OWNER_MODULE, table)},
	{"tables: rows of TCP6", offsetof(MIB_TCP6TABLE_OWNER_MODULE, table)},
	SIZE(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION), AT(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION, IdleTime),
	AT(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION, KernelTime), AT(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION, UserTime),
	AT(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION, Reserved1), AT(SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION, Reserved2),
	SIZE(MIB_IF_ROW2), AT(MIB_IF_ROW2, InterfaceIndex), AT(MIB_IF_ROW2, Description),
	AT(MIB_IF_ROW2, InterfaceAndOperStatusFlags), AT(MIB_IF_ROW2, OperStatus), AT(MIB_IF_ROW2, InOctets),
	AT(MIB_IF_ROW2, InUcastPkts), AT(MIB_IF_ROW2, InNUcastPkts), AT(MIB_IF_ROW2, InDiscards), AT(MIB_IF_ROW2, InErrors),
	AT(MIB_IF_ROW2, OutUcastPkts), AT(MIB_IF_ROW2, OutNUcastPkts), AT(MIB_IF_ROW2, OutDiscards),
	{"MIB_IF_TABLE2.Table", offsetof(MIB_IF_TABLE2, Table)},
	{"", 0},
};
