package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseText adds the event that line describes to b. Its faults are of type
// *SyntaxError; b is then unchanged but for its string table.
func ParseText(b *Builder, line string) error {
	p := textParser{line: line, builder: b}
	e, err := p.event()
	if err != nil {
		return &SyntaxError{Offset: p.pos, Msg: err.Error()}
	}
	b.Add(e)
	return nil
}

type textParser struct {
	line string
	// pos is where the token under way begins.
	pos     int
	builder *Builder
}

func (p *textParser) event() (Event, error) {
	when, rest, _ := strings.Cut(p.line, " ")
	t, err := parseTime(when)
	if err != nil {
		return Event{}, err
	}
	p.pos = min(len(when)+1, len(p.line))
	name, rest, more := strings.Cut(rest, " ")
	kind, err := parseKind(name)
	if err != nil {
		return Event{}, err
	}
	p.pos += len(name)
	e := NewEvent(kind, t)
	spec := SpecOf(kind)
	if spec == nil {
		spec = &Spec{}
	}
	seen := make(map[string]bool)
	for more {
		p.pos = len(p.line) - len(rest)
		var token string
		if token, rest, more, err = nextToken(rest); err != nil {
			return Event{}, err
		}
		key, value, ok := strings.Cut(token, "=")
		if !ok {
			return Event{}, fmt.Errorf("%q is not key=value", token)
		}
		if seen[key] {
			return Event{}, fmt.Errorf("%s is given twice", key)
		}
		seen[key] = true
		if err := p.field(&e, spec, key, value); err != nil {
			return Event{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return e, nil
}

// nextToken cuts off what stands before the first space outside quotes.
func nextToken(s string) (token, rest string, more bool, err error) {
	for i := 0; i < len(s); {
		switch s[i] {
		case ' ':
			return s[:i], s[i+1:], true, nil
		case '"':
			quoted, err := strconv.QuotedPrefix(s[i:])
			if err != nil {
				return "", "", false, fmt.Errorf("quotation does not end")
			}
			i += len(quoted)
		default:
			i++
		}
	}
	return s, "", false, nil
}

func (p *textParser) field(e *Event, spec *Spec, key, value string) (err error) {
	switch key {
	case "dur":
		e.Dur, err = parseDuration(value)
		return err
	case "cpu":
		e.CPU, err = parseInt32(value)
		return err
	case "pid":
		e.PID, err = parseInt32(value)
		return err
	case "tid":
		e.TID, err = parseInt32(value)
		return err
	case netnsKey:
		inode, err := strconv.ParseUint(value, 10, 32)
		e.Netns = uint32(inode)
		return err
	case "flags":
		e.Flags, err = parseFlags(value)
		return err
	case "stack":
		stack, err := parseStack(value)
		e.Stack = p.builder.InternStack(stack)
		return err
	case "resource":
		e.Resource, err = strconv.ParseUint(value, 10, 64)
		return err
	case spec.Resource.textKey():
		e.Resource, err = parseArg(&spec.Resource, value)
		return err
	}
	for i := range e.Args {
		if f := slot(spec.Args, i); names(&f, key, "arg", i) {
			e.Args[i], err = parseArg(&f, value)
			return err
		}
	}
	for i := range e.Str {
		if f := slot(spec.Strings, i); names(&f, key, "str", i) {
			text, err := parseString(value)
			e.Str[i] = p.builder.internCopy(text)
			return err
		}
	}
	for i := range e.Hist {
		if f := slot(spec.Hists, i); names(&f, key, "hist", i) {
			h, err := parseHist(value)
			e.Hist[i] = p.builder.InternHist(h)
			return err
		}
	}
	return fmt.Errorf("unknown field")
}

// names says whether key is that of slot i, described by f.
func names(f *Field, key, prefix string, i int) bool {
	if f.Name != "" {
		return key == f.textKey()
	}
	return len(key) == len(prefix)+1 && key[:len(prefix)] == prefix && key[len(prefix)] == byte('0'+i)
}

func parseKind(name string) (Kind, error) {
	if k, ok := KindNamed(name); ok {
		return k, nil
	}
	if number, ok := strings.CutPrefix(name, "kind("); ok && strings.HasSuffix(number, ")") {
		n, err := strconv.ParseUint(number[:len(number)-1], 10, 16)
		if err == nil {
			return Kind(n), nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q", name)
}

func parseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("time %q is not RFC 3339", s)
	}
	ns := TimeOf(t)
	if !ns.Std().Equal(t) {
		return 0, fmt.Errorf("time %q is out of range", s)
	}
	return ns, nil
}

func parseInt32(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	return d, nil
}

func parseNanos(s string) (uint64, error) {
	if digits, ok := strings.CutSuffix(s, "ns"); ok {
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
			return n, nil
		}
	}
	d, err := parseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is negative", s)
	}
	return uint64(d), err
}

func parseArg(f *Field, value string) (uint64, error) {
	switch f.Unit {
	case UnitNanoseconds:
		d, err := parseDuration(value)
		return uint64(d), err
	case UnitNumber:
		n, err := strconv.ParseInt(value, 10, 64)
		return uint64(n), err
	case UnitHex:
		return parseHex(value)
	case UnitBool:
		switch value {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	case UnitFloat:
		if bits, ok := strings.CutPrefix(value, "bits:"); ok {
			return parseHex(bits)
		}
		v, err := strconv.ParseFloat(value, 64)
		return math.Float64bits(v), err
	case UnitTime:
		t, err := parseTime(value)
		return uint64(t), err
	case UnitEnum:
		for i, name := range f.Enum.Names {
			if name == value {
				return uint64(i), nil
			}
		}
	}
	return strconv.ParseUint(value, 10, 64)
}

func parseHex(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return 0, fmt.Errorf("%q does not begin with 0x", s)
	}
	return strconv.ParseUint(digits, 16, 64)
}

func parseString(s string) (string, error) {
	if strings.HasPrefix(s, `"`) {
		return strconv.Unquote(s)
	}
	if strings.Contains(s, `"`) {
		return "", fmt.Errorf("quotation in the middle of %s", s)
	}
	return s, nil
}

func parseFlags(s string) (flags Flags, err error) {
next:
	for name := range strings.SplitSeq(s, ",") {
		for i, known := range flagNames {
			if name == known {
				flags |= 1 << i
				continue next
			}
		}
		v, err := parseHex(name)
		if err != nil || v > math.MaxUint16 {
			return 0, fmt.Errorf("unknown flag %q", name)
		}
		flags |= Flags(v)
	}
	return flags, nil
}

func parseHist(s string) (*Histogram, error) {
	head, tail, ok := strings.Cut(s, "[")
	parts := strings.Split(head, "/")
	if !ok || len(parts) != 3 || !strings.HasSuffix(tail, "]") {
		return nil, fmt.Errorf("%q is not count/sum/max[buckets]", s)
	}
	h := new(Histogram)
	var err error
	if h.Count, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return nil, err
	}
	if h.Sum, err = parseNanos(parts[1]); err != nil {
		return nil, err
	}
	if h.Max, err = parseNanos(parts[2]); err != nil {
		return nil, err
	}
	if tail == "]" {
		return h, nil
	}
	for entry := range strings.SplitSeq(tail[:len(tail)-1], ",") {
		low, count, ok := strings.Cut(entry, ":")
		if !ok {
			return nil, fmt.Errorf("bucket %q has no count", entry)
		}
		var bc BucketCount
		if bc.Bucket, err = parseBucket(low); err != nil {
			return nil, err
		}
		if bc.Count, err = strconv.ParseUint(count, 10, 64); err != nil {
			return nil, err
		}
		h.Buckets = append(h.Buckets, bc)
	}
	return h, nil
}

func parseBucket(s string) (uint8, error) {
	if number, ok := strings.CutPrefix(s, "#"); ok {
		n, err := strconv.ParseUint(number, 10, 8)
		return uint8(n), err
	}
	ns, err := parseNanos(s)
	if err != nil {
		return 0, err
	}
	bucket := BucketOf(ns)
	if BucketLow(bucket) != ns {
		return 0, fmt.Errorf("%s is not the lower bound of a bucket; the nearest is %s", s, time.Duration(BucketLow(bucket)))
	}
	return uint8(bucket), nil
}

func parseStack(s string) (Stack, error) {
	var stack Stack
	for {
		var f Frame
		end := strings.IndexAny(s, ":,")
		addr := s
		if end >= 0 {
			addr = s[:end]
		}
		if addr != "" || end < 0 || s[end] == ',' {
			v, err := parseHex(addr)
			if err != nil {
				return nil, err
			}
			f.Addr = v
		}
		s = s[len(addr):]
		if strings.HasPrefix(s, ":") {
			name, rest, err := cutName(s[1:])
			if err != nil {
				return nil, err
			}
			f.Name, s = name, rest
		}
		stack = append(stack, f)
		if s == "" {
			return stack, nil
		}
		if s[0] != ',' {
			return nil, fmt.Errorf("%q follows a frame", s)
		}
		s = s[1:]
	}
}

// cutName cuts a frame's name, quoted or bare, off the front of s.
func cutName(s string) (name, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", err
		}
		name, err = strconv.Unquote(quoted)
		return name, s[len(quoted):], err
	}
	if i := strings.IndexByte(s, ','); i >= 0 {
		return s[:i], s[i:], nil
	}
	return s, "", nil
}
