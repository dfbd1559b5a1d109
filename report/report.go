package report

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// Schema is the name and version of the schema of a Report.
const Schema = "lostbeat.report/1"

// Report is what is said of one or more files.
type Report struct {
	// Tool is the program and version that made it.
	Tool string `json:"tool"`
	// Redacted says that names and addresses are pseudonyms.
	Redacted bool `json:"redacted"`
	// Start and End bound the events of all files; 0 where there are none.
	Start model.Time `json:"start"`
	End   model.Time `json:"end"`
	// Findings are the worst first, then by their start.
	Findings []Finding `json:"findings"`
	// Captures are the files, in the order in which they were read.
	Captures []*Capture `json:"captures"`
	// Bundles are the archives among the files.
	Bundles []Bundle `json:"bundles"`
}

// Finding is a verdict.
type Finding struct {
	// File is the capture that it is of; empty for what several files show together.
	File string `json:"file" redact:"file"`
	// Host is its host, empty unknown or several.
	Host string `json:"host"`
	model.Finding
}

// MarshalJSON writes the finding as an object of its own beside what it is of.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		File    string        `json:"file"`
		Host    string        `json:"host"`
		Finding model.Finding `json:"finding"`
	}{f.File, f.Host, f.Finding})
}

// Bundle is an archive of which members were read.
type Bundle struct {
	File string `json:"file" redact:"file"`
	// Members is how many files it has, Opened which of them were read.
	Members int      `json:"members"`
	Opened  []string `json:"opened" redact:"file"`
	// Damage says what could not be read.
	Damage []string `json:"damage"`
}

// Capture is what one file, or several that are one source, shows of a host.
type Capture struct {
	File   string `json:"file" redact:"file"`
	Format string `json:"format"`
	Host   string `json:"host"`
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	// Facts are the other facts about host and capture, by name.
	Facts []Fact `json:"facts"`
	// Start and End are the times of the first and the last event.
	Start model.Time `json:"start"`
	End   model.Time `json:"end"`
	// Events is how many there are, Lost how many were lost before they were recorded, and Losses where.
	Events uint64 `json:"events_total"`
	Lost   uint64 `json:"lost"`
	Losses []Loss `json:"losses"`
	// Complete says that the file could be read to its end, Integrity how much was read.
	Complete  bool   `json:"complete"`
	Integrity string `json:"integrity"`
	// Unjudged are signals that are not in the file; LeftOut is what there was no room for; Notes is what else is to be
	// known.
	Unjudged []string `json:"not_judged"`
	LeftOut  []string `json:"left_out"`
	Notes    []string `json:"notes"`
	Probes   []Probe  `json:"probes"`
	Devices  []Device `json:"devices"`
	// OwnCPU is the share of one CPU and OwnBytes the memory that lostbeat took while recording, as it was last measured;
	// nil unknown.
	OwnCPU   *float64 `json:"own_cpu_ratio"`
	OwnBytes *float64 `json:"own_rss_bytes"`

	// CPUs is how busy each CPU was.
	CPUs []Series `json:"cpus"`
	// Work is deferred work and interrupts by CPU, the most busy first; WorkMore is how many more there were.
	Work     []Work `json:"work"`
	WorkMore int    `json:"work_more"`
	// Places are packets lost by place, in the order in which a received packet meets them; Drops what is known of them,
	// the most first, and DropsMore how many more rows there were.
	Places    []Place `json:"drop_places"`
	Drops     []Drop  `json:"drops"`
	DropsMore int     `json:"drops_more"`
	// Pools are pools of ports, the fullest first.
	Pools     []Pool `json:"pools"`
	PoolsMore int    `json:"pools_more"`
	// Holders are the processes that held most ports at the end.
	Holders []Holder `json:"port_holders"`
	// Flows are the followed heartbeats, the latest first, and FlowsMore how many more there were.
	Flows     []Flow `json:"flows"`
	FlowsMore int    `json:"flows_more"`
	// Counters are those of files that have counters only.
	Counters     []Series `json:"counters"`
	CountersMore int      `json:"counters_more"`
	// Lines is what logs say, by time; LinesMore how many more lines and silences there were.
	Lines     []Line `json:"log_lines"`
	LinesMore int    `json:"log_lines_more"`
	// LostOver is the number of lost events over time, without values where none was lost.
	LostOver Series `json:"lost_over_time"`

	// dropsSeen says that drops were watched.
	dropsSeen bool
}

// Fact is a fact about a host.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Loss is how many events were lost at one place.
type Loss struct {
	Origin string `json:"origin"`
	Detail string `json:"detail"`
	Lost   uint64 `json:"lost"`
}

// Probe is a part of a probe and whether it worked.
type Probe struct {
	Name   string `json:"name"`
	Part   string `json:"part"`
	State  string `json:"state"`
	Reason string `json:"reason"`
	Hint   string `json:"hint"`
}

// Device is a network device as it was set up.
type Device struct {
	Name    string `json:"name"`
	Netns   string `json:"netns"`
	Driver  string `json:"driver"`
	RXQueue uint64 `json:"rx_queues"`
	TXQueue uint64 `json:"tx_queues"`
	RXRing  uint64 `json:"rx_ring"`
	RingMax uint64 `json:"rx_ring_max"`
}

// Series is the highest value of each step of time.
type Series struct {
	Name string `json:"name"`
	// Unit is ratio, packets/s, ports, ns, events, or that of a counter; empty for counters without one.
	Unit string `json:"unit"`
	// First is when the first value begins, Step how long each is.
	First model.Time
	Step  time.Duration
	// Values are not a number where nothing was measured.
	Values []float32
}

// MarshalJSON writes null for what was not measured.
func (s Series) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name   string          `json:"name"`
		Unit   string          `json:"unit"`
		First  model.Time      `json:"first"`
		Step   float64         `json:"step_s"`
		Values json.RawMessage `json:"values"`
	}{s.Name, s.Unit, s.First, s.Step.Seconds(), s.merged(1)})
}

// appendValue appends a number with four digits that count, null for none.
func appendValue(out []byte, v float32) []byte {
	if v != v || math.IsInf(float64(v), 0) {
		return append(out, "null"...)
	}
	return strconv.AppendFloat(out, rounded(v), 'f', -1, 64)
}

// rounded is v with four digits that count.
func rounded(v float32) float64 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(float64(v))))-3)
	if unit < 1 {
		inverse := math.Round(1 / unit)
		return math.Round(float64(v)*inverse) / inverse
	}
	return math.Round(float64(v)/unit) * unit
}

// Max returns the highest value; ok is false where nothing was measured.
func (s *Series) Max() (most float32, ok bool) {
	for _, v := range s.Values {
		if v == v && (!ok || v > most) {
			most, ok = v, true
		}
	}
	return most, ok
}

// End is when the last value ends.
func (s *Series) End() model.Time { return s.First.Add(time.Duration(len(s.Values)) * s.Step) }

// Work is one kind of deferred work, or one interrupt line, on one CPU.
type Work struct {
	CPU   int32  `json:"cpu"`
	Class string `json:"class"`
	Name  string `json:"name"`
	// Busy is the time that it took, LongestWait and LongestRun of a single run; 0 for a wait that is not known.
	Busy        time.Duration `json:"busy_ns"`
	LongestWait time.Duration `json:"longest_wait_ns"`
	LongestRun  time.Duration `json:"longest_run_ns"`
	// Share is the share of the CPU's time.
	Share Series `json:"share"`
}

// Place is a place of loss.
type Place struct {
	Place string `json:"place"`
	// Packets is how many were lost there; Rate is per second.
	Packets uint64 `json:"packets"`
	Rate    Series `json:"rate"`
}

// Drop is what was lost at one place for one reason.
type Drop struct {
	Place    string `json:"place"`
	Reason   string `json:"reason"`
	Device   string `json:"device"`
	Socket   string `json:"socket"`
	Process  string `json:"process"`
	Location string `json:"location"`
	Packets  uint64 `json:"packets"`
}

// Pool is a pool of ports.
type Pool struct {
	Name string `json:"name"`
	Size int    `json:"size"`
	// Used and Resting are at the end.
	Used    int    `json:"used"`
	Resting int    `json:"resting"`
	Taken   Series `json:"taken"`
}

// Holder is a process that held ports at the end.
type Holder struct {
	Process string `json:"process"`
	Ports   int    `json:"ports"`
}

// Flow is a followed heartbeat.
type Flow struct {
	Name    string `json:"name"`
	Process string `json:"process"`
	// Period is its usual time between packets, Timeout the protocol's own limit, Longest its longest silence; 0 unknown.
	Period  time.Duration `json:"period_ns"`
	Timeout time.Duration `json:"timeout_ns"`
	Longest time.Duration `json:"longest_ns"`
	Packets uint64        `json:"packets"`
	Reads   uint64        `json:"reads"`
	Late    uint64        `json:"late"`
	Lost    uint64        `json:"lost"`
	// Gap is its longest gap of those that were too long, nil for none.
	Gap *Gap `json:"gap"`
	// Silence is the longest time without a packet that ended in each step.
	Silence Series `json:"silence"`
}

// Gap is a silence and where its time went.
type Gap struct {
	From model.Time `json:"from"`
	To   model.Time `json:"to"`
	// Lasts says that it had not ended at To. Delay is what is longer than usual.
	Lasts bool          `json:"lasts"`
	Delay time.Duration `json:"delay_ns"`
	// Stages are in the order in which a packet passes them; there is none where they were not seen.
	Stages []Stage `json:"stages"`
	// Notes say what else is known of it.
	Notes []string `json:"notes"`
}

// Stage is where time went.
type Stage struct {
	Name string `json:"name"`
	// Time is what was spent there, when Measured.
	Time     time.Duration `json:"time_ns"`
	Measured bool          `json:"measured"`
}

// Line is a line of a log, an entry of an event log, or a silence.
type Line struct {
	Time model.Time `json:"time"`
	// Silence is for how long a log fell silent then, 0 for a line.
	Silence time.Duration `json:"silence_ns"`
	Log     string        `json:"log"`
	Host    string        `json:"host"`
	// What is what it reports.
	What string `json:"what"`
	Text string `json:"text"`
}

// Add takes a capture and its findings.
func (r *Report) Add(c *Capture, findings []model.Finding) {
	r.Captures = append(r.Captures, c)
	if c.Start != 0 {
		if r.Start == 0 || c.Start < r.Start {
			r.Start = c.Start
		}
		r.End = max(r.End, c.End)
	}
	for _, f := range findings {
		r.Findings = append(r.Findings, Finding{c.File, c.Host, f})
	}
}

// AddTogether takes findings of several files.
func (r *Report) AddTogether(findings []model.Finding) {
	for _, f := range findings {
		r.Findings = append(r.Findings, Finding{Finding: f})
	}
}

// Finish puts the findings in their order, and gives all lists their form.
func (r *Report) Finish() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID))
	})
	for _, f := range r.Findings {
		if r.Start != 0 && f.Start != 0 {
			r.Start = min(r.Start, f.Start)
			r.End = max(r.End, f.End)
		}
	}
	notNil(&r.Findings)
	notNil(&r.Captures)
	notNil(&r.Bundles)
	for i := range r.Bundles {
		notNil(&r.Bundles[i].Opened)
		notNil(&r.Bundles[i].Damage)
	}
	for _, c := range r.Captures {
		c.finish()
		c.Lines, c.LinesMore = near(c.Lines, c.LinesMore, r.Findings)
	}
}

// finish makes empty lists of those that are nil: JSON has no null for them.
func (c *Capture) finish() {
	notNil(&c.Facts)
	notNil(&c.Losses)
	notNil(&c.Unjudged)
	notNil(&c.LeftOut)
	notNil(&c.Notes)
	notNil(&c.Probes)
	notNil(&c.Devices)
	notNil(&c.CPUs)
	notNil(&c.Work)
	notNil(&c.Places)
	notNil(&c.Drops)
	notNil(&c.Pools)
	notNil(&c.Flows)
	notNil(&c.Counters)
	notNil(&c.Lines)
	notNil(&c.Holders)
	for i := range c.Flows {
		if g := c.Flows[i].Gap; g != nil {
			notNil(&g.Stages)
			notNil(&g.Notes)
		}
	}
}

func notNil[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// nearBy is how far from a finding a line of a log may be to count as one that belongs to it.
const nearBy = 10 * time.Second

// near returns at most maxLines lines: those near findings before the others.
func near(lines []Line, more int, findings []Finding) ([]Line, int) {
	if len(lines) <= maxLines {
		return lines, more
	}
	of := func(l Line) bool {
		return slices.ContainsFunc(findings, func(f Finding) bool {
			return l.Time >= f.Start.Add(-nearBy) && l.Time <= f.End.Add(nearBy)
		})
	}
	var first, rest []Line
	for _, l := range lines {
		if of(l) || l.Silence > 0 {
			first = append(first, l)
		} else {
			rest = append(rest, l)
		}
	}
	kept := append(first, rest...)[:maxLines]
	slices.SortStableFunc(kept, func(a, b Line) int { return cmp.Compare(a.Time, b.Time) })
	return kept, more + len(lines) - maxLines
}

// printable is a name of a traced host without what steers a terminal.
func printable(s string) string { return fold.Printable(s) }
