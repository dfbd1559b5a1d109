package perfmon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/model"
	"lostbeat/source"
)

// summary is what the columns of a log say about what it can show.
type summary struct {
	machines []string
	cpus     map[[2]int32]bool
	// dpc and dpcTotal say that % DPC Time is there for single CPUs and for _Total.
	dpc, dpcTotal, adapters, datagrams bool
}

func summarise(columns []*column) summary {
	s := summary{cpus: map[[2]int32]bool{}}
	for _, c := range columns {
		if !slices.Contains(s.machines, c.machine) {
			s.machines = append(s.machines, c.machine)
		}
		if c.cpu >= 0 {
			s.cpus[[2]int32{c.group, c.cpu}] = true
		}
		if c.spec == nil {
			continue
		}
		switch c.spec.role {
		case roleDPCTime:
			s.dpc = s.dpc || c.cpu >= 0
			s.dpcTotal = s.dpcTotal || c.total
		case roleRXDiscarded, roleRXErrors:
			s.adapters = true
		case roleUDPErrors, roleDroppedDatagrams:
			s.datagrams = true
		}
	}
	return s
}

// processors returns the CPUs of a log: their number, or their list where some
// between them were not logged. Groups are numbered one behind the other.
func (s *summary) processors(number func(group, cpu int32) int32) string {
	var list []int32
	for id := range s.cpus {
		list = append(list, number(id[0], id[1]))
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if int(list[len(list)-1]) == len(list)-1 {
		return strconv.Itoa(len(list))
	}
	text := make([]string, len(list))
	for i, n := range list {
		text[i] = strconv.Itoa(int(n))
	}
	return strings.Join(text, ",")
}

// probes returns the state of each probe for which a counter log stands in.
func (s *summary) probes() []model.Probe {
	deferred := model.Probe{
		Name:   "deferred",
		Part:   "counters",
		State:  model.ProbeDegraded,
		Reason: "counters give each CPU's share of an interval; no single DPC, no driver",
	}
	switch {
	case s.dpc:
	case s.dpcTotal:
		deferred.State = model.ProbeOff
		deferred.Reason = "the log has % DPC Time of _Total only, which hides the one CPU that is starved"
		deferred.Hint = `log \Processor Information(*)\% DPC Time`
	default:
		deferred.State = model.ProbeOff
		deferred.Reason = "the log has no % DPC Time"
		deferred.Hint = `log \Processor Information(*)\% DPC Time`
	}
	nic := model.Probe{
		Name:   "nic",
		Part:   "counters",
		State:  model.ProbeDegraded,
		Reason: "counters give each adapter's sums, as its driver counts them",
	}
	if !s.adapters {
		nic.State, nic.Reason, nic.Hint = model.ProbeOff, "the log has no discards and errors of "+
			"adapters", `log \Network Interface(*)\Packets Received Discarded`
	}
	drop := model.Probe{
		Name:   "drop",
		Part:   "counters",
		State:  model.ProbeDegraded,
		Reason: "counters give sums over all sockets; no port, no process",
	}
	if !s.datagrams {
		drop.State, drop.Reason, drop.Hint = model.ProbeOff, "the log has no UDP "+
			"errors", `log \UDPv4\Datagrams Received Errors and \Microsoft Winsock BSP\Dropped Datagrams`
	}
	port := model.Probe{
		Name:   "port",
		Part:   "counters",
		State:  model.ProbeOff,
		Reason: "performance counters do not show ports",
	}
	return []model.Probe{deferred, nic, drop, port}
}

// Object is one object of a log's inventory.
type Object struct {
	// Name is the name as it stands in the log, English the canonical one where lostbeat knows the object.
	Name    string `json:"name"`
	English string `json:"english,omitempty"`
	// Instances and Counters count what the log has of the object.
	Instances int `json:"instances"`
	Counters  int `json:"counters"`
	Columns   int `json:"columns"`
	// Understood is the number of its columns that lostbeat interprets.
	Understood int `json:"understood"`
}

// Note is something in a log that is not a sample.
type Note struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

// Info is the inventory of a log.
type Info struct {
	Format   Format        `json:"format"`
	Machines []string      `json:"machines"`
	Start    time.Time     `json:"start"`
	End      time.Time     `json:"end"`
	Offset   time.Duration `json:"utc_offset_ns"`
	// Zone is the name of the time zone as the log gives it; CodePage that of a text log's names, empty for UTF-8.
	Zone     string `json:"zone,omitempty"`
	CodePage string `json:"code_page,omitempty"`
	// Description is that of the data collector set, empty for none.
	Description string `json:"description,omitempty"`
	// Samples is the number of samples; the intervals between them are Shortest, Median and Longest.
	Samples  int           `json:"samples"`
	Shortest time.Duration `json:"interval_min_ns"`
	Median   time.Duration `json:"interval_median_ns"`
	Longest  time.Duration `json:"interval_max_ns"`
	// Columns, Values and MissingValues count the columns, their values, and the cells without one.
	Columns       int      `json:"columns"`
	Values        int      `json:"values"`
	MissingValues int      `json:"missing_values"`
	Objects       []Object `json:"objects"`
	// Lost is the number of samples that are missing or could not be read; Notes says which.
	Lost  int    `json:"lost"`
	Notes []Note `json:"notes"`
}

// Info reads the whole log and returns its inventory. A log that breaks off
// gives what there is up to there, and the error.
func (l *Log) Info(ctx context.Context) (*Info, error) {
	c := counter{seen: map[int]*column{}}
	err := l.reader.read(ctx, 0, &c, l.progress)
	if err == nil {
		err = ctx.Err()
	}
	info := &Info{
		Format:        l.format,
		Start:         l.start.Std(),
		End:           max(l.start, c.last).Std(),
		Offset:        l.offset(),
		Samples:       c.samples,
		Columns:       len(c.seen),
		Values:        c.values,
		MissingValues: c.cells - c.values,
		Machines:      []string{},
		Objects:       []Object{},
		Notes:         []Note{},
	}
	if l.text != nil {
		info.Zone, info.CodePage, info.Description = l.text.header.zone, l.text.header.page, l.text.header.description
	}
	if n := len(c.intervals); n > 0 {
		slices.Sort(c.intervals)
		info.Shortest, info.Median, info.Longest = c.intervals[0], c.intervals[n/2], c.intervals[n-1]
	}
	list := make([]*column, 0, len(c.seen))
	for _, col := range c.seen {
		list = append(list, col)
	}
	slices.SortFunc(list, func(a, b *column) int { return a.id - b.id })
	s := summarise(list)
	info.Machines = append(info.Machines, s.machines...)
	info.Objects = inventory(list)
	for what, n := range c.notes {
		if n == 0 {
			continue
		}
		info.Notes = append(info.Notes, Note{What: note(what).String(), Count: n})
		switch note(what) {
		case noteTorn, noteDamage, noteUnknown, noteBackwards, noteMissing, noteColumns:
			info.Lost += n
		}
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return info, err
}

// Notes says in words what the log holds: its objects, and once a run has
// ended, what it met.
func (l *Log) Notes() []string {
	out := []string{fmt.Sprintf("%s, local times at UTC%s", l.format, formatOffset(l.offset()))}
	if l.text != nil {
		if l.text.header.page != "" {
			out = append(out, "names in code page "+l.text.header.page)
		}
		if l.text.header.description != "" {
			out = append(out, "description: "+l.text.header.description)
		}
	}
	if run := l.notes.Load(); run != nil {
		out = append(out, *run...)
	}
	for _, o := range inventory(l.first.list) {
		name := o.Name
		if o.English != "" && o.English != o.Name {
			name += " (" + o.English + ")"
		}
		line := name + ": " + plural(o.Counters, "counter")
		if o.Instances > 0 {
			line += " of " + plural(o.Instances, "instance")
		}
		out = append(out, fmt.Sprintf("%s, %s, %d of them understood", line, plural(o.Columns, "column"), o.Understood))
	}
	return out
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// describeRun says what a run met.
func (c *converter) describeRun() *[]string {
	apart := fmt.Sprintf("%v to %v", c.shortest, c.longest)
	if c.shortest == c.longest {
		apart = c.longest.String()
	}
	out := []string{fmt.Sprintf("%d samples, %s apart", c.samples, apart)}
	for what, n := range c.notes {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, note(what)))
		}
	}
	return &out
}

// verify computes the integrity of the log from what a whole run met.
func (l *Log) verify(c *converter) {
	v := &source.Integrity{Unit: "sample", Read: uint64(c.samples)}
	told := 0
	if l.binary != nil {
		if found := l.binary.damage.Load(); found != nil {
			v.Join(*found)
			told = len(found.Damage) + found.More
		}
	}
	if len(v.Damage) > 0 || c.notes[noteTorn] > 0 {
		v.Start, v.End = l.start, c.at
	}
	for _, what := range [...]note{noteDamage, noteTorn, noteUnknown, noteBackwards, noteColumns} {
		n := c.notes[what]
		if what == noteDamage {
			n -= told
		}
		if n > 0 {
			v.Add(fmt.Sprintf("%d %s", n, what), 0)
		}
	}
	if n := c.notes[noteGap]; n > 0 {
		v.Written = v.Read + uint64(n)
	}
	if n := c.notes[noteMissing]; n > 0 {
		v.Unknown = plural(n, "sample") + " missing between others: the logger was held up"
	}
	l.integrity.Store(v)
}

// Integrity implements source.Verified.
func (l *Log) Integrity() source.Integrity {
	if v := l.integrity.Load(); v != nil {
		return *v
	}
	return source.Integrity{}
}

// inventory counts columns by object, in the order in which they appear.
func inventory(columns []*column) []Object {
	out := []Object{}
	type tally struct {
		at                  int
		instances, counters map[string]bool
	}
	index := map[string]*tally{}
	for _, c := range columns {
		t := index[c.object]
		if t == nil {
			t = &tally{len(out), map[string]bool{}, map[string]bool{}}
			index[c.object] = t
			o := Object{Name: c.object}
			if c.known != nil {
				o.English = c.known.name
			}
			out = append(out, o)
		}
		o := &out[t.at]
		o.Columns++
		if c.spec != nil {
			o.Understood++
		}
		if c.instance != "" {
			t.instances[c.instance] = true
		}
		t.counters[c.counter] = true
		o.Instances, o.Counters = len(t.instances), len(t.counters)
	}
	return out
}

// counter is a sink that counts.
type counter struct {
	seen      map[int]*column
	next      int
	samples   int
	cells     int
	values    int
	last      model.Time
	intervals []time.Duration
	cadence   cadence
	notes     [noteCount]int
}

func (c *counter) columns(list []*column) error {
	for _, col := range list {
		if col != nil {
			col.id = c.next
			c.seen[col.id] = col
			c.next++
		}
	}
	return nil
}

func (c *counter) begin(at model.Time) (bool, error) {
	if c.last != 0 {
		if at <= c.last {
			c.notes[noteBackwards]++
			return false, nil
		}
		c.intervals = append(c.intervals, at.Sub(c.last))
	}
	c.notes[noteMissing] += c.cadence.next(at)
	c.last = at
	c.samples++
	return true, nil
}

func (c *counter) wants(col *column) bool {
	if _, ok := c.seen[col.id]; !ok {
		c.seen[col.id] = col
	}
	c.cells++
	return true
}

func (c *counter) value(*column, float64, float64) { c.values++ }
func (c *counter) end() error                      { return nil }
func (c *counter) note(what note, n int)           { c.notes[what] += n }
