package etw

import (
	"encoding/binary"
	"fmt"
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
		if s.asked {
			binary.LittleEndian.PutUint32(row[k.flags:], specificPortBind)
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
		socket(at(any, 5406), netip.AddrPort{}, 0)
		sockets[1].asked = true
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
			if k.state >= 0 && states[i] == tcpTimeWait {
				s.rests, s.pid, s.created = true, -1, 0
			}
			want = append(want, s)
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
	held, rests := map[model.How]int{}, 0
	for i := range first.Events {
		v, ok := first.PortActive(&first.Events[i])
		switch {
		case ok && v.Resting && v.PID == -1 && v.LocalPort == 50001 && v.RemotePort == 2380:
			rests++
		case !ok || v.Process != "app.exe" || v.Dur != time.Minute:
			t.Errorf("%+v", v)
		default:
			held[v.How]++
		}
	}
	want := map[model.How]int{
		model.HowPresent: 4, model.HowAccept: 2, model.HowBindAny: 2, model.HowBindPort: 2, // IPv4 and IPv6
	}
	if d := cmp.Diff(want, held); d != "" || rests != 2 {
		t.Errorf("%d rest; held (-want +got):\n%s", rests, d)
	}
	// A socket and a rest end, and another rest begins.
	at := tableTime.Add(10 * time.Second)
	rests = 0
	var now []tableSocket
	for _, s := range sockets[1:] {
		if s.rests {
			if rests++; rests == 1 {
				continue
			}
		}
		now = append(now, s)
	}
	began := tableSocket{
		protocol: model.ProtocolTCP, local: netip.MustParseAddrPort("10.0.0.1:50009"),
		remote: netip.MustParseAddrPort("10.0.0.2:2380"), pid: -1, rests: true,
	}
	now = append(now, later, began)
	p.compare(at, now, &out)
	second := out.Take()
	var got []string
	for i := range second.Events {
		e := &second.Events[i]
		if v, ok := second.PortRelease(e); ok {
			got = append(got, fmt.Sprint(v.LocalPort, " ", v.How, " ", v.Dur))
		}
		if v, ok := second.PortRest(e); ok {
			got = append(got, fmt.Sprint(v.LocalPort, " rests, ", v.PID))
		}
	}
	if d := cmp.Diff([]string{"5405 audit 1m10s", "50001 rest_end 0s", "50009 rests, -1"}, got); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	p.compare(at, now, &out)
	if b := out.Take(); b != nil {
		t.Errorf("they are reported once more: %d events", len(b.Events))
	}
	if err := model.Validate(first, second); err != nil {
		t.Error(err)
	}
}

// TestPolled finds sockets that appear while no events report them, once each, with how long they are there already.
func TestPolled(t *testing.T) {
	socket := func(port uint16, created time.Duration) tableSocket {
		return tableSocket{
			protocol: model.ProtocolUDP, local: netip.AddrPortFrom(netip.IPv4Unspecified(), port), pid: 700,
			created: tableTime.Add(created),
		}
	}
	p := present{polled: true, process: func(int32, model.Time) string { return "app.exe" }}
	var out model.Builder
	first, second, third := socket(5000, -time.Minute), socket(5001, 2*time.Second), socket(5002, 9*time.Second)
	p.begin(tableTime, []tableSocket{first}, &out)
	begun := out.Take()
	var got []string
	batches := []*model.Batch{begun}
	for i, there := range [][]tableSocket{{first, second}, {first, second, third}, {third}, {third}} {
		p.compare(tableTime.Add(time.Duration(i+1)*5*time.Second), there, &out)
		b := out.Take()
		if b == nil {
			continue
		}
		batches = append(batches, b)
		for j := range b.Events {
			if v, ok := b.PortActive(&b.Events[j]); ok {
				got = append(got, fmt.Sprint(i, " ", v.LocalPort, " ", v.How, " ", v.Process, " ", v.Dur))
			}
			if v, ok := b.PortRelease(&b.Events[j]); ok {
				got = append(got, fmt.Sprint(i, " ", v.LocalPort, " gone ", v.Dur))
			}
		}
	}
	want := []string{"0 5001 audit app.exe 3s", "1 5002 audit app.exe 1s", "2 5000 gone 1m15s", "2 5001 gone 13s"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
}

// TestRestsBounded checks that sockets in TIME_WAIT beyond the limit are counted and not followed.
func TestRestsBounded(t *testing.T) {
	var sockets []tableSocket
	for i := range maxRests + 10 {
		sockets = append(sockets, tableSocket{
			protocol: model.ProtocolTCP, rests: true, pid: -1, local: netip.AddrPortFrom(netip.IPv4Unspecified(), 1024),
			remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 16), 1}), uint16(i)),
		})
	}
	var p present
	var out model.Builder
	p.begin(tableTime, sockets, &out)
	b, lost := out.Take(), uint64(0)
	for i := range b.Events {
		if v, ok := b.Loss(&b.Events[i]); ok {
			lost += v.Lost
		}
	}
	if len(p.rests) != maxRests || lost != 10 {
		t.Errorf("%d followed, %d lost", len(p.rests), lost)
	}
}
