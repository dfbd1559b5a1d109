package starvation

import (
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"time"

	"lostbeat/model"
)

// judgeThreads finds NAPI threads that cannot keep up: every poll uses its
// whole budget and packets are lost at the device, while NET_RX looks idle.
func (d *starvation) judgeThreads(w *detect.Tick) {
	s := d.settings
	for _, t := range napiThreads(w) {
		drops, source := d.threadDrops(w, t.device)
		key := "napi/" + t.device.Name
		lossy := drops >= s.MinDrops && fold.Ratio(float64(drops), float64(drops+t.window.Packets)) >= s.DropShare
		var in *detect.Case[starved]
		switch {
		case lossy && t.window.FullShare() >= s.FullPollShare:
			fresh := d.cases.Get(key) == nil
			in = d.cases.Raise(w, key, w.FirstSecond(func(slot int) bool { return source.Seconds[slot].Drops() > 0 }))
			if fresh {
				in.Data = starved{
					pattern:    threaded,
					cpu:        t.cpu.ID,
					device:     t.device,
					deviceBase: source.DeviceTotal + source.RingTotal - drops,
					napi:       t.before,
				}
			}
		case drops > 0:
			in = d.cases.Keep(w, key)
		}
		if in == nil {
			continue
		}
		w.Claim(detect.DeviceDrops{Device: source.Key})
		w.Claim(detect.DeviceDrops{Device: t.device})
		data := &in.Data
		data.napi.Add(t.second)
		data.deviceDrops = source.DeviceTotal + source.RingTotal - data.deviceBase
		// What the CPUs did is that of the worst window: at the end of a fault
		// there is nothing left to see.
		if drops > data.worstDrops {
			data.worstDrops, data.cpu = drops, t.cpu.ID
			data.facts, data.others = t.cpu.Sum.Clone(), d.otherCPUs(w, t.cpu.ID)
		}
	}
}

// napiThread is a device that is polled by a thread of its own, which may run
// on several CPUs.
type napiThread struct {
	device fold.DeviceKey
	// cpu is the one on which most packets were handled.
	cpu *fold.CPU
	// window are its polls within the window, second those of the second being
	// judged, before the rest.
	window, second, before fold.NAPI
}

// napiThreads returns the devices whose polls are made by threads.
func napiThreads(w *detect.Tick) []napiThread {
	var list []napiThread
	index := map[fold.DeviceKey]int{}
	for _, c := range w.SortedCPUs() {
		for _, n := range c.Sum.NAPI {
			if n.Device.Name == "" || n.Threaded*10 < n.Polls*9 || n.Threaded == 0 {
				continue
			}
			i, known := index[n.Device]
			if !known {
				i = len(list)
				index[n.Device] = i
				list = append(list, napiThread{device: n.Device, cpu: c})
			}
			t := &list[i]
			if n.Packets > napiOf(t.cpu.Sum.NAPI, n.Device).Packets {
				t.cpu = c
			}
			t.window.Add(n)
			for _, slot := range w.Recent() {
				if s := napiOf(c.Seconds[slot].NAPI, n.Device); slot == w.Slot {
					t.second.Add(s)
				} else {
					t.before.Add(s)
				}
			}
		}
	}
	return list
}

func napiOf(list []fold.NAPI, device fold.DeviceKey) fold.NAPI {
	for _, n := range list {
		if n.Device == device {
			return n
		}
	}
	return fold.NAPI{}
}

// threadDrops returns the packets lost in front of a threaded device: in its
// own ring, or, for a veth, at the peer that transmits into it.
func (d *starvation) threadDrops(w *detect.Tick, k fold.DeviceKey) (uint64, *fold.Device) {
	own := w.Device(k)
	if n := own.Sum.Ring + own.Sum.Device; n > 0 {
		return n, own
	}
	best, most := own, uint64(0)
	w.Work(50 * len(w.Devices))
	for _, f := range w.SortedDevices() {
		var n uint64
		for _, r := range f.Sum.DeviceReasons {
			if r.Location == "veth_xmit" || w.IsVeth(f.Key) {
				n += r.Count
			}
		}
		if n > most {
			best, most = f, n
		}
	}
	return most, best
}

// describeThread writes the finding of a NAPI thread that cannot keep up.
func (d *starvation) describeThread(w *detect.Tick, in *detect.Case[starved], f *model.Finding) {
	data := &in.Data
	ongoing := in.Ongoing()
	dev := fold.Printable(data.device.Name)
	n := data.napi
	f.Subject = model.Subject{Kind: "device", Device: dev, CPU: data.cpu, PID: -1, Vector: "NAPI thread"}
	if fold.Ratio(float64(data.deviceDrops), float64(data.deviceDrops+n.Packets)) >= detect.CriticalLoss {
		f.Severity = model.SeverityCritical
	}
	window := time.Duration(w.WindowSeconds()) * time.Second
	var netRX time.Duration
	if v := data.facts.Vector("NET_RX"); v != nil {
		netRX = v.Busy
	}
	rxShare := data.facts.Share(netRX, window)
	f.Title = fmt.Sprintf(
		"The NAPI thread of %s on CPU %d %s not keep up while NET_RX looks idle (%s): %s packets lost in %s",
		dev,
		data.cpu,
		words.Tense(ongoing, "does", "did"),
		words.Percent(rxShare),
		words.Number(data.deviceDrops),
		words.Span(max(in.Seen.Sub(in.Start), time.Second)),
	)
	full := n.FullShare()
	f.Evidence = []model.Evidence{
		detect.Evidence("lost before the device was polled", float64(data.deviceDrops), "packets"),
		detect.Evidence("polls that used their whole budget", full, "ratio"),
		detect.Evidence("polls by the NAPI thread", float64(n.Threaded), "polls"),
		detect.Evidence("packets handled in that time", float64(n.Packets), "packets"),
		detect.Evidence(fmt.Sprintf("most packets lost within %s", words.Span(window)), float64(data.worstDrops), "packets"),
		detect.Evidence(fmt.Sprintf("CPU %d time in NET_RX then", data.cpu), rxShare, "ratio"),
		detect.Evidence(fmt.Sprintf("CPU %d busy then", data.cpu), data.facts.BusyShare(window), "ratio"),
	}
	for _, o := range data.others[:min(len(data.others), 8)] {
		f.Evidence = append(f.Evidence, detect.Evidence(fmt.Sprintf("CPU %d busy then", o.ID), o.Busy, "ratio"))
	}
	f.Causes = []string{
		fmt.Sprintf(
			"%s is polled by its own kernel thread (threaded NAPI), and %s of its polls left packets waiting",
			dev,
			words.Percent(full),
		),
		"Time in a NAPI thread does not count as softirq time, so tools that watch softirqs do not show it",
	}
	f.RuledOut = []string{fmt.Sprintf("not NET_RX: it has %s of CPU %d", words.Percent(rxShare), data.cpu)}
	if others := idlest(data.others); others != "" && !busiest(data.others) {
		f.RuledOut = append(f.RuledOut, "too few CPUs: "+others)
	}
	f.Advice = []string{
		fmt.Sprintf(
			"Spend less time on the packets of %s (filter rules, tc, XDP), or give its thread a CPU of its own (taskset -p, "+
				"chrt -f), unless the thread already has a CPU to itself",
			dev,
		),
		fmt.Sprintf(
			"Spread it: more queues (ethtool -L %s), or RPS on its queues, unless all packets belong to one flow",
			dev,
		),
		fmt.Sprintf(
			"Give the work back to NET_RX (echo 0 > /sys/class/net/%s/threaded), unless it was made threaded to protect "+
				"other softirqs",
			dev,
		),
	}
}
