package perfmontest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Scenario is a host whose counters are sampled, with cores that DPCs keep busy
// and datagrams that are lost.
type Scenario struct {
	Machine string
	// Start is local time; Samples are Interval (1 s when 0) apart.
	Start    time.Time
	Samples  int
	Interval time.Duration
	Cores    int
	Seed     uint64
	// DPC returns a core's share of DPC time in the interval that ends with sample i; nil is a quiet host with 0.1 % to 2
	// %.
	DPC func(core, i int) float64
	// IRQ returns a core's share of interrupt time; nil is at most 0.2 %.
	IRQ func(core, i int) float64
	// Discards, UDPErrors and DropsSocket return what was lost in that interval, nil nothing.
	Discards, UDPErrors, DropsSocket func(i int) int
	// TotalOnly leaves out the single cores.
	TotalOnly bool
}

// Adapter is the name of the scenario's adapter.
const Adapter = "Intel[R] Ethernet (2) I350"

// state is the host at one sample.
type state struct {
	at time.Time
	// busy times of each core, in 100 ns: idle, user, privileged, dpc, interrupt; and counts.
	idle, user, privileged, dpc, irq, queued, interrupts []int64
	rate                                                 []int64
	received, discarded, udpErrors, dropped              int64
}

// run calls each with the states, the first being the start.
func (s *Scenario) run(each func(i int, before, now *state)) {
	random := rand.New(rand.NewPCG(s.Seed, 1))
	interval := s.Interval
	if interval == 0 {
		interval = time.Second
	}
	fresh := func() *state {
		n := s.Cores
		return &state{
			idle:       make([]int64, n),
			user:       make([]int64, n),
			privileged: make([]int64, n),
			dpc:        make([]int64, n),
			irq:        make([]int64, n),
			queued:     make([]int64, n),
			interrupts: make([]int64, n),
			rate:       make([]int64, n),
		}
	}
	before := fresh()
	before.at = s.Start.Add(-interval)
	before.discarded, before.udpErrors = 12, 345
	for i := range s.Samples {
		now := fresh()
		now.at = s.Start.Add(time.Duration(i) * interval)
		now.received = before.received + int64(900+random.IntN(200))*int64(interval/time.Millisecond)/1000
		now.discarded, now.udpErrors, now.dropped = before.discarded, before.udpErrors, before.dropped
		if i > 0 {
			now.discarded += count(s.Discards, i)
			now.udpErrors += count(s.UDPErrors, i)
			now.dropped += count(s.DropsSocket, i)
		}
		total := int64(interval / 100)
		for c := range s.Cores {
			share := 0.001 + 0.019*random.Float64()
			if s.DPC != nil {
				share = s.DPC(c, i)
			}
			dpc := int64(share * float64(total))
			irq := int64(0.002 * random.Float64() * float64(total))
			if s.IRQ != nil {
				irq = int64(s.IRQ(c, i) * float64(total))
			}
			user := int64(0.1 * random.Float64() * float64(total))
			system := int64(0.05 * random.Float64() * float64(total))
			if rest := total - dpc - irq - user - system; rest < 0 {
				user, system = 0, 0
				irq = min(irq, total-dpc)
			}
			now.dpc[c] = before.dpc[c] + dpc
			now.irq[c] = before.irq[c] + irq
			now.user[c] = before.user[c] + user
			now.privileged[c] = before.privileged[c] + system + dpc + irq
			now.idle[c] = before.idle[c] + total - user - system - dpc - irq
			now.queued[c] = before.queued[c] + 300 + dpc/200
			now.interrupts[c] = before.interrupts[c] + int64(500+random.IntN(100))
			now.rate[c] = int64(random.IntN(30)) // a gauge that is never quiet
		}
		each(i, before, now)
		before = now
	}
}

func count(f func(int) int, i int) int64 {
	if f == nil {
		return 0
	}
	return int64(f(i))
}

// Counters of the scenario's processors.
var processorCounters = []struct {
	name   string
	index  uint32
	kind   uint32
	size   int
	sum    bool // the instance _Total is the sum rather than the mean
	values func(*state) []int64
}{
	{"% Processor Time", 6, 0x21510500, 8, false, func(s *state) []int64 { return s.idle }},
	{"% User Time", 142, 0x20510500, 8, false, func(s *state) []int64 { return s.user }},
	{"% Privileged Time", 144, 0x20510500, 8, false, func(s *state) []int64 { return s.privileged }},
	{"Interrupts/sec", 148, 0x10410400, 4, true, func(s *state) []int64 { return s.interrupts }},
	{"% DPC Time", 696, 0x20510500, 8, false, func(s *state) []int64 { return s.dpc }},
	{"% Interrupt Time", 698, 0x20510500, 8, false, func(s *state) []int64 { return s.irq }},
	{"DPCs Queued/sec", 1334, 0x10410400, 4, true, func(s *state) []int64 { return s.queued }},
	{"DPC Rate", 1336, 0x00010000, 4, true, func(s *state) []int64 { return s.rate }},
}

func total(list []int64, sum bool) int64 {
	var t int64
	for _, v := range list {
		t += v
	}
	if !sum && len(list) > 0 {
		t /= int64(len(list))
	}
	return t
}

// Text returns the scenario as a text log with the given form; its Paths and
// Rows are filled in.
func (s *Scenario) Text(form Text) *Text {
	machine := `\\` + s.Machine
	instance := func(c int) string {
		if c == s.Cores {
			return "_Total"
		}
		return fmt.Sprint(c)
	}
	first := 0
	if s.TotalOnly {
		first = s.Cores
	}
	for c := first; c <= s.Cores; c++ {
		for _, k := range processorCounters {
			form.Paths = append(form.Paths, fmt.Sprintf(`%s\Processor(%s)\%s`, machine, instance(c), k.name))
		}
	}
	for _, name := range []string{"Packets Received/sec", "Packets Received Discarded"} {
		form.Paths = append(form.Paths, fmt.Sprintf(`%s\Network Interface(%s)\%s`, machine, Adapter, name))
	}
	form.Paths = append(
		form.Paths,
		machine+`\UDPv4\Datagrams Received Errors`,
		machine+`\Microsoft Winsock BSP\Dropped Datagrams`,
	)
	s.run(func(i int, before, now *state) {
		seconds := now.at.Sub(before.at).Seconds()
		row := Row{Time: now.at}
		for c := first; c <= s.Cores; c++ {
			for _, k := range processorCounters {
				pick := func(list []int64) float64 {
					if c == s.Cores {
						return float64(total(list, k.sum))
					}
					return float64(list[c])
				}
				delta := pick(k.values(now)) - pick(k.values(before))
				switch {
				case k.kind == 0x00010000:
					row.Values = append(row.Values, pick(k.values(now)))
				case i == 0:
					row.Values = append(row.Values, math.NaN())
				case k.kind == 0x10410400:
					row.Values = append(row.Values, delta/seconds)
				case k.kind == 0x21510500:
					row.Values = append(row.Values, 100*(1-delta/(seconds*1e7)))
				default:
					row.Values = append(row.Values, 100*delta/(seconds*1e7))
				}
			}
		}
		received := math.NaN()
		if i > 0 {
			received = float64(now.received-before.received) / seconds
		}
		row.Values = append(row.Values, received, float64(now.discarded), float64(now.udpErrors), float64(now.dropped))
		form.Rows = append(form.Rows, row)
	})
	return &form
}

// Indexes are the names of the scenario's objects and counters, for a log's table of names.
func Indexes() [][2]string {
	out := [][2]string{
		{"238", "Processor"},
		{"510", "Network Interface"},
		{"658", "UDPv4"},
		{"266", "Packets Received/sec"},
		{"528", "Packets Received Discarded"},
		{"666", "Datagrams Received Errors"},
	}
	for _, k := range processorCounters {
		out = append(out, [2]string{fmt.Sprint(k.index), k.name})
	}
	return out
}

// Binary writes the scenario into l: as performance data blocks with wildcard,
// as single counters and instances without. Socket drops are in the latter only.
func (s *Scenario) Binary(l *BLG, wildcard bool) *BLG {
	bias := time.Duration(l.Bias+l.Daylight) * time.Minute
	l.Start = s.Start.Add(bias - 50*time.Millisecond)
	if wildcard {
		l.Names(s.Start, s.Machine, Indexes())
		l.Catalogue(s.Start,
			Entry{Form: 16, Machine: s.Machine, Object: "Processor", Instance: "*", Counter: "*"},
			Entry{Form: 16, Machine: s.Machine, Object: "Network Interface", Instance: "*", Counter: "*"},
			Entry{Form: 16, Machine: s.Machine, Object: "UDPv4", Counter: "*"})
	} else {
		var entries []Entry
		for _, k := range processorCounters {
			entries = append(
				entries,
				Entry{
					Form: 1, Machine: s.Machine, Object: "Processor", Instance: "*", Counter: k.name, Type: k.kind,
					TimeBase: 10_000_000,
				},
			)
		}
		entries = append(entries,
			Entry{
				Machine: s.Machine, Object: "Network Interface", Instance: Adapter, Counter: "Packets Received/sec",
				Type: 0x10410500, TimeBase: 10_000_000,
			},
			Entry{Machine: s.Machine, Object: "Network Interface", Instance: Adapter, Counter: "Packets Received " +
				"Discarded", Type: 0x00010100, TimeBase: 10_000_000},
			Entry{Machine: s.Machine, Object: "UDPv4", Counter: "Datagrams Received " +
				"Errors", Type: 0x00010000, TimeBase: 10_000_000},
			Entry{Machine: s.Machine, Object: "Microsoft Winsock " +
				"BSP", Counter: "Dropped Datagrams", Type: 0x00010000, TimeBase: 10_000_000})
		l.Catalogue(s.Start, entries...)
	}
	s.run(func(i int, before, now *state) {
		utc := now.at.Add(bias)
		clock := FileTime(utc)
		if !wildcard {
			var records [][]byte
			for _, k := range processorCounters {
				var list []Reading
				for c := range s.Cores {
					list = append(list, Reading{Name: fmt.Sprint(c), First: k.values(now)[c], Second: clock})
				}
				list = append(list, Reading{Name: "_Total", First: total(k.values(now), k.sum), Second: clock})
				records = append(records, Instances(now.at, list...))
			}
			for _, v := range []int64{now.received, now.discarded, now.udpErrors, now.dropped} {
				records = append(records, Single(now.at, Reading{First: v, Second: clock, Multi: 1}))
			}
			l.Sample(now.at, records...)
			return
		}
		base := Block{Machine: s.Machine, Time: clock, Frequency: 10_000_000, UTC: utc}
		processor, adapter, udp := base, base, base
		processor.Object = 238
		for _, k := range processorCounters {
			processor.Counters = append(processor.Counters, BlockCounter{k.index, k.kind, k.size})
		}
		for c := range s.Cores + 1 {
			in := BlockInstance{Name: fmt.Sprint(c)}
			if c == s.Cores {
				in.Name = "_Total"
			}
			for _, k := range processorCounters {
				v := total(k.values(now), k.sum)
				if c < s.Cores {
					v = k.values(now)[c]
				}
				in.Values = append(in.Values, v)
			}
			processor.Instances = append(processor.Instances, in)
		}
		adapter.Object = 510
		adapter.Counters = []BlockCounter{{266, 0x10410500, 8}, {528, 0x00010100, 8}}
		adapter.Instances = []BlockInstance{{Name: Adapter, Values: []int64{now.received, now.discarded}}}
		udp.Object, udp.Single = 658, true
		udp.Counters = []BlockCounter{{666, 0x00010000, 4}}
		udp.Instances = []BlockInstance{{Values: []int64{now.udpErrors}}}
		l.Sample(now.at, processor.Record(), adapter.Record(), udp.Record())
	})
	return l
}
