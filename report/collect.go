package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// Bounds of what is kept of a capture: what a page can show.
const (
	maxWork     = 512
	shownWork   = 24
	maxPools    = 128
	shownPools  = 12
	maxFlows    = 256
	shownFlows  = 16
	maxCounters = 256
	// shownCounters is how many of those are shown that report losses or interrupts.
	shownCounters = 8
	shownCPUs     = 64
	shownDrops    = 40
	shownDevices  = 64
	shownHolders  = 5
	// maxLines is how many lines and silences of logs are shown of a capture.
	maxLines = 80
)

// Collector keeps what a report shows of one capture, while it is read. Whoever feeds the fold calls Take from time to
// time: the fold's history is short.
type Collector struct {
	history *fold.History
	axis    axis
	// next is the start of the first second that was not taken.
	next model.Time
	// cpusSeen, workSeen and anySeen have a value in each second in which there was a reading.
	cpusSeen, workSeen, anySeen *binned
	cpus                        map[int32]*binned
	work                        map[workKey]*workRow
	workMore                    map[workKey]bool
	places                      [model.PlaceSocket + 1]*binned
	pools                       map[fold.PoolSeries]*poolRow
	flows                       map[fold.FlowSeries]*binned
	counters                    map[fold.CounterSeries]*binned
	lost                        *binned
	// holders are those of the last second that has any.
	holders []fold.Row[fold.HolderSeries, fold.FrameHolder]
	// spans is how long the intervals are that were counted, by their length in seconds.
	spans map[int64]time.Duration
}

type workKey struct {
	cpu   int32
	class model.Class
	name  string
}

type workRow struct {
	share             *binned
	busy, wait, runNS float64
	waitSeen          bool
}

type poolRow struct {
	taken *binned
	last  fold.FramePool
	peak  float64
}

// NewCollector returns a Collector before any event.
func NewCollector() *Collector {
	c := &Collector{
		history: fold.NewHistory(), cpus: map[int32]*binned{}, work: map[workKey]*workRow{},
		workMore: map[workKey]bool{}, pools: map[fold.PoolSeries]*poolRow{}, flows: map[fold.FlowSeries]*binned{},
		counters: map[fold.CounterSeries]*binned{}, spans: map[int64]time.Duration{},
	}
	c.cpusSeen, c.workSeen, c.anySeen = c.axis.series(), c.axis.series(), c.axis.series()
	for i := range c.places {
		c.places[i] = c.axis.series()
	}
	c.lost = c.axis.series()
	return c
}

// History is what the fold of the capture is to show: detect.Engine.Show takes it.
func (c *Collector) History() *fold.History { return c.history }

// Watch looks at events before the fold gets them.
func (c *Collector) Watch(b *model.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		switch e.Kind {
		case model.KindCPUTime, model.KindDeferredHist, model.KindCounter, model.KindSoftnet, model.KindDeviceStats:
			seconds := int64((e.Dur + time.Second/2) / time.Second)
			if _, ok := c.spans[seconds]; seconds > 1 && (ok || len(c.spans) < 64) {
				c.spans[seconds] += e.Dur
			}
		}
	}
}

// mayChange is how long the fold may change a second after its end.
const mayChange = 70 * time.Second

// Take takes the seconds that the fold has completed; all says that no more is to come, or nothing for a long time.
func (c *Collector) Take(all bool) {
	snap := c.history.Publish()
	for i := range snap.Len() {
		f := snap.Frame(i)
		if f.Start < c.next {
			continue
		}
		if !all && f.End() > snap.Now.Add(-mayChange) {
			break
		}
		c.frame(f)
		c.next = f.End()
	}
}

// frame takes a second.
func (c *Collector) frame(f *fold.Frame) {
	at := f.Start
	empty := f.Events == 0 && len(f.CPUs) == 0 && len(f.Deferred) == 0 && len(f.Drops) == 0 && len(f.Counters) == 0
	if empty && f.Lost == 0 {
		return
	}
	c.anySeen.add(at, 1)
	if f.Lost > 0 {
		c.lost.add(at, float32(f.Lost))
	}
	for _, r := range f.CPUs {
		if r.Value.Measured.Has(fold.Seen) {
			c.cpusSeen.add(at, 1)
			if b := atMost(c.cpus, r.Key.CPU, shownCPUs, c.axis.series); b != nil {
				b.add(at, 1-r.Value.Idle)
			}
		}
	}
	c.frameWork(at, f.Deferred)
	c.frameWork(at, f.Interrupts)
	var places [len(c.places)]float32
	for _, r := range f.Drops {
		if int(r.Key.Place) < len(places) {
			places[r.Key.Place] += r.Value.Rate
		}
	}
	for i, rate := range places {
		if rate > 0 {
			c.places[i].add(at, rate)
		}
	}
	for _, r := range f.Pools {
		p := atMost(c.pools, r.Key, maxPools, func() *poolRow { return &poolRow{taken: c.axis.series()} })
		if p == nil || !r.Value.Measured.Has(fold.Seen) {
			continue
		}
		taken := r.Value.Used + r.Value.Resting
		p.last = r.Value
		p.taken.add(at, float32(taken))
		p.peak = max(p.peak, fold.Ratio(float64(taken), float64(r.Value.Size)))
	}
	if len(f.Holders) > 0 {
		c.holders = f.Holders
	}
	for _, r := range f.Flows {
		if r.Value.Gap == 0 {
			continue
		}
		if b := atMost(c.flows, r.Key, maxFlows, c.axis.series); b != nil {
			b.add(at, r.Value.Gap)
		}
	}
	for _, r := range f.Counters {
		if !telling(&r.Key) || !r.Value.Measured.Has(fold.Seen) {
			continue
		}
		if b := atMost(c.counters, r.Key, maxCounters, c.axis.series); b != nil {
			b.add(at, float32(r.Value.Value))
		}
	}
}

// frameWork takes what ran in a second, of all routines of a driver together.
func (c *Collector) frameWork(at model.Time, rows []fold.Row[fold.WorkSeries, fold.FrameWork]) {
	sums := map[workKey]float32{}
	for _, r := range rows {
		if !r.Value.Measured.Has(fold.Seen) {
			continue
		}
		c.workSeen.add(at, 1)
		key := workKey{r.Key.CPU, r.Key.Class, cmp.Or(r.Key.Driver, r.Key.Name)}
		row := atMost(c.work, key, maxWork, func() *workRow { return &workRow{share: c.axis.series()} })
		if row == nil {
			if len(c.workMore) < maxWork {
				c.workMore[key] = true
			}
			continue
		}
		row.busy += float64(r.Value.Busy) * float64(time.Second)
		row.runNS = max(row.runNS, float64(r.Value.MaxRun))
		if r.Value.Measured.Has(fold.MeasuredWait) {
			row.wait, row.waitSeen = max(row.wait, float64(r.Value.MaxWait)), true
		}
		sums[key] += r.Value.Busy
	}
	for key, share := range sums {
		c.work[key].share.add(at, share)
	}
}

// telling says that a counter reports losses or interrupt work: a log may have thousands of others.
func telling(k *fold.CounterSeries) bool {
	name := strings.ToLower(k.Name)
	if strings.HasPrefix(name, "self.") {
		return false
	}
	for _, word := range []string{
		"dpc", "interrupt", "softirq", "drop", "discard", "error", "squeez", "retrans", "overflow", "failure", "missed",
		"no_port", "rx_fifo", "steal",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// atMost returns m[k], made by create when it is missing; the zero value when m is full.
func atMost[K comparable, V any](m map[K]V, k K, limit int, create func() V) (v V) {
	v, ok := m[k]
	if !ok && len(m) < limit {
		v = create()
		m[k] = v
	}
	return v
}

// Finish returns what was collected, after Take has taken the rest; facts is the fold that the history shows.
func (c *Collector) Finish(facts *fold.Fold) *Capture {
	snap := c.history.Publish()
	usual, most := int64(1), time.Duration(0)
	for _, seconds := range slices.Sorted(maps.Keys(c.spans)) {
		if c.spans[seconds] > most {
			usual, most = seconds, c.spans[seconds]
		}
	}
	for c.axis.step > 0 && c.axis.step < model.Time(usual)*model.Time(time.Second) {
		c.axis.widen() // counters of longer intervals than a step leave no gaps
	}
	out := &Capture{
		Host: snap.Meta["host"], OS: snap.Meta["os"], Kernel: snap.Meta["kernel"], Events: snap.Events,
	}
	for _, key := range slices.Sorted(maps.Keys(snap.Meta)) {
		if name, ok := factNames[key]; ok {
			out.Facts = append(out.Facts, Fact{name, snap.Meta[key]})
		}
	}
	for _, l := range snap.Losses {
		if l.Origin != model.OriginLate {
			out.Losses = append(out.Losses, Loss{l.Origin, l.Detail, l.Lost})
			out.Lost += l.Lost
		}
	}
	for _, p := range snap.Probes {
		out.Probes = append(out.Probes, Probe{p.Name, p.Part, p.State.String(), p.Reason, p.Hint})
		out.dropsSeen = out.dropsSeen || p.Name == "drop" && p.State != model.ProbeOff
	}
	slices.SortStableFunc(out.Probes, func(a, b Probe) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part))
	})
	for _, d := range snap.Devices[:min(len(snap.Devices), shownDevices)] {
		out.Devices = append(out.Devices, Device{
			Name: d.Device, Netns: d.Netns, Driver: d.Driver, RXQueue: d.RXQueues, TXQueue: d.TXQueues, RXRing: d.RXRing,
			RingMax: d.RXRingMax,
		})
	}
	if snap.SelfSeen {
		cpu, rss := snap.SelfCPU, snap.SelfRSS
		out.OwnCPU, out.OwnBytes = &cpu, &rss
	}
	c.finishWork(out)
	c.finishDrops(out, snap)
	c.finishPools(out)
	c.finishFlows(out, snap)
	c.finishCounters(out)
	out.Lines, out.LinesMore = linesOf(snap, facts)
	out.LostOver = c.lost.sealed("events lost before they were recorded", "events", nil)
	return out
}

// factNames are the facts about a host that are shown, by their keys.
var factNames = map[string]string{
	"arch": "architecture", "cpus": "CPUs", "boot_id": "boot id", "tool": "recorded by", "command": "command",
	"clock": "clock", "utc_offset": "offset from UTC", "source": "source", model.MetaCapturedOn: "captured on",
}

func (c *Collector) finishWork(out *Capture) {
	for _, cpu := range slices.Sorted(maps.Keys(c.cpus)) {
		out.CPUs = append(out.CPUs, c.cpus[cpu].sealed(cpuName(cpu), "ratio", nil))
	}
	for key, row := range c.work {
		w := Work{
			CPU: key.cpu, Class: key.class.String(), Name: key.name, Busy: time.Duration(row.busy),
			LongestRun: time.Duration(row.runNS), Share: row.share.sealed(workName(key), "ratio", c.workSeen),
		}
		if row.waitSeen {
			w.LongestWait = time.Duration(row.wait)
		}
		out.Work = append(out.Work, w)
	}
	slices.SortFunc(out.Work, func(a, b Work) int {
		return cmp.Or(cmp.Compare(b.Busy, a.Busy), cmp.Compare(a.CPU, b.CPU), cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Name, b.Name))
	})
	out.WorkMore = len(c.workMore) + max(0, len(out.Work)-shownWork)
	out.Work = out.Work[:min(len(out.Work), shownWork)]
	slices.SortStableFunc(out.Work, func(a, b Work) int { return cmp.Compare(a.CPU, b.CPU) })
}

func cpuName(cpu int32) string {
	if cpu < 0 {
		return "all CPUs"
	}
	return fmt.Sprintf("CPU %d", cpu)
}

func workName(k workKey) string { return cpuName(k.cpu) + " " + printable(k.name) }

func (c *Collector) finishDrops(out *Capture, snap *fold.Snapshot) {
	var seen *binned
	if out.dropsSeen {
		seen = c.anySeen
	}
	for place, n := range snap.Places {
		if n == 0 {
			continue
		}
		name := model.Place(place).String()
		out.Places = append(out.Places, Place{name, n, c.places[place].sealed(name, "packets/s", seen)})
	}
	for _, d := range snap.Drops[:min(len(snap.Drops), shownDrops)] {
		k := d.Key
		row := Drop{Place: k.Place.String(), Reason: k.Reason, Device: k.Device, Location: k.Location, Packets: d.Count}
		if k.Place == model.PlaceBacklog && k.CPU >= 0 {
			row.Device = strings.TrimSpace(fmt.Sprintf("%s CPU %d", k.Device, k.CPU))
		}
		if k.Port != 0 {
			row.Socket = fmt.Sprintf("%s/%d", k.Protocol, k.Port)
		}
		if k.PID > 0 || k.Process != "" {
			row.Process = words.Task(k.Process, k.PID)
		}
		out.Drops = append(out.Drops, row)
	}
	out.DropsMore = max(0, len(snap.Drops)-shownDrops)
}

func (c *Collector) finishPools(out *Capture) {
	keys := slices.SortedFunc(maps.Keys(c.pools), func(a, b fold.PoolSeries) int {
		return cmp.Or(cmp.Compare(c.pools[b].peak, c.pools[a].peak), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Netns, b.Netns))
	})
	out.PoolsMore = max(0, len(keys)-shownPools)
	for _, key := range keys[:min(len(keys), shownPools)] {
		row := c.pools[key]
		name := fmt.Sprintf("%s (%s %d-%d", printable(key.Name), key.Protocol, row.last.Low, row.last.High)
		if row.last.Netns != "" {
			name += ", netns " + printable(row.last.Netns)
		}
		name += ")"
		out.Pools = append(out.Pools, Pool{
			Name: name, Size: row.last.Size, Used: row.last.Used, Resting: row.last.Resting,
			Taken: row.taken.sealed(name, "ports", nil),
		})
	}
	if len(out.Pools) == 0 {
		return
	}
	held := map[string]int{}
	for _, r := range c.holders {
		held[words.Task(r.Key.Process, r.Key.PID)] += int(r.Value.Held)
	}
	holders := slices.SortedFunc(maps.Keys(held), func(a, b string) int {
		return cmp.Or(cmp.Compare(held[b], held[a]), cmp.Compare(a, b))
	})
	for _, h := range holders[:min(len(holders), shownHolders)] {
		if n := held[h]; n > 0 {
			out.Holders = append(out.Holders, Holder{h, n})
		}
	}
}

func (c *Collector) finishFlows(out *Capture, snap *fold.Snapshot) {
	for i := range snap.Beats {
		b := &snap.Beats[i]
		f := Flow{
			Name: flowName(b), Process: words.Task(b.Series.Process, b.Series.PID), Period: b.Period, Timeout: b.Timeout,
			Longest: b.Longest, Packets: b.Packets, Reads: b.Reads, Late: b.Late, Lost: b.Lost, Gap: gapOf(b),
		}
		if s := c.flows[b.Series]; s != nil {
			f.Silence = s.sealed(f.Name, "ns", nil)
		}
		out.Flows = append(out.Flows, f)
	}
	slices.SortStableFunc(out.Flows, func(a, b Flow) int { return cmp.Compare(b.delay(), a.delay()) })
	out.FlowsMore = max(0, len(out.Flows)-shownFlows)
	out.Flows = out.Flows[:min(len(out.Flows), shownFlows)]
}

// delay is by how much the longest gap was longer than usual.
func (f *Flow) delay() time.Duration {
	if f.Gap == nil {
		return -1
	}
	return f.Gap.Delay
}

func flowName(b *fold.BeatTotal) string {
	s := &b.Series
	way := "from"
	if s.Direction == model.DirectionTX {
		way = "to"
	}
	name := fmt.Sprintf("%s/%d", s.Protocol, s.LPort)
	if s.Protocol == model.ProtocolOther {
		name = "vrrp"
	}
	if s.Peer != "" {
		name += " " + way + " " + printable(s.Peer)
		if s.Port != s.LPort && s.Port != 0 {
			name += fmt.Sprintf(":%d", s.Port)
		}
	}
	if b.KnownAs != "" {
		name += " (" + printable(b.KnownAs) + ")"
	}
	return name
}

// gapOf is the gap of a flow that lasts, or its longest, with its stages.
func gapOf(b *fold.BeatTotal) *Gap {
	g := b.Worst
	if b.Open.ID != 0 && b.Open.Delay() > g.Delay() {
		g = b.Open
	}
	if g.ID == 0 {
		return nil
	}
	out := &Gap{From: g.From.Add(g.Period), To: g.To, Lasts: g.Lasts, Delay: g.Delay()}
	add := func(name string, d time.Duration, measured bool) {
		out.Stages = append(out.Stages, Stage{name, d, measured})
	}
	received := b.Series.Direction == model.DirectionRX
	switch arrived := !g.Lasts || g.Waiting > 0; {
	case g.Blind:
		out.Notes = append(out.Notes, "the stages are unknown: only the program's reads were seen")
	case received:
		add("did not arrive", g.Absent, true)
		if g.Missing > 0 {
			add("waiting for a missing segment", g.Missing, true)
		}
		add("lost at its socket", g.Lost, b.Reads > 0)
		add("softirq, backlog, filters", g.Stack, arrived)
		add("in the queue of its socket", g.Queue, arrived && b.Reads > 0)
		if g.Return > 0 {
			add("read, but without a CPU then", g.Return, true)
		}
	default:
		add("not sent", g.Absent, g.Resent == 0 || g.Absent > 0)
		if g.Qdisc > 0 {
			add("in the queueing discipline", g.Qdisc, true)
		}
		if g.Resent > 0 {
			add("between first and last transmission", g.Resent, true)
		}
	}
	if g.Waiting > 0 {
		out.Notes = append(out.Notes, words.Plural(g.Waiting, "packet")+" waited to be read")
	}
	if g.Missed > 0 && received {
		out.Notes = append(out.Notes, words.Plural(g.Missed, "packet")+" missing")
	}
	if g.Delayed > 0 {
		out.Notes = append(out.Notes, words.Exact(g.Delayed)+" of them arrived together afterwards")
	}
	return out
}

func (c *Collector) finishCounters(out *Capture) {
	type shown struct {
		Series
		most float32
		// rank is higher for counters of losses, and for those with several values.
		rank int
	}
	var all []shown
	for key, b := range c.counters {
		name := printable(key.Name)
		if key.Instance != "" {
			name += " " + printable(key.Instance)
		}
		if key.CPU >= 0 {
			name += fmt.Sprintf(" CPU %d", key.CPU)
		}
		unit := key.Unit
		if key.Mode == model.CounterTotal || key.Mode == model.CounterRate {
			unit = strings.TrimSuffix(cmp.Or(unit, "events"), "/s") + "/s"
		}
		s := b.sealed(name, unit, nil)
		if most, ok := s.Max(); ok && most > 0 {
			all = append(all, shown{s, most, 2*loss(s.Name) + several(&s)})
		}
	}
	slices.SortFunc(all, func(a, b shown) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.most, a.most), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Unit, b.Unit))
	})
	out.CountersMore = max(0, len(all)-shownCounters)
	for _, s := range all[:min(len(all), shownCounters)] {
		out.Counters = append(out.Counters, s.Series)
	}
}

// several is 1 for a series with more than one value.
func several(s *Series) int {
	n := 0
	for _, v := range s.Values {
		if v == v {
			n++
		}
	}
	return min(n/2, 1)
}

// loss is 1 for a counter of losses.
func loss(name string) int {
	name = strings.ToLower(name)
	for _, word := range []string{"drop", "discard", "error", "missed", "overflow"} {
		if strings.Contains(name, word) {
			return 1
		}
	}
	return 0
}

// lineRoom bounds the lines that are kept until it is known which of them belong to findings.
const lineRoom = 20000

// linesOf returns what logs and event logs say, by time.
func linesOf(snap *fold.Snapshot, facts *fold.Fold) (lines []Line, more int) {
	gap := func(g *model.LogGap) {
		text := "nothing was written for " + words.Span(g.Dur)
		if g.Lasts {
			text += ", and nothing since"
		}
		if g.Usual > 0 {
			text += "; " + words.Span(g.Usual) + " is exceeded once in a hundred lines"
		}
		if g.Before != "" {
			text += `; the line before: "` + printable(g.Before) + `"`
		}
		lines = append(lines, Line{g.Time.Add(-g.Dur), g.Dur, g.Log, g.Host, "silence", text})
	}
	line := func(l *model.LogLine) {
		lines = append(lines, Line{Time: l.Time, Log: l.Log, Host: l.Host, What: l.Class.String(), Text: l.Text})
	}
	for i := range snap.Logs {
		l := &snap.Logs[i]
		for i := range l.Gaps {
			gap(&l.Gaps[i])
		}
		for i := range l.Lines {
			line(&l.Lines[i])
		}
	}
	for i := range facts.Logs.Gaps {
		gap(&facts.Logs.Gaps[i])
	}
	for i := range facts.Logs.Lines {
		line(&facts.Logs.Lines[i])
	}
	for i := range facts.HostEvents.List {
		e := &facts.HostEvents.List[i]
		lines = append(lines, Line{
			Time: e.Time, Log: e.Log, Host: e.Host, What: e.What.String(),
			Text: strings.TrimSpace(fmt.Sprintf("%s %d %s", e.Provider, e.ID, e.About)),
		})
	}
	for _, n := range snap.Notes {
		lines = append(lines, Line{Time: n.About, What: "note", Text: n.Text})
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return cmp.Compare(a.Time, b.Time) })
	more = max(0, len(lines)-lineRoom)
	return lines[:min(len(lines), lineRoom)], more
}
