// Package detecttest builds event streams for tests of detectors: a host that
// lives second by second, to which faults are added.
package detecttest

import (
	"time"

	"lostbeat/model"
)

// Start is the time of a stream's first event.
const Start = model.Time(1_760_000_000_000_000_000)

// Stream builds a stream. Its methods add events at the current second; Next
// ends it. Use New.
type Stream struct {
	b   model.Builder
	now model.Time
	// CPUs is the number of processors.
	CPUs int
	// cookie is the last socket cookie given out.
	cookie uint64
}

// New returns a stream that begins with what a Linux host with two CPUs tells
// about itself.
func New() *Stream {
	s := &Stream{now: Start, CPUs: 2}
	for _, m := range [][2]string{{"host", "web-07"}, {"os", "linux"}, {"kernel", "6.18.0"}, {"cpus", "2"}} {
		s.b.AddMeta(model.Meta{Time: s.now, Key: m[0], Value: m[1]})
	}
	return s
}

// Emulated says that software emulates the host's processors.
func (s *Stream) Emulated() {
	s.b.AddMeta(model.Meta{Time: s.now, Key: "processor", Value: "emulated"})
}

// NewWindows returns a stream that begins like a Windows capture.
func NewWindows() *Stream {
	s := &Stream{now: Start, CPUs: 2}
	for _, m := range [][2]string{{"host", "WEB-07"}, {"os", "windows"}, {"cpus", "2"}} {
		s.b.AddMeta(model.Meta{Time: s.now, Key: m[0], Value: m[1]})
	}
	return s
}

// Now returns the start of the second that is being built.
func (s *Stream) Now() model.Time { return s.now }

// Builder gives access to the events of the stream, for what has no method.
func (s *Stream) Builder() *model.Builder { return &s.b }

// End returns the moment at which interval events of this second are stamped.
func (s *Stream) End() model.Time { return s.now.Add(time.Second - time.Millisecond) }

// Next ends the second.
func (s *Stream) Next() { s.now += model.Time(time.Second) }

// Batch returns the whole stream in time order.
func (s *Stream) Batch() *model.Batch {
	s.b.SortByTime()
	return s.b.Take()
}

// Load is what one CPU does in one second.
type Load struct {
	// NetRX is the share of time in NET_RX, User, IRQ and Steal the other shares; Missing is in no state.
	NetRX, User, IRQ, Steal, Missing float64
	// Packets are processed, Dropped at the backlog; Squeezes are NET_RX runs that ended with work left.
	Packets, Dropped, Squeezes, Runs uint64
	// MaxWait is the longest wait of NET_RX.
	MaxWait time.Duration
}

// CPU adds one second of a CPU: cpu.time, softnet, NET_RX and TIMER.
func (s *Stream) CPU(cpu int32, l Load) {
	at, d := s.End(), time.Second
	part := func(share float64) time.Duration { return time.Duration(share * float64(d)) }
	s.b.AddCPUTime(
		model.CPUTime{
			Time:    at,
			Dur:     d,
			CPU:     cpu,
			User:    part(l.User),
			Softirq: part(l.NetRX),
			IRQ:     part(l.IRQ),
			Steal:   part(l.Steal),
			Idle:    max(0, d-part(l.NetRX+l.User+l.IRQ+l.Steal+l.Missing)),
		},
	)
	s.b.AddSoftnet(
		model.Softnet{Time: at, Dur: d, CPU: cpu, Processed: l.Packets, Dropped: l.Dropped, TimeSqueeze: l.Squeezes},
	)
	if l.Runs == 0 {
		l.Runs = max(l.Packets/32, 1)
	}
	s.b.AddDeferredHist(
		model.DeferredHist{
			Time:    at,
			Dur:     d,
			CPU:     cpu,
			Class:   model.ClassSoftirq,
			Count:   l.Runs,
			Busy:    part(l.NetRX),
			MaxRun:  part(l.NetRX) / time.Duration(l.Runs),
			MaxWait: l.MaxWait,
			Name:    "NET_RX",
		},
	)
	s.b.AddDeferredHist(
		model.DeferredHist{
			Time:    at,
			Dur:     d,
			CPU:     cpu,
			Class:   model.ClassSoftirq,
			Count:   250,
			Busy:    time.Millisecond,
			MaxRun:  20 * time.Microsecond,
			MaxWait: 10 * time.Microsecond,
			Name:    "TIMER",
		},
	)
}

// Quiet adds one second of a host with little to do.
func (s *Stream) Quiet() {
	for cpu := range int32(s.CPUs) {
		s.CPU(cpu, Load{NetRX: 0.004, User: 0.03, Packets: 400})
	}
}

// Device describes a device with one queue whose work RPS sends to the given CPUs.
func (s *Stream) Device(ifindex int64, name string, queues uint64, rps string) {
	s.b.AddDeviceConfig(
		model.DeviceConfig{
			Time:      s.now,
			Ifindex:   ifindex,
			Device:    name,
			Driver:    "virtio_net",
			RXQueues:  queues,
			RXRing:    256,
			RXRingMax: 1024,
		},
	)
	for q := range int64(queues) {
		s.b.AddDeviceQueue(
			model.DeviceQueue{Time: s.now, Ifindex: ifindex, Device: name, Queue: q, IRQCPUs: "0", RPSCPUs: rps},
		)
	}
}

// Drop adds drops at a place; zero fields are unknown.
func (s *Stream) Drop(d model.Drop) {
	if d.Queue == 0 {
		d.Queue = -1
	}
	if d.PID == 0 {
		d.PID, d.TID = -1, -1
	}
	d.Time, d.Dur = s.End(), time.Second
	s.b.AddDrop(d)
}

// DropOf adds packets of a drop, behind it, that were of one followed flow, or with a cookie of 0 of none.
func (s *Stream) DropOf(d model.Drop, cookie uint64, direction model.Direction, remote string, port uint16) {
	s.b.AddFlowDrop(model.FlowDrop{
		Time: s.End(), Dur: time.Second, Flags: d.Flags, PID: -1, TID: -1, NetnsInode: d.NetnsInode, Cookie: cookie,
		Place: d.Place, Count: d.Count, Protocol: d.Protocol, LocalPort: d.LocalPort, RemotePort: port, Direction: direction,
		RemoteAddr: remote, Reason: d.Reason, Device: d.Device, Location: d.Location,
	})
}

// Pool adds a port pool.
func (s *Stream) Pool(name string, protocol model.Protocol, source model.PoolSource, low, high uint16) {
	s.b.AddPortPool(
		model.PortPool{
			Time:     s.now,
			Protocol: protocol,
			Low:      low,
			High:     high,
			Size:     uint64(high) - uint64(low) + 1,
			Source:   source,
			Name:     name,
		},
	)
}

// Socket is a socket that holds a port.
type Socket struct {
	Cookie        uint64
	PID           int32
	Process       string
	Protocol      model.Protocol
	Local, Remote string
	LPort, RPort  uint16
	How           model.How
	acquired      model.Time
}

// Acquire makes a socket take its port at the given time within the second.
func (s *Stream) Acquire(after time.Duration, k Socket) Socket {
	s.cookie++
	k.Cookie, k.acquired = s.cookie, s.now.Add(after)
	if k.Local == "" {
		k.Local = "0.0.0.0"
	}
	s.b.AddPortAcquire(
		model.PortAcquire{
			Time:       k.acquired,
			PID:        k.PID,
			TID:        k.PID,
			Cookie:     k.Cookie,
			Protocol:   k.Protocol,
			LocalPort:  k.LPort,
			RemotePort: k.RPort,
			How:        k.How,
			LocalAddr:  k.Local,
			RemoteAddr: k.Remote,
			Process:    k.Process,
		},
	)
	return k
}

// Release makes a socket give its port back.
func (s *Stream) Release(after time.Duration, k Socket) {
	at := s.now.Add(after)
	s.b.AddPortRelease(
		model.PortRelease{
			Time:       at,
			Dur:        at.Sub(k.acquired),
			PID:        k.PID,
			TID:        k.PID,
			Cookie:     k.Cookie,
			Protocol:   k.Protocol,
			LocalPort:  k.LPort,
			RemotePort: k.RPort,
			How:        model.HowClose,
			LocalAddr:  k.Local,
			RemoteAddr: k.Remote,
			Process:    k.Process,
		},
	)
}

// Rest makes a socket close and its port come to rest for d.
func (s *Stream) Rest(after, d time.Duration, k Socket) {
	s.b.AddPortRest(
		model.PortRest{
			Time:       s.now.Add(after),
			PID:        k.PID,
			TID:        k.PID,
			Cookie:     k.Cookie,
			Protocol:   k.Protocol,
			LocalPort:  k.LPort,
			RemotePort: k.RPort,
			Rest:       d,
			LocalAddr:  k.Local,
			RemoteAddr: k.Remote,
			Process:    k.Process,
		},
	)
}

// Fail makes an allocation fail.
func (s *Stream) Fail(after time.Duration, k Socket, errno int64, name string) {
	s.b.AddPortFail(
		model.PortFail{
			Time:       s.now.Add(after),
			PID:        k.PID,
			TID:        k.PID,
			Protocol:   k.Protocol,
			LocalPort:  k.LPort,
			RemotePort: k.RPort,
			How:        k.How,
			Error:      errno,
			ErrorName:  name,
			LocalAddr:  k.Local,
			RemoteAddr: k.Remote,
			Process:    k.Process,
		},
	)
}

// Seconds builds n seconds, each by a call.
func (s *Stream) Seconds(n int, each func(i int)) {
	for i := range n {
		each(i)
		s.Next()
	}
}

// Starved adds a second in which NET_RX takes all of CPU 0 and its backlog is full.
func (s *Stream) Starved() {
	s.CPU(0, Load{NetRX: 0.996, Packets: 35_000, Dropped: 300_000, Squeezes: 1})
	s.CPU(1, Load{NetRX: 0.02, User: 0.01, Packets: 100})
	s.Builder().
		AddDeviceStats(model.DeviceStats{Time: s.End(), Dur: time.Second, Ifindex: 2, Device: "eth0", RXPackets: 335_000})
	s.Drop(
		model.Drop{CPU: 1, Place: model.PlaceBacklog, Count: 300_000, Ifindex: 2, Device: "eth0", Reason: "CPU_BACKLOG"},
	)
}
