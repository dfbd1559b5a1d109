package detecttest

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// Heartbeat is a flow of packets that is followed, at a corosync that reads it. Times are since Start.
type Heartbeat struct {
	// Period is the time between two packets, 100 ms when 0; Timeout that of the protocol, 0 unknown.
	Period, Timeout time.Duration
	// KnownAs is the protocol that it is known for.
	KnownAs string
	// At returns when packet number n reaches the host, negative when it never does; nil is n periods.
	At func(n int) time.Duration
	// Stack returns for how long deferred work has a packet that arrives then, nil 20 µs; Dropped whether it is dropped
	// in front of its socket, Full whether at its full queue.
	Stack         func(at time.Duration) time.Duration
	Dropped, Full func(at time.Duration) bool
	// Held are the times in which the reader does not read.
	Held []Held
	// Unwatched says that there are no scheduling events, ReadsOnly that arrivals are not seen, Sends that the host sends
	// rather than receives.
	Unwatched, ReadsOnly, Sends bool
	// TCP says that it is a connection rather than datagrams.
	TCP bool
	// ArrivalsOnly says that reads are not seen.
	ArrivalsOnly bool
	// LocalPort is the socket's port, RemotePort the peer's, 5405 when 0; Cookie the socket's, 31 when 0.
	LocalPort, RemotePort uint16
	Cookie                uint64
	// Unseen says that which thread sends is not seen.
	Unseen bool
	// PID is the process, 812 when 0; Peer the address of the other end, 10.0.0.2 when empty.
	PID  int32
	Peer string
	// Over is the device over which its packets come or go, nil not known.
	Over *model.FlowDevice
	// Threads are further threads of the process, which wait for one another all the time.
	Threads int
	// From is when the socket is found, 0 at once.
	From time.Duration
	// Until is when the socket is closed, Exit when its process ends; 0 never.
	Until, Exit time.Duration
	// End and EndCode are how the process ended, at Exit or Until.
	End     model.ProcessEnd
	EndCode int64

	protocol model.Protocol
}

// Held is a time in which a thread is kept from its socket.
type Held struct {
	From, To time.Duration
	State    model.SchedState
	// Detail is the call in which it is, Input the cookie of the socket that it waits for.
	Detail string
	Input  uint64
	// Rival is who has the CPU meanwhile, nil nobody in particular.
	Rival *model.SchedRival
	// Slice is the longest stretch of it, 0 all of it: throttled again and again, for example.
	Slice time.Duration
}

// Hog is a rival of the reader.
func Hog() *model.SchedRival {
	return &model.SchedRival{CPU: 1, PID: 900, TID: 900, Task: "rt-batch", Policy: model.SchedPolicyFIFO, Priority: 50}
}

const (
	beatPort = 5405
	// BeatNetns is the network namespace of heartbeats.
	BeatNetns = 4026531840
)

// Add adds so many seconds of the flow to a stream, from its start on.
func (h Heartbeat) Add(s *Stream, seconds int) {
	h.PID, h.Peer = cmp.Or(h.PID, 812), cmp.Or(h.Peer, "10.0.0.2")
	period := cmp.Or(h.Period, 100*time.Millisecond)
	h.LocalPort = cmp.Or(h.LocalPort, beatPort)
	cookie, remote := cmp.Or(h.Cookie, 31), cmp.Or(h.RemotePort, beatPort)
	end := time.Duration(seconds) * time.Second
	if h.Until > 0 {
		end = min(end, h.Until)
	}
	if h.Exit > 0 {
		end = min(end, h.Exit)
	}
	state := model.FlowFollowed
	if h.ReadsOnly {
		state = model.FlowReads
	}
	if h.ArrivalsOnly {
		state = model.FlowArrivals
	}
	h.protocol = model.ProtocolUDP
	if h.TCP {
		h.protocol = model.ProtocolTCP
	}
	flow := model.Flow{
		Time: Start + 1, PID: h.PID, TID: h.PID, NetnsInode: BeatNetns, Cookie: cookie, Protocol: h.protocol,
		LocalPort: h.LocalPort, Timeout: h.Timeout, State: state, LocalAddr: "0.0.0.0", Process: "corosync",
		KnownAs: cmp.Or(h.KnownAs, "knet"),
	}
	for at := h.From; at < end; at += 10 * time.Second {
		flow.Time = Start.Add(at + 1)
		s.b.AddFlow(flow)
	}
	if h.Over != nil {
		over := *h.Over
		over.Time, over.NetnsInode, over.Cookie = Start.Add(h.From+time.Second), BeatNetns, cookie
		over.RemotePort, over.RemoteAddr, over.Direction = remote, h.Peer, model.DirectionRX
		if h.Sends {
			over.Direction = model.DirectionTX
		}
		s.b.AddFlowDevice(over)
	}
	if h.Until > 0 {
		flow.Time, flow.State = Start.Add(h.Until), model.FlowEnded
		s.b.AddFlow(flow)
	}
	if exit := max(h.Until, h.Exit); h.Exit > 0 || h.End != model.ProcessEndUnknown {
		s.b.AddProcess(model.Process{
			Time: Start.Add(exit), PID: h.PID, TID: h.PID, State: model.ProcessExited, Ended: h.End, EndCode: h.EndCode,
		})
	}
	var queue []queued
	for n := 1; n < 1_000_000; n++ {
		at := time.Duration(n) * period
		if h.At != nil {
			at = h.At(n)
		}
		if at < 0 {
			if time.Duration(n)*period >= end {
				break
			}
			continue
		}
		if at >= end {
			break
		}
		if h.Sends {
			s.b.AddPacket(h.packet(at, 0, cookie, remote, model.DirectionTX))
			continue
		}
		if h.Dropped != nil && h.Dropped(at) {
			continue
		}
		stack := 20 * time.Microsecond
		if h.Stack != nil {
			stack = h.Stack(at)
		}
		if !h.ReadsOnly {
			s.b.AddPacket(h.packet(at+stack, stack, cookie, remote, model.DirectionRX))
		}
		if h.Full == nil || !h.Full(at) {
			queue = append(queue, queued{at + stack, stack})
		}
	}
	slices.SortStableFunc(queue, func(a, b queued) int { return cmp.Compare(a.at, b.at) })
	if !h.ArrivalsOnly {
		h.read(s, queue, cookie, remote, end)
	}
	h.schedule(s, seconds, cookie, end)
}

type queued struct{ at, stack time.Duration }

func (h Heartbeat) packet(at, dur time.Duration, cookie uint64, remote uint16, d model.Direction) model.Packet {
	p := model.Packet{
		Time: Start.Add(at), Dur: dur, CPU: 1, PID: h.PID, TID: h.PID, NetnsInode: BeatNetns, Cookie: cookie,
		Protocol: h.protocol, LocalPort: h.LocalPort, RemotePort: remote, Direction: d, SizeBytes: 100,
		LocalAddr: "0.0.0.0", RemoteAddr: h.Peer, Process: "corosync",
	}
	if d == model.DirectionRX || h.Unseen {
		p.TID = -1 // deferred work, in whichever task it interrupted
	}
	return p
}

// free returns when the reader reads what is there at a time.
func (h Heartbeat) free(at time.Duration) time.Duration {
	for _, b := range h.Held {
		if at >= b.From && at < b.To {
			at = b.To
		}
	}
	return at
}

func (h Heartbeat) read(s *Stream, queue []queued, cookie uint64, remote uint16, end time.Duration) {
	var last time.Duration
	for i, q := range queue {
		at := h.free(max(q.at+30*time.Microsecond, last+5*time.Microsecond))
		if last = at; at >= end {
			return
		}
		left := 0
		for _, o := range queue[i+1:] {
			if o.at < at {
				left++
			}
		}
		r := model.PacketRead{
			Time: Start.Add(at), Dur: at - q.at, CPU: 1, PID: h.PID, TID: h.PID, NetnsInode: BeatNetns, Cookie: cookie,
			Protocol: h.protocol, LocalPort: h.LocalPort, RemotePort: remote, Host: q.stack, SizeBytes: 100,
			Left: uint64(left), LocalAddr: "0.0.0.0", RemoteAddr: h.Peer, Process: "corosync",
		}
		if h.ReadsOnly {
			r.Dur, r.Host = 0, 0
		}
		s.b.AddPacketRead(r)
	}
}

// schedule adds what the reader did, second by second.
func (h Heartbeat) schedule(s *Stream, seconds int, cookie uint64, end time.Duration) {
	if h.Unwatched {
		return
	}
	for i := range seconds {
		from, to := time.Duration(i)*time.Second, time.Duration(i+1)*time.Second
		if from >= end {
			return
		}
		at := Start.Add(to - time.Millisecond)
		state := func(tid int32, v model.SchedStateEvent) {
			v.Time, v.Dur, v.CPU, v.PID, v.TID, v.Task = at, time.Second, 1, h.PID, tid, "corosync"
			s.b.AddSchedStateEvent(v)
		}
		rest := time.Second
		for _, b := range h.Held {
			total := min(b.To, to) - max(b.From, from)
			if total <= 0 {
				continue
			}
			rest -= total
			longest := min(b.To, to) - b.From
			if b.Slice > 0 {
				longest = min(longest, b.Slice)
			}
			v := model.SchedStateEvent{
				State: b.State, Total: total, Longest: longest, Count: 1, Detail: b.Detail, Cookie: b.Input,
			}
			if b.State == model.SchedThrottled {
				v.Cgroup, v.Limit, v.Period = "/batch", 5*time.Millisecond, 100*time.Millisecond
			}
			state(h.PID, v)
			if b.Rival != nil {
				r := *b.Rival
				r.Time, r.Dur, r.Run = at, time.Second, total*998/1000
				r.VictimPid, r.VictimTID, r.Victim = int64(h.PID), int64(h.PID), "corosync"
				s.b.AddSchedRival(r)
			}
		}
		if rest > 0 {
			state(h.PID, model.SchedStateEvent{
				State: model.SchedRunning, Total: rest / 100, Longest: 100 * time.Microsecond, Count: 20,
			})
			state(h.PID, model.SchedStateEvent{
				State: model.SchedInput, Total: rest * 99 / 100, Longest: min(rest, 100*time.Millisecond), Count: 10,
				Cookie: cookie,
			})
		}
		for n := range h.Threads {
			state(h.PID+1+int32(n), model.SchedStateEvent{
				State: model.SchedLock, Total: time.Second, Longest: to, Count: 1, Detail: "futex: futex_wait_queue",
			})
		}
	}
}

// Flowing is a stream of a quiet host with heartbeats; each adds what happens besides, second by second.
func Flowing(seconds int, each func(s *Stream, i int), beats ...Heartbeat) *model.Batch {
	s := New()
	s.Device(2, "eth0", 1, "0")
	for _, h := range beats {
		h.Add(s, seconds)
	}
	s.Seconds(seconds, func(i int) {
		s.Quiet()
		if each != nil {
			each(s, i)
		}
	})
	return s.Batch()
}
