package etw

import "strings"

// LiveOptions configure a live session; the zero value is the usual one.
type LiveOptions struct {
	Options
	// Tool is the program and its version as it stands in the stream: "lostbeat 1.2".
	Tool string
	// Probes makes the probes that decode the signals, for one session.
	Probes func() []Probe
	// ContextSwitches asks for the switches of threads, which say what a DPC interrupted. They are many.
	ContextSwitches bool
	// Buffers makes the reader of a session's buffers, which Windows then hands over whole; nil lets it call back for each
	// record. It needs Windows 11 22H2 or Server 2022: on an older one, records come one by one all the same.
	Buffers func() BufferReader
	// CountersOnly starts no session: what Windows counts and its tables of sockets are read, which needs no administrator
	// rights.
	CountersOnly bool
	// Memory bounds the records that wait for their turn; 0 means DefaultMergeBytes.
	Memory int64
}

// BufferReader reads the buffers of one session.
type BufferReader interface {
	// Read hands the records of a buffer to each, valid until each returns. It returns how many parts of the buffer could
	// not be read.
	Read(buffer []byte, each func(*Record)) (damaged uint64)
}

// MinimumBuild is the oldest Windows that is traced: Windows 10 1809, Server 2019.
const MinimumBuild = 17763

// sameProgram reports whether the file of a process is lostbeat: it is named as this one is, or as lostbeat-1.2.exe.
func sameProgram(path, own string) bool {
	base := func(path string) string { return strings.ToLower(path[strings.LastIndexAny(path, `\/`)+1:]) }
	return base(path) == base(own) || strings.HasPrefix(base(path), "lostbeat")
}

// LearnProcess notes a process that ran when decoding began.
func (s *State) LearnProcess(pid, parent int32, name string) {
	s.processes.learn(process{PID: pid, Parent: parent, Name: name}, opDCStart, 0, s.live)
}

// LearnImage notes an image of the kernel that was loaded when decoding began.
func (s *State) LearnImage(base, size uint64, file string) {
	s.images.learn(Image{Base: base, Size: size, File: file}, opDCStart, 0)
}
