package pcap_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/frame"
	"lostbeat/internal/frame/frametest"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/pcap"
	"lostbeat/source/pcap/pcaptest"
)

// follow follows UDP 5405.
func follow(protocol model.Protocol, local, remote netip.AddrPort) (source.Follow, bool) {
	return source.Follow{KnownAs: "corosync"}, protocol == model.ProtocolUDP && local.Port() == 5405
}

func open(t *testing.T, data []byte) *pcap.File {
	t.Helper()
	f, err := pcap.New(bytes.NewReader(data), int64(len(data)), "test.pcap", source.OpenOptions{Follow: follow})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// packetsOf returns the packets of a capture from a time on, a line each.
func packetsOf(t *testing.T, f *pcap.File, from model.Time) (lines []string) {
	t.Helper()
	var batches []*model.Batch
	if err := f.RunFrom(t.Context(), from, func(b *model.Batch) error {
		batches = append(batches, b)
		for i := range b.Events {
			if v, ok := b.Packet(&b.Events[i]); ok {
				lines = append(lines, fmt.Sprintf("%s %s %s %s:%d %s:%d %d %t", v.Time.Sub(model.TimeOf(pcaptest.Start)),
					v.Protocol, v.Direction, v.LocalAddr, v.LocalPort, v.RemoteAddr, v.RemotePort, v.SizeBytes, v.Cookie != 0))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := model.Validate(batches...); err != nil {
		t.Error(err)
	}
	return lines
}

func beat(from, to string, n int) *frametest.Packet {
	p := frametest.UDP(from, to, uint16(n), []byte(fmt.Sprintf("beat %04d", n)))
	return &p
}

// TestClassic reads pcap files of both byte orders and resolutions.
func TestClassic(t *testing.T) {
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		for _, nano := range []bool{false, true} {
			w := pcaptest.Classic{Order: order, Nano: nano, Link: uint32(frame.LinkCooked)}
			at := 1500*time.Millisecond + 7*time.Microsecond + 9*time.Nanosecond
			w.Packet(at, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).Cooked(1, 0))
			w.Packet(2*time.Second, beat("10.0.0.1:5405", "10.0.0.2:5405", 2).Cooked(1, 4))
			if !nano {
				at = at.Truncate(time.Microsecond)
			}
			f := open(t, w.Bytes())
			got := packetsOf(t, f, 0)
			want := []string{
				fmt.Sprintf("%s udp rx 10.0.0.1:5405 10.0.0.2:5405 9 true", at),
				"2s udp tx 10.0.0.1:5405 10.0.0.2:5405 9 true",
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, nano %t: %q", order, nano, got)
			}
			if i := f.Info(); i.Kind != "pcap" || i.Packets != 2 || i.IP != 2 || i.Interfaces[0].Link != "Linux cooked v1" ||
				!complete(f) || i.Start.Sub(model.TimeOf(pcaptest.Start)) != at {
				t.Errorf("%+v", i)
			}
		}
	}
}

// TestNG reads pcapng files of several sections and interfaces.
func TestNG(t *testing.T) {
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		w := pcaptest.NG{Order: order}
		w.Section()
		w.Interface(uint16(frame.LinkEthernet), "eth0", "udp port 5405", 6)
		w.Interface(uint16(frame.LinkRaw), "tun0", "", 9)
		w.Block(4, []byte("names of hosts, which nobody needs"))
		w.Block(0x0bad, bytes.Repeat([]byte("custom"), 100_000))
		w.Packet(0, time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).Ethernet(2, 1, 7), 0, 1)
		w.Packet(1, 1100*time.Millisecond, beat("10.9.0.1:5405", "10.9.0.2:5405", 1).IP(), 0, 2)
		w.Packet(0, 1200*time.Millisecond, beat("10.0.0.1:5405", "10.0.0.2:5405", 2).Ethernet(1, 2, 0), 46, 2)
		w.Dropped(0, 3)
		w.Dropped(0, 5)
		w.Block(3, append(order.AppendUint32(nil, 40), make([]byte, 40)...)) // a simple packet has no time
		w.Section()
		w.Interface(uint16(frame.LinkCooked2), "any", "", 6)
		w.Packet(0, 3*time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 3).Cooked(2, 0), 0, 0)
		f := open(t, w.Bytes())
		got := packetsOf(t, f, 0)
		want := []string{
			"1s udp rx 10.0.0.1:5405 10.0.0.2:5405 9 true",
			"1.1s udp tx 10.9.0.1:5405 10.9.0.2:5405 9 true",
			"1.2s udp tx 10.0.0.1:5405 10.0.0.2:5405 9 true",
			"3s udp rx 10.0.0.1:5405 10.0.0.2:5405 9 true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %q", order, got)
		}
		i := f.Info()
		if i.Kind != "pcapng" || i.Packets != 5 || i.Dropped != 5 || i.Cut != 1 || i.Limit != 46 || i.Timeless != 1 ||
			len(i.Interfaces) != 3 || i.Interfaces[1].Name != "tun0" || i.Interfaces[2].Packets != 1 {
			t.Errorf("%+v", i)
		}
		notes := strings.Join(i.Notes(), "\n")
		for _, want := range []string{
			"dropped 5 packets", "1 of 5 packets were cut after 46 bytes", "udp port 5405", "1 packets have no time",
		} {
			if !strings.Contains(notes, want) {
				t.Errorf("%q is not in the notes:\n%s", want, notes)
			}
		}
		if got := packetsOf(t, f, model.TimeOf(pcaptest.Start.Add(1150*time.Millisecond))); !slices.Equal(got, want[2:]) {
			t.Errorf("from 1.15 s on: %q", got)
		}
	}
}

// TestViewpoint finds out on which host packets were captured.
func TestViewpoint(t *testing.T) {
	const host, router, peer = 1, 2, 3
	long := strings.Repeat("payload ", 20)
	add := func(w *pcaptest.Classic, n int, from, to string, source, destination byte, text string) {
		p := frametest.UDP(from, to, uint16(n), []byte(text))
		w.Packet(time.Duration(n)*10*time.Millisecond, p.Ethernet(source, destination, 0))
	}
	for _, c := range []struct {
		name string
		add  func(w *pcaptest.Classic, n int)
		want string // the first packet's direction, and the captured host
	}{
		{"peers of one host", func(w *pcaptest.Classic, n int) {
			add(w, n, "10.0.0.9:1", "10.0.0.1:5405", byte(peer+n%5), host, long)
		}, "rx 02:00:00:00:00:01"},
		{"peers behind a router", func(w *pcaptest.Classic, n int) {
			add(w, n, fmt.Sprintf("192.0.2.%d:1", n%9+1), "10.0.0.1:5405", router, host, long)
		}, "rx 02:00:00:00:00:01"},
		{"sent to peers behind a router", func(w *pcaptest.Classic, n int) {
			from, to := fmt.Sprintf("192.0.2.%d:5405", n%9+1), "10.0.0.1:5405"
			if n%2 == 0 {
				add(w, n, to, from, host, router, long)
				return
			}
			add(w, n, from, to, router, host, long)
		}, "tx 02:00:00:00:00:01"},
		{"short frames that were not on the wire yet", func(w *pcaptest.Classic, n int) {
			if n%2 == 0 {
				add(w, n, "10.0.0.1:5405", "10.0.0.9:5405", host, peer, "short")
				return
			}
			add(w, n, "10.0.0.9:5405", "10.0.0.1:5405", peer, host, long)
		}, "tx 02:00:00:00:00:01"},
		{"two hosts alone", func(w *pcaptest.Classic, n int) {
			add(w, n, "10.0.0.1:5405", "10.0.0.9:5405", host, peer, long)
		}, "rx "},
		{"a mirror port", func(w *pcaptest.Classic, n int) {
			add(w, n, "10.0.0.1:5405", "10.0.0.9:5405", byte(10+n%7), byte(20+n%5), long)
		}, "rx "},
		{"too few", func(w *pcaptest.Classic, n int) {
			if n < 3 {
				add(w, n, "10.0.0.9:1", "10.0.0.1:5405", byte(peer+n), host, long)
			}
		}, "rx "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := pcaptest.Classic{Link: uint32(frame.LinkEthernet)}
			for n := range 60 {
				c.add(&w, n)
			}
			f := open(t, w.Bytes())
			direction := strings.Fields(packetsOf(t, f, 0)[0])[2]
			if got := direction + " " + f.Info().Host; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestDamage: what is damaged costs itself.
func TestDamage(t *testing.T) {
	classic := func() []byte {
		w := pcaptest.Classic{Link: uint32(frame.LinkRaw)}
		for n := range 10 {
			w.Packet(time.Duration(n)*time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", n).IP())
		}
		return w.Bytes()
	}
	ng := func() []byte {
		var w pcaptest.NG
		w.Section()
		w.Interface(uint16(frame.LinkRaw), "tun0", "", 6)
		for n := range 10 {
			w.Packet(0, time.Duration(n)*time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", n).IP(), 0, 0)
		}
		return w.Bytes()
	}
	const record = 16 + 20 + 8 + 9
	ngPacket := len(ng()) - 9*72
	for _, c := range []struct {
		name    string
		data    []byte
		packets int
		damage  string
	}{
		{"pcap, cut in a packet", classic()[:24+5*record+30], 5, "the file ends within the record at offset 289"},
		{"pcap, cut in a header", classic()[:24+5*record+7], 5, "the file ends within the record at offset 289"},
		{"pcap, a length", put(classic(), 24+5*record+8, 0xff, 0xff, 0xff, 0x7f), 9, "the record at offset 289 is damaged"},
		{"pcap, zeroes", put(classic(), 24+5*record, make([]byte, 2*record)...), 8, "damaged"},
		{"pcapng, cut in a block", ng()[:ngPacket+3*72+20], 4, "the file ends within the block"},
		{"pcapng, a length", put(ng(), ngPacket+2*72+4, 0xfc, 0xff, 0xff, 0x7f), 9, "is damaged"},
		{"pcapng, a captured length", put(ng(), ngPacket+2*72+20, 0xff, 0xff, 0xff, 0xff), 9, "contradicts itself"},
		{"pcapng, an interface", put(ng(), ngPacket+2*72+8, 7), 9, "contradicts itself"},
		{"pcapng, zeroes", put(ng(), ngPacket+2*72, make([]byte, 100)...), 8, "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, c.data)
			v := f.Integrity()
			if v.Complete() || !strings.Contains(strings.Join(v.Damage, "\n"), c.damage) {
				t.Errorf("damage %q", v.Damage)
			}
			if got := packetsOf(t, f, 0); len(got) != c.packets {
				t.Errorf("%d packets", len(got))
			}
		})
	}
}

// put returns data with some bytes changed.
func put(data []byte, at int, b ...byte) []byte {
	copy(data[at:], b)
	return data
}

// TestForeign: what is recognised and not read says what to do.
func TestForeign(t *testing.T) {
	for _, head := range []string{"GMBU\x00\x02", "\x34\xcd\xb2\xa1\x02\x00", "snoop\x00\x00\x00"} {
		data := []byte(head + strings.Repeat("\x00", 40))
		if !pcap.Detect(data) {
			t.Errorf("%q is not recognised", head)
		}
		_, err := pcap.New(bytes.NewReader(data), int64(len(data)), "x", source.OpenOptions{})
		var h interface{ Hint() string }
		if err == nil || !as(err, &h) || !strings.Contains(h.Hint(), "editcap") {
			t.Errorf("%q: %v", head, err)
		}
	}
}

func as(err error, h *interface{ Hint() string }) bool {
	v, ok := err.(interface{ Hint() string })
	*h = v
	return ok
}

// TestBounds: blocks that nobody needs, and lengths that no packet has, take no memory.
func TestBounds(t *testing.T) {
	var w pcaptest.NG
	w.Section()
	for range 1500 {
		w.Interface(uint16(frame.LinkRaw), strings.Repeat("x", 20_000), "", 6)
	}
	w.Packet(0, time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).IP(), 0, 0)
	w.Packet(1499, time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).IP(), 0, 0)
	data := w.Bytes()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := open(t, data)
	runtime.ReadMemStats(&after)
	if f.Info().Packets != 1 || complete(f) {
		t.Errorf("%d packets", f.Info().Packets)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4<<20 {
		t.Errorf("%d bytes for a file of %d", allocated, len(data))
	}
}

// FuzzFile reads any file.
func FuzzFile(f *testing.F) {
	fuzztest.Quick(f)
	c := pcaptest.Classic{Link: uint32(frame.LinkEthernet), Nano: true}
	c.Packet(time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).Ethernet(1, 2, 3))
	c.Packet(2*time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).Ethernet(1, 2, 3))
	f.Add(c.Bytes())
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		w := pcaptest.NG{Order: order}
		w.Section()
		w.Interface(uint16(frame.LinkEthernet), "eth0", "udp", 9)
		w.Packet(0, time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).Ethernet(1, 2, 3), 40, 1)
		w.Dropped(0, 3)
		w.Section()
		w.Interface(uint16(frame.LinkRadiotap), "wlan0", "", 6)
		w.Packet(0, time.Second, beat("10.0.0.2:5405", "10.0.0.1:5405", 1).WiFi(true), 0, 0)
		f.Add(w.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := pcap.New(bytes.NewReader(data), int64(len(data)), "fuzz", source.OpenOptions{Follow: follow})
		if err != nil {
			return
		}
		packets := packetsOf(t, file, 0)
		info := file.Info()
		size := len(data)
		if uint64(len(packets)) > info.Packets || info.Packets > uint64(size) || file.Integrity().Bytes > int64(size) {
			t.Errorf("%d packets of %+v", len(packets), info)
		}
	})
}

func complete(f *pcap.File) bool {
	v := f.Integrity()
	return v.Complete()
}
