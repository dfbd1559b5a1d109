package etw

import "unsafe"

// Structures of evntrace.h and evntcons.h on 64-bit Windows. TestLayout compares
// their sizes and offsets with those that a C compiler gives.
type (
	wnodeHeader struct {
		BufferSize        uint32
		ProviderID        uint32
		HistoricalContext uint64
		TimeStamp         int64
		GUID              GUID
		ClientContext     uint32
		Flags             uint32
	}
	eventTraceProperties struct {
		Wnode               wnodeHeader
		BufferSize          uint32
		MinimumBuffers      uint32
		MaximumBuffers      uint32
		MaximumFileSize     uint32
		LogFileMode         uint32
		FlushTimer          uint32
		EnableFlags         uint32
		AgeLimit            int32
		NumberOfBuffers     uint32
		FreeBuffers         uint32
		EventsLost          uint32
		BuffersWritten      uint32
		LogBuffersLost      uint32
		RealTimeBuffersLost uint32
		LoggerThreadID      uintptr
		LogFileNameOffset   uint32
		LoggerNameOffset    uint32
	}
	traceLogfileHeader struct {
		BufferSize         uint32
		Version            uint32
		ProviderVersion    uint32
		NumberOfProcessors uint32
		EndTime            int64
		TimerResolution    uint32
		MaximumFileSize    uint32
		LogFileMode        uint32
		BuffersWritten     uint32
		StartBuffers       uint32
		PointerSize        uint32
		EventsLost         uint32
		CPUSpeedInMHz      uint32
		LoggerName         *uint16
		LogFileName        *uint16
		TimeZone           [172]byte
		BootTime           int64
		PerfFreq           int64
		StartTime          int64
		ReservedFlags      uint32
		BuffersLost        uint32
	}
	eventTraceLogfile struct {
		LogFileName         *uint16
		LoggerName          *uint16
		CurrentTime         int64
		BuffersRead         uint32
		ProcessTraceMode    uint32
		CurrentEvent        [88]byte
		LogfileHeader       traceLogfileHeader
		BufferCallback      uintptr
		BufferSize          uint32
		Filled              uint32
		EventsLost          uint32
		EventRecordCallback uintptr
		IsKernelTrace       uint32
		Context             unsafe.Pointer
	}
	eventHeader struct {
		Size          uint16
		HeaderType    uint16
		Flags         uint16
		EventProperty uint16
		ThreadID      uint32
		ProcessID     uint32
		TimeStamp     uint64
		ProviderID    GUID
		ID            uint16
		Version       uint8
		Channel       uint8
		Level         uint8
		Opcode        uint8
		Task          uint16
		Keyword       uint64
		ProcessorTime uint64
		ActivityID    GUID
	}
	extendedItem struct {
		Reserved uint16
		Type     uint16
		Linkage  uint16
		DataSize uint16
		Data     uintptr // a pointer, as 64 bits
	}
	eventRecord struct {
		Header            eventHeader
		ProcessorIndex    uint16 // or number and alignment, without FlagCPUIndex
		LoggerID          uint16
		ExtendedDataCount uint16
		UserDataLength    uint16
		ExtendedData      *extendedItem
		UserData          *byte
		UserContext       unsafe.Pointer
	}
	eventFilterDescriptor struct {
		Ptr  uint64
		Size uint32
		Type uint32
	}
	openTraceOptions struct {
		ProcessTraceModes     uint32
		EventCallback         uintptr
		EventCallbackContext  unsafe.Pointer
		BufferCallback        uintptr
		BufferCallbackContext unsafe.Pointer
	}
	enableTraceParameters struct {
		Version          uint32
		EnableProperty   uint32
		ControlFlags     uint32
		SourceID         GUID
		EnableFilterDesc *eventFilterDescriptor
		FilterDescCount  uint32
	}
)

// processorTimes is SYSTEM_PROCESSOR_PERFORMANCE_INFORMATION of winternl.h: 100 ns each. Kernel has the times that
// winternl.h calls reserved, DPC and Interrupt, and Idle in it.
type processorTimes struct {
	Idle, Kernel, User, DPC, Interrupt int64
	Interrupts                         uint32
	_                                  uint32
}
