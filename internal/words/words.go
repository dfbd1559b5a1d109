// Package words writes numbers, times and names for people. The same number looks
// the same everywhere: in titles, evidence, tables and errors.
package words

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/plain"
	"lostbeat/model/state"
)

// Number writes n for people: 412, 28,232, 3.6 M, with G and T for more.
func Number[T int | uint64 | int64](n T) string {
	switch v := float64(n); {
	case v >= 1e12:
		return fmt.Sprintf("%.1f T", v/1e12)
	case v >= 1e9:
		return fmt.Sprintf("%.1f G", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.1f M", v/1e6)
	}
	return Exact(n)
}

// Exact writes every digit of n: 5,661,398. It is for totals that people compare with other outputs.
func Exact[T int | uint64 | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	if n > 0 { // a uint64 may be beyond the largest int64
		s = strconv.FormatUint(uint64(n), 10)
	}
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// About writes n with three digits that count, for what was computed from rates: about 5,660,000.
func About(n float64) string {
	unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Max(n, 1)))-2))
	return "about " + Exact(int64(math.Round(n/unit)*unit))
}

// Plural writes n things; things is their plural where an s is not enough.
func Plural[T int | uint64 | int64](n T, thing string, things ...string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case len(things) > 0:
		return Number(n) + " " + things[0]
	}
	return Number(n) + " " + thing + "s"
}

// Percent writes a share (0 to 1) with as many digits as mean something.
func Percent(share float64) string { return plain.Percent(share) }

// Chance writes the probability of a coincidence: 1 of 200 cases.
func Chance(p float64) string {
	if p >= 0.095 {
		return fmt.Sprintf("%.0f of 100 cases", p*100)
	}
	return fmt.Sprintf("1 of %.0f cases", 1/max(p, 1e-15))
}

// Tie joins each number of a sentence to its unit by a no-break space. What the sentence quotes stays as it is.
func Tie(text string) string { return plain.Tie(text) }

// Span writes a duration with two or three significant digits.
func Span(d time.Duration) string { return plain.Span(d) }

// Pool names a pool: rpc (udp 5000-5099), and its network namespace where
// that is not the host's.
func Pool(p *state.Pool) string {
	text := fmt.Sprintf("%s (%s %d-%d", fold.Printable(p.Name), p.Protocol, p.Low, p.High)
	if p.NetnsName != "" {
		text += ", netns " + fold.Printable(p.NetnsName)
	}
	return text + ")"
}

// Task names a process: name[pid].
func Task(name string, pid int32) string {
	name = fold.Printable(name)
	switch {
	case pid == 0 && name == "":
		return "the kernel"
	case pid < 0 && name == "":
		return "an unknown process"
	case pid < 0:
		return name
	case name == "":
		return "process " + Itoa(int64(pid))
	}
	return name + "[" + Itoa(int64(pid)) + "]"
}

// Tense chooses the form of a verb: the fault goes on, or it is over.
func Tense(ongoing bool, present, past string) string {
	if ongoing {
		return present
	}
	return past
}

func Itoa[T int | int32 | int64 | uint16 | uint64](n T) string {
	return strconv.FormatInt(int64(n), 10)
}

// Sentence begins text with a capital letter, unless it begins with a name or a command: a first word that is not
// only lower-case letters, or that is listed.
func Sentence(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return r < 'a' || r > 'z' })
	if end < 0 {
		end = len(text)
	}
	if end == 0 || end < len(text) && !strings.ContainsRune(" ,:;.", rune(text[end])) || isCommand(text[:end]) ||
		end+1 < len(text) && text[end] == '.' && text[end+1] != ' ' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// isCommand says that a word is a program that advice names first.
func isCommand(word string) bool {
	switch word {
	case "ip", "tc", "ss", "ethtool", "sysctl", "nstat", "chrt", "taskset", "bpftool", "netstat", "dmesg":
		return true
	}
	return false
}

// CPUMask writes the mask of CPUs 0 to n-1 as sysfs takes it.
func CPUMask(n int) string {
	if n <= 0 {
		return "ff"
	}
	var words []string
	for ; n > 32; n -= 32 {
		words = append(words, "ffffffff")
	}
	words = append([]string{strconv.FormatUint(1<<n-1, 16)}, words...)
	return strings.Join(words, ",")
}

// RoundUp returns the next power of two that is not below n.
func RoundUp(n uint64) uint64 {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len64(n-1)
}

// Rate writes a number per second.
func Rate(rate float64) string {
	if rate >= 9.95 {
		return Number(int64(math.Round(rate)))
	}
	return fmt.Sprintf("%.2g", rate)
}

// PerSecond writes a rate of things: 50 connections per second.
func PerSecond(rate float64, thing string) string {
	number := Rate(rate)
	if number != "1" {
		thing += "s"
	}
	return number + " " + thing + " per second"
}

// Socket names a socket by its port and process.
func Socket(s *fold.Socket) string {
	name := s.Protocol.String() + "/" + Itoa(s.Port)
	if s.Port == 0 {
		name = "a " + s.Protocol.String() + " socket"
	}
	if s.Process != "" || s.PID > 0 {
		name += " " + Task(s.Process, s.PID)
	}
	return name
}

// Port reads a port number; ok is false for anything else.
func Port(text string) (port uint16, ok bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}
