package export

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"lostbeat/model"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is a field of a message in perfetto.proto.
type field struct {
	name, kind string
	repeated   bool
}

// schema is perfetto.proto: the fields of each message by their numbers.
type schema map[string]map[protowire.Number]field

var (
	messageLine = regexp.MustCompile(`^message (\w+) \{$`)
	fieldLine   = regexp.MustCompile(`^(optional|repeated) (\w+) (\w+) = (\d+);$`)
)

// readSchema reads perfetto.proto, in which the names of messages are unique.
func readSchema(t testing.TB) schema {
	t.Helper()
	raw, err := os.ReadFile("perfetto.proto")
	if err != nil {
		t.Fatal(err)
	}
	s := schema{}
	var open []string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if m := messageLine.FindStringSubmatch(line); m != nil {
			open = append(open, m[1])
			s[m[1]] = map[protowire.Number]field{}
		} else if m := fieldLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[4])
			if err != nil || len(open) == 0 {
				t.Fatal(line, err)
			}
			s[open[len(open)-1]][protowire.Number(n)] = field{m[3], m[2], m[1] == "repeated"}
		} else if line == "}" {
			open = open[:len(open)-1]
		}
	}
	if len(s) < 8 {
		t.Fatalf("messages: %v", s)
	}
	return s
}

// node is a field that was read.
type node struct {
	name string
	// value is an uint64, a float64, a string or a []node.
	value any
}

// read decodes a message; what perfetto.proto does not have is an error.
func (s schema) read(message string, raw []byte) (nodes []node, err error) {
	fields, seen := s[message], map[string]bool{}
	for len(raw) > 0 {
		number, wire, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, fmt.Errorf("%s: tag: %w", message, protowire.ParseError(n))
		}
		raw = raw[n:]
		f, ok := fields[number]
		if !ok {
			return nil, fmt.Errorf("%s has no field %d", message, number)
		}
		if seen[f.name] && !f.repeated {
			return nil, fmt.Errorf("%s.%s twice", message, f.name)
		}
		seen[f.name] = true
		var value any
		want := protowire.BytesType
		switch f.kind {
		case "uint32", "uint64", "int32", "int64", "bool":
			want = protowire.VarintType
			value, n = consume(raw, protowire.ConsumeVarint)
		case "double":
			var bits uint64
			want = protowire.Fixed64Type
			bits, n = protowire.ConsumeFixed64(raw)
			value = math.Float64frombits(bits)
		default:
			var inner []byte
			if inner, n = protowire.ConsumeBytes(raw); n < 0 {
				break
			}
			if value = string(inner); f.kind == "string" {
				if !utf8.Valid(inner) {
					return nil, fmt.Errorf("%s.%s is no UTF-8: %q", message, f.name, inner)
				}
				break
			}
			if value, err = s.read(f.kind, inner); err != nil {
				return nil, err
			}
		}
		if n < 0 || wire != want {
			return nil, fmt.Errorf("%s.%s: wire type %d, want %d: %s", message, f.name, wire, want,
				hex.EncodeToString(raw[:min(len(raw), 16)]))
		}
		raw = raw[n:]
		nodes = append(nodes, node{f.name, value})
	}
	return nodes, nil
}

func consume(raw []byte, by func([]byte) (uint64, int)) (any, int) { return by(raw) }

// get returns the first field of a name, below one another.
func get(nodes []node, path ...string) any {
	for i, name := range path {
		var found any
		for _, n := range nodes {
			if n.name == name {
				found = n.value
				break
			}
		}
		if i == len(path)-1 {
			return found
		}
		nodes, _ = found.([]node)
	}
	return nil
}

func number(nodes []node, path ...string) uint64 {
	n, _ := get(nodes, path...).(uint64)
	return n
}

func text(nodes []node, path ...string) string {
	s, _ := get(nodes, path...).(string)
	return s
}

// line is the text form of fields, as protoc --decode has it, in one line.
func line(nodes []node) string {
	var parts []string
	for _, n := range nodes {
		switch v := n.value.(type) {
		case []node:
			parts = append(parts, n.name+" {"+line(v)+"}")
		case string:
			parts = append(parts, n.name+": "+strconv.Quote(v))
		case float64:
			parts = append(parts, n.name+": "+strconv.FormatFloat(v, 'g', -1, 64))
		default:
			parts = append(parts, fmt.Sprintf("%s: %v", n.name, v))
		}
	}
	return strings.Join(parts, " ")
}

// shown is a slice, an instant or a value as a reader of the trace sees it.
type shown struct {
	// track is the names of its track and of those above it.
	track      string
	name       string
	start, end model.Time
	counter    bool
	value      float64
	notes      []node
}

// viewer reads a trace as trace_processor does: by time, and in the order in which it was written where that is equal.
type viewer struct {
	packets [][]node
	all     []shown
}

// find returns what is shown on a track.
func (v *viewer) find(track string) (found []shown) {
	for _, s := range v.all {
		if strings.Contains(s.track, track) {
			found = append(found, s)
		}
	}
	return found
}

// readTrace reads a trace, and checks that it is well formed.
func readTrace(s schema, raw []byte) (v viewer, err error) {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 || number != 1 || kind != protowire.BytesType {
			return v, fmt.Errorf("a trace begins a packet with field %d, type %d", number, kind)
		}
		packet, m := protowire.ConsumeBytes(raw[n:])
		if m < 0 {
			return v, fmt.Errorf("packet %d: %w", len(v.packets), protowire.ParseError(m))
		}
		raw = raw[n+m:]
		nodes, err := s.read("TracePacket", packet)
		if err != nil {
			return v, fmt.Errorf("packet %d: %w", len(v.packets), err)
		}
		v.packets = append(v.packets, nodes)
	}
	err = v.arrange()
	return v, err
}

// arrange puts together what is shown.
func (v *viewer) arrange() error {
	tracks := map[uint64][]node{}
	var events [][]node
	for i, p := range v.packets {
		clocks := get(p, "clock_snapshot") != nil
		if i == 0 && (!clocks || number(p, "sequence_flags") != 1) || i > 0 && get(p, "sequence_flags") != nil {
			return fmt.Errorf("packet %d: %s", i, line(p))
		}
		if clocks && get(p, "timestamp") != nil {
			return fmt.Errorf("packet %d: the clock of its timestamp is not known yet: %s", i, line(p))
		}
		if number(p, "trusted_packet_sequence_id") != 1 || number(p, "timestamp") > math.MaxInt64 {
			return fmt.Errorf("packet %d: %s", i, line(p))
		}
		if d, ok := get(p, "track_descriptor").([]node); ok {
			uuid, parent := number(d, "uuid"), number(d, "parent_uuid")
			if uuid == 0 || tracks[uuid] != nil || parent != 0 && tracks[parent] == nil {
				return fmt.Errorf("packet %d: %s", i, line(p))
			}
			if (parent == 0) != (get(d, "process") != nil) || get(tracks[parent], "counter") != nil {
				return fmt.Errorf("packet %d: %s", i, line(p))
			}
			tracks[uuid] = d
		}
		if e, ok := get(p, "track_event").([]node); ok {
			d := tracks[number(e, "track_uuid")]
			if d == nil || get(p, "timestamp") == nil {
				return fmt.Errorf("packet %d: %s", i, line(p))
			}
			if (eventKind(number(e, "type")) == counterRead) != (get(d, "counter") != nil) {
				return fmt.Errorf("packet %d: a value on a track that is no counter, or a slice on one: %s", i, line(p))
			}
			events = append(events, p)
		}
	}
	path := func(uuid uint64) string {
		var names []string
		for uuid != 0 {
			d := tracks[uuid]
			name := text(d, "name")
			if name == "" {
				name = text(d, "process", "process_name")
			}
			names = append([]string{name}, names...)
			uuid = number(d, "parent_uuid")
		}
		return strings.Join(names, " > ")
	}
	sort.SliceStable(events, func(i, j int) bool {
		return number(events[i], "timestamp") < number(events[j], "timestamp")
	})
	open := map[uint64][]int{}
	for _, p := range events {
		e := get(p, "track_event").([]node)
		uuid, at := number(e, "track_uuid"), model.Time(number(p, "timestamp"))
		s := shown{track: path(uuid), name: text(e, "name"), start: at, end: at}
		for _, n := range e {
			if n.name == "debug_annotations" {
				s.notes = append(s.notes, n.value.([]node)...)
			}
		}
		switch eventKind(number(e, "type")) {
		case sliceEnd:
			n := len(open[uuid])
			if n == 0 {
				return fmt.Errorf("an end without a begin: %s", line(p))
			}
			v.all[open[uuid][n-1]].end = at
			open[uuid] = open[uuid][:n-1]
			continue
		case sliceBegin:
			open[uuid] = append(open[uuid], len(v.all))
		case counterRead:
			s.counter = true
			s.value, _ = get(e, "double_counter_value").(float64)
			if math.IsNaN(s.value) || math.IsInf(s.value, 0) {
				return fmt.Errorf("a value that is no number: %s", line(p))
			}
		case instant:
		default:
			return fmt.Errorf("an event of an unknown type: %s", line(p))
		}
		v.all = append(v.all, s)
	}
	for uuid, slices := range open {
		if len(slices) > 0 {
			return fmt.Errorf("%s: %d slices have no end", path(uuid), len(slices))
		}
	}
	return nil
}

// mustRead reads a trace that has to be well formed.
func mustRead(t testing.TB, raw []byte) viewer {
	t.Helper()
	v, err := readTrace(readSchema(t), raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// traced is a trace of a batch and of findings.
func traced(t testing.TB, o TraceOptions, b *model.Batch, found ...model.Finding) ([]byte, Done) {
	t.Helper()
	var out bytes.Buffer
	o.Stdout = &out
	to, err := CreateTrace("-", o)
	if err != nil {
		t.Fatal(err)
	}
	c := Capture{File: "night", Complete: true}
	if len(b.Events) > 0 {
		c.Start, c.End = b.Events[0].Time, b.Events[len(b.Events)-1].Time
	}
	err = to.Begin(&c, math.MinInt64, math.MaxInt64)
	for i := range b.Events {
		if err == nil {
			_, err = to.Write(c.File, b, &b.Events[i])
		}
	}
	if err == nil {
		err = to.Capture(&c)
	}
	for i := range found {
		if err == nil {
			err = to.Finding(c.File, &found[i])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	done, err := to.Close()
	if err != nil {
		t.Fatal(err)
	}
	if done.Bytes != int64(out.Len()) {
		t.Errorf("%d bytes were written, and %d are said to be", out.Len(), done.Bytes)
	}
	return out.Bytes(), done
}
