package model

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// AppendJSON appends e, an event of b, as one JSON object on one line, without
// a newline. Its keys are "time" (RFC 3339 with nanoseconds, UTC), "kind",
// "flags" where any is set, and the names of the kind's fields, all of them
// present: numbers as numbers with the unit in the key, names for enumerations,
// "0x..." for addresses, masks and cookies, null for an unknown time, an empty
// histogram and a number that JSON cannot express. Histograms carry count,
// sum_ns, max_ns, p50_ns, p90_ns, p99_ns and their buckets with both bounds.
// The body of a finding is an object. What the kind has no name for, and
// every part of an unknown kind, is written by its slot (arg0, str0, ...) where it
// is not empty. Control characters, and whatever else does not print, are
// escaped, so that a line is safe on a terminal.
func AppendJSON(dst []byte, b *Batch, e *Event) []byte {
	s := SpecOf(e.Kind)
	if s == nil {
		s = &Spec{}
	}
	dst = append(appendTime(append(dst, `{"time":"`...), e.Time), `","kind":"`...)
	dst = append(append(dst, e.Kind.String()...), '"')
	if e.Flags != 0 {
		dst = append(dst, `,"flags":[`...)
		for i, name := range flagNames {
			if e.Flags&(1<<i) != 0 {
				dst = append(append(append(dst, '"'), name...), `",`...)
			}
		}
		if unknown := e.Flags >> len(flagNames) << len(flagNames); unknown != 0 {
			dst = append(appendHex(append(dst, '"'), uint64(unknown)), `",`...)
		}
		dst[len(dst)-1] = ']'
	}
	if s.Span != "" || e.Dur != 0 {
		dst = strconv.AppendInt(append(dst, `,"dur_ns":`...), int64(e.Dur), 10)
	}
	if s.CPU || e.CPU != -1 {
		dst = strconv.AppendInt(append(dst, `,"cpu":`...), int64(e.CPU), 10)
	}
	if s.Task || e.PID != -1 || e.TID != -1 {
		dst = strconv.AppendInt(append(dst, `,"pid":`...), int64(e.PID), 10)
		dst = strconv.AppendInt(append(dst, `,"tid":`...), int64(e.TID), 10)
	}
	if s.Netns || e.Netns != 0 {
		dst = strconv.AppendUint(append(dst, `,"`+netnsKey+`":`...), uint64(e.Netns), 10)
	}
	if s.Resource.Name != "" || e.Resource != 0 {
		dst = appendJSONArg(dst, s.Resource, "resource", -1, e.Resource)
	}
	for i, v := range e.Args {
		if i < len(s.Args) || v != 0 {
			dst = appendJSONArg(dst, slot(s.Args, i), "arg", i, v)
		}
	}
	for i, id := range e.Str {
		text := b.String(id)
		if i >= len(s.Strings) && text == "" {
			continue
		}
		dst = appendJSONKey(dst, slot(s.Strings, i), "str", i)
		if e.Kind == KindFinding && i == 3 {
			dst = appendJSONObject(dst, text)
		} else {
			dst = AppendJSONString(dst, text)
		}
	}
	for i, id := range e.Hist {
		h := b.Hist(id)
		if i < len(s.Hists) || h != nil {
			dst = appendJSONHist(appendJSONKey(dst, slot(s.Hists, i), "hist", i), h)
		}
	}
	if stack := b.Stack(e.Stack); len(stack) != 0 {
		dst = append(dst, `,"stack":[`...)
		for _, f := range stack {
			dst = append(appendHex(append(dst, `{"addr":"`...), f.Addr), `","name":`...)
			dst = append(AppendJSONString(dst, f.Name), "},"...)
		}
		dst[len(dst)-1] = ']'
	}
	return append(dst, '}')
}

func appendJSONKey(dst []byte, f Field, prefix string, i int) []byte {
	dst = append(dst, `,"`...)
	switch {
	case f.Name != "":
		dst = append(dst, f.Name...)
	case i < 0:
		dst = append(dst, prefix...)
	default:
		dst = strconv.AppendInt(append(dst, prefix...), int64(i), 10)
	}
	return append(dst, `":`...)
}

func appendJSONArg(dst []byte, f Field, prefix string, i int, v uint64) []byte {
	dst = appendJSONKey(dst, f, prefix, i)
	switch f.Unit {
	case UnitNanoseconds, UnitNumber:
		return strconv.AppendInt(dst, int64(v), 10)
	case UnitHex:
		return append(appendHex(append(dst, '"'), v), '"')
	case UnitBool:
		return strconv.AppendBool(dst, v != 0)
	case UnitFloat:
		x := math.Float64frombits(v)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return append(dst, "null"...)
		}
		return strconv.AppendFloat(dst, x, 'g', -1, 64)
	case UnitTime:
		if v == 0 {
			return append(dst, "null"...)
		}
		return append(appendTime(append(dst, '"'), Time(v)), '"')
	case UnitEnum:
		return append(append(append(dst, '"'), f.Enum.Name(v)...), '"')
	}
	return strconv.AppendUint(dst, v, 10)
}

func appendJSONHist(dst []byte, h *Histogram) []byte {
	if h == nil || h.Count == 0 {
		return append(dst, "null"...)
	}
	for _, f := range [...]struct {
		key   string
		value uint64
	}{
		{`{"count":`, h.Count},
		{`,"sum_ns":`, h.Sum},
		{`,"max_ns":`, h.Max},
		{`,"p50_ns":`, h.Quantile(0.5)},
		{`,"p90_ns":`, h.Quantile(0.9)},
		{`,"p99_ns":`, h.Quantile(0.99)},
	} {
		dst = strconv.AppendUint(append(dst, f.key...), f.value, 10)
	}
	dst = append(dst, `,"buckets":[`...)
	for i, bc := range h.Buckets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(append(dst, `{"low_ns":`...), BucketLow(int(bc.Bucket)), 10)
		if bc.Bucket < HistBuckets-1 {
			dst = strconv.AppendUint(append(dst, `,"high_ns":`...), BucketHigh(int(bc.Bucket)), 10)
		}
		dst = append(strconv.AppendUint(append(dst, `,"count":`...), bc.Count, 10), '}')
	}
	return append(dst, "]}"...)
}

// appendJSONObject embeds text that is JSON already, or quotes it when it is not.
func appendJSONObject(dst []byte, text string) []byte {
	var compact bytes.Buffer
	if text == "" || json.Compact(&compact, []byte(text)) != nil {
		return AppendJSONString(dst, text)
	}
	// In valid JSON, whatever does not print stands inside strings.
	return appendPrintable(dst, compact.String())
}

// AppendJSONString appends s as a string of JSON that is safe on a terminal: what does not print is escaped.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			dst = append(appendPrintable(dst, s[start:i]), '\\', c)
			start = i + 1
		}
	}
	return append(appendPrintable(dst, s[start:]), '"')
}

// appendPrintable appends s with what does not print as \u escapes and invalid
// UTF-8 as the replacement character.
func appendPrintable(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	escape := func(r uint16) {
		dst = append(dst, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			dst = append(dst, `\ufffd`...)
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			dst = append(dst, byte(r))
		case unicode.IsPrint(r):
			dst = append(dst, s[i:i+utf8.RuneLen(r)]...)
		case r >= 0x10000:
			r -= 0x10000
			escape(uint16(0xd800 + r>>10))
			escape(uint16(0xdc00 + r&0x3ff))
		default:
			escape(uint16(r))
		}
	}
	return dst
}
