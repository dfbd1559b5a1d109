package detecttest

import (
	"time"

	"lostbeat/model"
)

// Ports is a stream with the usual pools.
func Ports() *Stream {
	s := New()
	s.Pool("ephemeral", model.ProtocolUDP, model.PoolEphemeral, 32768, 60999)
	s.Pool("ephemeral", model.ProtocolTCP, model.PoolEphemeral, 32768, 60999)
	return s
}

// Take makes a process take n ports in this second, evenly.
func (s *Stream) Take(k Socket, n int, port *uint16) (taken []Socket) {
	for i := range n {
		k.LPort = *port
		*port++
		taken = append(taken, s.Acquire(time.Duration(i+1)*time.Second/time.Duration(n+2), k))
	}
	return taken
}

// Churn takes and gives back n ports in this second.
func (s *Stream) Churn(k Socket, n int, hold time.Duration, port *uint16) {
	for i := range n {
		if *port > 60000 {
			*port = 50000
		}
		k.LPort = *port
		*port++
		at := time.Duration(i+1) * (time.Second - hold) / time.Duration(n+2)
		s.Release(at+hold, s.Acquire(at, k))
	}
}

// Leaker is a process that binds to UDP ports that the kernel picks.
func Leaker() Socket {
	return Socket{PID: 4312, Process: "rpc-client", Protocol: model.ProtocolUDP, How: model.HowBindAny}
}

// Dialer is a process that connects to a database.
func Dialer() Socket {
	return Socket{
		PID: 77, Process: "app", Protocol: model.ProtocolTCP, How: model.HowConnect, Local: "10.0.0.1",
		Remote: "10.0.0.9", RPort: 5432,
	}
}

// Holding is the ports of a process that takes and keeps them. Use Process.
type Holding struct {
	socket Socket
	// Port is the next one that it takes.
	Port  uint16
	open  []heldSocket
	carry float64
}

type heldSocket struct {
	k     Socket
	until model.Time
}

// Second takes rate ports in this second, one after the other, and gives each
// back after hold; 0 never.
func (h *Holding) Second(s *Stream, rate float64, hold time.Duration) {
	h.carry += rate
	n := int(h.carry)
	h.carry -= float64(n)
	for i := range n {
		if h.Port < 33000 || h.Port > 60000 {
			h.Port = 33000
		}
		k := h.socket
		k.LPort = h.Port
		h.Port++
		after := time.Duration(2*i+1) * time.Second / time.Duration(2*n)
		k = s.Acquire(after, k)
		if hold > 0 {
			h.open = append(h.open, heldSocket{k, s.Now().Add(after + hold)})
		}
	}
	end := s.Now().Add(time.Second)
	kept := h.open[:0]
	for _, o := range h.open {
		if o.until < end {
			s.Release(o.until.Sub(s.Now()), o.k)
		} else {
			kept = append(kept, o)
		}
	}
	h.open = kept
}

// Process returns the ports of a process.
func Process(pid int32, name string, base Socket) *Holding {
	base.PID, base.Process = pid, name
	return &Holding{socket: base}
}
