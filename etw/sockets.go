package etw

import (
	"net/netip"

	"lostbeat/model"
)

// maxSockets limits how many sockets are remembered.
const maxSockets = 1 << 18

// Socket is a Winsock endpoint or a transport endpoint of TCP or UDP.
type Socket struct {
	// PID is the process that created it, -1 unknown.
	PID      int32
	Protocol model.Protocol
	// Local is where it is bound; its port is 0 before.
	Local netip.AddrPort
	// Remote is what it is connected to.
	Remote netip.AddrPort
	How    model.How
	// Asked is the address that the bind under way asked for.
	Asked netip.AddrPort
	// Since is when it took its port, 0 when it holds none.
	Since model.Time
}

// Sockets are the sockets that a capture has shown, by their kernel address.
type Sockets struct {
	byAddress map[uint64]*Socket
}

// Find returns the socket at a kernel address, nil when the capture has not
// shown it: it was opened before.
func (s *Sockets) Find(address uint64) *Socket { return s.byAddress[address] }

// Make returns the socket at a kernel address and creates it when necessary.
func (s *Sockets) Make(address uint64) *Socket {
	if found := s.byAddress[address]; found != nil {
		return found
	}
	if s.byAddress == nil {
		s.byAddress = make(map[uint64]*Socket)
	}
	if len(s.byAddress) >= maxSockets {
		for oldest := range s.byAddress {
			delete(s.byAddress, oldest)
			break
		}
	}
	made := &Socket{PID: -1}
	s.byAddress[address] = made
	return made
}

// Forget removes the socket at a kernel address.
func (s *Sockets) Forget(address uint64) { delete(s.byAddress, address) }

// Protocol translates an IP protocol number.
func Protocol(number uint32) model.Protocol {
	switch number {
	case 6:
		return model.ProtocolTCP
	case 17:
		return model.ProtocolUDP
	case 0:
		return model.ProtocolUnknown
	}
	return model.ProtocolOther
}

// AddrText returns an address as the model wants it, "" for none.
func AddrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
