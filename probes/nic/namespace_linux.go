package nic

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"lostbeat/internal/netns"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// layoutInterval is how often rings, queues and affinities are read.
	layoutInterval = 10 * time.Second
	// maxNamespaces and maxDevices bound what is watched: network namespaces,
	// and devices in each.
	maxNamespaces = 256
	maxDevices    = 1024
	// costRatio is the share of the time that reading the devices of other
	// namespaces may take: each reading is followed by a pause of 100 times its
	// length.
	costRatio = 100
)

// namespace is what is known about one network namespace.
type namespace struct {
	netns.Namespace
	host     bool
	devices  map[int]*device // by ifindex
	counters []counter
	// read is when it was last read, layout when its devices' layout was; 0 never.
	read, layout model.Time
	// layoutDue asks for the layout before its time, because a link changed.
	layoutDue bool
	// changes are the kernel's messages about links, nil where they are not
	// subscribed to.
	changes *linkChanges
}

func newNamespace(ns netns.Namespace, host bool) *namespace {
	return &namespace{Namespace: ns, host: host, devices: make(map[int]*device)}
}

// collect reads the namespace and emits what was counted or has changed.
func (n *namespace) collect(now model.Time, interval time.Duration, b *model.Builder) error {
	if n.read != 0 {
		interval = now.Sub(n.read)
	}
	err := n.Do(func() error { return n.inside(now, interval, b) })
	n.read = now
	return err
}

// inside runs on a thread that is in the namespace.
func (n *namespace) inside(now model.Time, interval time.Duration, b *model.Builder) error {
	n.follow(now, b)
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list links: %w", err)
	}
	complete := err == nil
	tool, err := openEthtool()
	if err != nil {
		return err
	}
	defer tool.close()
	seen := make(map[int]bool, len(links))
	for _, link := range links[:min(len(links), maxDevices)] {
		attrs := link.Attrs()
		if !n.watches(attrs) {
			continue
		}
		seen[attrs.Index] = true
		n.link(attrs, now, b)
	}
	if complete {
		n.removeOthers(seen, now, b)
	}
	if n.layoutDue || n.layout == 0 || now.Sub(n.layout) >= layoutInterval {
		err = n.readLayout(tool, now, b)
	}
	for _, link := range links {
		if d := n.devices[link.Attrs().Index]; d != nil {
			d.emitStatistics(tool, link.Attrs().Statistics, now, interval, b)
		}
	}
	return errors.Join(err, n.readCounters(now, interval, b))
}

// watches says whether the device of a link is watched: the loopback devices
// of all namespaces but the host's are not.
func (n *namespace) watches(attrs *netlink.LinkAttrs) bool {
	return n.host || attrs.RawFlags&unix.IFF_LOOPBACK == 0
}

// link follows the state of one link.
func (n *namespace) link(attrs *netlink.LinkAttrs, now model.Time, b *model.Builder) {
	up := attrs.RawFlags&unix.IFF_UP != 0 && attrs.RawFlags&unix.IFF_RUNNING != 0
	d := n.devices[attrs.Index]
	if d == nil {
		d = &device{
			ifindex:  attrs.Index,
			name:     attrs.Name,
			netns:    n.Name,
			inode:    n.Inode,
			up:       up,
			rxQueues: attrs.NumRxQueues,
			txQueues: attrs.NumTxQueues,
		}
		n.devices[attrs.Index] = d
		n.layoutDue = true
		return
	}
	if d.name != attrs.Name {
		renamed := d.event(model.DeviceRenamed, d.name, now)
		d.name, renamed.Device = attrs.Name, attrs.Name
		b.AddDeviceEvent(renamed)
		n.layoutDue = true
	}
	if d.up == up {
		return
	}
	d.up = up
	n.layoutDue = true
	event := d.event(model.DeviceLinkUp, "", now)
	if !up {
		event.What, event.Detail = model.DeviceLinkDown, "carrier lost"
		if attrs.RawFlags&unix.IFF_UP == 0 {
			event.Detail = "taken down"
		}
	}
	b.AddDeviceEvent(event)
}

// event describes something that happened to the device.
func (d *device) event(what, detail string, now model.Time) model.DeviceEvent {
	return model.DeviceEvent{
		Time: now, NetnsInode: d.inode, Ifindex: int64(d.ifindex), Device: d.name, What: what, Detail: detail,
	}
}

// remove forgets a device that is no longer there.
func (n *namespace) remove(index int, detail string, now model.Time, b *model.Builder) {
	if d := n.devices[index]; d != nil {
		delete(n.devices, index)
		b.AddDeviceEvent(d.event(model.DeviceRemoved, detail, now))
	}
}

// removeOthers forgets the devices that are no longer there.
func (n *namespace) removeOthers(seen map[int]bool, now model.Time, b *model.Builder) {
	for _, index := range slices.Sorted(maps.Keys(n.devices)) {
		if !seen[index] {
			n.remove(index, "", now, b)
		}
	}
}

// removeAll ends a namespace that has gone.
func (n *namespace) removeAll(now model.Time, b *model.Builder) {
	for _, index := range slices.Sorted(maps.Keys(n.devices)) {
		n.remove(index, "with its network namespace", now, b)
	}
}

// readLayout reads rings, queues and affinities, and emits what has changed.
func (n *namespace) readLayout(tool *ethtool, now model.Time, b *model.Builder) error {
	n.layout, n.layoutDue = now, false
	view := &sysfs{root: "/sys", fd: -1}
	if !n.host {
		var err error
		if view, err = mountSysfs(); err != nil {
			return err
		}
		defer view.close()
	}
	for _, d := range n.devices {
		d.readLayout(tool, view, now, b)
	}
	return nil
}

// readCounters reads the SNMP counters. Those of this process's namespace are
// emitted each time, those of another when they have changed.
func (n *namespace) readCounters(now model.Time, interval time.Duration, b *model.Builder) error {
	var counters []counter
	for _, file := range []string{"snmp", "netstat", "snmp6"} {
		parse := parseSNMP
		if file == "snmp6" {
			parse = parseSNMP6
		}
		f, err := os.Open("/proc/thread-self/net/" + file)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		} else if err != nil {
			return fmt.Errorf("read SNMP counters: %w", err)
		}
		more, err := parse(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("read /proc/net/%s: %w", file, err)
		}
		counters = append(counters, more...)
	}
	for i, c := range counters {
		if !n.host && i < len(n.counters) && n.counters[i] == c {
			continue
		}
		b.AddCounter(model.Counter{Time: now, Dur: interval, CPU: -1, Value: float64(c.value), Mode: model.CounterTotal,
			Name: c.protocol + "." + c.name, Instance: n.Name, Unit: unitOf(c.protocol, c.name)})
	}
	n.counters = counters
	return nil
}
