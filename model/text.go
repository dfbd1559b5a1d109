package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The text form is one event a line:
//
// 	2026-11-22T14:03:09.000000000Z deferred.run dur=1.9ms cpu=0 pid=812 tid=812 class=softirq wait=12.4us vector=3
// name=NET_RX task=ksoftirqd/0
//
// First the time, then the kind, then key=value pairs: dur, cpu, pid, tid and
// netns_inode, then in the order of the kind's Spec; what has its default (0, empty, -1 for cpu, pid and tid) is left
// out. The keys are the names of the fields; a duration carries its unit in its
// value, so that its key loses the suffix _ns. Text that holds anything but
// plain ASCII is quoted as in Go. A histogram is
//
//	count/sum/max[lower bound of the bucket:count,...]
//
// and a stack is frames, innermost first, each "0xaddress", ":name" or
// "0xaddress:name", separated by commas. What a kind has no name for, and every
// part of a kind that this version does not know, is written by its slot:
// resource, arg0 to arg5, str0 to str3, hist0, hist1. ParseText reads back
// exactly what AppendText has written.

// SyntaxError is a fault in the text form of an event.
type SyntaxError struct {
	// Offset is the byte of the line at which the fault was found.
	Offset int
	// Msg says what is wrong.
	Msg string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Msg) }

// AppendText appends the text form of e, an event of b, without a newline.
func AppendText(dst []byte, b *Batch, e *Event) []byte {
	var none Spec
	s := SpecOf(e.Kind)
	dst = append(appendTime(dst, e.Time), ' ')
	dst = append(dst, e.Kind.String()...)
	if s == nil {
		s = &none
	}
	if e.Dur != 0 {
		dst = appendDuration(append(dst, " dur="...), e.Dur)
	}
	for _, f := range [...]struct {
		key   string
		value int32
	}{{" cpu=", e.CPU}, {" pid=", e.PID}, {" tid=", e.TID}} {
		if f.value != -1 {
			dst = strconv.AppendInt(append(dst, f.key...), int64(f.value), 10)
		}
	}
	if e.Netns != 0 {
		dst = strconv.AppendUint(append(dst, " "+netnsKey+"="...), uint64(e.Netns), 10)
	}
	if e.Resource != 0 {
		dst = appendArg(dst, s.Resource, "resource", -1, e.Resource)
	}
	for i, v := range e.Args {
		if v != 0 {
			dst = appendArg(dst, slot(s.Args, i), "arg", i, v)
		}
	}
	for i, id := range e.Str {
		if v := b.String(id); v != "" {
			dst = appendText(appendKey(dst, slot(s.Strings, i), "str", i), v)
		}
	}
	for i, id := range e.Hist {
		if h := b.Hist(id); h != nil && h.Count != 0 {
			dst = appendHist(appendKey(dst, slot(s.Hists, i), "hist", i), h)
		}
	}
	if stack := b.Stack(e.Stack); len(stack) != 0 {
		dst = appendStack(append(dst, " stack="...), stack)
	}
	if e.Flags != 0 {
		dst = appendFlags(append(dst, " flags="...), e.Flags)
	}
	return dst
}

// slot returns the description of slot i, or the zero Field when it has none.
func slot(fields []Field, i int) Field {
	if i < len(fields) {
		return fields[i]
	}
	return Field{Unit: UnitCount}
}

// textKey is the key of f in the text form.
func (f *Field) textKey() string {
	if f.Unit == UnitNanoseconds {
		return strings.TrimSuffix(f.Name, "_ns")
	}
	return f.Name
}

func appendKey(dst []byte, f Field, prefix string, i int) []byte {
	dst = append(dst, ' ')
	switch {
	case f.Name != "":
		dst = append(dst, f.textKey()...)
	case i < 0:
		dst = append(dst, prefix...)
	default:
		dst = strconv.AppendInt(append(dst, prefix...), int64(i), 10)
	}
	return append(dst, '=')
}

func appendArg(dst []byte, f Field, prefix string, i int, v uint64) []byte {
	dst = appendKey(dst, f, prefix, i)
	switch f.Unit {
	case UnitNanoseconds:
		return appendDuration(dst, time.Duration(v))
	case UnitNumber:
		return strconv.AppendInt(dst, int64(v), 10)
	case UnitHex:
		return appendHex(dst, v)
	case UnitBool:
		if v == 1 {
			return append(dst, "true"...)
		}
	case UnitFloat:
		return appendFloat(dst, v)
	case UnitTime:
		return appendTime(dst, Time(v))
	case UnitEnum:
		return append(dst, f.Enum.Name(v)...)
	}
	return strconv.AppendUint(dst, v, 10)
}

func appendTime(dst []byte, t Time) []byte {
	return t.Std().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z07:00")
}

func appendHex(dst []byte, v uint64) []byte { return strconv.AppendUint(append(dst, "0x"...), v, 16) }

// appendDuration writes d as Go does, in ASCII.
func appendDuration(dst []byte, d time.Duration) []byte {
	s := d.String()
	if i := strings.Index(s, "µ"); i >= 0 {
		return append(append(dst, s[:i]...), "us"...)
	}
	return append(dst, s...)
}

// appendFloat writes the shortest decimal that reads back the same, or the
// bits where no decimal does.
func appendFloat(dst []byte, v uint64) []byte {
	f := math.Float64frombits(v)
	if f != f && v != math.Float64bits(math.NaN()) {
		return appendHex(append(dst, "bits:"...), v)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendText writes s bare when it is plain, quoted otherwise.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' || c == '=' || c == ',' {
			return strconv.AppendQuote(dst, s)
		}
	}
	return append(dst, s...)
}

func appendHist(dst []byte, h *Histogram) []byte {
	dst = append(strconv.AppendUint(dst, h.Count, 10), '/')
	dst = append(appendNanos(dst, h.Sum), '/')
	dst = append(appendNanos(dst, h.Max), '[')
	for i, bc := range h.Buckets {
		if i > 0 {
			dst = append(dst, ',')
		}
		if bc.Bucket < HistBuckets {
			dst = appendNanos(dst, BucketLow(int(bc.Bucket)))
		} else {
			dst = strconv.AppendUint(append(dst, '#'), uint64(bc.Bucket), 10)
		}
		dst = strconv.AppendUint(append(dst, ':'), bc.Count, 10)
	}
	return append(dst, ']')
}

// appendNanos writes a duration that may be longer than time.Duration can hold.
func appendNanos(dst []byte, ns uint64) []byte {
	if ns > math.MaxInt64 {
		return append(strconv.AppendUint(dst, ns, 10), "ns"...)
	}
	return appendDuration(dst, time.Duration(ns))
}

func appendStack(dst []byte, stack Stack) []byte {
	for i, f := range stack {
		if i > 0 {
			dst = append(dst, ',')
		}
		if f.Addr != 0 || f.Name == "" {
			dst = appendHex(dst, f.Addr)
		}
		if f.Name != "" {
			dst = appendText(append(dst, ':'), f.Name)
		}
	}
	return dst
}

func appendFlags(dst []byte, flags Flags) []byte {
	start := len(dst)
	for i, name := range flagNames {
		if flags&(1<<i) != 0 {
			dst = append(append(dst, name...), ',')
			flags &^= 1 << i
		}
	}
	if flags != 0 {
		dst = append(appendHex(dst, uint64(flags)), ',')
	}
	return dst[:max(start, len(dst)-1)]
}

// String returns the names of the flags that are set, separated by commas.
func (f Flags) String() string { return string(appendFlags(nil, f)) }
