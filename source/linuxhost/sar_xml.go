package linuxhost

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"lostbeat/source"
)

// Bounds of what is kept while XML and JSON are read: how long a token may be, in JSON a sample, which may list each
// interrupt of each CPU, and how deep elements may lie in one another.
const (
	maxPart   = 1 << 20
	maxSample = 32 << 20
	maxDepth  = 256
)

var errTooDeep = errors.New("its elements lie too deep in one another")

// readXML reads the output of sadf -x. Names are compared without their namespace.
func (s *Set) readXML(r io.Reader, name string) error {
	limited := source.LimitedReader(r, maxPart)
	d := xml.NewDecoder(limited)
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var of sample
	var zone, into string
	bad := source.BadParts{What: "sample", Plural: "samples", Partly: true}
	restarts := source.BadParts{What: "restart", Plural: "restarts"}
	var why error
	defer func() {
		bad.Report(&s.integrity, name)
		restarts.Report(&s.integrity, name)
	}()
	for depth := 0; ; {
		limited.Next()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			var syntax *xml.SyntaxError
			if errors.As(err, &syntax) && syntax.Msg == "unexpected EOF" {
				err = io.ErrUnexpectedEOF
			}
			s.damaged(name, err)
			return nil
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				s.damaged(name, errTooDeep)
				return nil
			}
			into = t.Name.Local
			switch into {
			case "host":
				of = sample{host: attribute(t, "nodename")}
				s.host(of.host)
			case "timestamp":
				of.at, why = s.when(attribute(t, "date"), attribute(t, "time"), attribute(t, "utc") == "1", zone)
				of.span = spanOf(attribute(t, "interval"))
			case "boot":
				utc := attribute(t, "utc") != "0"
				at, err := s.when(attribute(t, "date"), attribute(t, "time"), utc, zone)
				if err == nil {
					s.restart(of.host, at)
				}
				restarts.Next(err)
			case "cpu", "softnet", "net-dev", "net-edev", "net-udp", "net-sock":
				unit := attribute(t, "number") + attribute(t, "cpu") + attribute(t, "iface")
				for _, a := range t.Attr {
					if !s.value(of, into, a.Name.Local, unit, a.Value) {
						why = cmp.Or(why, fmt.Errorf("its %s %s %.40q is not a number", into, a.Name.Local, a.Value))
					}
				}
			}
		case xml.CharData:
			switch into {
			case "timezone":
				zone = string(t)
			case "release":
				s.kernels[of.host] = string(t)
			}
		case xml.EndElement:
			depth--
			into = ""
			if t.Name.Local == "timestamp" {
				of.at = 0
				bad.Next(why)
				why = nil
			}
		}
	}
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
