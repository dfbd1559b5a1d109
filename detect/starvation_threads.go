package detect

import (
	"fmt"
	"slices"
	"time"

	"lostbeat/model"
)

// judgeThreads finds NAPI threads that cannot keep up: every poll uses its
// whole budget and packets are lost at the device, while NET_RX looks idle.
func (d *starvation) judgeThreads(w *world) {
	s := d.settings
	for _, t := range w.napiThreads() {
		drops, source := d.threadDrops(w, t.device)
		key := "napi/" + t.device.name
		lossy := drops >= s.MinDrops && ratio(float64(drops), float64(drops+t.window.packets)) >= s.DropShare
		var in *incident[starved]
		switch {
		case lossy && t.window.fullShare() >= s.FullPollShare:
			fresh := d.cases.incidents[key] == nil
			in = d.cases.raise(w, key, w.firstSecond(func(slot int) bool { return source.seconds[slot].drops() > 0 }))
			if fresh {
				in.data = starved{
					pattern:    threaded,
					cpu:        t.cpu.id,
					device:     t.device,
					deviceBase: source.deviceTotal + source.ringTotal - drops,
					napi:       t.before,
				}
			}
		case drops > 0:
			in = d.cases.keep(w, key)
		}
		if in == nil {
			continue
		}
		w.explained[source.key], w.explained[t.device] = true, true
		data := &in.data
		data.napi.add(t.second)
		data.deviceDrops = source.deviceTotal + source.ringTotal - data.deviceBase
		// What the CPUs did is told of the worst window: at the end of a fault
		// there is nothing left to see.
		if drops > data.worstDrops {
			data.worstDrops, data.cpu = drops, t.cpu.id
			data.facts, data.others = t.cpu.sum.clone(), d.otherCPUs(w, t.cpu.id)
		}
	}
}

// napiThread is a device that is polled by a thread of its own, which may run
// on several CPUs.
type napiThread struct {
	device deviceKey
	// cpu is the one on which most packets were handled.
	cpu *cpuFacts
	// window are its polls within the window, second those of the second being
	// judged, before the rest.
	window, second, before napiFacts
}

// napiThreads returns the devices whose polls are made by threads.
func (w *world) napiThreads() []napiThread {
	var list []napiThread
	for _, c := range w.cpuList() {
		for _, n := range c.sum.napi {
			if n.device.name == "" || n.threaded*10 < n.polls*9 || n.threaded == 0 {
				continue
			}
			i := slices.IndexFunc(list, func(t napiThread) bool { return t.device == n.device })
			if i < 0 {
				i = len(list)
				list = append(list, napiThread{device: n.device, cpu: c})
			}
			t := &list[i]
			if n.packets > napiOf(t.cpu.sum.napi, n.device).packets {
				t.cpu = c
			}
			t.window.add(n)
			for _, slot := range w.recent() {
				if s := napiOf(c.seconds[slot].napi, n.device); slot == w.slot {
					t.second.add(s)
				} else {
					t.before.add(s)
				}
			}
		}
	}
	return list
}

func napiOf(list []napiFacts, device deviceKey) napiFacts {
	for _, n := range list {
		if n.device == device {
			return n
		}
	}
	return napiFacts{}
}

// fullShare is the share of the polls that used their whole budget.
func (n *napiFacts) fullShare() float64 { return ratio(float64(n.full), float64(n.polls)) }

// threadDrops returns the packets lost in front of a threaded device: in its
// own ring, or, for a veth, at the peer that transmits into it.
func (d *starvation) threadDrops(w *world, k deviceKey) (uint64, *deviceFacts) {
	own := w.device(k)
	if n := own.sum.ring + own.sum.device; n > 0 {
		return n, own
	}
	best, most := own, uint64(0)
	for _, f := range w.deviceList() {
		var n uint64
		for _, r := range f.sum.deviceReasons {
			if r.location == "veth_xmit" || w.isVeth(f.key) {
				n += r.count
			}
		}
		if n > most {
			best, most = f, n
		}
	}
	return most, best
}

// describeThread writes the finding of a NAPI thread that cannot keep up.
func (d *starvation) describeThread(w *world, in *incident[starved], f *model.Finding) {
	data := &in.data
	ongoing := in.touchedOrOpen()
	dev := clean(data.device.name)
	n := data.napi
	f.Subject = model.Subject{Kind: "device", Device: dev, CPU: data.cpu, PID: -1, Vector: "NAPI thread"}
	if ratio(float64(data.deviceDrops), float64(data.deviceDrops+n.packets)) >= criticalLoss {
		f.Severity = model.SeverityCritical
	}
	window := time.Duration(w.windowSeconds()) * time.Second
	var netRX time.Duration
	if v := data.facts.vector("NET_RX"); v != nil {
		netRX = v.busy
	}
	rxShare := data.facts.share(netRX, window)
	f.Title = fmt.Sprintf(
		"The NAPI thread of %s on CPU %d %s not keep up while NET_RX looks idle (%s): %s packets lost in %s",
		dev,
		data.cpu,
		tense(ongoing, "does", "did"),
		percent(rxShare),
		number(data.deviceDrops),
		span(max(in.seen.Sub(in.start), time.Second)),
	)
	full := n.fullShare()
	f.Evidence = []model.Evidence{
		evidence("lost in front of the device", float64(data.deviceDrops), "packets"),
		evidence("polls that used their whole budget", full, "ratio"),
		evidence("polls by the NAPI thread", float64(n.threaded), "polls"),
		evidence("packets handled meanwhile", float64(n.packets), "packets"),
		evidence(fmt.Sprintf("most packets lost within %s", span(window)), float64(data.worstDrops), "packets"),
		evidence(fmt.Sprintf("CPU %d time in NET_RX then", data.cpu), rxShare, "ratio"),
		evidence(fmt.Sprintf("CPU %d busy then", data.cpu), data.facts.busyShare(window), "ratio"),
	}
	for _, o := range data.others[:min(len(data.others), 8)] {
		f.Evidence = append(f.Evidence, evidence(fmt.Sprintf("CPU %d busy then", o.id), o.busy, "ratio"))
	}
	f.Causes = []string{
		fmt.Sprintf(
			"%s is polled by its own kernel thread (threaded NAPI), and %s of its polls ended with packets still waiting",
			dev,
			percent(full),
		),
		"time in a NAPI thread is no softirq time: tools that watch softirqs see nothing",
	}
	f.RuledOut = []string{fmt.Sprintf("not NET_RX: it has %s of CPU %d", percent(rxShare), data.cpu)}
	if others := idlest(data.others); others != "" && !busiest(data.others) {
		f.RuledOut = append(f.RuledOut, "not a lack of processors: "+others)
	}
	f.Advice = []string{
		fmt.Sprintf(
			"make the packets of %s cheaper (filter rules, tc, XDP), or give its thread a CPU of its own (taskset -p, chrt "+
				"-f); not when the thread already has a CPU to itself",
			dev,
		),
		fmt.Sprintf(
			"spread it: more queues (ethtool -L %s), or RPS on its queues; not when all packets belong to one flow",
			dev,
		),
		fmt.Sprintf(
			"echo 0 > /sys/class/net/%s/threaded gives the work back to NET_RX; not when it was made threaded to protect "+
				"other softirqs",
			dev,
		),
	}
}
