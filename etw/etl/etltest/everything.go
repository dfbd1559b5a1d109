package etltest

import (
	"lostbeat/etw"
	"lostbeat/internal/frame/frametest"
)

// Everything returns a small capture with a record of each kind that is
// decoded, and of each way in which a payload is described.
func Everything(o Options) []byte {
	w := New(o)
	size := w.o.PointerSize
	p := func() *Payload { return NewPayload(size) }
	w.Process(1, 1000, 700, "a.exe", "a")
	w.Thread(1, 2000, 700, 704)
	w.Image(10, 3000, Drivers[1])
	w.Switch(0, 4000, 704, 0)
	w.ISR(0, 67, 5000, 6000, Drivers[1].Base+8, 0x61)
	w.DPC(0, 68, 4500, 7000, Drivers[1].Base+16)
	w.Sample(0, 8000, 704, 1)
	w.Datagram(0, 9000, 43, 700, [4]byte{1, 2, 3, 4}, [4]byte{5, 6, 7, 8}, 9, 10)
	w.Socket(0, 10_000, 0x1000, 700)
	w.Bind(0, 12_000, 0x1000, 700, 0, 5000, 0)
	w.DropDatagram(0, 14_000, 0x1000, 9)
	w.CloseSocket(0, 15_000, 0x1000, 700)
	uuid := etw.ClassImage
	w.Event(
		0,
		17_000,
		etw.ProviderRPC,
		5,
		1,
		700,
		704,
		uuid,
		p().GUID(uuid).U32(1).U32(1).UTF16("host").UTF16("5000").UTF16("").U32(0).U32(0).U32(0),
	)
	w.Event(0, 18_000, etw.ProviderRPC, 7, 1, 700, 704, uuid, p().U32(1722))
	w.Event(
		0,
		19_000,
		etw.ProviderRPC,
		16,
		1,
		700,
		704,
		uuid,
		p().UTF16("ncacn_ip_tcp").UTF16("").UTF16("").U32(1).U32(0).U32(0),
	)
	w.Event(0, 20_000, etw.ProviderRPC, 17, 1, 700, 704, uuid, p().U32(1721))
	w.Event(
		0,
		21_000,
		etw.ProviderRPCSS,
		2,
		1,
		700,
		704,
		uuid,
		p().GUID(uuid).GUID(uuid).ANSI("ncacn_ip_tcp").ANSI("5000"),
	)
	w.Event(0, 22_000, etw.ProviderNDIS, 10400, 0, 4, 8, uuid, p().GUID(uuid).U32(3).U64(1).UTF16("NIC").U32(1).U32(2))
	w.Event(
		0,
		23_000,
		etw.ProviderTCPIP,
		1214,
		0,
		4,
		8,
		uuid,
		p().U32(17).U32(2).SockAddr4([4]byte{1}, 2).SockAddr4([4]byte{3}, 4).U32(5).U32(6),
	)
	w.Event(
		0,
		24_000,
		etw.ProviderTCPIP,
		1396,
		1,
		4,
		8,
		uuid,
		p().SockAddr4([4]byte{1}, 2).U32(0).Pointer(0x2000).U32(700).U64(0),
	)
	w.Event(
		0,
		25_000,
		etw.ProviderTCPIP,
		1050,
		0,
		4,
		8,
		uuid,
		p().SockAddr4([4]byte{1}, 0).SockAddr4([4]byte{3}, 80).U32(0xc0000209).U32(700).U32(1).Pointer(0x3000),
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderEvent,
			PointerSize: size,
			Class:       uuid,
			Time:        w.Ticks(26_000),
			Extended: Extended(
				map[uint16][]byte{
					11: []byte("\x10\x00\x00ev\x00f\x00\x08g\x00\x42\x05s\x00\x98\x01"),
					12: []byte("\x06\x00abc\x00"),
				},
			),
			Payload: []byte{1, 2, 3, 4, 2, 0, 'a', 0, 'b', 0},
		},
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderMessage,
			PointerSize: size,
			Class:       uuid,
			ID:          43,
			Version:     0xaa,
			Time:        w.Ticks(27_000),
			Payload:     []byte{1},
		},
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderEvent,
			PointerSize: size,
			Class:       uuid,
			ID:          0xfffe,
			Version:     1,
			Time:        w.Ticks(28_000),
			Payload: []byte(
				"\x01\x01\x00\x5b\x01\x00\x00\x00<instrumentationManifest><instrumentation><events><provider " +
					"name='p'><events><event value='10' symbol='n'/></events></provider></events></instrumentation>" +
					"</instrumentationManifest>",
			),
		},
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderFull,
			PointerSize: size,
			Class:       etw.ClassEventInfo,
			ID:          32,
			Time:        w.Ticks(29_000),
			Payload:     EventInfo(uuid, 9, 0, "P", "Task", []Property{{Name: "a", Type: 8, Map: "m"}, {Name: "b", Type: 1}}),
		},
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderFull,
			PointerSize: size,
			Class:       etw.ClassEventInfo,
			ID:          33,
			Time:        w.Ticks(30_000),
			Payload:     EventMap(uuid, "m", map[uint32]string{1: "one", 2: "two"}),
		},
	)
	w.Event(0, 31_000, uuid, 9, 0, 4, 8, etw.GUID{}, p().U32(2).UTF16("text"))
	w.Event(0, 31_500, uuid, 10, 0, 4, 8, etw.GUID{}, p().U32(2))
	w.Event(
		0,
		32_000,
		etw.ProviderRPC,
		1,
		1,
		700,
		704,
		uuid,
		p().UTF16(`C:\a.exe`).UTF16("").U32(700).Raw(make([]byte, 16)).U32(2).U32(1722).U16(0).U16(0).U16(0),
	)
	w.Event(
		0,
		33_000,
		etw.ProviderRPC,
		6,
		1,
		700,
		708,
		GUIDOf(1),
		p().GUID(uuid).U32(4).U32(3).UTF16("").UTF16("epmapper").UTF16("").U32(0).U32(0).U32(0),
	)
	w.Event(0, 36_000, etw.ProviderRPC, 8, 1, 700, 708, GUIDOf(1), p().U32(0))
	w.Event(0, 37_000, etw.ProviderRPCSS, 3, 1, 700, 704, uuid, p().GUID(uuid).GUID(uuid).ANSI("ncalrpc").ANSI("LRPC-1"))
	w.Event(0, 38_000, etw.ProviderTCPIP, 1231, 0, 4, 8, uuid, p().U32(9).U32(3).U32(0).U32(1))
	w.Event(0, 39_000, etw.ProviderTCPIP, 1233, 0, 4, 8, uuid, p().U32(9).U32(0).U32(8).U32(4))
	w.Event(
		0,
		40_000,
		etw.ProviderTCPIP,
		1215,
		1,
		4,
		8,
		uuid,
		p().U32(17).
			U32(2).
			Raw([]byte{1, 2, 3, 4, 5, 6, 7, 8}).
			U32(0).
			U32(0).
			U32(11).
			U32(12).
			U32(17).
			U32(0).
			U32(0).
			U32(3).
			U32(1),
	)
	w.Event(0, 41_000, etw.ProviderTCPIP, 1478, 0, 4, 8, uuid, p().U32(0).U32(2).U32(3).U32(13).U32(14).U32(0))
	w.Event(
		0,
		42_000,
		etw.ProviderTCPIP,
		1394,
		0,
		700,
		704,
		uuid,
		p().SockAddr4([4]byte{}, 0).U32(StatusTooManyAddresses).Pointer(0x2100),
	)
	w.Event(
		0,
		43_000,
		etw.ProviderTCPIP,
		1006,
		1,
		700,
		704,
		uuid,
		p().Pointer(0x2200).SockAddr4([4]byte{}, 80).U32(0xc000020a),
	)
	w.Event(
		0,
		44_000,
		etw.ProviderAFD,
		33,
		0,
		4,
		8,
		uuid,
		p().Pointer(1).Pointer(0x1000).U32(64).Raw([]byte{10, 0, 0, 2}).Port(4000).U32(1),
	)
	w.Add(
		etw.Record{
			Header:      etw.HeaderPerfInfo,
			PointerSize: size,
			Class:       etw.ClassPerfInfo,
			ID:          68,
			Version:     2,
			Time:        w.Ticks(45_000),
			Payload:     []byte{1, 2, 3},
		},
	)
	w.Event(
		0,
		45_500,
		etw.ProviderRPC,
		5,
		1,
		700,
		712,
		GUIDOf(2),
		p().GUID(uuid).U32(7).U32(1).UTF16("host").UTF16("5001").UTF16("").U32(0).U32(0).U32(0),
	) // never ends
	w.Thread(2, 46_000, 700, 704)
	w.Process(2, 47_000, 700, "a.exe", "a")
	w.Image(2, 48_000, Drivers[1])
	captured(w)
	return w.Bytes()
}

// captured adds packets that Packet Monitor and NDIS packet capture report.
func captured(w *Writer) {
	beat := []byte{
		0x45, 0, 0, 32, 0, 7, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, // IP
		0x15, 0x1d, 0x15, 0x1d, 0, 12, 0, 0, 'b', 'e', 'a', 't',
	}
	frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, beat...)
	w.MonitorPacket(49_000, MonitorReport{
		Direction: MonitorRx, Kind: MonitorEthernet, Component: 1, Edge: 1, Payload: frame,
	})
	for i, p := range []frametest.Packet{
		frametest.Segment("10.0.0.2:41000", "10.0.0.1:2380", 100, 16, []byte("beat")),
		frametest.Segment("10.0.0.2:41000", "10.0.0.1:2380", 104, 4, nil), // a reset
	} {
		w.MonitorPacket(49_200+200*int64(i), MonitorReport{
			Direction: MonitorRx, Kind: MonitorEthernet, Component: 1, Edge: 1, Payload: p.Ethernet(2, 1, 0),
		})
	}
	w.MonitorPacket(50_000, MonitorReport{
		Direction: MonitorRx, Kind: MonitorIP, Component: 3, Reason: MonitorReceiveInspection, Location: 0xe0004600,
		Payload: beat, Dropped: true,
	})
	w.NDISPacket(51_000, 9, 9, 0x40000000|0x80000000|0x100000000, len(frame), frame)
	w.MonitorSchemas(52_000)
	w.MonitorFilterFor(53_000, 5405)
	w.MonitorComponent(54_000, 1, MonitorMiniport, "Ethernet Adapter", 7)
	w.MonitorComponent(54_000, 3, MonitorTCPIP, "TCP/IPv4 - L3/L4", 7)
	w.MonitorCounters(55_000, 3, 1)
}

// GUIDOf returns a GUID that ends in n.
func GUIDOf(n uint8) etw.GUID { return etw.GUID{15: n} }
