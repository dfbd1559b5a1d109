package nic

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"lostbeat/internal/driverstat"
	"lostbeat/model"

	"github.com/vishvananda/netlink"
)

// maxQueues bounds the queues of a device that are described.
const maxQueues = 256

// device is what is known about one device.
type device struct {
	ifindex            int
	name, netns        string
	inode              uint32 // of its network namespace
	up                 bool
	rxQueues, txQueues int // as rtnetlink says: made for the device, not all in use
	physical           bool
	txTimeouts         uint64
	config             model.DeviceConfig
	queues             []model.DeviceQueue
	// found are the driver's statistics that are read, of statistics in all.
	found      []driverstat.Found
	statistics int
	// before and linkBefore are the values of the last reading.
	before     []uint64
	linkBefore *netlink.LinkStatistics
	state      driverState
	// usesLink says that the link's counters stand in for the losses of the ring.
	usesLink bool
	// silent says that the last device.stats event was all zero.
	silent bool
}

// readLayout reads how the device is set up, and emits what has changed.
func (d *device) readLayout(tool *ethtool, view *sysfs, now model.Time, b *model.Builder) {
	first := d.config.Device == ""
	d.physical = view.isPhysical(d.name)
	driver := tool.driver(d.name)
	d.findStatistics(tool, driver)
	d.state, d.usesLink = stateOf(driver, d.physical, d.found), usesLink(driver, d.physical, d.found)
	sizes, queues := tool.rings(d.name), tool.channels(d.name)
	rx, tx := view.queueDirs(d.name)
	config := model.DeviceConfig{NetnsInode: d.inode, Ifindex: int64(d.ifindex), Device: d.name, Driver: driver,
		Netns: d.netns,
		RXQueues: uint64(
			firstPositive(int(queues.rx+queues.combined), rx, d.rxQueues),
		), TXQueues: uint64(firstPositive(int(queues.tx+queues.combined), tx, d.txQueues)),
		RXRing: uint64(sizes.rx), RXRingMax: uint64(sizes.rxMax), TXRing: uint64(sizes.tx),
		Threaded: isThreaded(view.read(d.name, "threaded")), RingSource: ringSource(driver, d.physical, d.found)}
	if config != d.config {
		d.config = config
		config.Time = now
		b.AddDeviceConfig(config)
	}
	layout := d.readQueues(view, rx, tx, sizes)
	for _, q := range layout {
		if slices.Contains(d.queues, q) {
			continue
		}
		q.Time = now
		b.AddDeviceQueue(q)
	}
	d.queues = layout
	if timeouts := readTimeouts(view, d.name, tx); timeouts > d.txTimeouts {
		if !first {
			b.AddDeviceEvent(
				model.DeviceEvent{
					Time:       now,
					NetnsInode: d.inode,
					Ifindex:    int64(d.ifindex),
					Device:     d.name,
					What:       model.DeviceTxTimeout,
					Detail:     fmt.Sprintf("%d more", timeouts-d.txTimeouts),
				},
			)
		}
		d.txTimeouts = timeouts
	}
}

// findStatistics finds the driver's statistics of losses.
func (d *device) findStatistics(tool *ethtool, driver string) {
	if known := driverstat.Lookup(driver); known == nil || len(known.Statistics) == 0 {
		d.found, d.statistics = nil, 0
		return
	}
	names, err := tool.statisticNames(d.name)
	if err != nil || len(names) == d.statistics {
		return // the list is the same, or the device is going
	}
	d.statistics = len(names)
	d.found = useful(driver, names)
	d.before = nil
}

// readQueues describes the queues: which CPUs serve them.
func (d *device) readQueues(view *sysfs, rx, tx int, sizes rings) []model.DeviceQueue {
	layout := make([]model.DeviceQueue, 0, rx+tx)
	for i := range rx {
		layout = append(
			layout,
			model.DeviceQueue{
				NetnsInode: d.inode,
				Ifindex:    int64(d.ifindex),
				Device:     d.name,
				Queue:      int64(i),
				Direction:  model.DirectionRX,
				Ring:       uint64(sizes.rx),
				RPSCPUs:    view.steering(d.name, "rx", i),
			},
		)
	}
	for i := range tx {
		layout = append(
			layout,
			model.DeviceQueue{
				NetnsInode: d.inode,
				Ifindex:    int64(d.ifindex),
				Device:     d.name,
				Queue:      int64(i),
				Direction:  model.DirectionTX,
				Ring:       uint64(sizes.tx),
				RPSCPUs:    view.steering(d.name, "tx", i),
			},
		)
	}
	if !d.physical {
		return layout
	}
	for _, irq := range view.interrupts(d.name, "/proc/irq") {
		for _, action := range irq.actions {
			queue, isRX, isTX, ok := irqQueue(action, d.name)
			if !ok {
				continue
			}
			for i := range layout {
				q := &layout[i]
				if q.Queue == queue && (isRX && q.Direction == model.DirectionRX || isTX && q.Direction == model.DirectionTX) {
					q.IRQ, q.IRQCPUs = irq.number, irq.cpus
				}
			}
		}
	}
	return layout
}

// emitStatistics emits what the link and its ring have counted since the last
// reading. The first reading only sets the base.
func (d *device) emitStatistics(
	tool *ethtool,
	link *netlink.LinkStatistics,
	now model.Time,
	interval time.Duration,
	b *model.Builder,
) {
	if link == nil {
		return
	}
	before := d.linkBefore
	d.linkBefore = link
	if before != nil {
		d.emitLink(before, link, now, interval, b)
	}
	if len(d.found) > 0 {
		d.emitDriver(tool, now, interval, b)
	}
	if before != nil && d.usesLink {
		d.emitLinkRing(before, link, now, interval, b)
	}
}

func (d *device) emitLink(
	before, link *netlink.LinkStatistics,
	now model.Time,
	interval time.Duration,
	b *model.Builder,
) {
	v := model.DeviceStats{
		RXPackets: rise(before.RxPackets, link.RxPackets),
		TXPackets: rise(before.TxPackets, link.TxPackets),
		RXDropped: rise(before.RxDropped, link.RxDropped),
		TXDropped: rise(before.TxDropped, link.TxDropped),
		RXErrors:  rise(before.RxErrors, link.RxErrors),
		RXBytes:   rise(before.RxBytes, link.RxBytes),
	}
	silent := v == model.DeviceStats{}
	if silent && d.silent {
		return
	}
	d.silent = silent
	v.Time, v.Dur, v.Ifindex, v.Device, v.Source = now, interval, int64(d.ifindex), d.name, "rtnetlink"
	v.NetnsInode = d.inode
	b.AddDeviceStats(v)
}

// emitDriver emits what the driver's statistics say of losses, and of their causes.
func (d *device) emitDriver(tool *ethtool, now model.Time, interval time.Duration, b *model.Builder) {
	values, err := tool.statistics(d.name, d.statistics)
	if err != nil || len(values) != d.statistics {
		d.before = nil
		d.statistics = 0 // look for the names again
		return
	}
	d.addStatistics(values, now, interval, b)
}

// addStatistics adds events for what has risen since the last reading: losses, and counters of the rest.
func (d *device) addStatistics(values []uint64, now model.Time, interval time.Duration, b *model.Builder) {
	current := make([]uint64, len(d.found))
	for i := range d.found {
		f := &d.found[i]
		current[i] = f.Value(values)
		if d.before == nil {
			continue
		}
		n := f.Rise(d.before[i], current[i])
		switch {
		case n == 0:
		case f.Class.InRing():
			d.addDrop(model.PlaceRing, f.Name, f.Queue, n, 0, now, interval, b)
		case f.Class.Lost():
			d.addDrop(model.PlaceDevice, f.Name, f.Queue, n, 0, now, interval, b)
		case d.netns == "": // a counter has no namespace
			b.AddCounter(model.Counter{Time: now, Dur: interval, CPU: -1, Value: float64(n) / interval.Seconds(),
				Mode: model.CounterRate, Name: model.DriverCounter + f.Name, Instance: d.name,
				Ifindex: int64(d.ifindex), Unit: "events"})
		}
	}
	d.before = current
}

// emitLinkRing stands in for drivers that are not known: rx_missed_errors where
// it is in use, otherwise rx_dropped. That one also counts packets which the
// kernel dropped, so the event is marked as secondary evidence.
func (d *device) emitLinkRing(
	before, link *netlink.LinkStatistics,
	now model.Time,
	interval time.Duration,
	b *model.Builder,
) {
	if link.RxMissedErrors != 0 {
		d.addDrop(model.PlaceRing, linkMissed, -1, rise(before.RxMissedErrors, link.RxMissedErrors), 0, now, interval, b)
		return
	}
	n := rise(before.RxDropped, link.RxDropped)
	d.addDrop(model.PlaceRing, linkDropped, -1, n, model.FlagSecondary, now, interval, b)
}

func (d *device) addDrop(
	place model.Place,
	statistic string,
	queue int64,
	packets uint64,
	flags model.Flags,
	now model.Time,
	interval time.Duration,
	b *model.Builder,
) {
	if packets == 0 {
		return
	}
	b.AddDrop(
		model.Drop{Time: now, Dur: interval, Flags: flags, CPU: -1, PID: -1, TID: -1, Place: place, Count: packets,
			NetnsInode: d.inode, Ifindex: int64(d.ifindex), Queue: queue, Reason: statistic, Device: d.name},
	)
}

// rise returns how much a counter has grown; one that fell was reset.
func rise(before, now uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}

func firstPositive(values ...int) int {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

// isThreaded reads the attribute threaded: 0 is off, 1 on, 2 busy polling.
func isThreaded(text string) bool { return text != "" && text != "0" }

// readTimeouts adds up how often the device's transmit queues have timed out.
func readTimeouts(view *sysfs, name string, queues int) (total uint64) {
	for i := range queues {
		n, err := strconv.ParseUint(view.read(name, "queues", fmt.Sprintf("tx-%d", i), "tx_timeout"), 10, 64)
		if err == nil {
			total += n
		}
	}
	return total
}
