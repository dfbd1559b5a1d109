package starvation

import (
	"fmt"
	"strings"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// titleOfNew is the title of a backlog that deferred work does not explain by
// itself, of softirqs that are held back, and of storms of interrupts.
func (d *starvation) titleOfNew(w *detect.Tick, in *detect.Case[starved], lost string) string {
	data := &in.Data
	ongoing := in.Ongoing()
	atBacklog := lost
	if data.dropped > 0 {
		atBacklog = strings.Replace(lost, " lost in ", " lost at its backlog in ", 1)
	}
	switch data.pattern {
	case programs:
		who, verb := "Programs", words.Tense(ongoing, "hold", "held")
		if h := data.culprit(); h.known() {
			who, verb = h.name(), words.Tense(ongoing, "holds", "held")
		}
		return fmt.Sprintf("%s %s CPU %d and its softirqs %s too little of it: %s",
			who, verb, data.cpu, words.Tense(ongoing, "get", "got"), atBacklog)
	case shallow:
		name := "netdev_max_backlog"
		if n := data.settings[name]; n > 0 {
			name += " (" + words.Plural(uint64(n), "packet") + ")"
		}
		return fmt.Sprintf("Bursts %s %s on CPU %d: %s",
			words.Tense(ongoing, "exceed", "exceeded"), name, data.cpu, atBacklog)
	case limited:
		return fmt.Sprintf("The flow limit of CPU %d %s packets of the largest flows: %s",
			data.cpu, words.Tense(ongoing, "drops", "dropped"), atBacklog)
	case burst:
		return fmt.Sprintf("A burst %s more than NET_RX on CPU %d %s: %s", words.Tense(ongoing, "brings", "brought"),
			data.cpu, words.Tense(ongoing, "can handle", "could handle"), atBacklog)
	case held:
		h := data.culprit()
		who := h.name()
		if h.entry != "" || h.function != "" {
			who += " in " + fold.Printable(h.code())
		}
		return fmt.Sprintf("%s %s up the softirqs of CPU %d, longest delay %s (%s)", who,
			words.Tense(ongoing, "holds", "held"), data.cpu, words.Span(data.work.MaxWait), fold.Printable(data.work.Name))
	case storm:
		title := fmt.Sprintf("Hard interrupts %s %s of CPU %d", words.Tense(ongoing, "take", "took"),
			words.Percent(data.share()), data.cpu)
		if data.work.Busy > 0 {
			title += ", mostly " + fold.Printable(data.work.Label())
		}
		if lost != "" {
			title += ": " + lost
		}
		return title
	}
	return fmt.Sprintf("The backlog of CPU %d %s, cause unknown: %s",
		data.cpu, words.Tense(ongoing, "overflows", "overflowed"), atBacklog)
}

// code names the kernel code of a holder: what was called, and where in it the CPU was.
func (h *holder) code() string {
	if h.entry == "" || h.entry == h.function {
		return h.function
	}
	return h.entry + " (" + h.function + ")"
}

// causesOfNew are the causes of the same patterns, none for the others.
func (d *starvation) causesOfNew(w *detect.Tick, data *starved) (list []string) {
	sum := &data.facts
	netRX := &data.work
	share := words.Percent(sum.Share(netRX.Busy, max(sum.Softnet.Covered, time.Second)))
	tasks := words.Percent(fold.TaskShare(sum))
	switch data.pattern {
	case programs:
		list = append(list, fmt.Sprintf("Tasks had %s of CPU %d (user code %s) and NET_RX %s, after waiting up to %s: what "+
			"a softirq leaves is done by ksoftirqd, which competes with tasks for the CPU", tasks, data.cpu,
			words.Percent(fold.UserShare(sum)), share, words.Span(netRX.MaxWait)))
		return append(list, d.rivals(w, data)...)
	case shallow:
		text := fmt.Sprintf("NET_RX kept up: it used %s of CPU %d, never waited longer than %s, and processed %s in the "+
			"same second", share, data.cpu, words.Span(netRX.MaxWait), words.Plural(sum.Softnet.Processed, "packet"))
		switch {
		case netRX.Count == 0:
			n := backlogPolls(sum)
			text = fmt.Sprintf("%s of %s of the backlog of CPU %d emptied it; they took %s in the same second",
				words.Number(n.Polls-n.Full), words.Plural(n.Polls, "poll"), data.cpu,
				words.Plural(sum.Softnet.Processed, "packet"))
		case netRX.MaxWait >= d.settings.BacklogWait.Std():
			text = fmt.Sprintf("NET_RX used %s of CPU %d and waited up to %s, in which about %s "+
				"arrived: the default backlog of 1,000 would have held them", share, data.cpu, words.Span(netRX.MaxWait),
				words.Plural(max(1, uint64(arrived(sum, netRX))), "packet"))
		}
		list = append(list, text)
		if n := data.settings["netdev_max_backlog"]; n > 0 {
			return append(list, fmt.Sprintf("More packets waited at once than "+
				"net.core.netdev_max_backlog allows: it is set to %s (default 1,000)", words.Number(uint64(n))))
		}
		return append(list, "More packets waited at once than net.core.netdev_max_backlog allows; its value was not read "+
			"(default 1,000)")
	case limited:
		return append(list, fmt.Sprintf("The flow limit (net.core.flow_limit_cpu_bitmap) dropped %s of %s: while the "+
			"backlog is more than half full, it drops packets of the largest flows",
			words.Number(data.flowLimit), words.Plural(data.dropped, "packet")))
	case burst:
		return append(list, fmt.Sprintf("%s arrived within a second; NET_RX handled %s of them in %s of that second",
			words.Plural(sum.Softnet.Processed+sum.Softnet.Dropped, "packet"), words.Number(sum.Softnet.Processed), share))
	case overflowed:
		text := fmt.Sprintf("Packets arrived faster than NET_RX on CPU %d took them from its backlog", data.cpu)
		if netRX.Count > 0 {
			text += fmt.Sprintf("; it had %s of the CPU and waited up to %s", share, words.Span(netRX.MaxWait))
		} else {
			text += "; the runs of NET_RX were not recorded"
		}
		if n := backlogPolls(sum); n.Polls > 0 {
			text += fmt.Sprintf("; %s of %s of the backlog used their whole budget", words.Number(n.Full),
				words.Plural(n.Polls, "poll"))
		}
		return append(list, text)
	case held:
		return append(list, d.heldCauses(data)...)
	case storm:
		list = append(list, fmt.Sprintf("Hard interrupts run before softirqs and tasks: CPU %d spent %s of its time in them",
			data.cpu, words.Percent(data.share())))
		if netRX.Count > 0 {
			list = append(list, fmt.Sprintf("%s ran %s in the window, for up to %s", fold.Printable(netRX.Label()),
				words.Plural(netRX.Count, "time"), words.Span(netRX.MaxRun)))
		}
	}
	return list
}

// rivals says who had the CPU while ksoftirqd waited for it.
func (d *starvation) rivals(w *detect.Tick, data *starved) (list []string) {
	waited := data.sched.In(model.SchedWaiting).Total
	for _, r := range data.sched.Rivals {
		if r.PID <= 0 || r.Policy == model.SchedPolicySoftirq || len(list) == maxRivals {
			continue
		}
		h := holder{task: r.Task, pid: r.PID, policy: r.Policy, priority: r.Priority}
		text := fmt.Sprintf("%s ran for %s of the %s that ksoftirqd/%d waited", h.name(), words.Span(r.Run),
			words.Span(waited), data.cpu)
		if r.Cgroup != "" {
			text += ", control group " + fold.Printable(r.Cgroup)
		}
		list = append(list, text)
	}
	if h := data.culprit(); len(list) == 0 && h.samples > 0 && h.function == "" && h.entry == "" {
		list = append(list, fmt.Sprintf("Of %s of CPU %d outside deferred work, %s were of %s",
			words.Plural(h.all, "sample"), data.cpu, words.Number(h.samples), h.name()))
	}
	if len(list) == 0 {
		text := "Which programs these were was not observed"
		if why := w.Refusal(model.RequestSched, ""); why != "" && w.NotSampled(model.RequestSched) == "" {
			text += ": " + fold.Printable(why)
		}
		list = append(list, text)
	}
	return list
}

// maxRivals bounds the tasks that a finding names.
const maxRivals = 3

func (d *starvation) heldCauses(data *starved) []string {
	h := data.culprit()
	if h.entry != "" || h.function != "" {
		return []string{
			fmt.Sprintf("Of %s of CPU %d, %s were in %s, called by %s: it runs with interrupts or softirqs disabled",
				words.Plural(h.all, "sample"), data.cpu, words.Number(h.samples), fold.Printable(h.code()), h.name()),
			fmt.Sprintf("ksoftirqd/%d did not wait for the CPU, but the softirqs did", data.cpu),
		}
	}
	return []string{
		fmt.Sprintf("%s ran for %s of the %s that ksoftirqd/%d waited for the CPU", h.name(), words.Span(h.run),
			words.Span(h.of), data.cpu),
		"ksoftirqd has no real-time priority: its work waits until the task sleeps or the next timer tick",
	}
}

// expensiveCause says where the CPU's softirqs spend their time, where stacks were sampled.
func (d *starvation) expensiveCause(data *starved) []string {
	if l, ok := expensive(data.stacks); ok {
		return []string{l.text(data.cpu)}
	}
	return nil
}

// detailNumbers are the numbers of what was asked for.
func (d *starvation) detailNumbers(data *starved) (list []model.Evidence) {
	if data.pattern.isBacklog() && data.work.MaxWait > 0 {
		list = append(list, detect.Evidence("longest wait of NET_RX", float64(data.work.MaxWait), "ns"))
	}
	if data.pattern == held {
		list = append(list,
			detect.Evidence("softirqs held up within the window", float64(data.work.Held), "runs"),
			detect.Evidence("longest wait", float64(data.work.MaxWait), "ns"))
	}
	if waited := data.sched.In(model.SchedWaiting); waited.Total > 0 {
		list = append(list, detect.Evidence(fmt.Sprintf("ksoftirqd/%d waited for the CPU within the window", data.cpu),
			float64(waited.Total), "ns"))
	}
	if l, ok := expensive(data.stacks); ok {
		list = append(list,
			detect.Evidence("stack samples in softirqs", float64(l.of), "samples"),
			detect.Evidence("of those, in "+fold.Printable(l.function), float64(l.samples), "samples"))
	}
	return list
}

// readSettings quotes settings of net.core as they were read, empty when they were not.
func (data *starved) readSettings(names ...string) string {
	var parts []string
	for _, name := range names {
		if n := data.settings[name]; n > 0 {
			parts = append(parts, name+" is "+words.Number(uint64(n)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// adviceOfNew is what to do about the same patterns, nothing for the others.
func (d *starvation) adviceOfNew(w *detect.Tick, data *starved) []string {
	switch data.pattern {
	case programs:
		who := "the programs"
		if h := data.culprit(); h.known() {
			who = h.name()
		}
		list := []string{
			fmt.Sprintf("Move %s off CPU %d (taskset, CPUAffinity=, cpusets), or the receive work to another "+
				"CPU (RPS, IRQ affinity), unless all CPUs are equally busy", who, data.cpu),
			fmt.Sprintf("Or give ksoftirqd/%d more CPU time (renice -n -10 -p PID), unless the programs must not "+
				"be slowed down", data.cpu),
		}
		if data.culprit().realTime() {
			list[1] = "Or remove its real-time priority (chrt -o -p 0 PID), unless it must meet deadlines"
		}
		return list
	case shallow:
		return []string{
			"Raise net.core.netdev_max_backlog (default 1000; several thousand for bursts), unless the CPU has no time for " +
				"more packets",
		}
	case limited:
		return []string{
			fmt.Sprintf("Remove CPU %d from net.core.flow_limit_cpu_bitmap, or raise net.core.flow_limit_table_len if many "+
				"flows share an entry, unless the large flows are a flood: then the limit protects the others",
				data.cpu),
		}
	case burst, overflowed:
		return []string{
			"Raise net.core.netdev_max_backlog so that it holds the burst, or pace the packets at the sender; under " +
				"sustained load a larger backlog only adds delay",
			"If it happens again, record it (lostbeat record) to see what NET_RX did meanwhile",
		}
	case held:
		h := data.culprit()
		if h.entry != "" || h.function != "" {
			return []string{
				fmt.Sprintf("Find out why %s calls %s, and how often (perf trace -p %d); a single occurrence needs no action",
					words.Task(h.task, h.pid), fold.Printable(h.code()), h.pid),
			}
		}
		return []string{
			fmt.Sprintf("Move %s or the receive work off CPU %d (taskset; RPS, IRQ affinity), unless both must run there",
				h.name(), data.cpu),
			"Or let it sleep more often, or remove its real-time priority (chrt -o -p 0 PID), unless it must meet deadlines",
		}
	case storm:
		line := "the line"
		if data.work.Busy > 0 {
			line = fold.Printable(data.work.Label())
		}
		return []string{
			fmt.Sprintf("See how often %s interrupts (/proc/interrupts) and raise its interrupt moderation (ethtool "+
				"-C for network devices), or spread it (smp_affinity), unless the device itself is broken", line),
		}
	}
	return nil
}
