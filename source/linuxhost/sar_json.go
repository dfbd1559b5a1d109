package linuxhost

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"lostbeat/source"
)

// jsonSample is an element of the list "statistics" of sadf -j. Numbers may be text, lists single objects.
type jsonSample struct {
	Timestamp struct {
		Date, Time    string
		UTC, Interval any
	}
	CPULoad    many `json:"cpu-load"`
	CPULoadAll many `json:"cpu-load-all"`
	Network    struct {
		Dev     many `json:"net-dev"`
		EDev    many `json:"net-edev"`
		UDP     many `json:"net-udp"`
		Sock    many `json:"net-sock"`
		Softnet many `json:"softnet"`
	}
}

// many is a list of objects, or one object. What is of another shape is bad.
type many struct {
	list []map[string]any
	bad  bool
}

func (m *many) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		list = []json.RawMessage{b}
	}
	m.list, m.bad = nil, false
	for _, text := range list {
		var one map[string]any
		if err := json.Unmarshal(text, &one); err != nil {
			m.bad = true
			continue
		}
		m.list = append(m.list, one)
	}
	return nil
}

// readJSON reads the output of sadf -j, a sample at a time.
func (s *Set) readJSON(r io.Reader, name string) error {
	limited := source.LimitedReader(r, maxSample)
	d := json.NewDecoder(limited)
	host := ""
	key := ""
	depth := 0
	samples := source.BadParts{What: "sample", Plural: "samples", Partly: true}
	restarts := source.BadParts{What: "restart", Plural: "restarts"}
	defer func() {
		samples.Report(&s.integrity, name)
		restarts.Report(&s.integrity, name)
	}()
	for {
		limited.Next()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if depth > 0 {
				s.damaged(name, io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			s.damaged(name, err)
			return nil
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if depth++; depth > maxDepth {
					s.damaged(name, errTooDeep)
					return nil
				}
			default:
				depth--
			}
			if t == '[' && (key == "statistics" || key == "restarts") {
				each := func() error { return s.jsonSample(d, host, &samples) }
				if key == "restarts" {
					each = func() error { return s.jsonRestart(d, host, &restarts) }
				}
				for d.More() { // the end of the list comes next
					limited.Next()
					if err := each(); err != nil {
						s.damaged(name, err)
						return nil
					}
				}
			}
			key = ""
		case string:
			switch key {
			case "nodename":
				host = t
				s.host(host)
				key = ""
			case "release":
				s.kernels[host] = t
				key = ""
			case "":
				key = t
			default:
				key = ""
			}
		default:
			key = ""
		}
	}
}

// decoded passes an error on that ends the file; why is what is wrong with one value of which the type of a field is.
func decoded(err error) (why, end error) {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return source.JSONFault(err), nil
	}
	return nil, err
}

// jsonRestart reads an element of the list of restarts.
func (s *Set) jsonRestart(d *json.Decoder, host string, bad *source.BadParts) error {
	var v struct {
		Boot struct {
			Date, Time string
			UTC        any
		}
	}
	why, end := decoded(d.Decode(&v))
	if end != nil {
		return end
	}
	at, err := s.when(v.Boot.Date, v.Boot.Time, truth(v.Boot.UTC, true), "")
	if err == nil {
		s.restart(host, at)
	}
	bad.Next(cmp.Or(why, err))
	return nil
}

// jsonSample reads an element of the list of samples. Of one with a field of another type, the others are taken.
func (s *Set) jsonSample(d *json.Decoder, host string, bad *source.BadParts) error {
	var v jsonSample
	why, end := decoded(d.Decode(&v))
	if end != nil {
		return end
	}
	at, err := s.when(v.Timestamp.Date, v.Timestamp.Time, truth(v.Timestamp.UTC, false), "")
	if err != nil {
		bad.Next(cmp.Or(why, err))
		return nil
	}
	of := sample{host: host, at: at, span: spanOf(fmt.Sprint(v.Timestamp.Interval))}
	for _, part := range []struct {
		element, name string
		many
	}{
		{"cpu", "cpu-load", v.CPULoad}, {"cpu", "cpu-load-all", v.CPULoadAll}, {"softnet", "softnet", v.Network.Softnet},
		{"net-dev", "net-dev", v.Network.Dev}, {"net-edev", "net-edev", v.Network.EDev},
		{"net-udp", "net-udp", v.Network.UDP}, {"net-sock", "net-sock", v.Network.Sock},
	} {
		if part.bad {
			why = cmp.Or(why, fmt.Errorf("its %s is not made of objects", part.name))
		}
		for _, object := range part.list {
			unit := ""
			for _, key := range []string{"cpu", "number", "iface"} {
				if v, ok := object[key]; ok {
					unit = fmt.Sprint(v)
				}
			}
			for _, attribute := range slices.Sorted(maps.Keys(object)) {
				text := fmt.Sprint(object[attribute])
				if !s.value(of, part.element, attribute, unit, text) {
					why = cmp.Or(why, fmt.Errorf("its %s %s %.40q is not a number", part.name, attribute, text))
				}
			}
		}
	}
	bad.Next(why)
	return nil
}

// truth reads a flag that may be a number or a truth value.
func truth(v any, unknown bool) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v == "1" || v == "true"
	}
	return unknown
}
