package starvation

import (
	"fmt"
	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"slices"
	"strings"
	"time"

	"lostbeat/model"
)

// describe writes the finding of a starved CPU or NAPI thread.
func (d *starvation) describe(w *detect.Tick, in *detect.Case[starved]) model.Finding {
	data := &in.Data
	f := model.Finding{
		Severity: model.SeverityWarning,
		Subject:  model.Subject{Kind: "cpu", CPU: data.cpu, PID: -1, Device: fold.Printable(data.device.Name)},
	}
	if data.work.Driver != "" {
		f.Subject.Driver = fold.Printable(data.work.Driver)
	} else {
		f.Subject.Vector = fold.Printable(data.work.Name)
	}
	switch data.pattern {
	case threaded:
		d.describeThread(w, in, &f)
		return f
	case unproven:
		if len(data.silences) == 0 {
			f.Severity = model.SeverityInfo
		}
	case storm:
		if data.dropped == 0 && data.late == 0 && data.deviceDrops == 0 {
			f.Severity = model.SeverityInfo
		}
	}
	if h := data.culprit(); h.known() && data.pattern == held {
		f.Subject.PID, f.Subject.Process = h.pid, fold.Printable(h.task)
	}
	if d.lossShare(data) >= detect.CriticalLoss || data.dropped >= 100_000 {
		f.Severity = model.SeverityCritical
	}
	f.Title = d.title(w, in)
	f.Evidence = append(d.numbers(in), silenceEvidence(w, data.silences)...)
	f.Causes = d.causes(w, in)
	f.RuledOut = d.ruledOut(w, in)
	f.Advice = d.advice(w, in)
	return f
}

// lossShare is the share of the packets for this CPU that were dropped since the fault began.
func (d *starvation) lossShare(data *starved) float64 {
	return fold.Ratio(float64(data.dropped), float64(data.dropped+data.processed))
}

func (d *starvation) title(w *detect.Tick, in *detect.Case[starved]) string {
	data := &in.Data
	ongoing := in.Ongoing()
	work := fold.Printable(data.work.Label())
	if data.device.Name != "" && data.work.Name == "NET_RX" {
		work += " for " + fold.Printable(data.device.Name)
	}
	end := in.Seen
	if data.lastLoss > 0 && data.deviceDrops == 0 {
		end = data.lastLoss
	}
	length := words.Span(max(end.Sub(in.Start), time.Second))
	lost := ""
	if n := data.dropped + data.deviceDrops; n > 0 {
		lost = fmt.Sprintf("%s lost in %s", words.Plural(n, "packet"), length)
	}
	switch data.pattern {
	case blocked:
		return fmt.Sprintf(
			"Long runs of %s on CPU %d %s its other softirqs: %s, longest %s (%s)",
			work,
			data.cpu,
			words.Tense(ongoing, "delay", "delayed"),
			words.Plural(data.late, "wait"),
			words.Span(data.worstLate.Wait),
			fold.Printable(data.worstLate.Name),
		)
	case budgeted:
		return fmt.Sprintf(
			"NET_RX on CPU %d %s after %s per run: netdev_budget is too small; %s",
			data.cpu,
			words.Tense(ongoing, "yields", "yielded"),
			words.Plural(data.facts.Softnet.Processed/max(data.work.Count, 1), "packet"),
			lost,
		)
	case crowded:
		tasks := ""
		if share := fold.TaskShare(&data.facts); share >= 0.2 {
			tasks = ", programs " + words.Percent(share)
			if h := data.culprit(); h.known() {
				tasks += " (among them " + h.name() + ")"
			}
		}
		return fmt.Sprintf(
			"CPU %d %s saturated: %s %s %s of it%s: %s",
			data.cpu,
			words.Tense(ongoing, "has", "had"),
			work,
			words.Tense(ongoing, "takes", "took"),
			words.Percent(data.share()),
			tasks,
			lost,
		)
	case programs, shallow, limited, burst, overflowed, held, storm:
		return d.titleOfNew(w, in, lost)
	case unproven:
		if h := longestHush(data.silences, w.Now); h != nil {
			title := fmt.Sprintf(
				"CPU %d %s %s of its time in DPCs of %s; %s received nothing for %s (normally a packet every %s)",
				data.cpu,
				words.Tense(ongoing, "spends", "spent"),
				words.Percent(data.worstShare),
				work,
				h.name(),
				words.Span(h.length(w.Now)),
				words.Span(h.usual),
			)
			if n := len(data.silences) - 1; n > 0 {
				title += "; " + words.Plural(n, "other silence")
			}
			return title
		}
		outcome := "the capture has no data that would show what it delayed"
		if data.regular > 0 {
			outcome = "nothing was seen to be delayed"
		}
		return fmt.Sprintf(
			"CPU %d %s %s of its time in DPCs of %s; %s",
			data.cpu,
			words.Tense(ongoing, "spends", "spent"),
			words.Percent(data.worstShare),
			work,
			outcome,
		)
	}
	title := fmt.Sprintf(
		"CPU %d %s %s of its time in %s",
		data.cpu,
		words.Tense(ongoing, "spends", "spent"),
		words.Percent(data.share()),
		work,
	)
	if lost != "" {
		beside := ""
		if h := data.culprit(); h.realTime() && fold.TaskShare(&data.facts) >= 0.1 {
			beside = " beside " + h.name()
		}
		return fmt.Sprintf("%s and %s not keep up%s: %s", title, words.Tense(ongoing, "does", "did"), beside, lost)
	}
	return fmt.Sprintf(
		"%s and %s %s of other work, longest delay %s (%s)",
		title,
		words.Tense(ongoing, "delays", "delayed"),
		words.Plural(data.late, "run"),
		words.Span(data.worstLate.Wait),
		fold.Printable(data.worstLate.Name),
	)
}

func (d *starvation) numbers(in *detect.Case[starved]) []model.Evidence {
	data := &in.Data
	list := []model.Evidence{
		detect.Evidence(
			fmt.Sprintf("CPU %d time in %s, mean", data.cpu, fold.Printable(data.work.Label())), data.share(), "ratio",
		),
		detect.Evidence("largest share", data.worstShare, "ratio"),
	}
	if data.dropped > 0 {
		list = append(
			list,
			detect.Evidence("dropped at the full backlog", float64(data.dropped), "packets"),
			detect.Evidence("share of packets dropped", d.lossShare(data), "ratio"),
		)
	}
	if data.flowLimit > 0 {
		list = append(list, detect.Evidence("dropped by the flow limit", float64(data.flowLimit), "packets"))
	}
	if data.deviceDrops > 0 {
		list = append(list, detect.Evidence("dropped in the device's ring", float64(data.deviceDrops), "packets"))
	}
	if data.late > 0 {
		list = append(
			list,
			detect.Evidence("softirqs that waited too long to run", float64(data.late), "runs"),
			detect.Evidence("longest wait", float64(data.worstLate.Wait), "ns"),
		)
	}
	if cost := packetCost(&data.facts, &data.work); cost > 0 {
		list = append(list, detect.Evidence("time per packet", float64(cost), "ns"))
	}
	if data.work.MaxRun > 0 {
		list = append(
			list, detect.Evidence("longest run of "+fold.Printable(data.work.Label()), float64(data.work.MaxRun), "ns"),
		)
	}
	if data.squeezed > 0 {
		list = append(list, detect.Evidence("time_squeeze", float64(data.squeezed), "times"))
	}
	list = append(list, d.detailNumbers(data)...)
	if k := data.facts.Ksoftirqd; k.MaxWait > 0 {
		list = append(list, detect.Evidence("longest time ksoftirqd waited to run", float64(k.MaxWait), "ns"))
	}
	for _, o := range data.others[:min(len(data.others), 8)] {
		list = append(list, detect.Evidence(fmt.Sprintf("CPU %d busy", o.ID), o.Busy, "ratio"))
	}
	if data.pattern.explainsSockets() || data.pattern == blocked {
		list = append(list, victimLosses(data.victims)...)
	}
	return list
}

// victimLosses says what the victims lost; several sockets of one name, such
// as those of a port that is shared, are added up.
func victimLosses(victims []victim) []model.Evidence {
	var list []model.Evidence
	for _, v := range victims {
		n := v.socket.Total - v.base
		if n == 0 {
			continue
		}
		name := "dropped at the receive queue of " + words.Socket(v.socket)
		if i := slices.IndexFunc(list, func(e model.Evidence) bool { return e.Name == name }); i >= 0 {
			list[i].Value += float64(n)
			continue
		}
		list = append(list, detect.Evidence(name, float64(n), "packets"))
	}
	return list
}

// silenceEvidence lists the silences of flows, the first ones.
func silenceEvidence(w *detect.Tick, list []hush) []model.Evidence {
	var out []model.Evidence
	for i := range list[:min(len(list), 8)] {
		h := &list[i]
		out = append(
			out,
			detect.Evidence("silence of "+h.name()+", normally one packet every "+words.Span(h.usual),
				float64(h.length(w.Now)), "ns"),
		)
	}
	return out
}

func (d *starvation) causes(w *detect.Tick, in *detect.Case[starved]) []string {
	data := &in.Data
	list := d.causesOfNew(w, data)
	switch {
	case data.pattern == shallow || data.pattern == limited:
		return list // what a packet costs has no part in it
	case len(list) > 0 && data.pattern != burst:
		return append(list, d.expensiveCause(data)...)
	}
	if data.pattern == blocked {
		list = append(
			list,
			fmt.Sprintf(
				"%s runs for up to %s at a time on CPU %d; softirqs of one CPU run one after another",
				fold.Printable(data.work.Label()),
				words.Span(data.work.MaxRun),
				data.cpu,
			),
		)
		if l := data.worstLate; l.Wait > 0 {
			list = append(list, fmt.Sprintf("%s was raised and waited %s for it", fold.Printable(l.Name), words.Span(l.Wait)))
		}
		if cost := packetCost(&data.facts, &data.work); cost > d.settings.ExpensivePacket.Std() {
			list = append(
				list,
				fmt.Sprintf(
					"NET_RX needs %s per packet, and a poll handles up to 64 packets before it checks its time limit",
					words.Span(cost),
				),
			)
		}
		return append(list, d.expensiveCause(data)...)
	}
	if data.pattern == budgeted {
		return append(
			list,
			fmt.Sprintf(
				"In %s NET_RX used up its budget, after %s on average, and left work: netdev_budget or "+
					"netdev_budget_usecs is too small%s",
				squeezedRuns(data.facts.Softnet.Squeezed, data.work.Count),
				words.Plural(data.facts.Softnet.Processed/max(data.work.Count, 1), "packet"),
				data.readSettings("netdev_budget", "netdev_budget_usecs", "dev_weight"),
			),
			"The remaining work waits for ksoftirqd, which competes with other tasks for the CPU",
		)
	}
	if layout := d.layout(w, data); layout != "" {
		list = append(list, layout)
	}
	if h := data.culprit(); data.pattern == crowded && (h.known() || len(data.sched.Rivals) > 0) ||
		data.pattern == saturated && h.realTime() {
		list = append(list, d.rivals(w, data)...)
	}
	if cost := packetCost(&data.facts, &data.work); cost >= d.settings.ExpensivePacket.Std() {
		list = append(
			list,
			fmt.Sprintf(
				"NET_RX needs %s per packet: something on its path is expensive (filter rules, tc, XDP, a slow socket)",
				words.Span(cost),
			),
		)
	} else if cost > 0 {
		rate := float64(
			data.facts.Softnet.Processed+data.facts.Softnet.Dropped,
		) / max(data.facts.Softnet.Covered.Seconds(), 1)
		list = append(list, fmt.Sprintf("Packets are cheap to process (%s each), but too many "+
			"arrive: %s per second", words.Span(cost), words.Number(uint64(rate))))
	}
	list = append(list, d.expensiveCause(data)...)
	if data.work.Driver != "" {
		list = append(
			list,
			fmt.Sprintf(
				"The longest routine was %s, %s", fold.Printable(data.work.WorstRoutine),
				words.Span(data.work.WorstRoutineTime),
			),
		)
	}
	if h := longestHush(data.silences, w.Now); h != nil {
		list = append(list, fmt.Sprintf("CPU %d handled the packets for %s until it was busy", data.cpu, h.name()))
	}
	return list
}

// layout says which queues send their work to the CPU, and how idle the others are.
func (d *starvation) layout(w *detect.Tick, data *starved) string {
	if data.work.Name != "NET_RX" || data.device.Name == "" {
		return ""
	}
	dev := fold.Printable(data.device.Name)
	config, known := w.DeviceConfig(data.device)
	queues := w.ReceiveQueues(data.device)
	text := "receive work of " + dev
	var details []string
	if known && config.RXQueues > 0 {
		details = append(details, words.Plural(config.RXQueues, "queue"))
	} else if len(queues) > 0 {
		details = append(details, words.Plural(len(queues), "queue"))
	}
	for _, q := range queues {
		if q.RPSCPUs != "" {
			details = append(details, "RPS of rx-"+words.Itoa(q.Queue)+" to CPU "+fold.Printable(q.RPSCPUs))
		} else if q.IRQCPUs != "" {
			details = append(details, "IRQ of rx-"+words.Itoa(q.Queue)+" on CPU "+fold.Printable(q.IRQCPUs))
		}
		if len(details) == 5 {
			details = append(details, "...")
			break
		}
	}
	if len(queues) <= 1 {
		text = "all " + text
	}
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	text += " runs on CPU " + words.Itoa(data.cpu)
	switch others := idlest(data.others); {
	case others == "":
	case busiest(data.others):
		text += "; the other CPUs are busy too: " + others
	default:
		text += ", while " + others
	}
	return text
}

// idlest says how busy the least busy other CPU is.
func idlest(others []fold.BusyCPU) string {
	if len(others) == 0 {
		return ""
	}
	best := others[0]
	for _, o := range others[1:] {
		if o.Busy < best.Busy {
			best = o
		}
	}
	return fmt.Sprintf("CPU %d is %s busy", best.ID, words.Percent(best.Busy))
}

func (d *starvation) ruledOut(w *detect.Tick, in *detect.Case[starved]) []string {
	data := &in.Data
	t := &data.facts.Time
	var list []string
	if data.regular > 0 && len(data.silences) == 0 {
		list = append(
			list,
			fmt.Sprintf("a silent flow: %s through CPU %d continued", words.Plural(data.regular, "regular flow"), data.cpu),
		)
	}
	if others := idlest(data.others); others != "" && data.pattern != unproven && !busiest(data.others) {
		list = append(list, "too few CPUs: "+others)
	}
	if t.Covered > 0 {
		if user := fold.UserShare(&data.facts); user < 0.5 && data.pattern != programs && data.pattern != held {
			list = append(list, fmt.Sprintf("a program: user code has %s of CPU %d", words.Percent(user), data.cpu))
		}
		list = append(
			list,
			fmt.Sprintf(
				"the hypervisor: it took %s of CPU %d (steal)",
				words.Percent(fold.Ratio(float64(t.Steal), float64(t.Covered))),
				data.cpu,
			),
		)
		if share := fold.Ratio(float64(t.IRQ), float64(t.Covered)); share < 0.1 && data.pattern != storm {
			list = append(list, fmt.Sprintf("hard interrupts: %s of CPU %d", words.Percent(share), data.cpu))
		}
	}
	if data.device.Name != "" && data.deviceDrops == 0 {
		if f := w.Devices[data.device]; f != nil && f.Sum.Ring == 0 {
			text := "the ring: no ring drops on " + fold.Printable(data.device.Name)
			if config, ok := w.DeviceConfig(data.device); ok && config.RingSource != "" {
				text += " (" + fold.Printable(config.RingSource) + ")"
			}
			list = append(list, text)
		}
	}
	if data.squeezed > 0 && data.pattern != budgeted {
		list = append(
			list,
			fmt.Sprintf(
				"time_squeeze (%s) proves nothing: it grows on healthy hosts and can stay at 0 on starved ones",
				words.Number(data.squeezed),
			),
		)
	}
	return list
}

func (d *starvation) advice(w *detect.Tick, in *detect.Case[starved]) []string {
	data := &in.Data
	if data.work.Driver != "" || data.pattern == unproven {
		var list []string
		if len(data.silences) > 0 {
			list = append(
				list,
				"Compare with the sender's log or a packet capture before changing anything: a sender that stopped sending at "+
					"the same time would look the same",
			)
		}
		return append(
			append(list, driverAdvice(fold.Printable(data.work.Driver), fold.Printable(data.work.WorstRoutine))...),
			"Enable RSS if the adapter has more than one queue, unless the traffic is one UDP flow: RSS keeps a flow on one "+
				"CPU, and many adapters hash UDP by address only",
		)
	}
	if list := d.adviceOfNew(w, data); len(list) > 0 {
		return list
	}
	if data.work.Name != "NET_RX" {
		list := []string{
			fmt.Sprintf(
				"Find out what raises %s (record --trace shows each run and the task it interrupted), unless it only runs long "+
					"because the hypervisor stops the CPU",
				fold.Printable(data.work.Label()),
			),
		}
		if hint := vectorAdvice[data.work.Name]; hint != "" {
			list = append(list, hint)
		}
		return list
	}
	var list []string
	dev := fold.Printable(data.device.Name)
	if dev == "" {
		dev = "DEVICE"
	}
	cpus := w.KnownCPUs()
	config, known := w.DeviceConfig(data.device)
	queues := max(int(config.RXQueues), len(w.ReceiveQueues(data.device)))
	cost := packetCost(&data.facts, &data.work)
	switch data.pattern {
	case budgeted:
		list = append(
			list,
			"Raise net.core.netdev_budget (default 300) and netdev_budget_usecs (default 2000), unless tasks on that CPU "+
				"already wait for it: a larger budget takes their time",
		)
	case blocked:
		list = append(
			list,
			"Spend less time on each packet (fewer rules before the match, nft sets or ipset instead of rule lists), unless "+
				"the time per packet is already a few microseconds",
		)
		list = append(
			list,
			fmt.Sprintf(
				"Keep delay-sensitive work off CPU %d (IRQ affinity, RPS, isolcpus), unless it runs there on purpose, next to "+
					"its packets",
				data.cpu,
			),
		)
		return list
	default:
		if l, ok := expensive(data.stacks); ok && l.advice != "" {
			list = append(list, l.advice)
		} else if cost >= d.settings.ExpensivePacket.Std() {
			list = append(
				list,
				fmt.Sprintf(
					"Spend less time on each packet, which takes %s: look at iptables-save -c, nft list ruleset, tc -s filter; not "+
						"needed if a packet takes a few microseconds",
					words.Span(cost),
				),
			)
		}
	}
	if cpus > 1 && data.pattern != blocked {
		guard := "this does not help if all packets belong to one flow (one sender and port): a flow stays on one CPU"
		if busiest(data.others) {
			guard = "this does not help now: the other CPUs are busy too"
		}
		if queues > 1 {
			list = append(
				list,
				fmt.Sprintf(
					"Spread the %d queues of %s over the CPUs: ethtool -X %s equal %d, and one CPU per IRQ "+
						"(/proc/irq/N/smp_affinity); %s",
					queues,
					dev,
					dev,
					queues,
					guard,
				),
			)
		} else {
			reason := "the device has one queue"
			if !known {
				reason = "the number of its queues is not known"
			}
			list = append(list, fmt.Sprintf("Spread it with RPS: echo %s > /sys/class/net/%s/queues/rx-0/rps_cpus (not RSS: "+
				"%s); %s", words.CPUMask(cpus), dev, reason, guard))
		}
	}
	if data.pattern == saturated || data.pattern == crowded {
		list = append(
			list,
			"Do not raise netdev_budget: that gives NET_RX even more of a CPU for which other work waits",
			"A larger net.core.netdev_max_backlog helps only with short bursts; while the CPU is saturated it only adds delay",
		)
	}
	return list
}

// vectorAdvice says where to look for the work of a vector, and when not to.
var vectorAdvice = map[string]string{
	"TIMER": "See which functions of the kernel's timers run there (perf trace -e timer:timer_expire_entry names " +
		"them), unless it happens once, as after a suspend",
	"BLOCK": "Spread the completions of block devices: write 2 to /sys/block/DEVICE/queue/rq_affinity, so that each " +
		"completes on the CPU that issued the request, unless one program on that CPU does all the I/O",
	"TASKLET": "Find the driver that schedules the tasklet (/proc/interrupts shows which interrupts that CPU handles) " +
		"and move its IRQ, unless every CPU is equally busy",
	"RCU": "Find out what frees so much at once (many files or namespaces being closed, route or rule changes); " +
		"rcu_nocbs moves the work to threads; a single occurrence needs no action",
}

// busiest says that no other CPU has time to spare.
func busiest(others []fold.BusyCPU) bool {
	for _, o := range others {
		if o.Busy < 0.7 {
			return false
		}
	}
	return len(others) > 0
}

// squeezedRuns says how many runs left work. The kernel's counter is read a little later than the runs are counted.
func squeezedRuns(squeezed, runs uint64) string {
	if squeezed >= runs {
		return "all " + words.Plural(runs, "run")
	}
	return words.Number(squeezed) + " of " + words.Plural(runs, "run")
}
