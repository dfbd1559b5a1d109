// Package driverstat knows the statistics of network drivers on Linux (ethtool
// -S) that say something about lost packets: what each one counts, whether what
// it counts is lost, and what helps.
//
// The names and their meanings come from the drivers' sources, which each entry
// of the table names with the version that was read. A driver that is not in the
// table is served by the counters of rtnetlink.
package driverstat

//go:generate go run lostbeat/internal/gen/driversdoc

import (
	"slices"
	"strconv"
	"strings"
)

// Class says what a statistic counts.
type Class uint8

const (
	// Ring is packets lost because the receive ring had no free descriptor.
	Ring Class = iota
	// Buffer is packets lost in the adapter's packet buffer, in front of the rings.
	Buffer
	// Damaged is frames that arrived damaged or with a length that the device refuses.
	Damaged
	// Memory is packets that the driver lost because it got no memory, or no valid buffer.
	Memory
	// Provider is packets that the provider of a virtual machine dropped at a limit.
	Provider
	// Total repeats what other statistics count.
	Total
	// Occasion counts events, of which none need have lost a packet.
	Occasion
	// Pause is pause frames, or the time for which they stopped the sender.
	Pause
	// Bus is time or occasions in which the bus (PCIe) did not take the device's data.
	Bus
	// Limit is packets that the provider delayed or dropped, which are not told apart.
	Limit
	// Filtered is packets that were not for this host, or that a program chose to drop.
	Filtered
)

// classNames are the text forms of the classes.
var classNames = [...]string{
	Ring: "ring full", Buffer: "adapter's buffer full", Damaged: "damaged frame", Memory: "no memory in the driver",
	Provider: "provider's limit", Total: "repeats others", Occasion: "occasions, not packets", Pause: "pause frames",
	Bus: "bus", Limit: "delayed or dropped", Filtered: "not for this host",
}

func (c Class) String() string { return classNames[c] }

// Lost says that each unit of such a statistic is a packet that this host should have had.
func (c Class) Lost() bool { return c <= Provider }

// InRing says that packets are lost in front of the driver, which a faster host or a larger ring prevents.
func (c Class) InRing() bool { return c == Ring || c == Buffer }

// Sign says that such a statistic explains a loss without counting it.
func (c Class) Sign() bool { return c == Occasion || c == Pause || c == Bus || c == Limit }

// Statistic is one statistic of a driver, or of each of its queues.
type Statistic struct {
	// Names are what the statistic is called, a % in place of the queue's number; the first that the driver lists is
	// used, as names have changed between versions. A queue's name without a % stands below a line of its own for
	// each queue, which is Heading.
	Names []string
	// Heading is the line that begins a queue's statistics, empty where the name has the queue's number.
	Heading string
	// Less are statistics that Names contain although their packets are not lost, each for the name at its place.
	Less []string
	// Bits is how long the device's counter is if it wraps within the life of a host, 0 otherwise.
	Bits  uint
	Class Class
	// Meaning says in one sentence what is counted.
	Meaning string
	// Advice says what helps, with DEV for the device; empty for what is not lost.
	Advice string
}

// Driver is a network driver.
type Driver struct {
	// Name is as ETHTOOL_GDRVINFO gives it.
	Name string
	// Source is where the names come from: a file of the kernel, and the version read.
	Source     string
	Statistics []Statistic
	// NoRing says why the driver does not count packets that its ring lost, empty where it does.
	NoRing string
	// Link says that rtnetlink's rx_dropped has them nevertheless.
	Link bool
	// Note is what to know about all of them, empty when nothing.
	Note string
}

// Lookup returns a driver, nil where it is not in the table.
func Lookup(driver string) *Driver {
	for i := range Drivers {
		if Drivers[i].Name == driver {
			return &Drivers[i]
		}
	}
	return nil
}

// Found is a statistic that a device has.
type Found struct {
	*Statistic
	// Name is as the driver lists it, without blanks around it.
	Name string
	// Index is its place in the driver's list, LessIndex that of what is taken from it, -1 nothing.
	Index, LessIndex int
	// Queue is -1 for the device as a whole.
	Queue int64
}

// Find returns the statistics that a device has of those in the table, by the names that its driver lists. Each name
// belongs to one statistic at most.
func (d *Driver) Find(names []string) (found []Found) {
	trimmed := make([]string, len(names))
	for i, name := range names {
		trimmed[i] = strings.TrimSpace(name)
	}
	taken := make([]bool, len(names))
	for i := range d.Statistics {
		s := &d.Statistics[i]
		for version := range s.Names {
			matches := s.match(version, trimmed)
			matches = slices.DeleteFunc(matches, func(f Found) bool { return taken[f.Index] })
			if len(matches) == 0 {
				continue
			}
			for _, f := range matches {
				taken[f.Index] = true
			}
			found = append(found, matches...)
			break
		}
	}
	return found
}

// match finds a statistic under one of its names.
func (s *Statistic) match(version int, names []string) (found []Found) {
	pattern := s.Names[version]
	prefix, suffix, numbered := strings.Cut(pattern, "%")
	queue := int64(-1)
	for i, name := range names {
		switch {
		case s.Heading != "" && name == s.Heading:
			queue++
		case numbered:
			number, ok := numberIn(name, prefix, suffix)
			if !ok {
				continue
			}
			f := Found{Statistic: s, Name: name, Index: i, LessIndex: -1, Queue: number}
			if version < len(s.Less) {
				f.LessIndex = slices.Index(names, strings.Replace(s.Less[version], "%", strconv.FormatInt(number, 10), 1))
			}
			found = append(found, f)
		case name == pattern && (s.Heading == "" || queue >= 0):
			found = append(found, Found{Statistic: s, Name: name, Index: i, LessIndex: -1, Queue: queue})
		}
	}
	return found
}

// numberIn returns the number between a prefix and a suffix that make up the whole name with it.
func numberIn(name, prefix, suffix string) (int64, bool) {
	middle, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if middle, ok = strings.CutSuffix(middle, suffix); !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(middle, 10, 16)
	return int64(number), err == nil
}

// Explain returns what is known about a statistic of a driver by the name that it lists, nil where it is not in the
// table. Where a name has changed its meaning, it is the one that is counted.
func Explain(driver, name string) *Statistic {
	d := Lookup(driver)
	if d == nil {
		return nil
	}
	for i := range d.Statistics {
		if d.Statistics[i].isCalled(name) {
			return &d.Statistics[i]
		}
	}
	return nil
}

// isCalled says that a driver lists the statistic under a name.
func (s *Statistic) isCalled(name string) bool {
	return slices.ContainsFunc(s.Names, func(pattern string) bool {
		prefix, suffix, numbered := strings.Cut(pattern, "%")
		_, ok := numberIn(name, prefix, suffix)
		return name == pattern || numbered && ok
	})
}

// Value returns the statistic's value among those that the driver gives, without what is not lost.
func (f *Found) Value(values []uint64) uint64 {
	n := values[f.Index]
	if f.LessIndex >= 0 {
		n -= min(n, values[f.LessIndex])
	}
	return n
}

// AdviceFor returns what helps, with the name of the device.
func (s *Statistic) AdviceFor(device string) string {
	return strings.ReplaceAll(s.Advice, "DEV", device)
}

// Rise returns how much a counter has grown. One that fell was reset, unless it is a short one that has wrapped: from
// its last quarter to its first.
func (s *Statistic) Rise(before, now uint64) uint64 {
	switch {
	case now >= before:
		return now - before
	case s.Bits > 0 && before>>s.Bits == 0 && before >= 3<<(s.Bits-2) && now < 1<<(s.Bits-2):
		return now + 1<<s.Bits - before
	}
	return 0
}
