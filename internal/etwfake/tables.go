package etwfake

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"lostbeat/model"
)

// Row is a socket in a table of Windows, from one time to another.
type Row struct {
	Protocol      model.Protocol
	Local, Remote netip.AddrPort
	PID           uint32
	// State is that of a TCP connection: StateListen, StateEstablished, StateTimeWait.
	State uint32
	// From is when it appears, after the first session starts or, without one, after the tables are read first, in which
	// only rows of 0 are; Until is when it is gone, 0 never.
	From, Until time.Duration
	// Age is for how long it was bound by then, 0 unknown.
	Age time.Duration
	// Asked says that the program asked for the port; UDP only.
	Asked bool
}

// States of TCP connections.
const (
	StateListen      = 2
	StateEstablished = 5
	StateTimeWait    = 11
)

// layout says where the fields of a row are, as iphlpapi.h has them; -1 for those that it does not have.
type layout struct{ size, state, local, port, remote, remotePort, pid, created, flags int }

var layouts = [4]layout{
	{160, -1, 0, 4, -1, -1, 8, 16, 24},   // MIB_UDPROW_OWNER_MODULE
	{176, -1, 0, 20, -1, -1, 24, 32, 40}, // MIB_UDP6ROW_OWNER_MODULE
	{160, 0, 4, 8, 12, 16, 20, 24, -1},   // MIB_TCPROW_OWNER_MODULE
	{192, 48, 0, 20, 24, 44, 52, 56, -1}, // MIB_TCP6ROW_OWNER_MODULE
}

// EncodeTables writes rows in the form that the DLL reads.
func EncodeTables(rows []Row) (out []byte) {
	le := binary.LittleEndian
	for _, r := range rows {
		kind := uint32(0)
		if r.Protocol == model.ProtocolTCP {
			kind = 2
		}
		if r.Local.Addr().Is6() {
			kind++
		}
		l := layouts[kind]
		until, created := int64(math.MaxInt64), int64(math.MinInt64)
		if r.Until > 0 {
			until = r.Until.Milliseconds()
		}
		if r.Age > 0 {
			created = -r.Age.Milliseconds()
		}
		row := make([]byte, l.size)
		put := func(at, port int, a netip.AddrPort) {
			if at >= 0 && a.IsValid() {
				copy(row[at:], a.Addr().AsSlice())
				binary.BigEndian.PutUint16(row[port:], a.Port())
			}
		}
		put(l.local, l.port, r.Local)
		put(l.remote, l.remotePort, r.Remote)
		le.PutUint32(row[l.pid:], r.PID)
		if l.state >= 0 {
			le.PutUint32(row[l.state:], r.State)
		}
		if l.flags >= 0 && r.Asked {
			le.PutUint32(row[l.flags:], 1)
		}
		const head = 40
		out = le.AppendUint32(out, kind)
		out = le.AppendUint32(out, uint32(l.size))
		out = le.AppendUint64(out, uint64(r.From.Milliseconds()))
		out = le.AppendUint64(out, uint64(until))
		out = le.AppendUint64(out, uint64(created))
		out = le.AppendUint32(out, uint32(l.created))
		out = le.AppendUint32(out, uint32(head+l.size))
		out = append(out, row...)
	}
	return out
}
