package linuxhost

import (
	"encoding/xml"
	"errors"
	"io"
)

// readXML reads the output of sadf -x. Names are compared without their namespace.
func (s *Set) readXML(r io.Reader, name string) error {
	d := xml.NewDecoder(r)
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var of sample
	var zone, into string
	for {
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
			into = t.Name.Local
			switch into {
			case "host":
				of = sample{host: attribute(t, "nodename")}
				s.host(of.host)
			case "timestamp":
				of.at, err = s.when(attribute(t, "date"), attribute(t, "time"), attribute(t, "utc") == "1", zone)
				if err != nil {
					s.note("%s: a sample was left out: %v", name, err)
				}
				of.span = spanOf(attribute(t, "interval"))
			case "boot":
				utc := attribute(t, "utc") != "0"
				if at, err := s.when(attribute(t, "date"), attribute(t, "time"), utc, zone); err == nil {
					s.restart(of.host, at)
				}
			case "cpu", "softnet", "net-dev", "net-edev", "net-udp", "net-sock":
				unit := attribute(t, "number") + attribute(t, "cpu") + attribute(t, "iface")
				for _, a := range t.Attr {
					s.value(of, into, a.Name.Local, unit, a.Value)
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
			into = ""
			if t.Name.Local == "timestamp" {
				of.at = 0
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
