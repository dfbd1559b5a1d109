package starvation

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

// overflow judges losses at the CPU's backlog that its deferred work does not
// explain by itself, by the worst second of the window: most faults of this kind
// are shorter than a window.
func (d *starvation) overflow(w *detect.Tick, c *fold.CPU) (judgement, bool) {
	s := d.settings
	drops := c.Sum.Softnet.Dropped
	if drops < s.MinDrops {
		return judgement{}, false
	}
	slot := w.Slot
	for _, i := range w.Recent() {
		if c.Seconds[i].Softnet.Dropped > c.Seconds[slot].Softnet.Dropped {
			slot = i
		}
	}
	second := &c.Seconds[slot]
	p, top := d.reason(w, second)
	if w.Slot != slot && c.Seconds[w.Slot].Softnet.Dropped > 0 {
		// Each second speaks for itself; the worst one decides whether it is a fault.
		second, slot = &c.Seconds[w.Slot], w.Slot
		p, top = d.reason(w, second)
	}
	share := fold.Ratio(float64(drops), float64(drops+c.Sum.Softnet.Processed))
	plain := d.lossy(&c.Sum) || d.isBurst(w, c)
	if p == shallow || p == limited || d.cases.IsOpen("cpu"+strconv.Itoa(int(c.ID))) {
		plain = plain || share >= s.SmallBacklogShare
	}
	if !plain {
		return judgement{}, false
	}
	j := judgement{
		pattern: p, top: top, share: second.Share(top.Busy, time.Second), second: second, slot: slot,
	}
	if p == programs || p == crowded {
		j.holder = d.holderOf(w, c.ID)
	}
	if p == crowded && j.holder.realTime() && top.MaxWait >= s.BacklogWait.Std() {
		j.pattern = programs
	}
	return j, true
}

// isBurst says that one second of the window lost so much that it is proof enough.
func (d *starvation) isBurst(w *detect.Tick, c *fold.CPU) bool {
	return slices.ContainsFunc(w.Recent(), func(slot int) bool {
		return c.Seconds[slot].Softnet.Dropped >= d.settings.BurstDrops && d.lossy(&c.Seconds[slot])
	})
}

// defaultBacklog is net.core.netdev_max_backlog unless somebody changes it, in packets.
const defaultBacklog = 1000

// arrived is how many packets came, on average, during the longest wait of NET_RX in a second.
func arrived(c *fold.CPUSecond, netRX *fold.Work) float64 {
	return float64(c.Softnet.Processed+c.Softnet.Dropped) * netRX.MaxWait.Seconds()
}

// tooSmall says that the backlog was set to less than its default, which would have held what came while NET_RX waited.
func tooSmall(w *detect.Tick, c *fold.CPUSecond, netRX *fold.Work) bool {
	limit := setting(w, "netdev_max_backlog")
	return limit > 0 && limit < defaultBacklog && arrived(c, netRX) < defaultBacklog
}

// backlogPolls are the polls of a CPU's backlog, which is no device and has no index.
func backlogPolls(c *fold.CPUSecond) (n fold.NAPI) {
	if i := slices.IndexFunc(c.NAPI, func(n fold.NAPI) bool { return n.Device.Ifindex == 0 }); i >= 0 {
		n = c.NAPI[i]
	}
	return n
}

// fullPolls is the share of the polls of a backlog that may use their whole budget: one that overflows as it is not
// emptied in time has hardly any others.
const fullPolls = 0.1

// emptied says that the polls of a CPU's backlog left nothing in it, but few. On PREEMPT_RT since Linux 6.10, a thread
// makes them, not NET_RX.
func emptied(c *fold.CPUSecond) bool {
	n := backlogPolls(c)
	return n.Polls > 0 && float64(n.Full) <= fullPolls*float64(n.Polls)
}

// reason says why a backlog overflowed in a second, and returns what is known of NET_RX then.
func (d *starvation) reason(w *detect.Tick, c *fold.CPUSecond) (pattern, *fold.Work) {
	s := d.settings
	netRX := c.Vector("NET_RX")
	known := netRX != nil
	if !known {
		netRX = &fold.Work{Class: model.ClassSoftirq, Name: "NET_RX"}
	}
	share := c.Share(netRX.Busy, time.Second)
	late := netRX.MaxWait >= s.BacklogWait.Std()
	tasks := fold.TaskShare(c)
	switch {
	case c.Softnet.FlowLimit*2 >= c.Softnet.Dropped && c.Softnet.FlowLimit > 0:
		return limited, netRX
	case d.squeezedEarly(c, netRX):
		return budgeted, netRX
	case !known && emptied(c):
		return shallow, netRX
	case !known:
		return overflowed, netRX
	case c.Share(c.Deferred(), time.Second) >= s.BusyShare && c.Share(c.Top().Busy, time.Second) >= s.SharedBusyShare:
		return saturated, c.Top()
	case share >= s.SharedBusyShare && fold.IdleShare(c) < 0.1 && c.Time.Covered > 0 && share >= tasks:
		return crowded, netRX
	case share < s.ShallowShare && late && tooSmall(w, c, netRX):
		return shallow, netRX
	case tasks >= max(share, 0.1) && !d.stoodStill(w, c) && (late || share >= s.ShallowShare && tasks >= 0.5):
		return programs, netRX
	case share < s.ShallowShare && !late:
		return shallow, netRX
	case share >= s.ShallowShare:
		return burst, netRX
	}
	return overflowed, netRX
}

// deviceOf returns the device whose packets the CPU handles: the one that loses
// most at backlogs, else the one polled most here. Where several CPUs lose packets
// of several devices, it is the one whose receive work is sent to this CPU, or that
// lost as many packets as this CPU; none where that is not clear.
func (d *starvation) deviceOf(w *detect.Tick, c *fold.CPU) fold.DeviceKey {
	var sums []fold.DeviceCount
	if c.Sum.Softnet.Dropped > 0 {
		for _, slot := range w.Recent() {
			for _, dc := range w.Backlog[slot] {
				sums = fold.AddDevice(sums, dc.Device, dc.Count)
			}
		}
	}
	if len(sums) > 1 && losingCPUs(w) > 1 {
		own := slices.DeleteFunc(slices.Clone(sums), func(dc fold.DeviceCount) bool {
			return !sendsTo(w, dc.Device, c.ID)
		})
		if len(own) != 1 {
			lost := float64(c.Sum.Softnet.Dropped)
			own = slices.DeleteFunc(slices.Clone(sums), func(dc fold.DeviceCount) bool {
				return float64(dc.Count) < 0.95*lost || float64(dc.Count) > 1.05*lost
			})
		}
		if len(own) != 1 {
			return fold.DeviceKey{}
		}
		return own[0].Device
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	for _, n := range c.Sum.NAPI {
		if n.Device.Ifindex != 0 {
			sums = fold.AddDevice(sums, n.Device, n.Packets)
		}
	}
	if best, ok := mostOf(sums); ok {
		return best
	}
	return fold.DeviceKey{}
}

// losingCPUs is on how many CPUs packets were lost at the backlog in the window.
func losingCPUs(w *detect.Tick) (n int) {
	for _, c := range w.CPUs {
		if c.Sum.Softnet.Dropped > 0 {
			n++
		}
	}
	return n
}

// sendsTo says that RPS sends receive work of a device to a CPU.
func sendsTo(w *detect.Tick, device fold.DeviceKey, cpu int32) bool {
	for _, q := range w.ReceiveQueues(device) {
		if listed(q.RPSCPUs, cpu) {
			return true
		}
	}
	return false
}

// listed says that a list of CPUs in the kernel's form (0-3,8) has a CPU.
func listed(list string, cpu int32) bool {
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err == nil && err2 == nil && low <= int(cpu) && int(cpu) <= high {
			return true
		}
	}
	return false
}

func mostOf(list []fold.DeviceCount) (best fold.DeviceKey, ok bool) {
	var most uint64
	for _, dc := range list {
		if dc.Device.Name != "" && (dc.Count > most || dc.Count == most && ok && fold.CompareDevices(dc.Device, best) < 0) {
			best, most, ok = dc.Device, dc.Count, true
		}
	}
	return best, ok
}
