package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/sink/findings"
)

// Rows of tables that are written as Markdown, which is pasted into a ticket.
const (
	markdownRows  = 12
	markdownLines = 20
)

// markdown is a document under way.
type markdown struct {
	strings.Builder
	zone *time.Location
}

// WriteMarkdown writes the report for an issue tracker, with times of the given zone.
func (r *Report) WriteMarkdown(w io.Writer, zone *time.Location) error {
	m := &markdown{zone: fixed(zone, r.Start)}
	fmt.Fprintf(m, "## lostbeat report: %s\n\n", plain.Markdown(r.summary(m.zone)))
	for _, c := range r.Captures {
		fmt.Fprintf(m, "- %s\n", plain.Markdown(fmt.Sprintf("%s: %s, %s; %s to %s", c.File, cmp.Or(c.Host, "unknown host"),
			cmp.Or(strings.TrimSpace(c.OS+" "+c.Kernel), "unknown system"), momentOrNone(c.Start, m.zone),
			momentOrNone(c.End, m.zone))))
	}
	if r.Redacted {
		m.WriteString("- names and addresses are pseudonyms\n")
	}
	m.WriteString("\n")
	for i := range r.Findings[:min(len(r.Findings), fullFindings)] {
		if err := findings.WriteMarkdown(m, r.Findings[i].Finding, m.zone); err != nil {
			return err
		}
	}
	if more := len(r.Findings) - fullFindings; more > 0 {
		fmt.Fprintf(m, "%s not shown here.\n\n", words.Plural(more, "more finding is", "more findings are"))
	}
	for _, c := range r.Captures {
		m.capture(c, len(r.Captures) > 1)
	}
	m.integrity(r)
	_, err := io.WriteString(w, m.String())
	return err
}

// head writes the heading of a part about a capture.
func (m *markdown) head(title string, c *Capture, several bool) {
	if several {
		title += ": " + cmp.Or(c.Host, c.File)
	}
	fmt.Fprintf(m, "#### %s\n\n", plain.Markdown(title))
}

// table writes a table; more is how many rows are not written.
func (m *markdown) table(columns []string, rows [][]string, more int) {
	if limit := markdownRows; len(rows) > limit {
		more += len(rows) - limit
		rows = rows[:limit]
	}
	line := func(cells []string) {
		for _, cell := range cells {
			fmt.Fprintf(m, "| %s ", plain.Markdown(cell))
		}
		m.WriteString("|\n")
	}
	line(columns)
	m.WriteString(strings.Repeat("|---", len(columns)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	if more > 0 {
		fmt.Fprintf(m, "\n%s in the full report.\n", words.Plural(more, "more row is", "more rows are"))
	}
	m.WriteString("\n")
}

// capture writes the tables of a capture.
func (m *markdown) capture(c *Capture, several bool) {
	for i := range c.Flows[:min(len(c.Flows), shownFalls)] {
		f := &c.Flows[i]
		if f.Gap == nil || len(f.Gap.Stages) == 0 {
			continue
		}
		m.head(fmt.Sprintf("%s of %s: %s later than usual", f.Name, f.Process, plain.Span(f.Gap.Delay)), c, several)
		var rows [][]string
		for _, r := range f.Gap.rows() {
			rows = append(rows, []string{r.Name, r.Value, r.Note})
		}
		m.table([]string{"stage", "time", "share"}, rows, 0)
	}
	if len(c.Work) > 0 {
		m.head("Deferred work and interrupts", c, several)
		var rows [][]string
		for i := range c.Work {
			w := &c.Work[i]
			most := none
			if v, ok := w.Share.Max(); ok {
				most = plain.Percent(float64(v))
			}
			rows = append(rows, []string{
				w.Share.Name, most, spanOrNone(w.Busy), spanOrNone(w.LongestWait), spanOrNone(w.LongestRun),
			})
		}
		m.table([]string{"CPU and name", "highest share", "CPU time", "longest wait", "longest run"}, rows, c.WorkMore)
	}
	if len(c.Drops) > 0 {
		m.head("Packets lost", c, several)
		var rows [][]string
		for _, d := range c.Drops {
			rows = append(rows, []string{d.Place, cmp.Or(d.Reason, none), cmp.Or(d.Device, none),
				cmp.Or(strings.TrimSpace(d.Socket+" "+d.Process), none), words.Exact(d.Packets)})
		}
		m.table([]string{"place", "reason", "device", "socket", "packets"}, rows, c.DropsMore)
	}
	if len(c.Pools) > 0 {
		m.head("Ports", c, several)
		var rows [][]string
		for i := range c.Pools {
			p := &c.Pools[i]
			most, _ := p.Taken.Max()
			rows = append(rows, []string{p.Name, words.Exact(p.Size), words.Exact(int(most)), words.Exact(p.Used),
				words.Exact(p.Resting)})
		}
		m.table([]string{"pool", "size", "most taken", "held at the end", "in TIME_WAIT at the end"}, rows, c.PoolsMore)
	}
	if len(c.Lines) > 0 {
		m.head("Log lines", c, several)
		var rows [][]string
		for _, l := range c.Lines[:min(len(c.Lines), markdownLines)] {
			rows = append(rows, []string{
				l.Time.Std().In(m.zone).Format("01-02 15:04:05.000"), strings.TrimPrefix(l.Host+": "+l.Log, ": "), l.Text,
			})
		}
		m.table([]string{"time", "log", "text"}, rows, c.LinesMore+max(0, len(c.Lines)-markdownLines))
	}
}

// integrity writes what the input lacks.
func (m *markdown) integrity(r *Report) {
	m.WriteString("#### Loss and integrity\n\n")
	for _, c := range r.Captures {
		text := fmt.Sprintf("%s: %s events, %s lost; %s", c.File, words.Exact(c.Events), words.Exact(c.Lost),
			cmp.Or(c.Integrity, "complete"))
		if !c.Complete {
			text = "not complete: " + text
		}
		if len(c.Unjudged) > 0 {
			text += "; not judged, not in the file: " + strings.Join(c.Unjudged, ", ")
		}
		fmt.Fprintf(m, "- %s\n", plain.Markdown(text))
	}
	for _, b := range r.Bundles {
		for _, text := range b.Damage {
			fmt.Fprintf(m, "- %s\n", plain.Markdown(b.File+": "+text))
		}
	}
	fmt.Fprintf(m, "- made by %s; times are %s\n", plain.Markdown(r.Tool), plain.Markdown(zoneName(r.Start, m.zone)))
}
