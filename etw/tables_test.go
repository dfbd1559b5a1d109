package etw

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lostbeat/model"
)

// tableOf lays sockets out as Windows does.
func tableOf(k *tableKind, states []uint32, sockets []tableSocket) []byte {
	data := binary.LittleEndian.AppendUint32(nil, uint32(len(sockets)))
	data = append(data, 0, 0, 0, 0)
	for i, s := range sockets {
		row := make([]byte, k.row)
		put := func(at, port int, a netip.AddrPort) {
			if at >= 0 && a.IsValid() {
				copy(row[at:], a.Addr().AsSlice())
				binary.BigEndian.PutUint16(row[port:], a.Port())
			}
		}
		put(k.local, k.port, s.local)
		put(k.remote, k.remotePort, s.remote)
		binary.LittleEndian.PutUint32(row[k.pid:], uint32(s.pid))
		if s.created > 0 {
			binary.LittleEndian.PutUint64(row[k.created:], uint64(s.created/100)+fileTimeEpoch)
		}
		if k.state >= 0 {
			binary.LittleEndian.PutUint32(row[k.state:], states[i])
		}
		data = append(data, row...)
	}
	return data
}

var tableTime = model.TimeOf(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC))

// tableSockets are a listener, a connection that it accepted, one that rests, and one to another host.
func tableSockets(k *tableKind) (states []uint32, sockets []tableSocket) {
	any, one, two := "0.0.0.0", "10.0.0.1", "10.0.0.2"
	if k.ipv6 {
		any, one, two = "::", "fd00::1", "fd00::2"
	}
	at := func(ip string, port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), port) }
	socket := func(local, remote netip.AddrPort, state uint32) {
		s := tableSocket{
			protocol: k.protocol, local: local, remote: remote, pid: 700, created: tableTime.Add(-time.Minute),
			listens: state == tcpListen,
		}
		states, sockets = append(states, state), append(sockets, s)
	}
	if k.state < 0 {
		socket(at(any, 5405), netip.AddrPort{}, 0)
		return states, sockets
	}
	socket(at(any, 2380), netip.AddrPort{}, tcpListen)
	socket(at(one, 2380), at(two, 50000), 5)
	socket(at(one, 50001), at(two, 2380), tcpTimeWait)
	socket(at(one, 50002), at(two, 2380), 5)
	return states, sockets
}

func TestTables(t *testing.T) {
	for i := range tableKinds {
		k := &tableKinds[i]
		states, sockets := tableSockets(k)
		data := tableOf(k, states, sockets)
		var want []tableSocket
		for i, s := range sockets {
			if states[i] != tcpTimeWait || k.state < 0 {
				want = append(want, s)
			}
		}
		equal := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
		same := cmp.Options{cmp.AllowUnexported(tableSocket{}), equal}
		if d := cmp.Diff(want, k.parse(data), same); d != "" {
			t.Errorf("%v, IPv6 %v (-want +got):\n%s", k.protocol, k.ipv6, d)
		}
		for n := range data { // what is cut off is left out
			if got := k.parse(data[:n]); len(got) > (n-min(n, 8))/k.row {
				t.Fatalf("%d sockets in %d bytes", len(got), n)
			}
		}
	}
}

// TestPresent follows the sockets that were there before: how they are held, and when they end.
func TestPresent(t *testing.T) {
	var sockets []tableSocket
	for i := range tableKinds {
		k := &tableKinds[i]
		states, list := tableSockets(k)
		sockets = append(sockets, k.parse(tableOf(k, states, list))...)
	}
	later := sockets[0]
	later.created = tableTime.Add(time.Second)
	p := present{process: func(pid int32, _ model.Time) string { return map[int32]string{700: "app.exe"}[pid] }}
	var out model.Builder
	p.begin(tableTime, append(sockets, later), &out)
	first := out.Take()
	held := map[model.How]int{}
	for i := range first.Events {
		v, ok := first.PortActive(&first.Events[i])
		if !ok || v.Process != "app.exe" || v.Dur != time.Minute {
			t.Errorf("%+v", v)
		}
		held[v.How]++
	}
	if d := cmp.Diff(map[model.How]int{model.HowPresent: 6, model.HowAccept: 2}, held); d != "" {
		t.Errorf("held (-want +got):\n%s", d)
	}
	at := tableTime.Add(10 * time.Second)
	p.compare(at, append(sockets[1:], later), &out)
	second := out.Take()
	if len(second.Events) != 1 {
		t.Fatalf("%d events at the end of one", len(second.Events))
	}
	v, ok := second.PortRelease(&second.Events[0])
	if !ok || v.LocalPort != 5405 || v.How != model.HowAudit || v.Dur != 70*time.Second {
		t.Errorf("%+v", v)
	}
	p.compare(at, append(sockets[1:], later), &out)
	if b := out.Take(); b != nil {
		t.Errorf("it ends once more: %d events", len(b.Events))
	}
	if err := model.Validate(first, second); err != nil {
		t.Error(err)
	}
}
