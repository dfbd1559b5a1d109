package linuxhost

import (
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

// many is a list of objects, or one object.
type many []map[string]any

func (m *many) UnmarshalJSON(b []byte) error {
	var list []map[string]any
	if err := json.Unmarshal(b, &list); err == nil {
		*m = list
		return nil
	}
	var one map[string]any
	if err := json.Unmarshal(b, &one); err == nil {
		*m = many{one}
	}
	return nil // of another shape: not ours
}

// readJSON reads the output of sadf -j, a sample at a time.
func (s *Set) readJSON(r io.Reader, name string) error {
	limited := source.LimitedReader(r, maxSample)
	d := json.NewDecoder(limited)
	host := ""
	key := ""
	depth := 0
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
				if err := s.jsonList(d, limited, name, host, key); err != nil {
					s.damaged(name, err)
					return nil
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

// jsonList reads the elements of a list up to its end, which the caller takes.
func (s *Set) jsonList(d *json.Decoder, limited *source.Limited, name, host, key string) error {
	for n := 1; d.More(); n++ {
		limited.Next()
		var object json.RawMessage
		if err := d.Decode(&object); err != nil {
			return err
		}
		damaged := func(err error) {
			s.damaged(fmt.Sprintf("%s: element %d of %s", name, n, key), err)
		}
		if key == "restarts" {
			var v struct {
				Boot struct {
					Date, Time string
					UTC        any
				}
			}
			if err := json.Unmarshal(object, &v); err != nil {
				damaged(err)
				continue
			}
			if at, err := s.when(v.Boot.Date, v.Boot.Time, truth(v.Boot.UTC, true), ""); err == nil {
				s.restart(host, at)
			}
			continue
		}
		var v jsonSample
		if err := json.Unmarshal(object, &v); err != nil {
			damaged(err)
			continue
		}
		at, err := s.when(v.Timestamp.Date, v.Timestamp.Time, truth(v.Timestamp.UTC, false), "")
		if err != nil {
			s.note("%s: a sample was left out: %v", name, err)
			continue
		}
		of := sample{host: host, at: at, span: spanOf(fmt.Sprint(v.Timestamp.Interval))}
		for _, part := range []struct {
			element string
			list    many
		}{
			{"cpu", v.CPULoad}, {"cpu", v.CPULoadAll}, {"softnet", v.Network.Softnet}, {"net-dev", v.Network.Dev},
			{"net-edev", v.Network.EDev},
			{"net-udp", v.Network.UDP}, {"net-sock", v.Network.Sock},
		} {
			for _, object := range part.list {
				unit := ""
				for _, key := range []string{"cpu", "number", "iface"} {
					if v, ok := object[key]; ok {
						unit = fmt.Sprint(v)
					}
				}
				for _, attribute := range slices.Sorted(maps.Keys(object)) {
					s.value(of, part.element, attribute, unit, fmt.Sprint(object[attribute]))
				}
			}
		}
	}
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
