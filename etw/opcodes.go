package etw

// opcodeNames are what the well-known opcodes of the kernel's classes are
// called. Opcodes with a built-in schema have their names in classes.txt.
var opcodeNames = map[GUID]map[uint16]string{
	ClassEventTrace: {64: "DbgIdRSDS", 66: "BuildInfo", 80: "PartitionInfoExtension"},
	ClassEventInfo:  {32: "EventInfo", 33: "MapInfo"},
	ClassPerfInfo: {34: "Mark", 46: "SampleProf", 50: "ISR-MSI", 51: "SysCallEnter", 52: "SysCallExit", 66: "ThreadedDPC", 67: "ISR", 68: "DPC", 69: "TimerDPC", 70: "IOTimer",
		72: "SetInterval", 73: "CollectionStart", 74: "CollectionEnd", 95: "ISR-Passive"},
	ClassProcess:      {opStart: "Start", opEnd: "End", opDCStart: "DCStart", opDCEnd: "DCEnd", 39: "Defunct"},
	ClassThread:       {opStart: "Start", opEnd: "End", opDCStart: "DCStart", opDCEnd: "DCEnd", 36: "CSwitch"},
	ClassImage:        {opLoad: "Load", opEnd: "Unload", opDCStart: "DCStart", opDCEnd: "DCEnd", 33: "KernelBase", 34: "HypercallPage"},
	ClassTCPIP:        {10: "Send", 11: "Recv", 26: "SendIPV6", 27: "RecvIPV6", 32: "ReconnectIPV6"},
	ClassUDPIP:        {10: "Send", 11: "Recv", 26: "SendIPV6", 27: "RecvIPV6"},
	ClassSystemConfig: {10: "CPU", 11: "PhyDisk", 12: "LogDisk", 13: "NIC", 14: "Video", 15: "Services", 16: "Power", 17: "Network", 21: "IRQ", 22: "PnP", 35: "Processors"},
	groups[0x01]:      {10: "Read", 11: "Write", 12: "ReadInit", 13: "WriteInit", 14: "FlushBuffers", 15: "FlushInit"},
}
