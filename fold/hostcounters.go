package fold

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/model"
	"lostbeat/model/budget"
)

// hostCounters are the counters of Linux hosts that are judged, by the names that source/linuxhost gives them, and
// those of drivers.
var hostCounters = map[string]bool{
	"cpu/softirq": true, "cpu/irq": true, "cpu/steal": true,
	"softnet/processed": true, "softnet/dropped": true, "softnet/squeezed": true, "softirq/NET_RX": true,
	"udp/received": true, "udp/errors": true, "udp/buffer_errors": true, "udp6/buffer_errors": true,
	"socket/dropped": true, "socket/queued_bytes": true, "socket/buffer_bytes": true,
	"sockets/udp": true, "sockets/tcp": true, "host/restart": true,
	"host/boot_time": true,
}

// Untimed reports whether an event is a fact that is judged at the end only, so that the seconds before it need not be
// judged one by one: files have days of them.
func Untimed(b *model.Batch, e *model.Event) bool {
	switch e.Kind {
	case model.KindHostEvent:
		return true
	case model.KindCounter:
		v, _ := b.Counter(e)
		return isHostCounter(v.Name)
	}
	return false
}

func isHostCounter(name string) bool {
	return hostCounters[name] || len(name) > len(devicePrefix) && name[:len(devicePrefix)] == devicePrefix
}

// devicePrefix begins the counters of devices.
const devicePrefix = "device/"

// HostKey identifies a series of a Linux host's counters.
type HostKey struct {
	// Host is the host where the stream has counters of several.
	Host, Name, Instance string
	CPU                  int32
	// Mode tells totals from what sar made of them.
	Mode model.CounterMode
}

// CompareHostKeys orders series.
func CompareHostKeys(a, b HostKey) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name), cmp.Compare(a.CPU, b.CPU),
		cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Mode, b.Mode))
}

// HostPoint is a value at the end of an interval, which is 0 for totals and levels.
type HostPoint struct {
	Time  model.Time
	Span  time.Duration
	Value float64
}

// From is when the interval began.
func (p HostPoint) From() model.Time { return p.Time.Add(-p.Span) }

// HostCounters keeps what was counted on Linux hosts, over hours or days (sar), or since their boot.
type HostCounters struct {
	Series map[HostKey][]HostPoint
	// Total is how many values there were.
	Total int
	room  *budget.Budget
}

// hostPointBytes is what a value takes, with what a growing list holds beside it.
const hostPointBytes = 40

func newHostCounters(room *budget.Budget) *HostCounters {
	return &HostCounters{Series: make(map[HostKey][]HostPoint), room: room}
}

func (c *HostCounters) add(v *model.Counter) {
	if !isHostCounter(v.Name) || !countable(v.Value) {
		return
	}
	key := HostKey{Host: v.Host, Name: v.Name, Instance: v.Instance, CPU: v.CPU, Mode: v.Mode}
	list, ok := c.Series[key]
	if n := len(list); n > 0 && list[n-1].Time >= v.Time {
		return
	}
	if !ok && !c.room.Take("counters of hosts", seriesBytes+len(key.Instance)+len(key.Host)+len(key.Name)) ||
		!c.room.Take("values of counters of hosts", hostPointBytes) {
		return
	}
	c.Total++
	c.Series[key] = append(list, HostPoint{v.Time, v.Dur, v.Value})
}

// Hosts returns the hosts that there are counters of, in a fixed order.
func (c *HostCounters) Hosts() (hosts []string) {
	for k := range c.Series {
		if !slices.Contains(hosts, k.Host) {
			hosts = append(hosts, k.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Keys returns the series of a host's counter in a fixed order.
func (c *HostCounters) Keys(host, name string, mode model.CounterMode) (keys []HostKey) {
	for k := range c.Series {
		if k.Host == host && k.Name == name && k.Mode == mode {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, CompareHostKeys)
	return keys
}

// Devices returns the series of totals of all counters of a host's devices in a fixed order.
func (c *HostCounters) Devices(host string) (keys []HostKey) {
	for k := range c.Series {
		if k.Host == host && k.Mode == model.CounterTotal && len(k.Name) > len(devicePrefix) &&
			k.Name[:len(devicePrefix)] == devicePrefix {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, CompareHostKeys)
	return keys
}
