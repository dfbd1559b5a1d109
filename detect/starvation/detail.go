package starvation

import (
	"fmt"
	"path"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// How long detail is wanted, and how often.
const (
	stacksFor = 2 * time.Second
	schedFor  = 5 * time.Second
	askEvery  = 10 * time.Second
)

// readNetdev is the reading of the settings of net.core that concern backlogs.
const readNetdev = "netdev"

// ask asks for the detail that names a cause on a CPU: kernel stacks, who runs
// while ksoftirqd waits, and the settings.
func (d *starvation) ask(w *detect.Tick, cpu int32, finding string) {
	if last, ok := d.asked[cpu]; w.Windows() || ok && w.Now.Sub(last) < askEvery {
		return
	}
	d.asked[cpu] = w.Now
	r := model.Request{Kind: model.RequestStacks, CPU: cpu, PID: -1, TID: -1, For: stacksFor, Finding: finding}
	w.Request(r)
	r.Kind, r.For = model.RequestSched, schedFor
	w.Request(r)
	w.Request(model.Request{
		Kind: model.RequestReading, CPU: -1, PID: -1, TID: -1, Name: readNetdev, For: time.Second, Finding: finding,
	})
}

// collectDetail keeps the best of the detail that has come.
func (d *starvation) collectDetail(w *detect.Tick, cpu int32, data *starved) {
	if s := w.StacksOf(cpu); softirqSamples(s) > softirqSamples(data.stacks) || data.stacks.Samples == 0 {
		data.stacks = s
	}
	if s := w.KsoftirqdOf(cpu); s.In(model.SchedWaiting).Total > data.sched.In(model.SchedWaiting).Total {
		data.sched = s
		if h := d.holderOf(w, cpu); h.known() || data.named.samples == 0 {
			data.named = h
		}
	}
	if h := d.runnerOf(w, cpu); h.samples > data.named.samples && (!data.named.known() || data.named.samples > 0) {
		data.named = h
	}
}

// setting returns a setting of net.core as it was read, 0 when it was not.
func setting(w *detect.Tick, name string) float64 {
	keys, values := w.Readings(readNetdev, 0)
	for i, k := range keys {
		if k.Instance == name {
			return values[i].Value
		}
	}
	return 0
}

// quoted are the settings that findings quote.
var quoted = [...]string{"netdev_max_backlog", "netdev_budget", "netdev_budget_usecs", "dev_weight"}

// remember keeps the settings as they are while the fault is at its worst: who
// changes one to end the fault does not change what it was.
func (data *starved) remember(w *detect.Tick, lost float64) {
	worst := lost > data.mostLost
	data.mostLost = max(data.mostLost, lost)
	for _, name := range quoted {
		if n := setting(w, name); n > 0 && (worst || data.settings[name] == 0) {
			if data.settings == nil {
				data.settings = make(map[string]float64)
			}
			data.settings[name] = n
		}
	}
}

func softirqSamples(s fold.Stacks) (n uint64) {
	for _, c := range s.Counts {
		if c.Softirq {
			n += c.Samples
		}
	}
	return n
}

// meanings says what kernel functions that make packets expensive are part of;
// the first pattern that matches counts.
var meanings = []struct{ function, meaning, advice string }{
	{"nft_*", "filter rules (nftables)", "Look for rules that every packet traverses (nft list ruleset, iptables-save " +
		"-c): use sets and maps, and put the rule that matches most packets first"},
	{"ipt_do_table", "filter rules (iptables)", "Look for rules that every packet traverses (iptables-save -c): use " +
		"ipset, and put the rule that matches most packets first"},
	{"ip6t_do_table", "filter rules (ip6tables)", "Look at ip6tables-save -c, which shows the rules that every packet " +
		"traverses: use ipset"},
	{"ebt_do_table", "filter rules (ebtables)", "Look at ebtables -L --Lc, which shows the rules that every frame " +
		"traverses"},
	{"bm_find", "string match of filter rules", "Match by address and port before the string match"},
	{"kmp_find", "string match of filter rules", "Match by address and port before the string match"},
	{"string_mt", "string match of filter rules", "Match by address and port before the string match"},
	{"skb_find_text", "string match of filter rules", "Match by address and port before the string match"},
	{"bpf_prog_*", "a BPF program", "Run bpftool prog show: with kernel.bpf_stats_enabled=1 it lists run_time_ns and " +
		"run_cnt of each program"},
	{"__bpf_prog_run*", "a BPF program", "Run bpftool prog show: with kernel.bpf_stats_enabled=1 it lists run_time_ns " +
		"and run_cnt of each program"},
	{"___bpf_prog_run", "a BPF program that is interpreted", "Enable the BPF JIT compiler: net.core.bpf_jit_enable=1"},
	{"tcf_classify*", "tc filters", "See tc -s filter show dev DEVICE ingress: use flower with hardware offload, or " +
		"fewer filters"},
	{"fl_classify", "tc filters (flower)", "See tc -s filter show dev DEVICE ingress: fewer masks make flower faster"},
	{"u32_classify", "tc filters (u32)", "See tc -s filter show dev DEVICE ingress: use flower or a hash of u32"},
	{"cls_bpf_classify", "tc filters (BPF)", "Run bpftool net and bpftool prog, which show the program and its run time"},
	{"__nf_conntrack_find_get", "connection tracking", "Raise nf_conntrack_buckets; use notrack for traffic that " +
		"needs no connection tracking"},
	{"nf_conntrack_*", "connection tracking", "Use notrack for traffic that needs no connection tracking"},
	{"fib_table_lookup", "route look-up", "See how many routes there are (ip route show table all)"},
	{"udp4_lib_lookup2", "look-up of UDP sockets", "Check whether many sockets share one port or address (ss -uan)"},
	{"__udp4_lib_lookup", "look-up of UDP sockets", "Check whether many sockets share one port or address (ss -uan)"},
	{"packet_rcv*", "packet sockets (captures)", "Stop tcpdump and other captures, or give them a filter"},
	{"tpacket_rcv", "packet sockets (captures)", "Stop tcpdump and other captures, or give them a filter"},
	{"native_queued_spin_lock_slowpath", "a lock held by other CPUs", "See the stack.sample events for the function " +
		"that waits for it"},
}

// meaningOf returns what a function is part of, empty when it is not in the table.
func meaningOf(function string) (meaning, advice string) {
	for _, m := range meanings {
		if ok, _ := path.Match(m.function, function); ok {
			return m.meaning, m.advice
		}
	}
	return "", ""
}

// leaf is the function in which deferred work was found most often.
type leaf struct {
	function, meaning, advice string
	// samples are those in it, part those of everything with the same meaning, of those of all softirqs of the CPU.
	samples, part, of uint64
}

// expensive returns the function in which the CPU's softirqs spend their time,
// by the samples of their stacks.
func expensive(s fold.Stacks) (l leaf, ok bool) {
	byFunction := make(map[string]uint64)
	byMeaning := make(map[string]uint64)
	for _, c := range s.Counts {
		if !c.Softirq {
			continue
		}
		l.of += c.Samples
		byFunction[c.Function] += c.Samples
		if meaning, _ := meaningOf(c.Function); meaning != "" {
			byMeaning[meaning] += c.Samples
		}
	}
	for _, c := range s.Counts { // in a fixed order, unlike the map
		if n := byFunction[c.Function]; c.Softirq && n > l.samples {
			l.function, l.samples = c.Function, n
		}
	}
	l.meaning, l.advice = meaningOf(l.function)
	l.part = max(byMeaning[l.meaning], l.samples)
	return l, l.of >= minStackSamples && float64(l.samples) >= minLeafShare*float64(l.of)
}

// From how many samples, and from which share of them, a function is named.
const (
	minStackSamples = 20
	minLeafShare    = 0.2
)

// text says what was found, in numbers.
func (l *leaf) text(cpu int32) string {
	text := fmt.Sprintf("Of %s of CPU %d in softirqs, %s were in %s", words.Plural(l.of, "sample"), cpu,
		words.Number(l.samples), fold.Printable(l.function))
	if l.meaning == "" {
		return text
	}
	text += ": " + l.meaning
	if l.part > l.samples {
		text += fmt.Sprintf(" (%s including related functions)", words.Number(l.part))
	}
	return text
}
