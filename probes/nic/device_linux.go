package nic

import (
	"fmt"
	"slices"
	"strconv"
	"time"

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
	// ring are the statistics that count ring losses, of statistics in all.
	ring       []ringStatistic
	statistics int
	// ringBefore and linkBefore are the values of the last reading.
	ringBefore []uint64
	linkBefore *netlink.LinkStatistics
	// silent says that the last device.stats event was all zero.
	silent bool
}

// readLayout reads how the device is set up, and emits what has changed.
func (d *device) readLayout(tool *ethtool, view *sysfs, now model.Time, b *model.Builder) {
	first := d.config.Device == ""
	d.physical = view.isPhysical(d.name)
	driver := tool.driver(d.name)
	d.findRing(tool, driver)
	sizes, queues := tool.rings(d.name), tool.channels(d.name)
	rx, tx := view.queueDirs(d.name)
	config := model.DeviceConfig{NetnsInode: d.inode, Ifindex: int64(d.ifindex), Device: d.name, Driver: driver,
		Netns: d.netns,
		RXQueues: uint64(
			firstPositive(int(queues.rx+queues.combined), rx, d.rxQueues),
		), TXQueues: uint64(firstPositive(int(queues.tx+queues.combined), tx, d.txQueues)),
		RXRing: uint64(sizes.rx), RXRingMax: uint64(sizes.rxMax), TXRing: uint64(sizes.tx),
		Threaded: isThreaded(view.read(d.name, "threaded")), RingSource: ringSource(driver, d.physical, d.ring)}
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

// findRing finds the driver's ring statistics.
func (d *device) findRing(tool *ethtool, driver string) {
	if _, known := ringTables[driver]; !known {
		d.ring, d.statistics = nil, 0
		return
	}
	names, err := tool.statisticNames(d.name)
	if err != nil || len(names) == d.statistics {
		return // the list is the same, or the device is going
	}
	d.statistics = len(names)
	d.ring = findRingStatistics(driver, names)
	d.ringBefore = nil
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
	switch {
	case len(d.ring) > 0:
		d.emitRing(tool, now, interval, b)
	case d.physical && before != nil && ringless[d.config.Driver] == "":
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

// emitRing emits what the driver's statistics say the ring has lost.
func (d *device) emitRing(tool *ethtool, now model.Time, interval time.Duration, b *model.Builder) {
	values, err := tool.statistics(d.name, d.statistics)
	if err != nil || len(values) != d.statistics {
		d.ringBefore = nil
		d.statistics = 0 // look for the names again
		return
	}
	current := make([]uint64, len(d.ring))
	for i, s := range d.ring {
		current[i] = values[s.index]
		if d.ringBefore == nil {
			continue
		}
		d.addRingDrop(s.name, s.queue, rise(d.ringBefore[i], current[i]), 0, now, interval, b)
	}
	d.ringBefore = current
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
		d.addRingDrop(linkMissed, -1, rise(before.RxMissedErrors, link.RxMissedErrors), 0, now, interval, b)
		return
	}
	d.addRingDrop(linkDropped, -1, rise(before.RxDropped, link.RxDropped), model.FlagSecondary, now, interval, b)
}

func (d *device) addRingDrop(
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
		model.Drop{Time: now, Dur: interval, Flags: flags, CPU: -1, PID: -1, TID: -1, Place: model.PlaceRing, Count: packets,
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
