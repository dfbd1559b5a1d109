package hostile

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"lostbeat/etw"
	"lostbeat/etw/etl/etltest"
	"lostbeat/etw/xca"
	"lostbeat/source/perfmon/perfmontest"
)

// traces are event trace logs.
func traces(add func(string, func() []byte)) {
	trace := func(name string, o etltest.Options, fill func(w *etltest.Writer)) {
		add(name+".etl", func() []byte {
			w := etltest.New(o)
			fill(w)
			return w.Bytes()
		})
	}
	provider := func(n int) (g etw.GUID) {
		binary.LittleEndian.PutUint32(g[:], uint32(n))
		g[15] = 9
		return g
	}
	trace("processes", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 60_000 {
			w.Process(1, int64(i)*1e6, uint32(i*4), "p.exe", strings.Repeat("c", 200))
		}
	})
	trace("threads", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 150_000 {
			w.Thread(1, int64(i)*1e6, uint32(i*4), uint32(i*4))
		}
	})
	trace("images", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 80_000 {
			w.Image(10, int64(i)*1e6, etltest.Driver{File: fmt.Sprintf("d%d.sys", i), Base: uint64(i) << 20, Size: 1 << 20})
		}
	})
	trace("schemas", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		properties := make([]etltest.Property, 200)
		for i := range properties {
			properties[i] = etltest.Property{Name: "p", Type: 8}
		}
		for i := range 10_000 {
			w.Add(etw.Record{
				Header: etw.HeaderFull, PointerSize: 8, Class: etw.ClassEventInfo, ID: 32, Time: w.Ticks(int64(i) * 1e6),
				Payload: etltest.EventInfo(provider(i), uint16(i), 0, "event", "task", properties),
			})
		}
	})
	trace("providers", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 150_000 {
			w.Event(0, int64(i)*1e6, provider(i), uint16(i), 0, 4, 8, provider(i), etltest.NewPayload(8).U32(1))
		}
	})
	trace("processors", etltest.Options{BufferSize: 8 << 10, Processors: math.MaxInt32}, func(w *etltest.Writer) {
		for i := range 2000 {
			w.Switch(int32(i), int64(i)*1e6, 8, 12)
			w.DPC(int32(i), 66, int64(i)*1e6, int64(i)*1e6+1e9, 0xfffff80000000000)
		}
	})
	trace("centuries", etltest.Options{}, func(w *etltest.Writer) {
		for i := range 20_000 {
			w.DPC(0, 66, int64(i)*119e9, int64(i)*119e9+1e9, 0xfffff80000000000+uint64(i)<<20)
		}
		w.DPC(0, 66, 100*365*24*3600e9, 100*365*24*3600e9+1e9, 1)
	})
	trace("sockets", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 60_000 {
			w.Socket(0, int64(i)*1e6, uint64(i)<<8, uint32(i*4))
			w.Bind(0, int64(i)*1e6+1000, uint64(i)<<8, uint32(i*4), 0, uint16(i), 0)
		}
	})
	trace("flows", etltest.Options{BufferSize: 64 << 10, Compression: xca.XpressHuffman}, func(w *etltest.Writer) {
		for i := range 100_000 {
			w.Datagram(0, int64(i)*1e6, 43, uint32(i), [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)},
				[4]byte{10, 0, 0, 1}, uint16(i), uint16(i))
		}
	})
	add("buffers.etl", func() []byte { // headers of buffers, and nothing else
		w := etltest.New(etltest.Options{})
		w.Process(1, 1e6, 4, "System", "")
		out := w.Bytes()
		le := binary.LittleEndian
		for i := range 60_000 {
			b := make([]byte, 72)
			le.PutUint32(b, 72)
			le.PutUint64(b[0x18:], uint64(i))
			le.PutUint16(b[0x28:], uint16(i))
			le.PutUint16(b[0x2a:], uint16(i>>4))
			le.PutUint32(b[0x30:], 72)
			le.PutUint16(b[0x34:], 0x20)
			out = append(out, b...)
		}
		return out
	})
	add("inflated.etl", func() []byte { // buffers that claim to be far larger than they are
		w := etltest.New(etltest.Options{BufferSize: 64 << 10, Compression: xca.LZNT1})
		for i := range 100_000 {
			w.Switch(int32(i%64), int64(i)*1e5, 8, 12)
		}
		out := w.Bytes()
		le := binary.LittleEndian
		for at := int(le.Uint32(out)); at+72 < len(out); at += max(72, int(le.Uint32(out[at:]))) {
			le.PutUint32(out[at+4:], 16<<20)
		}
		return out
	})
}

// logs are performance logs.
func logs(add func(string, func() []byte)) {
	begin := time.Date(2026, 11, 22, 14, 3, 9, 0, time.UTC)
	text := func(name string, paths []string, rows []perfmontest.Row) {
		add(name+".csv", func() []byte {
			l := perfmontest.Text{Zone: " (GMT Standard Time)(0)", Paths: paths, Rows: rows}
			return l.Bytes()
		})
	}
	many := func(n int, format string) (paths []string) {
		for i := range n {
			paths = append(paths, fmt.Sprintf(format, i))
		}
		return paths
	}
	values := func(n int) []float64 { return make([]float64, n) }
	text("columns", many(300_000, `\\H\Processor(%d)\%% DPC Time`), []perfmontest.Row{
		{Time: begin, Values: values(300_000)}, {Time: begin.Add(time.Second), Values: values(300_000)},
	})
	text("adapters", many(60_000, `\\H\Network Interface(nic %d)\Packets Received Discarded`), []perfmontest.Row{
		{Time: begin, Values: values(60_000)}, {Time: begin.Add(time.Second), Values: values(60_000)},
		{Time: begin.Add(2 * time.Second), Values: values(60_000)},
	})
	var years, samples []perfmontest.Row
	for i := range 200 {
		years = append(years, perfmontest.Row{Time: begin.AddDate(i-40, 0, 0), Values: []float64{50}})
	}
	text("years", []string{`\\H\Processor(0)\% DPC Time`}, years)
	for i := range 100_000 {
		samples = append(samples, perfmontest.Row{
			Time: begin.Add(time.Duration(i) * 119 * time.Second), Values: []float64{float64(i % 97), float64(i)},
		})
	}
	text("samples", []string{`\\H\Processor(0)\% DPC Time`, `\\H\UDPv4\Datagrams Received Errors`}, samples)
	add("wide.csv", func() []byte {
		return []byte(`"(PDH-CSV 4.0) (GMT Standard Time)(0)"` + strings.Repeat(`,"\\H\a(b)\c"`, 2_000_000))
	})
	add("headers.csv", func() []byte {
		var b strings.Builder
		for i := range 4000 {
			fmt.Fprintf(&b, "\"(PDH-CSV 4.0) (GMT Standard Time)(0)\",\"\\\\H\\Processor(%d)\\%% DPC Time\"\r\n", i)
			fmt.Fprintf(&b, "\"%s\",\"50\"\r\n", begin.Add(time.Duration(i)*time.Second).Format("01/02/2006 15:04:05.000"))
		}
		return []byte(b.String())
	})
	add("instances.blg", func() []byte {
		l := &perfmontest.BLG{Start: begin}
		l.Catalogue(begin, perfmontest.Entry{
			Form: 1, Machine: "H", Object: "Network Interface", Counter: "Packets Received Discarded", Type: 0x00010000,
		})
		for s := range 40 {
			var list []perfmontest.Reading
			for i := range 3000 {
				list = append(list, perfmontest.Reading{Name: fmt.Sprintf("n%d-%d", s, i), First: int64(i + s)})
			}
			at := begin.Add(time.Duration(s) * time.Second)
			l.Sample(at, perfmontest.Instances(at, list...))
		}
		return l.Bytes()
	})
	add("catalogues.blg", func() []byte {
		l := &perfmontest.BLG{Start: begin}
		for s := range 60 {
			at := begin.Add(time.Duration(s) * time.Second)
			var entries []perfmontest.Entry
			var readings [][]byte
			for i := range 1000 {
				entries = append(entries, perfmontest.Entry{
					Machine: "H", Object: "Processor", Instance: fmt.Sprint(s*1000 + i), Counter: "% DPC Time", Type: 0x20510500,
				})
				reading := perfmontest.Reading{First: int64(s) * 1e6, Second: int64(s) * 1e7}
				readings = append(readings, perfmontest.Single(at, reading))
			}
			l.Catalogue(at, entries...)
			l.Sample(at, readings...)
			l.Sample(at.Add(time.Second/2), readings...)
		}
		return l.Bytes()
	})
	add("centuries.blg", func() []byte {
		l := &perfmontest.BLG{Start: begin}
		l.Catalogue(begin, perfmontest.Entry{
			Machine: "H", Object: "Processor", Instance: "0", Counter: "% DPC Time", Type: 0x20510500,
		})
		for s := range 300 {
			at := begin.AddDate(s, 0, 0)
			l.Sample(at, perfmontest.Single(at, perfmontest.Reading{First: int64(s) * 1e6, Second: int64(s) * 1e7}))
		}
		return l.Bytes()
	})
}
