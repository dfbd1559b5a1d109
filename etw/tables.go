package etw

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"lostbeat/model"
)

// tableKind is a table of sockets that Windows keeps, with its layout: a count,
// then rows from offset 8 on. The rows are MIB_UDPROW_OWNER_MODULE, MIB_UDP6ROW_OWNER_MODULE,
// MIB_TCPROW_OWNER_MODULE and MIB_TCP6ROW_OWNER_MODULE.
type tableKind struct {
	protocol model.Protocol
	ipv6     bool
	// row is the size of a row, the others are offsets in it; -1 for what it does not have.
	row, state, local, port, remote, remotePort, pid, created, flags int
}

// tableRows is where the rows begin.
const tableRows = 8

var tableKinds = []tableKind{
	{model.ProtocolUDP, false, 160, -1, 0, 4, -1, -1, 8, 16, 24},
	{model.ProtocolUDP, true, 176, -1, 0, 20, -1, -1, 24, 32, 40},
	{model.ProtocolTCP, false, 160, 0, 4, 8, 12, 16, 20, 24, -1},
	{model.ProtocolTCP, true, 192, 48, 0, 20, 24, 44, 52, 56, -1},
}

// specificPortBind is the bit of a UDP row's flags that says that the program asked for this port.
const specificPortBind = 1

// tableSocket is a row of such a table.
type tableSocket struct {
	protocol      model.Protocol
	local, remote netip.AddrPort
	pid           int32
	// created is when it was bound, 0 unknown.
	created model.Time
	listens bool
	// rests says that it is closed and in TIME_WAIT: its process is not known any more.
	rests bool
	// asked says that the program asked for this port, which rows of TCP do not say.
	asked bool
}

// States of TCP connections that hold no port of a process, and that of a listener.
const (
	tcpClosed   = 1
	tcpListen   = 2
	tcpTimeWait = 11
	tcpDelete   = 12
)

// parse reads a table; what does not fit into data is left out.
func (k *tableKind) parse(data []byte) (list []tableSocket) {
	if len(data) < tableRows {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(data))
	for data = data[tableRows:]; n > 0 && len(data) >= k.row; n, data = n-1, data[k.row:] {
		row := data[:k.row]
		s := tableSocket{
			protocol: k.protocol, local: k.address(row, k.local, k.port),
			pid:     int32(binary.LittleEndian.Uint32(row[k.pid:])),
			created: FileTime(binary.LittleEndian.Uint64(row[k.created:])),
		}
		if k.flags >= 0 {
			s.asked = binary.LittleEndian.Uint32(row[k.flags:])&specificPortBind != 0
		}
		if k.state >= 0 {
			switch binary.LittleEndian.Uint32(row[k.state:]) {
			case tcpClosed, tcpDelete:
				continue
			case tcpTimeWait:
				s.rests, s.pid, s.created = true, -1, 0
				s.remote = k.address(row, k.remote, k.remotePort)
			case tcpListen:
				s.listens = true
			default:
				s.remote = k.address(row, k.remote, k.remotePort)
			}
		}
		list = append(list, s)
	}
	return list
}

// address reads an address and a port, which is in network byte order.
func (k *tableKind) address(row []byte, at, port int) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte(row[at : at+4]))
	if k.ipv6 {
		ip = netip.AddrFrom16([16]byte(row[at : at+16]))
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(row[port:]))
}

// present are the sockets that were there when a session began, and those in TIME_WAIT. The ends of the former, and the
// latter, are not in any event that names them: they are found in the tables.
type present struct {
	cookies map[tableSocket]uint64
	// rests are those in TIME_WAIT; last is the number that was given last.
	rests map[tableSocket]uint64
	last  uint64
	// polled says that no events report sockets: those that appear later are found in the tables, too.
	polled bool
	// process names a process.
	process func(pid int32, t model.Time) string
}

const (
	// presentCookie begins the numbers of these sockets, far from the kernel addresses of those that events name.
	presentCookie = 1 << 62
	// maxRests is how many sockets in TIME_WAIT are followed.
	maxRests = 1 << 16
)

// number returns a number for a socket.
func (p *present) number() uint64 {
	p.last++
	return presentCookie + p.last
}

// begin adds the sockets that were bound before time t, and those that rest.
func (p *present) begin(t model.Time, sockets []tableSocket, out *model.Builder) {
	p.cookies, p.rests = make(map[tableSocket]uint64), make(map[tableSocket]uint64)
	p.hold(t, sockets, func(s *tableSocket) model.How {
		switch {
		case s.protocol == model.ProtocolUDP && s.asked:
			return model.HowBindPort
		case s.protocol == model.ProtocolUDP && s.created > 0: // the row has what Windows knows of it
			return model.HowBindAny
		}
		return model.HowPresent
	}, out)
	p.rest(t, sockets, func(s *tableSocket, cookie uint64) {
		v := s.active(t)
		v.Cookie, v.How, v.Resting = cookie, model.HowPresent, true
		out.AddPortActive(v)
	}, out)
}

// maxPolled is how many sockets are followed where no events report them.
const maxPolled = 1 << 18

// hold adds the open sockets that were not there before, with how each is held.
func (p *present) hold(t model.Time, sockets []tableSocket, how func(*tableSocket) model.How, out *model.Builder) {
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.listens {
			listening[s.local.Port()] = true
		}
	}
	for _, s := range sockets {
		if _, known := p.cookies[s]; known || s.rests || s.local.Port() == 0 || len(p.cookies) >= maxPolled ||
			s.created >= t && !p.polled { // an event reports it
			continue
		}
		v := s.active(t)
		v.Cookie, v.How, v.Process = p.number(), how(&s), p.process(s.pid, t)
		p.cookies[s] = v.Cookie
		if s.created > 0 {
			v.Dur = max(t.Sub(s.created), 0)
		}
		if s.remote.IsValid() && listening[v.LocalPort] {
			v.How = model.HowAccept
		}
		out.AddPortActive(v)
	}
}

// active returns what a row says of a socket.
func (s *tableSocket) active(t model.Time) model.PortActive {
	v := model.PortActive{
		Time: t, PID: s.pid, TID: -1, Protocol: s.protocol, LocalPort: s.local.Port(), LocalAddr: s.local.Addr().String(),
	}
	if s.remote.IsValid() {
		v.RemotePort, v.RemoteAddr = s.remote.Port(), s.remote.Addr().String()
	}
	return v
}

// rest calls add for each socket that is in TIME_WAIT now and was not before.
func (p *present) rest(t model.Time, sockets []tableSocket, add func(*tableSocket, uint64), out *model.Builder) {
	var left uint64
	for i := range sockets {
		s := &sockets[i]
		if _, known := p.rests[*s]; !s.rests || known || s.local.Port() == 0 {
			continue
		}
		if len(p.rests) >= maxRests {
			left++
			continue
		}
		cookie := p.number()
		p.rests[*s] = cookie
		add(s, cookie)
	}
	if left > 0 {
		out.AddLoss(model.Loss{
			Time: t, CPU: -1, Lost: left, Origin: model.OriginMemory,
			Detail: "sockets in TIME_WAIT: too many to keep",
		})
	}
}

// compare adds the ends of those that are in no table any more, and the rests that have begun.
func (p *present) compare(t model.Time, sockets []tableSocket, out *model.Builder) {
	there := make(map[tableSocket]bool, len(sockets))
	for _, s := range sockets {
		there[s] = true
	}
	for _, s := range missing(p.cookies, there) {
		v := s.release(t, p.cookies[s])
		v.How, v.Process = model.HowAudit, p.process(s.pid, t)
		out.AddPortRelease(v)
		delete(p.cookies, s)
	}
	for _, s := range missing(p.rests, there) {
		v := s.release(t, p.rests[s])
		v.How = model.HowRestEnd
		out.AddPortRelease(v)
		delete(p.rests, s)
	}
	if p.polled {
		p.hold(t, sockets, func(*tableSocket) model.How { return model.HowAudit }, out)
	}
	p.rest(t, sockets, func(s *tableSocket, cookie uint64) {
		out.AddPortRest(model.PortRest{
			Time: t, PID: s.pid, TID: -1, Cookie: cookie, Protocol: s.protocol, LocalPort: s.local.Port(),
			RemotePort: s.remote.Port(), LocalAddr: s.local.Addr().String(), RemoteAddr: s.remote.Addr().String(),
		})
	}, out)
}

// missing returns the sockets that are not there any more, in the order of their numbers.
func missing(cookies map[tableSocket]uint64, there map[tableSocket]bool) (gone []tableSocket) {
	for s := range cookies {
		if !there[s] {
			gone = append(gone, s)
		}
	}
	slices.SortFunc(gone, func(a, b tableSocket) int { return cmp.Compare(cookies[a], cookies[b]) })
	return gone
}

// release returns what a row said of a socket that is gone.
func (s *tableSocket) release(t model.Time, cookie uint64) model.PortRelease {
	v := model.PortRelease{
		Time: t, PID: s.pid, TID: -1, Cookie: cookie, Protocol: s.protocol, LocalPort: s.local.Port(),
		LocalAddr: s.local.Addr().String(),
	}
	if s.created > 0 {
		v.Dur = max(t.Sub(s.created), 0)
	}
	if s.remote.IsValid() {
		v.RemotePort, v.RemoteAddr = s.remote.Port(), s.remote.Addr().String()
	}
	return v
}
