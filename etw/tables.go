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
	row, state, local, port, remote, remotePort, pid, created int
}

// tableRows is where the rows begin.
const tableRows = 8

var tableKinds = []tableKind{
	{model.ProtocolUDP, false, 160, -1, 0, 4, -1, -1, 8, 16},
	{model.ProtocolUDP, true, 176, -1, 0, 20, -1, -1, 24, 32},
	{model.ProtocolTCP, false, 160, 0, 4, 8, 12, 16, 20, 24},
	{model.ProtocolTCP, true, 192, 48, 0, 20, 24, 44, 52, 56},
}

// tableSocket is a row of such a table.
type tableSocket struct {
	protocol      model.Protocol
	local, remote netip.AddrPort
	pid           int32
	// created is when it was bound, 0 unknown.
	created model.Time
	listens bool
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
		if k.state >= 0 {
			switch binary.LittleEndian.Uint32(row[k.state:]) {
			case tcpClosed, tcpTimeWait, tcpDelete:
				continue
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

// present are the sockets that were there when a session began. Their ends are not in any event that names them: they
// are found in the tables.
type present struct {
	cookies map[tableSocket]uint64
	// process names a process.
	process func(pid int32, t model.Time) string
}

// presentCookie begins the numbers of these sockets, far from the kernel addresses of those that events name.
const presentCookie = 1 << 62

// begin adds the sockets that were bound before time t.
func (p *present) begin(t model.Time, sockets []tableSocket, out *model.Builder) {
	p.cookies = make(map[tableSocket]uint64)
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.listens {
			listening[s.local.Port()] = true
		}
	}
	for _, s := range sockets {
		if _, twice := p.cookies[s]; twice || s.created >= t || s.local.Port() == 0 {
			continue // events will tell of it
		}
		cookie := presentCookie + uint64(len(p.cookies))
		p.cookies[s] = cookie
		v := model.PortActive{
			Time: t, PID: s.pid, TID: -1, Cookie: cookie, Protocol: s.protocol, LocalPort: s.local.Port(),
			How: model.HowPresent, LocalAddr: s.local.Addr().String(), Process: p.process(s.pid, t),
		}
		if s.created > 0 {
			v.Dur = t.Sub(s.created)
		}
		if s.remote.IsValid() {
			v.RemotePort, v.RemoteAddr = s.remote.Port(), s.remote.Addr().String()
			if listening[v.LocalPort] {
				v.How = model.HowAccept
			}
		}
		out.AddPortActive(v)
	}
}

// compare adds the ends of those that are in no table any more.
func (p *present) compare(t model.Time, sockets []tableSocket, out *model.Builder) {
	if len(p.cookies) == 0 {
		return
	}
	there := make(map[tableSocket]bool, len(sockets))
	for _, s := range sockets {
		there[s] = true
	}
	var gone []tableSocket
	for s := range p.cookies {
		if !there[s] {
			gone = append(gone, s)
		}
	}
	slices.SortFunc(gone, func(a, b tableSocket) int { return cmp.Compare(p.cookies[a], p.cookies[b]) })
	for _, s := range gone {
		v := model.PortRelease{
			Time: t, PID: s.pid, TID: -1, Cookie: p.cookies[s], Protocol: s.protocol, LocalPort: s.local.Port(),
			How: model.HowAudit, LocalAddr: s.local.Addr().String(), Process: p.process(s.pid, t),
		}
		if s.created > 0 {
			v.Dur = max(t.Sub(s.created), 0)
		}
		if s.remote.IsValid() {
			v.RemotePort, v.RemoteAddr = s.remote.Port(), s.remote.Addr().String()
		}
		out.AddPortRelease(v)
		delete(p.cookies, s)
	}
}
