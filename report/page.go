package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
	"lostbeat/sink/findings"

	"github.com/dustin/go-humanize"
)

var (
	//go:embed assets/page.css
	pageStyle string
	//go:embed assets/page.js
	pageScript string
	//go:embed assets/uplot.min.js
	uplotScript string
	//go:embed assets/uplot.min.css
	uplotStyle string
)

// uplotNotice is what the licence of uPlot asks for in copies.
const uplotNotice = "/*! uPlot 1.6.32, Copyright (c) 2022 Leon Sorokin, MIT License " +
	"(https://opensource.org/license/mit) */\n"

// fullFindings is how many findings a page tells in full; of the others it has the titles.
const fullFindings = 50

// page is what is drawn.
type page struct {
	*Report
	Policy markup
	Style  markup
	Script markup
	// Span and Zone say which time the page shows, and in which zone.
	Span, Zone string
	location   *time.Location
	Lead       *verdict
	Others     []*verdict
	Titles     []*verdict
	Axis       markup
	Hosts      []host
	// Legend are the steps of the heat map.
	Legend []string
	Zoom   zoom
	// Whole is what was found, in one sentence.
	Whole string
	// Sections are the parts that the page has, for its list of contents.
	Sections []section
}

type section struct{ ID, Title string }

// verdict is a finding as the page tells it.
type verdict struct {
	Finding
	ID, Mark, Class string
	When, Whose     string
	Numbers         []Fact
	Bar             markup
	Length          string
}

// host is what a page shows of a capture.
type host struct {
	*Capture
	ID, Name string
	Heat     []row
	Places   []row
	PoolRows []row
	Silences []row
	Numbers  []row
	LossRow  *row
	Falls    []fall
	Facts    []Fact
	// On and Part are the parts of probes that worked, and that worked in part; Off are those that did not, and what is
	// said of the others.
	On, Part  []string
	Off       []Probe
	Missing   []string
	LineRows  []lineRow
	DropsSeen bool
}

// row is a line of a figure: its name, its picture and its number.
type row struct {
	Name  string
	Plot  markup
	Value string
	// Note explains the name, or in a waterfall the value; Unit is that of the value, where it may be long.
	Note, Unit string
}

// fall is the waterfall of the longest gap of a flow.
type fall struct {
	Title, Sub string
	Rows       []row
	Notes      []string
}

// hasDrops says that lost packets were watched, or seen.
func (c *host) hasDrops() bool { return c.DropsSeen || len(c.Places) > 0 }

type lineRow struct{ When, Host, Log, What, Text string }

// zoom is what the script draws.
type zoom struct {
	// Start and End are seconds since the epoch, Offset those of the zone.
	Start  float64 `json:"start"`
	End    float64 `json:"end"`
	Offset int     `json:"offset"`
	Zone   string  `json:"zone"`
	Groups []group `json:"groups"`
	// Spans are the findings: from, to, severity, number.
	Spans [][4]float64 `json:"spans"`
}

// group are series that are drawn together.
type group struct {
	Label  string        `json:"label"`
	Unit   string        `json:"unit"`
	First  float64       `json:"first"`
	Step   float64       `json:"step"`
	Full   float64       `json:"full"`
	Series []groupSeries `json:"series"`
}

type groupSeries struct {
	Name   string          `json:"name"`
	Values json.RawMessage `json:"values"`
}

// hash is what a policy names the content of an element by.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WriteHTML writes the report as one page, with times of the given zone.
func (r *Report) WriteHTML(w io.Writer, zone *time.Location) error {
	p := r.page(fixed(zone, r.Start))
	data, err := json.Marshal(p.Zoom)
	if err != nil {
		return err
	}
	_, err = w.Write(p.html(data).appendTo(nil))
	return err
}

// fixed is the zone with the offset that it has at a time: a page has one zone, whenever the clocks are changed.
func fixed(zone *time.Location, at model.Time) *time.Location {
	name, offset := at.Std().In(zone).Zone()
	return time.FixedZone(name, offset)
}

// none stands where nothing was measured.
const none = "–"

func spanOrNone(d time.Duration) string {
	if d == 0 {
		return none
	}
	return plain.Tie(plain.Span(d))
}

func numberOrNone(n uint64) string {
	if n == 0 {
		return none
	}
	return words.Exact(n)
}

func momentOrNone(t model.Time, zone *time.Location) string {
	if t == 0 {
		return none
	}
	return plain.Moment(t.Std(), zone)
}

// zoneName names a zone with its offset.
func zoneName(t model.Time, zone *time.Location) string {
	at := t.Std().In(zone)
	name, offset := at.Zone()
	if offset == 0 {
		return cmp.Or(name, "UTC")
	}
	text := "UTC" + at.Format("-07:00")
	if name != "" && !strings.ContainsAny(name, "+-0123456789") {
		text = name + " (" + text + ")"
	}
	return text
}

func (r *Report) page(zone *time.Location) *page {
	w := window{r.Start, r.End, zone}
	p := &page{
		Report: r, Style: markup(uplotStyle + pageStyle),
		Script: markup(uplotNotice + uplotScript + "\n" + pageScript), Zone: zoneName(r.Start, zone), location: zone,
		Axis: w.axis(),
	}
	p.Policy = markup(fmt.Sprintf(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; `+
		`style-src %s; script-src %s; base-uri 'none'; form-action 'none'">`, hash(string(p.Style)), hash(string(p.Script))))
	if r.Start != 0 {
		p.Span = fmt.Sprintf("%s to %s (%s)", plain.Moment(r.Start.Std(), zone), plain.Moment(r.End.Std(), zone),
			plain.Span(r.End.Sub(r.Start)))
	}
	for i := range r.Findings {
		v := w.verdict(&r.Findings[i], i+1, len(r.Captures) > 1)
		switch {
		case i == 0:
			p.Lead = v
		case i < fullFindings:
			p.Others = append(p.Others, v)
		default:
			p.Titles = append(p.Titles, v)
		}
	}
	for i, bound := range append([]float32{0}, shadeBounds[:]...) {
		text := plain.Percent(float64(bound)) + " or more"
		if i == 0 {
			text = "under " + plain.Percent(float64(shadeBounds[0]))
		}
		p.Legend = append(p.Legend, plain.Tie(text))
	}
	for i, c := range r.Captures {
		p.Hosts = append(p.Hosts, w.host(c, i+1, len(r.Captures) > 1))
	}
	p.Whole = r.summary(zone)
	p.Zoom = r.zoom(zone)
	p.sections()
	return p
}

// sections lists what the page has.
func (p *page) sections() {
	has := func(of func(*host) bool) bool {
		for i := range p.Hosts {
			if of(&p.Hosts[i]) {
				return true
			}
		}
		return false
	}
	for _, s := range []struct {
		section
		is bool
	}{
		{section{"verdict", "Verdict"}, true},
		{section{"findings", "Other findings"}, len(p.Others) > 0},
		{section{"time", "Time line"}, p.Axis != ""},
		{section{"heartbeats", "Heartbeats"}, has(func(h *host) bool { return len(h.Flows) > 0 })},
		{section{"cpu", "CPU time and deferred work"}, has(func(h *host) bool { return len(h.Heat) > 0 })},
		{section{"drops", "Packets lost"}, has((*host).hasDrops)},
		{section{"ports", "Ports"}, has(func(h *host) bool { return len(h.PoolRows) > 0 })},
		{section{"counters", "Counters"}, has(func(h *host) bool { return len(h.Numbers) > 0 })},
		{section{"logs", "Log lines"}, has(func(h *host) bool { return len(h.LineRows) > 0 })},
		{section{"hosts", "Hosts and devices"}, true},
		{section{"method", "Method"}, true},
		{section{"integrity", "Loss and integrity"}, true},
	} {
		if s.is {
			p.Sections = append(p.Sections, s.section)
		}
	}
}

// Many says that the page is of several captures.
func (p *page) Many() bool { return len(p.Hosts) > 1 }

// marks are the signs of severities, and classes their classes.
var (
	marks = map[model.Severity]string{
		model.SeverityInfo: "●", model.SeverityWarning: "▲", model.SeverityCritical: "✖",
	}
	classes = map[model.Severity]string{
		model.SeverityInfo: "info", model.SeverityWarning: "warning", model.SeverityCritical: "critical",
	}
)

// verdict is a finding as the page tells it.
func (w window) verdict(f *Finding, number int, several bool) *verdict {
	v := &verdict{Finding: *f, ID: fmt.Sprintf("f%d", number), Mark: marks[f.Severity], Class: classes[f.Severity]}
	v.When = when(f, w.zone)
	v.Whose = whose(&f.Subject)
	if several && f.Host != "" {
		v.Whose = strings.TrimPrefix(v.Whose+" on "+f.Host, " on ")
	}
	for _, e := range f.Evidence {
		v.Numbers = append(v.Numbers, Fact{e.Name, plain.Quantity(e.Value, e.Unit)})
	}
	v.Length = lengthOf(f)
	v.Bar = w.span(f.Start, f.End, "s-"+v.Class, f.Detector+": "+v.When)
	return v
}

// lengthOf is how long a finding lasted, empty for a moment.
func lengthOf(f *Finding) string {
	if f.End == f.Start {
		return ""
	}
	return plain.Span(f.End.Sub(f.Start))
}

// when says when a finding was.
func when(f *Finding, zone *time.Location) string {
	text := findings.Period(f.Finding, zone)
	if f.Start == f.End {
		return text
	}
	text += " (" + lengthOf(f) + ")"
	if f.Ongoing {
		text += ", active when last seen"
	}
	return text
}

// whose says what a finding is about.
func whose(s *model.Subject) string {
	var parts []string
	if s.CPU >= 0 {
		parts = append(parts, fmt.Sprintf("CPU %d", s.CPU))
	}
	for _, t := range []string{s.Vector, s.Driver, s.Device, s.Queue} {
		if t != "" && !slices.Contains(parts, t) {
			parts = append(parts, t)
		}
	}
	if s.Pool != "" {
		parts = append(parts, "pool "+s.Pool)
	}
	if s.Protocol != "" && s.Port != 0 {
		parts = append(parts, fmt.Sprintf("%s/%d", s.Protocol, s.Port))
	}
	if s.Process != "" || s.PID > 0 {
		parts = append(parts, words.Task(s.Process, s.PID))
	}
	if s.Netns != "" {
		parts = append(parts, "netns "+s.Netns)
	}
	return strings.Join(parts, ", ")
}

// summary says what the whole report found, in one sentence.
func (r *Report) summary(zone *time.Location) string {
	if len(r.Findings) > 0 {
		var counts [model.SeverityCritical + 1]int
		for i := range r.Findings {
			counts[r.Findings[i].Severity]++
		}
		var parts []string
		for s := model.SeverityCritical; ; s-- {
			if counts[s] > 0 {
				parts = append(parts, words.Number(counts[s])+" "+s.String())
			}
			if s == 0 {
				break
			}
		}
		return words.Plural(len(r.Findings), "finding") + ": " + strings.Join(parts, ", ")
	}
	if r.Start == 0 {
		return "No finding: the input has no events"
	}
	incomplete := slices.ContainsFunc(r.Captures, func(c *Capture) bool { return !c.Complete })
	what := "No finding in "
	if incomplete {
		what = "No finding in what could be read of "
	}
	return what + plain.Span(r.End.Sub(r.Start))
}

// host is what the page shows of a capture.
func (w window) host(c *Capture, number int, several bool) host {
	h := host{Capture: c, ID: fmt.Sprintf("h%d", number), Name: cmp.Or(c.Host, baseName(c.File)), DropsSeen: c.dropsSeen}
	if several && c.Host != "" {
		h.Name = c.Host + " · " + baseName(c.File)
	}
	for i := range c.CPUs {
		h.Heat = append(h.Heat, w.heatRow(&c.CPUs[i], "busy in all"))
	}
	for i := range c.Work {
		h.Heat = append(h.Heat, w.heatRow(&c.Work[i].Share, c.Work[i].Class))
	}
	for i := range c.Places {
		s := &c.Places[i].Rate
		most, _ := s.Max()
		h.Places = append(h.Places, row{
			Name: c.Places[i].Place, Plot: w.bars(s, float64(most), "loss"), Value: words.Exact(c.Places[i].Packets),
			Note: "at most " + quantity(float64(most), s.Unit),
		})
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		most, _ := p.Taken.Max()
		share := 0.0
		if p.Size > 0 {
			share = float64(most) / float64(p.Size)
		}
		h.PoolRows = append(h.PoolRows, row{
			Name: p.Name, Plot: w.bars(&p.Taken, float64(p.Size), "bar"), Value: plain.Percent(share),
			Note: fmt.Sprintf("at most %s of %s ports", words.Exact(int(most)), words.Exact(p.Size)),
		})
	}
	h.flows(w, c)
	for i := range c.Counters {
		s := &c.Counters[i]
		most, _ := s.Max()
		r := row{Name: s.Name, Plot: w.bars(s, float64(most), "bar"), Value: quantity(float64(most), ""), Unit: s.Unit}
		if s.Unit == "ratio" || s.Unit == "ns" {
			r.Value, r.Unit = quantity(float64(most), s.Unit), ""
		}
		h.Numbers = append(h.Numbers, r)
	}
	if most, ok := c.LostOver.Max(); ok {
		h.LossRow = &row{
			Name: "events lost", Plot: w.bars(&c.LostOver, float64(most), "loss"), Value: words.Exact(c.Lost),
		}
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		h.LineRows = append(h.LineRows, lineRow{
			l.Time.Std().In(w.zone).Format("01-02 15:04:05.000"), l.Host, l.Log, strings.ReplaceAll(l.What, "_", " "), l.Text,
		})
	}
	h.facts()
	return h
}

// baseName is the last part of a path of any system.
func baseName(path string) string {
	return path[strings.LastIndexAny(path, `/\`)+1:]
}

// heatRow is a row of the heat map.
func (w window) heatRow(s *Series, note string) row {
	value := none
	if most, ok := s.Max(); ok {
		value = plain.Percent(float64(most))
	}
	return row{Name: s.Name, Plot: w.heat(s), Value: value, Note: note}
}

// shownFalls is how many waterfalls are drawn of a capture.
const shownFalls = 4

// flows makes the rows and the waterfalls of followed flows.
func (h *host) flows(w window, c *Capture) {
	for i := range c.Flows {
		f := &c.Flows[i]
		if most, ok := f.Silence.Max(); ok {
			full := max(float64(most), float64(f.Timeout))
			h.Silences = append(h.Silences, row{
				Name: f.Name, Plot: w.bars(&f.Silence, full, "bar"), Value: plain.Span(time.Duration(most)), Note: f.Process,
			})
		}
		if f.Gap == nil || len(h.Falls) == shownFalls {
			continue
		}
		title := fmt.Sprintf("%s of %s: %s later than usual", f.Name, f.Process, plain.Span(f.Gap.Delay))
		sub := fmt.Sprintf("the packet that was due at %s", plain.Moment(f.Gap.From.Std(), w.zone))
		if f.Gap.Lasts {
			sub += "; it had not come when the file ends"
		}
		h.Falls = append(h.Falls, fall{title, sub, f.Gap.rows(), f.Gap.Notes})
	}
}

// rows are the stages of a gap, one after the other.
func (g *Gap) rows() (rows []row) {
	var all, before time.Duration
	for _, s := range g.Stages {
		all += s.Time
	}
	for _, s := range g.Stages {
		if !s.Measured {
			rows = append(rows, row{Name: s.Name, Value: none, Note: "not measured", Plot: part(0, 0, "not measured")})
			continue
		}
		share, value := float64(s.Time)/float64(max(all, 1)), plain.Span(s.Time)
		if s.Time == 0 {
			value = "0 s"
		}
		rows = append(rows, row{
			Name: s.Name, Plot: part(float64(before)/float64(max(all, 1)), share, plain.Percent(share)),
			Value: value, Note: plain.Percent(share),
		})
		before += s.Time
	}
	return rows
}

// facts makes the tables of facts of a host.
func (h *host) facts() {
	c := h.Capture
	add := func(name, value string) {
		if value != "" {
			h.Facts = append(h.Facts, Fact{name, value})
		}
	}
	add("file", c.File+" ("+c.Format+")")
	add("host", cmp.Or(c.Host, "unknown"))
	add("system", cmp.Or(strings.TrimSpace(c.OS+" "+c.Kernel), "unknown"))
	for _, f := range c.Facts {
		add(f.Name, f.Value)
	}
	if c.OwnCPU != nil && c.OwnBytes != nil {
		add("lostbeat's own cost, last measured", fmt.Sprintf("%s of one CPU, %s", plain.Percent(*c.OwnCPU),
			humanize.IBytes(uint64(math.Max(*c.OwnBytes, 0)))))
	}
	for _, p := range c.Probes {
		name := p.Name
		if p.Part != "" {
			name += "/" + p.Part
		}
		switch p.State {
		case model.ProbeOn.String():
			h.On = append(h.On, name)
		case model.ProbeDegraded.String():
			h.Part = append(h.Part, name)
		}
		if p.State != model.ProbeOn.String() || p.Reason != "" {
			p.Name = name
			h.Off = append(h.Off, p)
		}
	}
	for _, x := range []struct {
		missing bool
		what    string
	}{
		{len(c.CPUs) == 0, "CPU time"},
		{len(c.Work) == 0, "deferred work and interrupts"},
		{!c.dropsSeen && len(c.Places) == 0, "packets lost"},
		{len(c.Pools) == 0, "pools of ports"},
		{len(c.Flows) == 0, "followed heartbeats"},
		{len(c.Lines) == 0, "log lines"},
	} {
		if x.missing {
			h.Missing = append(h.Missing, x.what)
		}
	}
}

// zoomBytes bounds what is embedded for the script: a page of an hour is to stay below 2 MB.
const zoomBytes = 700_000

// zoom is what the script draws: the series in the finest steps for which there is room.
func (r *Report) zoom(zone *time.Location) zoom {
	_, offset := r.Start.Std().In(zone).Zone()
	z := zoom{
		Start: seconds(r.Start), End: seconds(r.End), Offset: offset, Zone: zoneName(r.Start, zone), Groups: []group{},
		Spans: [][4]float64{},
	}
	for i := range r.Findings[:min(len(r.Findings), fullFindings)] {
		f := &r.Findings[i]
		z.Spans = append(z.Spans, [4]float64{seconds(f.Start), seconds(f.End), float64(f.Severity), float64(i + 1)})
	}
	for merge := 1; ; merge *= 2 {
		z.Groups = z.Groups[:0]
		size := 0
		for i, c := range r.Captures {
			for _, g := range c.groups(merge) {
				if len(r.Captures) > 1 {
					g.Label = fmt.Sprintf("%s %d: %s", plain.Text(cmp.Or(c.Host, c.File)), i+1, g.Label)
				}
				for _, s := range g.Series {
					size += len(s.Values)
				}
				z.Groups = append(z.Groups, g)
			}
		}
		if size <= zoomBytes || merge > maxBins {
			return z
		}
	}
}

func seconds(t model.Time) float64 { return math.Round(float64(t)/1e6) / 1e3 }

// zoomSeries is how many series of a group are drawn.
const zoomSeries = 12

// groups are the series of a capture that belong together, with so many values merged into one.
func (c *Capture) groups(merge int) (out []group) {
	add := func(label, unit string, full float64, list []*Series) {
		g := group{Label: plain.Text(label), Unit: plain.Text(unit), Full: full}
		list = slices.DeleteFunc(list, func(s *Series) bool { return len(s.Values) == 0 })
		if len(list) > zoomSeries {
			slices.SortStableFunc(list, func(a, b *Series) int {
				x, _ := a.Max()
				y, _ := b.Max()
				return cmp.Compare(y, x)
			})
			g.Label = fmt.Sprintf("%s (the %d highest)", label, zoomSeries)
			list = list[:zoomSeries]
		}
		for _, s := range list {
			g.First, g.Step = seconds(s.First), s.Step.Seconds()*float64(merge)
			g.Series = append(g.Series, groupSeries{plain.Text(s.Name), s.merged(merge)})
		}
		if len(g.Series) > 0 {
			out = append(out, g)
		}
	}
	list := func(n int, at func(int) *Series) (list []*Series) {
		for i := range n {
			list = append(list, at(i))
		}
		return list
	}
	add("CPU time", "ratio", 1, list(len(c.CPUs), func(i int) *Series { return &c.CPUs[i] }))
	add("deferred work and interrupts", "ratio", 1, list(len(c.Work), func(i int) *Series { return &c.Work[i].Share }))
	add("packets lost by place", "packets/s", 0, list(len(c.Places), func(i int) *Series { return &c.Places[i].Rate }))
	add("ports taken", "ports", 0, list(len(c.Pools), func(i int) *Series { return &c.Pools[i].Taken }))
	add("silences of heartbeats", "ns", 0, list(len(c.Flows), func(i int) *Series { return &c.Flows[i].Silence }))
	for i := range c.Counters {
		add(c.Counters[i].Name, c.Counters[i].Unit, 0, []*Series{&c.Counters[i]})
	}
	return out
}

// merged is the list of values, the highest of every n of them, in JSON.
func (s *Series) merged(n int) json.RawMessage {
	out := []byte{'['}
	for i := 0; i < len(s.Values); i += n {
		if i > 0 {
			out = append(out, ',')
		}
		v := s.Values[i]
		for _, x := range s.Values[i:min(i+n, len(s.Values))] {
			v = higher(v, x)
		}
		out = appendValue(out, v)
	}
	return append(out, ']')
}
