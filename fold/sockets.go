package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
)

// SocketKey identifies a socket: its cookie where there is one.
type SocketKey struct {
	Cookie   uint64
	protocol model.Protocol
	port     uint16
	pid      int32
}

// CompareSockets orders sockets.
func CompareSockets(a, b SocketKey) int {
	return cmp.Or(
		cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(a.port, b.port),
		cmp.Compare(a.pid, b.pid),
		cmp.Compare(a.Cookie, b.Cookie),
	)
}

// Socket is one socket's receive queue, second by second.
type Socket struct {
	Key      SocketKey
	Protocol model.Protocol
	Port     uint16
	PID      int32
	Process  string
	Seconds  [MaxWindow]socketSecond
	Sum      socketSecond
	// Total counts drops at the queue in the seconds that are over; seen is
	// when there last was a sign of the socket.
	Total uint64
	seen  model.Time
	// Last is the last reading of the queue.
	Last model.SocketQueue
	// Shared says that several processes hold it, and that which of them reads it was not seen.
	Shared bool
	// readers are the threads that were seen to read it, the last one first.
	readers threads
}

// threads are the last threads that did something, the last one first; 0 none.
type threads [8]int32

// note takes up that a thread did it, and says so; -1 and 0 are not known.
func (t *threads) note(tid int32) bool {
	if tid <= 0 {
		return false
	}
	i := slices.Index(t[:], tid)
	if i < 0 {
		i = len(t) - 1
	}
	copy(t[1:i+1], t[:i])
	t[0] = tid
	return true
}

// readBy notes which thread has read the socket, -1 not seen.
func (s *Socket) readBy(tid int32) {
	if s.readers.note(tid) {
		s.Shared = false
	}
}

type socketSecond struct {
	// dropped comes from drop events at the queue, queueDropped from the
	// socket's own counter: the same packets, but for those that the socket
	// lost elsewhere, on their way out for example.
	dropped, queueDropped, elsewhere uint64
	// Readings of the queue, and how many of them found it full.
	Readings, Full uint64
	MaxIdle        time.Duration
	CPUs           []CPUCount
}

// Drops is how many packets the queue lost: by drop events, or by the socket's own counter where that is more.
func (s *socketSecond) Drops() uint64 {
	return max(s.dropped, s.queueDropped-min(s.queueDropped, s.elsewhere))
}

// CPUCount is a number of packets on a CPU.
type CPUCount struct {
	CPU   int32
	Count uint64
}

func addCPU(list []CPUCount, cpu int32, n uint64) []CPUCount {
	for i := range list {
		if list[i].CPU == cpu {
			list[i].Count += n
			return list
		}
	}
	if len(list) >= maxListed {
		return list
	}
	return append(list, CPUCount{cpu, n})
}

// SortedSockets returns the sockets with facts, in a fixed order.
func (w *Fold) SortedSockets() []*Socket {
	return sorted(&w.sortedSockets, w.sockets, CompareSockets)
}

func (s *Socket) sumUp(slots []int) {
	s.Sum = socketSecond{}
	for _, i := range slots {
		o := &s.Seconds[i]
		s.Sum.dropped += o.dropped
		s.Sum.queueDropped += o.queueDropped
		s.Sum.elsewhere += o.elsewhere
		s.Sum.Readings += o.Readings
		s.Sum.Full += o.Full
		s.Sum.MaxIdle = max(s.Sum.MaxIdle, o.MaxIdle)
		for _, c := range o.CPUs {
			s.Sum.CPUs = addCPU(s.Sum.CPUs, c.CPU, c.Count)
		}
	}
}

// StoppedReading says that the program of a socket has taken nothing out of a
// full queue for so long that it does not read any more.
func (w *Fold) StoppedReading(s *Socket) bool {
	return s.Sum.MaxIdle > 0 && s.Last.Idle >= w.limits.StoppedIdle &&
		Ratio(float64(s.Last.QueuedBytes), float64(s.Last.LimitBytes)) >= w.limits.FullShare
}

// DropsSince returns how many packets a socket's queue has dropped in the last d
// before the tick being judged, in whole seconds, MaxWindow at most.
func (w *Fold) DropsSince(s *Socket, d time.Duration) (n uint64) {
	for i := range min(int((d+time.Second-1)/time.Second), MaxWindow) {
		n += s.Seconds[(w.Slot-i+MaxWindow)%MaxWindow].Drops()
	}
	return n
}
