package tui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lostbeat/fold"
	"lostbeat/internal/service"
	"lostbeat/model"
)

// networkName is the name of the page.
const networkName = "Network"

func (u *ui) networkBands(v *view) []band {
	bands := []band{
		{u.deviceGrid(v, "devices")},
		{u.dropGrid(v), u.napiGrid(v)},
		{u.socketGrid(v, "sockets"), u.queueGrid(v)},
		{u.softnetGrid(v), u.counterGrid(v)},
	}
	if len(v.snap.DeviceEvents) > 0 {
		bands = append(bands, band{u.eventGrid(v)})
	}
	return bands
}

// deviceView is a device with its configuration and its counters.
type deviceView struct {
	model.DeviceConfig
	series int // -1 without counters
	now    fold.FrameDevice
}

func (u *ui) deviceGrid(v *view, id string) *grid[deviceView] {
	counters := collect(v, window, deviceRows)
	used := make([]bool, len(counters))
	var rows []deviceView
	for _, c := range v.snap.Devices {
		d := deviceView{DeviceConfig: c, series: -1}
		for i := range counters {
			k := fold.DeviceSeries{Netns: c.NetnsInode, Device: c.Device, Ifindex: c.Ifindex}
			if counters[i].Key == k && !used[i] {
				d.series, d.now, used[i] = counters[i].ID, counters[i].Value, true
				break
			}
		}
		rows = append(rows, d)
	}
	for i := range counters {
		if !used[i] {
			rows = append(
				rows,
				deviceView{
					DeviceConfig: model.DeviceConfig{
						Device: counters[i].Key.Device, Ifindex: counters[i].Key.Ifindex, NetnsInode: counters[i].Key.Netns,
						Netns: v.namespace(counters[i].Key.Netns),
					},
					series: counters[i].ID,
					now:    counters[i].Value,
				},
			)
		}
	}
	// A device whose counters stand still is not told of again, as long as they are read.
	read, _ := areaSeen(v.snap.Probes, []string{"nic"})
	polls := collect(v, window, napiRows)
	for i := range rows {
		if d := &rows[i]; d.series >= 0 || read && !polled(polls, &d.DeviceConfig) {
			d.now.Measured |= fold.Seen
		}
	}
	rate := func(title string, drop int, value func(*fold.FrameDevice) float32) column[deviceView] {
		number := func(d deviceView) float64 { return measured(d.now.Measured, value(&d.now)) }
		return numberColumn(title, 8, drop, number, formatCount)
	}
	return &grid[deviceView]{
		id:     id,
		title:  "devices " + u.oneSecond(v),
		empty:  "no device reported yet",
		limits: limits(v.snap.Probes, "nic"),
		rows:   rows,
		sort:   2,
		desc:   true,
		about:  func(d deviceView) model.Subject { return aboutDevice(d.Device, d.Netns) },
		ident:  func(d deviceView) string { return fmt.Sprint(d.Netns, d.NetnsInode, "/", d.Device, d.Ifindex) },
		cols: []column[deviceView]{
			textColumn("device", 10, 1, 0, func(d deviceView) string {
				return inNamespace(d.Device, d.Netns)
			}),
			textColumn("driver", 10, 0, 6, func(d deviceView) string { return d.Driver }),
			rate("rx pkt/s", 0, func(d *fold.FrameDevice) float32 { return d.RxPackets }),
			rate("rx bit/s", 4, func(d *fold.FrameDevice) float32 { return d.RxBytes * 8 }),
			rate("tx pkt/s", 3, func(d *fold.FrameDevice) float32 { return d.TxPackets }),
			rate("drop/s", 0, func(d *fold.FrameDevice) float32 { return d.RxDropped + d.TxDropped }),
			rate("error/s", 5, func(d *fold.FrameDevice) float32 { return d.RxErrors }),
			textColumn("queues", 7, 0, 2, func(d deviceView) string {
				if d.RXQueues == 0 && d.TXQueues == 0 {
					return none
				}
				return fmt.Sprintf("%d/%d", d.RXQueues, d.TXQueues)
			}),
			textColumn("rx ring", 11, 0, 1, func(d deviceView) string {
				if d.RXRing == 0 {
					return none
				}
				return fmt.Sprintf("%d of %d", d.RXRing, max(d.RXRing, d.RXRingMax))
			}),
			sparkColumn("rx, each bar 1 s", 16, 1, 7, accent, 0, func(d deviceView, n int) []float32 {
				received := func(x *fold.FrameDevice) float32 { return x.RxPackets }
				return trace(v, n, d.series, deviceRows, absence(d.now.Measured.Has(fold.Seen)), received)
			}),
			textColumn("ring drops", 20, 2, 8, func(d deviceView) string { return d.RingSource }),
		},
	}
}

// polled says that packets of a device were polled: it does not stand still.
func polled(polls []napiSeries, d *model.DeviceConfig) bool {
	return slices.ContainsFunc(polls, func(r napiSeries) bool {
		return r.Key.Device == d.Device && r.Key.Netns == d.NetnsInode
	})
}

// namespace names a network namespace by its inode number: empty for the host's
// and where it is not known.
func (v *view) namespace(inode uint32) string {
	if inode == 0 {
		return ""
	}
	for i := range v.snap.Devices {
		if d := &v.snap.Devices[i]; d.NetnsInode == inode {
			return d.Netns
		}
	}
	for i := range v.frame.Pools {
		if p := &v.frame.Pools[i]; p.Key.Netns == int64(inode) {
			return p.Value.Netns
		}
	}
	return ""
}

// inNamespace names a device that is in a namespace of its own.
func inNamespace(device, namespace string) string {
	if namespace == "" {
		return device
	}
	return device + " in " + namespace
}

// dropRow is a series of drops with its total.
type dropRow struct {
	key   *fold.DropSeries
	id    int
	rate  float64
	total uint64
}

func (u *ui) dropGrid(v *view) *grid[dropRow] {
	var rows []dropRow
	for _, r := range collect(v, window, dropRows) {
		rows = append(rows, dropRow{key: &r.Series.Key, id: r.ID, rate: float64(r.Value.Rate)})
	}
	all := v.snap.Drops
	if v.back() {
		all = nil
		for _, r := range lostBetween(v, v.snap.Oldest(), v.at) {
			all = append(all, fold.DropTotal{Key: &r.Series.Key, Count: uint64(r.Value.Rate)})
		}
	}
	totals := make(map[*fold.DropSeries]uint64, len(all))
	for _, t := range all {
		totals[t.Key] = t.Count
	}
	for i := range rows {
		rows[i].total = totals[rows[i].key]
		delete(totals, rows[i].key)
	}
	for _, t := range all { // lost before the last minute
		if _, left := totals[t.Key]; left {
			rows = append(rows, dropRow{key: t.Key, id: -1, total: t.Count})
		}
	}
	where := func(r dropRow) string {
		k := r.key
		var parts []string
		if k.Device != "" {
			parts = append(parts, inNamespace(k.Device, v.namespace(k.Netns)))
			if k.Queue >= 0 && k.Place == model.PlaceRing {
				parts = append(parts, "queue "+strconv.FormatInt(k.Queue, 10))
			}
		}
		if ns := v.namespace(k.Netns); k.Device == "" && ns != "" {
			parts = append(parts, "in "+ns)
		}
		if k.CPU >= 0 {
			parts = append(parts, "on CPU "+cpuName(k.CPU))
		}
		if k.Port != 0 {
			parts = append(parts, socketName(k.Protocol, k.Port))
		}
		if k.PID > 0 || k.Process != "" {
			parts = append(parts, processName(k.Process, k.PID))
		}
		return strings.Join(parts, " ")
	}
	return &grid[dropRow]{
		id:     "drops",
		title:  "packets lost, by place and reason",
		empty:  v.nothing("drop", "none since "+formatClock(v.snap.Started, u.loc)),
		limits: limits(v.snap.Probes, "drop"),
		rows:   rows,
		sort:   4,
		desc:   true,
		about: func(r dropRow) model.Subject {
			s := aboutProcess(r.key.Process, r.key.PID)
			s.Device, s.Netns = r.key.Device, v.namespace(r.key.Netns)
			s.Protocol, s.Port = r.key.Protocol.String(), r.key.Port
			return s
		},
		ident: func(r dropRow) string { return fmt.Sprint(*r.key) },
		find: func(r dropRow) string {
			return r.key.Place.String() + " " + r.key.Reason + " " + where(r) + " " + r.key.Location
		},
		cols: []column[dropRow]{
			textColumn("place", 8, 0, 0, func(r dropRow) string { return r.key.Place.String() }),
			textColumn("reason", 14, 1, 0, func(r dropRow) string { return r.key.Reason }),
			textColumn("where, whose", 13, 1, 0, where),
			numberColumn("lost/s", 7, 0, func(r dropRow) float64 { return r.rate }, formatCount),
			numberColumn("total", 7, 0, func(r dropRow) float64 { return float64(r.total) }, formatCount),
			sparkColumn("each bar 1 s", 12, 0, 2, warning, 0, func(r dropRow, n int) []float32 {
				return trace(v, n, r.id, dropRows, isZero, func(d *fold.FrameDrops) float32 { return d.Rate })
			}),
			textColumn("function", 14, 1, 3, func(r dropRow) string { return r.key.Location }),
		},
	}
}

func (u *ui) napiGrid(v *view) *grid[napiSeries] {
	type r = napiSeries
	return &grid[r]{
		id:    "napi",
		title: "NAPI polls",
		about: func(x r) model.Subject {
			if x.Key.Device == "" { // the backlog of a CPU
				return aboutCPU(x.Key.CPU)
			}
			return aboutDevice(x.Key.Device, v.namespace(x.Key.Netns))
		},
		empty: v.nothing("nic", "none in the last minute"),
		rows:  collect(v, window, napiRows),
		sort:  3,
		desc:  true,
		ident: func(x r) string { return fmt.Sprint(x.Key) },
		cols: []column[r]{
			textColumn("device", 10, 1, 0, func(x r) string {
				return inNamespace(cmp.Or(x.Key.Device, "(backlog)"), v.namespace(x.Key.Netns))
			}),
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(x r) float64 { return float64(x.Key.CPU) },
				draw:   func(l *line, w int, x r) { l.field(plain, cpuName(x.Key.CPU), w, true) },
			},
			numberColumn("polls/s", 8, 2, func(x r) float64 { return float64(x.Value.Polls) }, formatCount),
			numberColumn("packet/s", 8, 0, func(x r) float64 { return float64(x.Value.Packets) }, formatCount),
			{title: "full polls", w: 10, right: true, number: fullShare, draw: func(l *line, w int, x r) {
				s := plain
				if fullShare(x) > 0.5 {
					s = warning
				}
				l.field(s, formatPercent(fullShare(x)), w, true)
			}},
			numberColumn("most", 5, 3, func(x r) float64 { return float64(x.Value.Most) }, formatCount),
			numberColumn("in thread", 9, 4, func(x r) float64 { return float64(x.Value.Threaded) }, formatCount),
		},
	}
}

// fullShare is the share of polls that used their whole budget: more was waiting.
func fullShare(r napiSeries) float64 {
	if r.Value.Polls == 0 {
		return 0
	}
	return float64(r.Value.Full / r.Value.Polls)
}

// queueGrid is the map from queues over interrupts to CPUs.
func (u *ui) queueGrid(v *view) *grid[model.DeviceQueue] {
	type q = model.DeviceQueue
	return &grid[q]{
		id:    "queues",
		title: "queue, interrupt, CPU",
		about: func(x q) model.Subject { return aboutDevice(x.Device, v.namespace(x.NetnsInode)) },
		empty: "no device reported its queues",
		rows:  slices.Clone(v.snap.Queues),
		sort:  -1,
		ident: func(x q) string { return fmt.Sprint(x.NetnsInode, x.Device, x.Ifindex, x.Direction, x.Queue) },
		cols: []column[q]{
			textColumn("device", 10, 1, 0, func(x q) string { return inNamespace(x.Device, v.namespace(x.NetnsInode)) }),
			textColumn("queue", 6, 0, 0, func(x q) string { return fmt.Sprintf("%s-%d", x.Direction, x.Queue) }),
			textColumn("irq", 5, 0, 0, func(x q) string {
				if x.IRQ == 0 {
					return none
				}
				return strconv.FormatInt(x.IRQ, 10)
			}),
			textColumn("irq on CPUs", 11, 1, 0, func(x q) string { return cmp.Or(x.IRQCPUs, none) }),
			textColumn("RPS or XPS", 10, 1, 0, func(x q) string { return cmp.Or(x.RPSCPUs, "off") }),
			textColumn("ring", 6, 0, 1, func(x q) string {
				if x.Ring == 0 {
					return none
				}
				return strconv.FormatUint(x.Ring, 10)
			}),
		},
	}
}

func (u *ui) softnetGrid(v *view) *grid[softnetSeries] {
	type r = softnetSeries
	rate := func(title string, drop int, value func(*fold.FrameSoftnet) float32) column[r] {
		number := func(x r) float64 { return measured(x.Value.Measured, value(&x.Value)) }
		return numberColumn(title, 9, drop, number, formatCount)
	}
	return &grid[r]{
		id:    "softnet",
		title: "softnet by CPU, per second",
		about: func(x r) model.Subject { return aboutCPU(x.Key.CPU) },
		empty: v.nothing("nic", "none yet"),
		rows:  collect(v, window, softnetRows),
		sort:  1,
		desc:  true,
		ident: func(x r) string { return cpuName(x.Key.CPU) },
		cols: []column[r]{
			{
				title:  "cpu",
				w:      4,
				right:  true,
				number: func(x r) float64 { return float64(x.Key.CPU) },
				draw:   func(l *line, w int, x r) { l.field(plain, cpuName(x.Key.CPU), w, true) },
			},
			rate("packets", 0, func(s *fold.FrameSoftnet) float32 { return s.Processed }),
			rate("dropped", 0, func(s *fold.FrameSoftnet) float32 { return s.Dropped }),
			rate("squeezed", 1, func(s *fold.FrameSoftnet) float32 { return s.Squeezed }),
			rate("by RPS", 2, func(s *fold.FrameSoftnet) float32 { return s.RPS }),
			rate("flow lim", 4, func(s *fold.FrameSoftnet) float32 { return s.FlowLimit }),
			rate("backlog", 3, func(s *fold.FrameSoftnet) float32 { return s.Backlog }),
			sparkColumn("each bar 1 s", 12, 1, 5, accent, 0, func(x r, n int) []float32 {
				return trace(v, n, x.ID, softnetRows, unmeasured, func(s *fold.FrameSoftnet) float32 { return s.Processed })
			}),
		},
	}
}

// socketGrid lists receive queues that filled up or dropped.
func (u *ui) socketGrid(v *view, id string) *grid[socketSeries] {
	type r = socketSeries
	share := func(x r) float64 {
		if x.Value.Limit == 0 {
			return math.NaN() // nothing was read in this second
		}
		return float64(x.Value.Queued / x.Value.Limit)
	}
	g := &grid[r]{
		id:    id,
		title: "socket queues over half full or dropping",
		empty: v.nothing("drop", "none reported in the last 10 s"),
		rows:  collect(v, 10, socketRows),
		sort:  2,
		desc:  true,
		ident: func(x r) string { return fmt.Sprint(x.Key) },
		about: func(x r) model.Subject {
			s := aboutProcess(x.Key.Process, x.Key.PID)
			s.Protocol, s.Port = x.Key.Protocol.String(), x.Key.Port
			return s
		},
		find: func(x r) string {
			return socketName(x.Key.Protocol, x.Key.Port) + " " + processName(x.Key.Process, x.Key.PID)
		},
		cols: []column[r]{
			textColumn("socket", 10, 0, 0, func(x r) string { return socketName(x.Key.Protocol, x.Key.Port) }),
			textColumn("process", 12, 1, 0, func(x r) string { return processName(x.Key.Process, x.Key.PID) }),
			numberColumn("drops/s", 8, 0, func(x r) float64 { return float64(x.Value.Dropped) }, formatCount),
			numberColumn("full", 7, 0, share, formatPercent),
			numberColumn("limit", 9, 2, func(x r) float64 { return float64(x.Value.Limit) }, func(n float64) string {
				if n == 0 {
					return none
				}
				return formatBytes(n)
			}),
			numberColumn("not read for", 12, 1, func(x r) float64 { return float64(x.Value.Idle) }, func(n float64) string {
				if n == 0 {
					return none
				}
				return formatNanos(n)
			}),
		},
	}
	withService(g, 1, func(x r) string { return service.Of(x.Key.Protocol, x.Key.Port) })
	return g
}

// counterGrid lists counters that have no page of their own.
func (u *ui) counterGrid(v *view) *grid[fold.CounterTotal] {
	series := map[fold.CounterSeries]counterSeries{}
	for _, r := range collect(v, window, counterRows) {
		series[r.Key] = r
	}
	rows := slices.Clone(v.snap.Counters)
	for i := range rows {
		if r, ok := series[rows[i].Key]; ok {
			rows[i].Value = r.Value.Value
		}
	}
	return &grid[fold.CounterTotal]{id: "counters", title: "counters", empty: "none in this stream", rows: rows, sort: 0,
		ident: func(c fold.CounterTotal) string { return fmt.Sprint(c.Key) },
		cols: []column[fold.CounterTotal]{
			textColumn("counter", 24, 2, 0, func(c fold.CounterTotal) string { return c.Key.Name }),
			textColumn("instance", 8, 1, 1, func(c fold.CounterTotal) string {
				if c.Key.Instance == "" && c.Key.CPU >= 0 {
					return "CPU " + cpuName(c.Key.CPU)
				}
				return c.Key.Instance
			}),
			{
				title:  "value",
				w:      9,
				right:  true,
				number: func(c fold.CounterTotal) float64 { return c.Value },
				draw: func(l *line, w int, c fold.CounterTotal) {
					if c.Key.Mode == model.CounterShare {
						l.field(plain, formatPercent(c.Value), w, true)
						return
					}
					l.field(plain, formatCount(c.Value), w, true)
				},
			},
			textColumn("unit", 10, 0, 2, func(c fold.CounterTotal) string {
				switch c.Key.Mode {
				case model.CounterTotal, model.CounterRate:
					return strings.TrimSuffix(c.Key.Unit, "/s") + "/s"
				case model.CounterShare:
					return ""
				}
				return c.Key.Unit
			}),
			{title: "each bar 1 s", w: 12, flex: 1, drop: 3, draw: func(l *line, w int, c fold.CounterTotal) {
				if r, ok := series[c.Key]; ok {
					value := func(c *fold.FrameCounter) float32 { return float32(c.Value) }
					l.spark(accent, trace(v, min(w, maxSpark), r.ID, counterRows, unmeasured, value), 0)
				}
			}},
		}}
}

// eventGrid lists what happened to the devices, the latest first.
func (u *ui) eventGrid(v *view) *grid[model.DeviceEvent] {
	rows := slices.Clone(v.snap.DeviceEvents)
	slices.Reverse(rows)
	return &grid[model.DeviceEvent]{id: "events", title: "device changes", rows: rows, sort: -1,
		ident: func(e model.DeviceEvent) string { return fmt.Sprint(e.Time, e.NetnsInode, e.Device, e.What) },
		cols: []column[model.DeviceEvent]{
			textColumn("when", 12, 0, 0, func(e model.DeviceEvent) string { return formatMillis(e.Time, u.loc) }),
			textColumn("device", 10, 0, 0, func(e model.DeviceEvent) string {
				return inNamespace(e.Device, v.namespace(e.NetnsInode))
			}),
			textColumn("what", 12, 0, 0, func(e model.DeviceEvent) string { return e.What }),
			textColumn("detail", 20, 1, 1, func(e model.DeviceEvent) string { return e.Detail }),
		}}
}
