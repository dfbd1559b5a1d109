package dpcreport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/source"
)

// Names of the counters: of performance logs where those have it, else of this package.
const (
	nameDPC       = "Processor/% DPC Time"
	nameISR       = "Processor/% Interrupt Time"
	nameDriverDPC = "driver/DPC time"
	nameDriverISR = "driver/ISR time"
	nameDPCs      = "report/DPCs"
	nameISRs      = "report/ISRs"
	nameDPCTime   = "report/DPC time"
	nameISRTime   = "report/ISR time"
)

// Bounds of what is kept of a report.
const (
	maxLine    = 64 << 10
	maxCPUs    = 1 << 11
	maxDrivers = 1 << 12
	maxSeconds = 1 << 20 // of all CPUs together
)

// total is a sum over the whole report.
type total struct {
	name, driver, unit string
	cpu                int32
	value              float64
}

// second is the share of an interval that a CPU spent.
type second struct {
	start, end time.Duration
	cpu        int32
	isr        bool
	share      float64
}

// longest is the class of the longest run of a driver.
type longest struct {
	driver   string
	isr      bool
	over, to time.Duration
	runs     uint64
}

// report is what a file says.
type report struct {
	xperf   bool
	span    time.Duration
	cpus    int32
	totals  []total
	seconds []second
	runs    []longest
	notes   []string
	// left is how many values were left out, long how many lines are too long.
	left uint64
	long int

	// isr says that the lines under way are about interrupts, driver whose runs are counted, empty for all.
	isr    bool
	tables int
	driver string
}

var (
	// pair is the time of a CPU in microseconds and its share in percent.
	pair = lazyregexp.New(`\s*(\d+)\s+(\d+[.,]\d+)\s*,`)
	// usageRow is a row of the table of drivers, secondsRow one of the table of intervals.
	usageRow   = lazyregexp.New(`^((?:\s*\d+\s+\d+[.,]\d+\s*,)+)\s*(\S[^,]*?)\s*$`)
	secondsRow = lazyregexp.New(`^\s*(\d+)\s*-\s*(\d+)\s*:?\s*,((?:\s*\d+\s+\d+[.,]\d+\s*,?)+)\s*$`)
	// spanRow begins the table of drivers, classRow is a class of a histogram, moduleRow begins that of a driver.
	spanRow   = lazyregexp.New(`(\d+)\s*(?:us|µs)\D+(\d+)\s*(?:us|µs)\s*:\s*$`)
	classRow  = lazyregexp.New(`>\s*(\d+)\s*\S+\s+\S+\s*<=\s*(\d+)\s*\S+\s*,\s*(\d+)\s*,`)
	moduleRow = lazyregexp.New(`^\s*Total\s*=\s*\d+\s+for module\s+(\S+)\s*$`)
	totalRow  = lazyregexp.New(`^\s*Total\s*=\s*\d+\s*$`)
	// valueRow is a line of LatencyMon, cpuRow one about a CPU.
	valueRow = lazyregexp.New(`^(\S[^:]*\S):\s+(\S.*)$`)
	cpuRow   = lazyregexp.New(`^CPU (\d+) (ISR|DPC) (.*)$`)
	timeRow  = lazyregexp.New(`^(\d+):(\d\d):(\d\d)\b`)
)

// Detect reports whether a file that begins with head is such a report.
func Detect(head []byte) bool {
	r := &report{}
	if err := r.read(bytes.NewReader(head)); err != nil {
		return false
	}
	return r.known()
}

// known reports whether it is a report at all.
func (r *report) known() bool {
	if r.xperf {
		return r.tables > 0 && len(r.totals) > 0
	}
	return len(r.totals) >= 2
}

// read takes the lines of a text. One that is too long for a line of a report costs itself.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReaderSize(source.UTF8Reader(in), maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if long := errors.Is(err, bufio.ErrBufferFull); long {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			r.long++
		} else {
			r.line(strings.TrimRight(string(line), "\r\n"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line string) {
	switch {
	case len(line) == 0:
	case r.xperfLine(line):
		r.xperf = true
	case !r.xperf:
		r.latencyLine(line)
	}
}

// xperfLine takes a line of xperf and reports whether it is one.
func (r *report) xperfLine(line string) bool {
	if m := spanOf(line); m != nil {
		r.isr, r.driver = r.tables > 0, ""
		r.tables++
		from, to := integer(m[1]), integer(m[2])
		if to > from && to-from < uint64(100*365*24*time.Hour/time.Microsecond) {
			r.span = max(r.span, time.Duration(to-from)*time.Microsecond)
		}
		return true
	}
	if r.tables == 0 {
		return false
	}
	if m := secondsRow.FindStringSubmatch(line); m != nil {
		r.interval(integer(m[1]), integer(m[2]), m[3])
		return true
	}
	if m := usageRow.FindStringSubmatch(line); m != nil && !strings.ContainsAny(m[2], "<>=") {
		r.usage(m[1], m[2])
		return true
	}
	if m := moduleRow.FindStringSubmatch(line); m != nil {
		r.driver = m[1]
		return true
	}
	if totalRow.MatchString(line) {
		r.driver = ""
		return true
	}
	if m := classRow.FindStringSubmatch(line); m != nil {
		r.class(integer(m[1]), integer(m[2]), integer(m[3]))
		return true
	}
	return false
}

// spanOf matches spanRow. Every text that is opened is looked through for it: most lines end otherwise.
func spanOf(line string) []string {
	if !strings.HasSuffix(strings.TrimRight(line, "\t\n\f\r "), ":") {
		return nil
	}
	return spanRow.FindStringSubmatch(line)
}

// pairs calls each with what the CPUs of a row have.
func (r *report) pairs(cells string, each func(cpu int32, micros uint64, percent float64)) {
	for i, m := range pair.FindAllStringSubmatch(strings.TrimRight(cells, ", \t")+",", maxCPUs) {
		r.cpus = max(r.cpus, int32(i)+1)
		each(int32(i), integer(m[1]), decimal(m[2]))
	}
}

// usage takes the time of a driver on each CPU.
func (r *report) usage(cells, driver string) {
	name := nameDriverDPC
	if r.isr {
		name = nameDriverISR
	}
	r.pairs(cells, func(cpu int32, micros uint64, _ float64) {
		r.add(total{name: name, driver: driver, cpu: cpu, value: float64(micros) / 1e6, unit: "s"})
	})
}

func (r *report) add(t total) {
	if len(r.totals) >= maxDrivers*8 {
		r.left++
		return
	}
	r.totals = append(r.totals, t)
}

// interval takes the share of each CPU between two times in milliseconds.
func (r *report) interval(start, end uint64, cells string) {
	const most = uint64(100 * 365 * 24 * time.Hour / time.Millisecond)
	if end <= start || end > most {
		return
	}
	r.pairs(cells, func(cpu int32, _ uint64, percent float64) {
		if len(r.seconds) >= maxSeconds {
			r.left++
			return
		}
		r.seconds = append(r.seconds, second{
			start: time.Duration(start) * time.Millisecond, end: time.Duration(end) * time.Millisecond,
			cpu: cpu, isr: r.isr, share: min(percent/100, 1),
		})
	})
	r.span = max(r.span, time.Duration(end)*time.Millisecond)
}

// class takes how many runs were between two lengths in microseconds.
func (r *report) class(over, to, runs uint64) {
	if runs == 0 || to <= over || to > uint64(time.Hour/time.Microsecond) || r.driver == "" {
		return
	}
	l := longest{r.driver, r.isr, time.Duration(over) * time.Microsecond, time.Duration(to) * time.Microsecond, runs}
	if n := len(r.runs); n > 0 && r.runs[n-1].driver == l.driver && r.runs[n-1].isr == l.isr {
		r.runs[n-1] = l // classes rise: the last with runs has the longest
		return
	}
	if len(r.runs) >= maxDrivers {
		r.left++
		return
	}
	r.runs = append(r.runs, l)
}

// latencyNotes are the lines of LatencyMon that are passed on: what they are in words, by how they begin.
var latencyNotes = []struct{ begins, says string }{
	{"Highest DPC routine execution time", "longest DPC (µs)"},
	{"Driver with highest DPC routine execution time", "driver of the longest DPC, often a wrapper of another one"},
	{"Highest ISR routine execution time", "longest ISR (µs)"},
	{"Driver with highest ISR routine execution time", "driver of the longest ISR"},
	{"Highest measured interrupt to process latency", "longest time from an interrupt to a process (µs)"},
	{"Driver with highest DPC total execution time", "driver with the most time in DPCs"},
}

// latencyLine takes a line of LatencyMon.
func (r *report) latencyLine(line string) {
	m := valueRow.FindStringSubmatch(line)
	if m == nil {
		return
	}
	name, value := m[1], strings.TrimSpace(m[2])
	if c := cpuRow.FindStringSubmatch(name); c != nil {
		r.latencyCPU(c[1], c[2], c[3], value)
		return
	}
	if t := timeRow.FindStringSubmatch(value); t != nil && r.span == 0 {
		hours, minutes, seconds := integer(t[1]), integer(t[2]), integer(t[3])
		if hours < 10_000 {
			r.span = time.Duration(hours*3600+minutes*60+seconds) * time.Second
		}
		return
	}
	for _, n := range latencyNotes {
		if strings.HasPrefix(name, n.begins) && len(r.notes) < 32 {
			r.notes = append(r.notes, n.says+": "+value)
			return
		}
	}
}

// latencyCPU takes a value of one CPU.
func (r *report) latencyCPU(cpu, what, of, value string) {
	n, err := strconv.ParseInt(cpu, 10, 32)
	fields := strings.Fields(value)
	if err != nil || n < 0 || n >= maxCPUs || len(fields) == 0 {
		return
	}
	r.cpus = max(r.cpus, int32(n)+1)
	names := map[string][2]string{"DPC": {nameDPCs, nameDPCTime}, "ISR": {nameISRs, nameISRTime}}[what]
	switch {
	case strings.HasPrefix(of, "count"):
		r.add(total{name: names[0], cpu: int32(n), value: decimal(fields[0]), unit: "runs"})
	case strings.HasPrefix(of, "total execution time"):
		r.add(total{name: names[1], cpu: int32(n), value: decimal(fields[0]), unit: "s"})
	}
}

func integer(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// decimal reads a number with a point or a comma.
func decimal(s string) float64 {
	v, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	if err != nil || v < 0 || v > 1e18 {
		return 0
	}
	return v
}
