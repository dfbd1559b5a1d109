package heartbeat

import (
	"testing"

	"lostbeat/ebpf"
	"lostbeat/ebpf/ebpftest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzRecords gives the probe any records of two followed sockets, in any order: the first byte of each 105 says which
// decoder gets it, its first bit of which socket it is.
func FuzzRecords(f *testing.F) {
	fuzztest.Quick(f)
	const size = 105
	var packet heartbeatPacket
	var read heartbeatLbRead
	packet.Head.TimeNs, packet.Cookie, packet.Size, packet.EndSeq, packet.Window = 1e9, 2, 100, 1000, 1
	read.Head.TimeNs, read.Cookie, read.Size, read.ReadSeq, read.Protocol = 2e9, 2, 100, 1000, protocolTCP
	part := func(kind byte, raw []byte) []byte {
		out := make([]byte, size)
		out[0] = kind
		copy(out[1:], raw)
		return out
	}
	arrived := ebpftest.Bytes(&packet)
	f.Add(append(part(0, arrived), part(1, ebpftest.Bytes(&read))...))
	f.Add(append(part(2, arrived), part(3, arrived)...))
	f.Add(append(part(4, arrived), part(4, arrived[:20])...))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &attached{
			env: &ebpf.Env{Process: func(int32) string { return "process" }}, stamps: -1, readsSeen: true,
			status: make(map[string]model.Probe), search: newSearch(),
			sockets: map[uint64]*socket{
				1: {cookie: 1, pid: 812, protocol: model.ProtocolUDP, local: 5405, arrivals: true, present: true},
				2: {cookie: 2, pid: 900, protocol: model.ProtocolTCP, local: 2380, remotePort: 4000, arrivals: true, present: true},
			},
		}
		var b model.Builder
		decoders := []ebpf.Decoder{a.packet, a.read, a.queued, a.returned}
		for n := 0; len(data) > 0 && n < 64; n++ {
			record := data[:min(size, len(data))]
			data = data[len(record):]
			raw := ebpftest.Aligned(record[1:])
			if len(raw) >= 24 {
				raw[16], raw[17] = 1+record[0]&1, 0 // the cookie
				clear(raw[18:24])
			}
			if p, ok := ebpf.Record[heartbeatPacket](raw); ok && p.What == whatClosed {
				p.What = whatArrived // the end of a socket is written into a map of the kernel
			}
			_ = decoders[int(record[0]>>1)%len(decoders)](raw, &b)
		}
		for _, s := range a.sockets {
			if len(s.queue.waiting) > maxQueued || len(s.tcp.sent) > maxSent || len(s.tcp.ahead) > maxAhead {
				t.Error("what is remembered of a socket is not bounded")
			}
		}
		ebpftest.Formed(t, b.Take())
	})
}
