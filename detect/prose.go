package detect

import (
	"fmt"
	"lostbeat/fold"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/model/state"
)

// number writes n for people: 412, 28,232, 3.6 M.
func number[T int | uint64 | int64](n T) string {
	switch v := float64(n); {
	case v >= 1e9:
		return fmt.Sprintf("%.1f G", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.1f M", v/1e6)
	}
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes n things; things is their plural where an s is not enough.
func plural[T int | uint64 | int64](n T, thing string, things ...string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case len(things) > 0:
		return number(n) + " " + things[0]
	}
	return number(n) + " " + thing + "s"
}

// percent writes a share (0 to 1) with as many digits as mean something.
func percent(share float64) string {
	p := share * 100
	switch {
	case p == 0 || p >= 99.95:
		return fmt.Sprintf("%.0f %%", p)
	case p >= 95 || p < 10:
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.0f %%", p)
}

// span writes a duration with two or three significant digits.
func span(d time.Duration) string {
	unit := func(v float64, name string) string {
		if v < 9.95 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + name
		}
		return fmt.Sprintf("%.0f %s", v, name)
	}
	switch f := float64(d); {
	case d < 0:
		return "-" + span(-d)
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case f < 999.5e3:
		return unit(f/1e3, "µs")
	case f < 999.5e6:
		return unit(f/1e6, "ms")
	case f < 119.5e9:
		return unit(f/1e9, "s")
	case d < 2*time.Hour:
		return unit(d.Minutes(), "min")
	case d < 48*time.Hour:
		return unit(d.Hours(), "h")
	}
	return unit(d.Hours()/24, "days")
}

// poolText names a pool: rpc (udp 5000-5099), and its network namespace where
// that is not the host's.
func poolText(p *state.Pool) string {
	text := fmt.Sprintf("%s (%s %d-%d)", fold.Printable(p.Name), p.Protocol, p.Low, p.High)
	if p.NetnsName != "" {
		text += " in network namespace " + fold.Printable(p.NetnsName)
	}
	return text
}

// task names a process: name[pid].
func task(name string, pid int32) string {
	name = fold.Printable(name)
	switch {
	case pid == 0 && name == "":
		return "the kernel"
	case pid < 0 && name == "":
		return "an unknown process"
	case pid < 0:
		return name
	case name == "":
		return "process " + itoa(int64(pid))
	}
	return name + "[" + itoa(int64(pid)) + "]"
}

// tense chooses the form of a verb: the fault goes on, or it is over.
func tense(ongoing bool, present, past string) string {
	if ongoing {
		return present
	}
	return past
}

func itoa[T int | int32 | int64 | uint16 | uint64](n T) string {
	return strconv.FormatInt(int64(n), 10)
}

// evidence is short for one number of a finding, rounded to what it can mean.
func evidence(name string, value float64, unit string) model.Evidence {
	if value != math.Trunc(value) {
		value, _ = strconv.ParseFloat(strconv.FormatFloat(value, 'g', 6, 64), 64)
	}
	return model.Evidence{Name: name, Value: value, Unit: unit}
}

// cpuMask writes the mask of CPUs 0 to n-1 as sysfs takes it.
func cpuMask(n int) string {
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

// roundUp returns the next power of two that is not below n.
func roundUp(n uint64) uint64 {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len64(n-1)
}
