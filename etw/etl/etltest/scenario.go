package etltest

import (
	"lostbeat/etw"
)

// Driver is a kernel image of a scenario.
type Driver struct {
	Base, Size uint64
	File       string
}

// Drivers are the images of the scenarios.
var Drivers = []Driver{
	{0xfffff80000000000, 0x800000, `\SystemRoot\system32\ntoskrnl.exe`},
	{0xfffff80001000000, 0x170000, `\SystemRoot\system32\drivers\ndis.sys`},
	{0xfffff80002000000, 0x2e0000, `\SystemRoot\System32\drivers\tcpip.sys`},
	{0xfffff80003000000, 0x0a0000, `\SystemRoot\System32\drivers\badnic.sys`},
}

// Images adds a record about each of Drivers.
func (w *Writer) Images(op uint8, ns int64) {
	for _, d := range Drivers {
		w.Image(op, ns, d)
	}
}

// Image adds a record about a driver; op is 10 load, 2 unload, 3 and 4 rundown.
func (w *Writer) Image(op uint8, ns int64, d Driver) {
	p := NewPayload(
		w.o.PointerSize,
	).Pointer(d.Base).
		Pointer(d.Size).
		U32(0).
		U32(0).
		U32(0).
		U32(0).
		Pointer(0).
		U32(0).
		U32(0).
		U32(0).
		U32(0).
		UTF16(d.File)
	w.Add(
		etw.Record{
			Header:      etw.HeaderSystem,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassImage,
			ID:          uint16(op),
			Version:     3,
			PID:         4,
			TID:         8,
			Time:        w.Ticks(ns),
			Payload:     p.Bytes(),
		},
	)
}

// Process adds a record about a process; op is 1 start, 2 end, 3 and 4 rundown.
func (w *Writer) Process(op uint8, ns int64, pid uint32, name, command string) {
	p := NewPayload(
		w.o.PointerSize,
	).Pointer(0xffff800000000000 + uint64(pid)).
		U32(pid).
		U32(4).
		U32(0).
		U32(259).
		Pointer(0).
		U32(0).
		U32(0).
		ANSI(name).
		UTF16(command).
		UTF16("").
		UTF16("")
	w.Add(
		etw.Record{
			Header:      etw.HeaderSystem,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassProcess,
			ID:          uint16(op),
			Version:     4,
			PID:         4,
			TID:         8,
			Time:        w.Ticks(ns),
			Payload:     p.Bytes(),
		},
	)
}

// Thread adds a record about a thread.
func (w *Writer) Thread(op uint8, ns int64, pid, tid uint32) {
	p := NewPayload(w.o.PointerSize).U32(pid).U32(tid)
	for range 7 {
		p.Pointer(0)
	}
	p.U32(0).U32(0)
	w.Add(
		etw.Record{
			Header:      etw.HeaderSystem,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassThread,
			ID:          uint16(op),
			Version:     3,
			PID:         int32(pid),
			TID:         int32(tid),
			Time:        w.Ticks(ns),
			Payload:     p.Bytes(),
		},
	)
}

// Switch adds a context switch.
func (w *Writer) Switch(cpu int32, ns int64, next, old uint32) {
	p := NewPayload(8).U32(next).U32(old).Raw([]byte{8, 8, 0, 0, 6, 0, 2, 0}).U32(0).U32(0)
	w.Add(
		etw.Record{
			Header:      etw.HeaderPerfInfo,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassThread,
			ID:          36,
			Version:     3,
			CPU:         cpu,
			Time:        w.Ticks(ns),
			Payload:     p.Bytes(),
		},
	)
}

// DPC adds a DPC of the given opcode that ran between two moments.
func (w *Writer) DPC(cpu int32, opcode uint8, start, end int64, routine uint64) {
	p := NewPayload(w.o.PointerSize).U64(w.Ticks(start)).Pointer(routine)
	w.Add(
		etw.Record{
			Header:      etw.HeaderPerfInfo,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassPerfInfo,
			ID:          uint16(opcode),
			Version:     2,
			CPU:         cpu,
			Time:        w.Ticks(end),
			Payload:     p.Bytes(),
		},
	)
}

// ISR adds an interrupt service routine that ran between two moments.
func (w *Writer) ISR(cpu int32, opcode uint8, start, end int64, routine uint64, vector uint16) {
	p := NewPayload(w.o.PointerSize).U64(w.Ticks(start)).Pointer(routine).U8(1).U16(vector).U8(0)
	if opcode == 50 {
		p.U32(3)
	}
	w.Add(
		etw.Record{
			Header:      etw.HeaderPerfInfo,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassPerfInfo,
			ID:          uint16(opcode),
			Version:     2,
			CPU:         cpu,
			Time:        w.Ticks(end),
			Payload:     p.Bytes(),
		},
	)
}

// Sample adds a profile sample with its flags: 1 in a DPC, 2 in an ISR.
func (w *Writer) Sample(cpu int32, ns int64, tid uint32, flags uint16) {
	p := NewPayload(w.o.PointerSize).Pointer(Drivers[0].Base + 64).U32(tid).U16(1).U16(flags)
	w.Add(
		etw.Record{
			Header:      etw.HeaderPerfInfo,
			PointerSize: w.o.PointerSize,
			Class:       etw.ClassPerfInfo,
			ID:          46,
			Version:     2,
			CPU:         cpu,
			Time:        w.Ticks(ns),
			Payload:     p.Bytes(),
		},
	)
}

// Event adds an event of a manifest provider.
func (w *Writer) Event(
	cpu int32,
	ns int64,
	provider etw.GUID,
	id, version uint16,
	pid, tid int32,
	activity etw.GUID,
	payload *Payload,
) {
	w.Add(
		etw.Record{
			Header:      etw.HeaderEvent,
			PointerSize: w.o.PointerSize,
			Class:       provider,
			ID:          id,
			Version:     version,
			Level:       4,
			CPU:         cpu,
			PID:         pid,
			TID:         tid,
			Activity:    activity,
			Time:        w.Ticks(ns),
			Payload:     payload.Bytes(),
		},
	)
}

// Datagram adds a UDP datagram of Microsoft-Windows-Kernel-Network.
func (w *Writer) Datagram(
	cpu int32,
	ns int64,
	id uint16,
	pid uint32,
	source, destination [4]byte,
	sport, dport uint16,
) {
	p := NewPayload(
		w.o.PointerSize,
	).U32(pid).
		U32(64).
		Raw(destination[:]).
		Raw(source[:]).
		Port(dport).
		Port(sport).
		U32(0).
		Pointer(0)
	w.Event(cpu, ns, etw.ProviderKernelNetwork, id, 0, 4, 8, etw.GUID{}, p)
}

// afd begins the payload of a Winsock event: step 0 is the request, 1 its end.
func (w *Writer) afd(step uint32, endpoint uint64) *Payload {
	return NewPayload(w.o.PointerSize).U32(step).U32(0).Pointer(0xffff900000000000).Pointer(endpoint)
}

// Socket adds the creation of a datagram socket.
func (w *Writer) Socket(cpu int32, ns int64, endpoint uint64, pid uint32) {
	w.socket(cpu, ns, endpoint, pid, 2, 17)
}

// StreamSocket adds the creation of a TCP socket.
func (w *Writer) StreamSocket(cpu int32, ns int64, endpoint uint64, pid uint32) {
	w.socket(cpu, ns, endpoint, pid, 1, 6)
}

func (w *Writer) socket(cpu int32, ns int64, endpoint uint64, pid, kind, protocol uint32) {
	for step := range uint32(2) {
		w.Event(
			cpu,
			ns+int64(step)*1000,
			etw.ProviderAFD,
			1000,
			0,
			int32(pid),
			int32(pid)+4,
			etw.GUID{},
			w.afd(step, endpoint).U32(2).U32(kind).U32(protocol).Pointer(uint64(pid)).U32(0),
		)
	}
}

// Bind adds a bind: asked is the port that is asked for, port the one that is
// given, status how it ends.
func (w *Writer) Bind(cpu int32, ns int64, endpoint uint64, pid uint32, asked, port uint16, status uint32) {
	any4 := [4]byte{}
	w.Event(
		cpu,
		ns,
		etw.ProviderAFD,
		1030,
		0,
		int32(pid),
		int32(pid)+4,
		etw.GUID{},
		w.afd(0, endpoint).U32(0).SockAddr4(any4, asked),
	)
	w.Event(
		cpu,
		ns+1000,
		etw.ProviderAFD,
		1030,
		0,
		int32(pid),
		int32(pid)+4,
		etw.GUID{},
		w.afd(1, endpoint).U32(status).SockAddr4(any4, port),
	)
}

// CloseSocket adds the close of a socket.
func (w *Writer) CloseSocket(cpu int32, ns int64, endpoint uint64, pid uint32) {
	for step := range uint32(2) {
		w.Event(
			cpu,
			ns+int64(step)*1000,
			etw.ProviderAFD,
			1001,
			0,
			int32(pid),
			int32(pid)+4,
			etw.GUID{},
			w.afd(step, endpoint).U32(0),
		)
	}
}

// DropDatagram adds a datagram that a socket's queue did not take.
func (w *Writer) DropDatagram(cpu int32, ns int64, endpoint uint64, from uint16) {
	w.Event(
		cpu,
		ns,
		etw.ProviderAFD,
		1033,
		0,
		4,
		8,
		etw.GUID{},
		w.afd(3, endpoint).Pointer(0).U32(64).SockAddr4([4]byte{10, 0, 0, 2}, from).U32(1),
	)
}

const (
	millisecond = int64(1_000_000)
	second      = 1000 * millisecond
)

// StatusTooManyAddresses is what a bind ends with when no port is left.
const StatusTooManyAddresses = 0xc0000209

// DPCStorm returns a capture in which the driver badnic.sys holds processor 1
// with DPCs of 9 ms out of every 10 ms, from second 3 to second 8, while
// heartbeats that come in every 100 ms before and after are not received.
// Interrupts are nested in the DPCs, and what names the driver stands at the
// end only.
func DPCStorm(o Options) []byte {
	o.Processors = 2
	w := New(o)
	w.Process(3, 0, 4, "System", "")
	w.Process(3, 0, 500, "heartbeatd.exe", `"C:\Program Files\ha\heartbeatd.exe" -v`)
	w.Thread(3, 0, 500, 504)
	if o.FlushTimer {
		w.Images(3, 0)
	}
	routine := Drivers[3].Base + 0x1234
	for ms := int64(10); ms < 10_000; ms += 10 {
		at := ms * millisecond
		storm := ms >= 3000 && ms < 8000
		if storm {
			w.ISR(1, 50, at+millisecond, at+millisecond+20_000, routine+64, 0x61)
			w.DPC(1, 68, at, at+9*millisecond, routine)
		} else {
			w.DPC(1, 68, at, at+40_000, Drivers[2].Base+0x99)
		}
		w.DPC(0, 69, at, at+5_000, Drivers[0].Base+0x777)
		if ms%100 == 0 && !storm {
			w.Datagram(1, at+9*millisecond+100_000, 43, 500, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 5405, 5405)
		}
	}
	w.Images(4, 10*second)
	return w.Bytes()
}

// PortLeak returns a capture in which a process binds a datagram socket to
// port 0 every 2 s for 8 minutes; it closes two of three. After 200 binds none
// succeeds.
func PortLeak(o Options) []byte {
	o.Processors = max(o.Processors, 1)
	w := New(o)
	w.Process(1, millisecond, 700, "leaky.exe", "leaky.exe --rpc")
	endpoint := uint64(0xffffa00000001000)
	for i := range int64(240) {
		at := second + i*2*second
		key := endpoint + uint64(i)*0x100
		w.Socket(0, at, key, 700)
		if i >= 200 {
			w.Bind(0, at+millisecond, key, 700, 0, 0, StatusTooManyAddresses)
			w.CloseSocket(0, at+2*millisecond, key, 700)
			continue
		}
		w.Bind(0, at+millisecond, key, 700, 0, 50000+uint16(i), 0)
		if i%3 != 0 {
			w.CloseSocket(0, at+20*millisecond, key, 700)
		}
	}
	w.DropDatagram(0, 490*second, endpoint, 4000)
	return w.Bytes()
}

// Mixture returns a capture of one second on several processors with the
// records of a DPC, interrupt, context switch and network trace.
func Mixture(o Options, records int) []byte {
	o.Processors = max(o.Processors, 4)
	w := New(o)
	w.Process(3, 0, 500, "heartbeatd.exe", "")
	for i := range uint32(64) {
		w.Thread(3, 0, 500, 504+4*i)
	}
	step := second / int64(records/o.Processors)
	for i := range records / o.Processors {
		at := int64(i)*step + 1000
		for cpu := range int32(o.Processors) {
			driver := Drivers[(i+int(cpu))%len(Drivers)]
			switch i % 6 {
			case 0, 3:
				w.Switch(cpu, at, 504+uint32(i%64)*4, 0)
			case 1:
				w.ISR(cpu, 67, at-step/3, at, driver.Base+uint64(i%16)*64, uint16(64+i%8))
			case 2, 4:
				w.DPC(cpu, 68, at-step/2, at, driver.Base+uint64(i%32)*64)
			default:
				w.Datagram(cpu, at, 43, 500, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 5405, 5405)
			}
		}
	}
	for _, d := range Drivers {
		w.Image(4, second, d)
	}
	return w.Bytes()
}
