package linuxhost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// form is how the counters of a file are written, those to be preferred first.
type form uint8

const (
	formXML form = iota + 1
	formJSON
	formHostFiles
	formBinary
	formText
	formNone form = 0
)

const headBytes = 16 << 10

func formAt(path string) (form, error) {
	f, err := os.Open(path)
	if err != nil {
		return formNone, err
	}
	defer f.Close()
	head := make([]byte, headBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return formNone, err
	}
	return formOf(head[:n]), nil
}

func formOf(head []byte) form {
	head = head[:min(len(head), headBytes)]
	switch {
	case isHostFiles(head):
		return formHostFiles
	case isBinary(head):
		return formBinary
	}
	if text, err := io.ReadAll(source.UTF8Reader(bytes.NewReader(head))); err == nil || len(text) > 0 {
		head = text
	}
	start := bytes.TrimLeft(head, " \t\r\n")
	switch {
	case bytes.HasPrefix(start, []byte("<")) && bytes.Contains(head, []byte("<sysstat")):
		return formXML
	case bytes.HasPrefix(start, []byte("{")) && hasPrefixAfterSpace(start[1:], `"sysstat"`):
		return formJSON
	case isText(head):
		return formText
	}
	return formNone
}

func hasPrefixAfterSpace(b []byte, prefix string) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte(prefix))
}

// binaryMagic is at the beginning of a file of sadc, in the byte order of its host, before the number of its layout.
const binaryMagic = 0xd596

func isBinary(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	little := int(head[0])|int(head[1])<<8 == binaryMagic && head[3] == 0x21
	big := int(head[1])|int(head[0])<<8 == binaryMagic && head[2] == 0x21
	return little || big
}

// wanted are sar's values that are kept: by element and attribute of XML, and by table and column of the text.
var wanted = map[string]map[string]series{
	"cpu": {
		"soft":  {name: "cpu/softirq", unit: "ratio", mode: model.CounterShare},
		"steal": {name: "cpu/steal", unit: "ratio", mode: model.CounterShare},
	},
	"softnet": {
		"dropd":   {name: "softnet/dropped", unit: "packets", mode: model.CounterRate},
		"squeezd": {name: "softnet/squeezed", unit: "runs", mode: model.CounterRate},
	},
	"net-edev": {
		"rxdrop": {name: "device/rx_dropped", unit: "packets", mode: model.CounterRate},
		"rxfifo": {name: "device/rx_fifo", unit: "packets", mode: model.CounterRate},
		"rxerr":  {name: "device/rx_errors", unit: "packets", mode: model.CounterRate},
	},
	"net-dev": {
		"rxpck": {name: "device/rx_packets", unit: "packets", mode: model.CounterRate},
	},
	"net-udp": {
		"idgm":    {name: "udp/received", unit: "datagrams", mode: model.CounterRate},
		"idgmerr": {name: "udp/errors", unit: "datagrams", mode: model.CounterRate},
		"noport":  {name: "udp/no_port", unit: "datagrams", mode: model.CounterRate},
	},
	"net-sock": {
		"udpsck": {name: "sockets/udp", unit: "sockets"},
		"tcpsck": {name: "sockets/tcp", unit: "sockets"},
	},
}

// sample is the time that values of sar are of.
type sample struct {
	host string
	at   model.Time
	span time.Duration
}

// value takes one value of sar by its element and attribute; unit is the CPU or the interface. It reports whether text
// is a number, where it should be one.
func (s *Set) value(of sample, element, attribute, unit, text string) bool {
	se, ok := wanted[element][attribute]
	if !ok {
		return true
	}
	v, ok := number(text)
	if !ok {
		return v != 0 // a number, though none that can be
	}
	se.host, se.cpu = of.host, -1
	switch element {
	case "cpu", "softnet":
		n, err := strconv.ParseUint(unit, 10, 13)
		if err != nil {
			return true // all CPUs together say nothing that they do not say singly
		}
		se.cpu = int32(n)
	case "net-dev", "net-edev":
		se.instance = unit
	}
	span := of.span
	switch se.mode {
	case model.CounterShare:
		v /= 100
	case model.CounterGauge:
		span = 0
	}
	if _, seen := s.seriesOf[se]; seen && v == 0 && sparse[se.name] {
		return true
	}
	s.add(of.at, span, se, v)
	return true
}

// sparse are the values of sar of which zeros are left out behind the first: most are, for each CPU and interface.
var sparse = map[string]bool{
	"cpu/steal": true, "softnet/dropped": true, "softnet/squeezed": true, "device/rx_dropped": true,
	"device/rx_fifo":   true,
	"device/rx_errors": true, "udp/errors": true, "udp/no_port": true,
}

// number reads a number of any locale: with a point or a comma.
func number(text string) (float64, bool) {
	if strings.Contains(text, ",") && !strings.Contains(text, ".") {
		text = strings.Replace(text, ",", ".", 1)
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && v >= 0
}

// when reads the time of a sample in XML and JSON.
func (s *Set) when(date, clock string, utc bool, zoneName string) (model.Time, error) {
	zone := s.zone
	switch {
	case utc:
		zone = time.UTC
	case s.zoned:
	case zoneName != "":
		if z, err := time.LoadLocation(zoneName); err == nil {
			zone = z
			break
		}
		fallthrough
	default:
		s.assume("times of sar have no zone that is known (%q); they are read as UTC (--log-time says it)", zoneName)
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15-04-05"} {
		if t, err := time.ParseInLocation(layout, date+" "+clock, zone); err == nil && t.Year() >= 1990 && t.Year() < 2200 {
			return model.TimeOf(t), nil
		}
	}
	return 0, fmt.Errorf("%q %q is not a valid time", date, clock)
}

// restart notes that a host was started.
func (s *Set) restart(host string, at model.Time) {
	s.add(at, 0, series{name: "host/restart", host: host, cpu: -1}, 1)
}

// maxSpan bounds the length of an interval.
const maxSpan = 24 * time.Hour

func spanOf(seconds string) time.Duration {
	v, ok := number(seconds)
	if !ok {
		return 0
	}
	return min(time.Duration(v*float64(time.Second)), maxSpan)
}
