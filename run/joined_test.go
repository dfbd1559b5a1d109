package run

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/detect/logs"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/perfmon/perfmontest"

	"golang.org/x/text/encoding/charmap"
)

// caseStart is the local time at which the published case's logs begin here, at -05:00; the silence begins at caseGap.
var (
	caseStart = time.Date(2013, 3, 30, 18, 30, 0, 0, time.UTC)
	caseGap   = time.Date(2013, 3, 30, 19, 36, 46, 531e6, time.UTC)
)

// silent is how long CVP logs nothing.
const silent = 10797 * time.Millisecond

// voice generates the published case: the logs of CVP and of its PIM, and the
// counters of both hosts. The zero voice has a silence, a line that reports
// missed heartbeats, and DPCs that have nothing to do with them.
type voice struct {
	seed uint64
	// length is that of all logs, 80 min when 0; interval that between two samples, 1 s when 0.
	length, interval time.Duration
	// cvp and pg are the shares of DPC time of a core of each host in the second that ends at a local time; nil is quiet.
	cvp, pg func(core int, at time.Time) float64
	// lossless leaves out what reports the loss: the log falls silent, and goes on.
	lossless bool
	// zone is what the logs say of theirs, " -0500" when empty; "none" leaves it out.
	zone string
	// skewed is how much earlier than they happened the logs date the events.
	skewed time.Duration
	// totalOnly leaves out the single CPUs; onePC leaves out the other host.
	totalOnly, onePC bool
	// paused leaves out the samples of the silence.
	paused bool
	// oneLog has the counters of both hosts in one file.
	oneLog bool
	// german writes the counters as a German Windows does, with its names, decimal commas and separators.
	german bool
	// countersStart is when those begin, caseStart when zero.
	countersStart time.Time
}

// burst is DPCs that fill one core in a stretch of time, and 1 % at other times.
func burst(core int, from time.Time, length time.Duration, share float64) func(int, time.Time) float64 {
	return func(c int, at time.Time) float64 {
		if c == core && at.After(from) && at.Before(from.Add(length+time.Second)) {
			return share
		}
		return 0.005 + 0.01*float64((at.Unix()*7+int64(c)*3)%10)/10
	}
}

// germanCounters translates the names of the counters that are judged.
var germanCounters = strings.NewReplacer(
	`\Processor Information(`, `\Prozessorinformationen(`, `\Processor(`, `\Prozessor(`,
	"% DPC Time", "DPC-Zeit (%)", "% Interrupt Time", "Interruptzeit (%)",
)

// anyOf is the highest of several shares.
func anyOf(all ...func(int, time.Time) float64) func(int, time.Time) float64 {
	return func(core int, at time.Time) (most float64) {
		for _, share := range all {
			most = max(most, share(core, at))
		}
		return most
	}
}

// write writes the files of the case and returns their paths, those of the logs first.
func (v voice) write(t testing.TB) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	add := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	length := v.length
	if length == 0 {
		length = 80 * time.Minute
	}
	zone := map[string]string{"": " -0500", "none": ""}[v.zone] + strings.TrimPrefix(v.zone, "none")
	random := rand.New(rand.NewPCG(v.seed, 3))
	var cvp, pim bytes.Buffer
	line := func(b *bytes.Buffer, at time.Time, text string) {
		fmt.Fprintf(b, "%s%s: %s\r\n", at.Add(-v.skewed).Format("Jan 02 2006 15:04:05.000"), zone, text)
	}
	gone := false
	for at := caseStart; at.Before(caseStart.Add(length)); {
		at = at.Add(time.Duration(1+random.ExpFloat64()*120) * time.Millisecond)
		if !gone && at.After(caseGap) {
			gone = true
			line(&cvp, caseGap, "%CVP_8_5_IVR-7-CALL: {Thrd=http-8000-1} VXMLManager:generateVXML")
			at = caseGap.Add(silent)
			if !v.lossless {
				line(&cvp, at, "%CVP_8_5_ICM-6-LOGMSG_ICM_SS_GENERAL_INFO: Missed 2 VRU PIM heartbeats. Closing session and "+
					"waiting for new connection from PIM. [id:2007]")
				continue
			}
		}
		line(&cvp, at, "%CVP_8_5_IVR-7-CALL: {Thrd=http-8000-"+fmt.Sprint(random.IntN(20))+"} VXMLManager:generateVXML")
	}
	for at := caseStart; at.Before(caseStart.Add(length)); {
		at = at.Add(time.Duration(random.IntN(3000)) * time.Millisecond)
		line(&pim, at, "pim1 Trace: heartbeat sent")
		if next := at.Add(3 * time.Second); at.Before(caseGap.Add(silent)) && next.After(caseGap.Add(silent)) && !v.lossless {
			at = caseGap.Add(silent + 250*time.Millisecond)
			line(&pim, at, "pim1 TCP connection to VRU has been broken.")
		}
	}
	add("cvp.log", cvp.Bytes())
	add("pim.log", pim.Bytes())

	start, interval := v.countersStart, max(v.interval, time.Second)
	if start.IsZero() {
		start = caseStart
	}
	counters := func(machine string, seed uint64, share func(int, time.Time) float64) *perfmontest.Text {
		s := perfmontest.Scenario{
			Machine: machine, Start: start, Samples: int(length / interval), Interval: interval, Cores: 4, Seed: seed,
			TotalOnly: v.totalOnly,
		}
		if share != nil {
			s.DPC = func(core, i int) float64 { return share(core, start.Add(time.Duration(i)*interval)) }
		}
		text := s.Text(perfmontest.Text{Zone: " (Central Daylight Time)(300)"})
		if v.paused {
			kept := text.Rows[:0]
			for _, row := range text.Rows {
				if row.Time.Before(caseGap) || row.Time.After(caseGap.Add(silent)) {
					kept = append(kept, row)
				}
			}
			text.Rows = kept
		}
		return text
	}
	one, other := counters("CVP1", v.seed+1, v.cvp), counters("PG1", v.seed+2, v.pg)
	if v.german {
		for _, text := range []*perfmontest.Text{one, other} {
			text.Separator, text.Comma, text.Encoding = ';', true, charmap.Windows1252
			text.Zone = " (Zentralamerikanische Sommerzeit)(300)"
			for i, path := range text.Paths {
				text.Paths[i] = germanCounters.Replace(path)
			}
		}
	}
	switch {
	case v.oneLog:
		one.Paths = append(one.Paths, other.Paths...)
		for i := range one.Rows {
			one.Rows[i].Values = append(one.Rows[i].Values, other.Rows[i].Values...)
		}
		add("perfmon.csv", one.Bytes())
	case v.onePC:
		add("cvp-perfmon.csv", one.Bytes())
	default:
		add("cvp-perfmon.csv", one.Bytes())
		add("pg-perfmon.csv", other.Bytes())
	}
	return paths
}

// joined returns what the files say together of their logs, as `findings` does.
func joined(t testing.TB, paths []string) []model.Finding {
	t.Helper()
	settings := all.Settings()
	var judged []Judgement
	var captures []*Capture
	open := func(path string, zone *source.LogTime) {
		c, err := Open(path, OpenOptions{OpenOptions: source.OpenOptions{LogTime: zone}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		j, err := Findings(context.Background(), c, settings, nil)
		if err != nil {
			t.Fatal(err)
		}
		judged, captures = append(judged, j), append(captures, c)
	}
	for _, path := range paths[2:] {
		open(path, nil)
	}
	for _, path := range paths[:2] {
		open(path, LogTime(captures))
	}
	found := Together(judged, settings)
	for i := range found {
		found[i] = detecttest.Blanks(found[i])
	}
	return found
}

// TestPublishedCase has the case of the article and its look-alikes: each has one right answer.
func TestPublishedCase(t *testing.T) {
	hit := func(share float64) func(int, time.Time) float64 { return burst(3, caseGap, silent, share) }
	quiet := burst(-1, caseGap, silent, 0)
	busy := func(core int, at time.Time) float64 {
		if core == 3 {
			return 0.55 + 0.1*float64(at.Unix()*7%10)/10
		}
		return 0.01
	}
	another := func(core int, at time.Time) float64 {
		if core == 1 {
			return busy(3, at) + 0.3
		}
		return 0
	}
	somewhat := func(core int, at time.Time) float64 { return busy(core, at) / 3 }
	for _, tt := range []struct {
		name  string
		voice voice
		// says are in the title, rest in the finding, never in neither.
		says, rest, never []string
		severity          model.Severity
		cpu               int32
	}{
		{name: "burst at the silence", voice: voice{cvp: hit(0.96), pg: quiet}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"cvp.log has no line for 10.8 s, then “Missed 2 VRU PIM heartbeats”", "CPU 3 of CVP1 spent 96",
				"in DPCs (usually", "which chance alone does in 1 of"},
			rest:  []string{"pim.log: pim1 TCP connection to VRU has been broken", "DPCs and interrupts of PG1: the highest"},
			never: []string{"assumed", "cause unknown", "zone"}},
		{name: "burst at the other end", voice: voice{cvp: quiet, pg: hit(0.8)}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of PG1 spent 80"}, rest: []string{"DPCs and interrupts of CVP1: the highest"}},
		{name: "high all day", voice: voice{cvp: busy, pg: quiet}, severity: model.SeverityWarning, cpu: -1,
			says:  []string{"CPU 3 of CVP1 spent", "and as much at other times", "no evidence of a link"},
			never: []string{"chance alone"}},
		{name: "burst elsewhere", voice: voice{cvp: burst(3, caseGap.Add(-17*time.Minute-23*time.Second), silent, 0.96),
			pg: quiet}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"not DPCs: no CPU of CVP1 or PG1 was unusually busy"}, never: []string{"zone", "chance alone"}},
		{name: "no burst", voice: voice{cvp: quiet, pg: quiet}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"not DPCs: no CPU of CVP1 or PG1"}},
		{name: "little", voice: voice{cvp: hit(0.15), pg: quiet}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"not DPCs: their time rises then, but only to 15", "too little"}},
		{name: "zone wrong by an hour", voice: voice{cvp: hit(0.96), pg: quiet, skewed: time.Hour},
			severity: model.SeverityWarning, cpu: -1,
			says: []string{"cause unknown: no CPU was unusually busy at the times that the log has, but exactly 1 h later " +
				"CPU 3 of CVP1 spent 96", "is the time zone wrong?"}, rest: []string{"--log-time", "was not applied"}},
		{name: "zone wrong, out of the counters", voice: voice{cvp: hit(0.96), pg: quiet, skewed: -time.Hour},
			severity: model.SeverityWarning, cpu: -1,
			says: []string{"cause unknown: the counters do not cover", "exactly 1 h earlier CPU 3 of CVP1"}},
		{name: "no zone", voice: voice{cvp: hit(0.96), pg: quiet, zone: "none"}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 96"},
			rest: []string{"assumed of cvp.log: its times have no zone; they are read as -05:00 (as in cvp-perfmon.csv)"}},
		{name: "one host missing, burst", voice: voice{cvp: hit(0.96), onePC: true}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 96"}, rest: []string{"only the counters of CVP1 are here"}},
		{name: "one host missing, no burst", voice: voice{cvp: quiet, onePC: true}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"not DPCs of CVP1", "the counters of the other end are not here: cannot say more"}},
		{name: "_Total only", voice: voice{cvp: hit(0.96), pg: quiet, totalOnly: true},
			severity: model.SeverityWarning, cpu: -1,
			says: []string{"cause unknown: the counters of CVP1 are _Total only", "hides a single busy CPU"},
			rest: []string{"not judged: the counters of PG1 are _Total only"}, never: []string{"CPU 3"}},
		{name: "gap without loss", voice: voice{cvp: hit(0.96), pg: quiet, lossless: true},
			severity: model.SeverityInfo, cpu: 3,
			says: []string{"cvp.log has no line for 10.8 s (99 of 100", "CPU 3 of CVP1"}, never: []string{"Missed"}},
		{name: "samples too far apart", voice: voice{cvp: hit(0.96), pg: quiet, interval: 30 * time.Second},
			severity: model.SeverityWarning, cpu: -1, says: []string{"cause unknown", "sampled every 30"}},
		{name: "counters of another time", voice: voice{cvp: hit(0.96), pg: quiet,
			countersStart: caseStart.Add(30 * 24 * time.Hour)}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"cause unknown", "cover that time"}},
		{name: "the host stopped", voice: voice{cvp: quiet, pg: quiet, paused: true}, severity: model.SeverityWarning,
			cpu: -1, says: []string{"CVP1 took no sample for", "not this program alone was held up"}},
		{name: "both hosts in one log", voice: voice{cvp: quiet, pg: hit(0.96), oneLog: true},
			severity: model.SeverityWarning, cpu: 3, says: []string{"CPU 3 of PG1 spent 96"},
			rest: []string{"DPCs and interrupts of CVP1"}},
		{name: "both hosts", voice: voice{cvp: hit(0.96), pg: hit(0.8)}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 96"},
			rest: []string{"CPU 3 of PG1 spent 80", "in DPCs then, too"}, never: []string{"only the counters"}},
		{name: "two bursts", voice: voice{cvp: anyOf(hit(0.96), burst(3, caseGap.Add(-20*time.Minute), silent, 0.97)),
			pg: quiet}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 96", "chance alone does"}, never: []string{"zone"}},
		{name: "a burst on a host with another busy CPU", voice: voice{cvp: anyOf(hit(0.96), another), pg: quiet},
			severity: model.SeverityWarning, cpu: 3, says: []string{"CPU 3 of CVP1 spent 96"}},
		{name: "a burst of a CPU that is busy all day", voice: voice{cvp: anyOf(hit(0.99), somewhat), pg: quiet},
			severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 99", "which chance alone does in 1 of"}},
		{name: "zone wrong by half an hour", voice: voice{cvp: hit(0.96), pg: quiet, skewed: 30 * time.Minute},
			severity: model.SeverityWarning, cpu: -1,
			says: []string{"cause unknown", "exactly 30 min later CPU 3 of CVP1", "is the time zone wrong?"}},
		{name: "German counters", voice: voice{cvp: hit(0.96), pg: quiet, german: true},
			severity: model.SeverityWarning, cpu: 3, says: []string{"CPU 3 of CVP1 spent 96", "in DPCs"},
			rest: []string{"DPCs and interrupts of PG1: the highest"}},
		{name: "gap without loss, no burst", voice: voice{cvp: quiet, pg: quiet, lossless: true},
			severity: model.SeverityInfo, cpu: -1,
			says: []string{"cvp.log has no line for 10.8 s", "not DPCs: no CPU of CVP1 or PG1"}, never: []string{"Missed"}},
		{name: "the burst begins after the silence", voice: voice{
			cvp: burst(3, caseGap.Add(silent+2*time.Second), silent, 0.96), pg: quiet}, severity: model.SeverityWarning, cpu: -1,
			says: []string{"not DPCs: no CPU of CVP1 or PG1"}, never: []string{"zone", "chance alone"}},
		{name: "short log", voice: voice{cvp: hit(0.96), pg: quiet, length: 70 * time.Minute,
			countersStart: caseGap.Truncate(time.Second).Add(-40 * time.Second)}, severity: model.SeverityWarning, cpu: 3,
			says: []string{"CPU 3 of CVP1 spent 96"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			found := joined(t, tt.voice.write(t))
			if len(found) != 1 {
				for _, f := range found {
					t.Log(f.Title)
				}
				t.Fatalf("%d findings", len(found))
			}
			f := found[0]
			text := strings.Join(append(append(append([]string{f.Title}, f.Causes...), f.RuledOut...), f.Advice...), "\n")
			for _, want := range tt.says {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %q", want)
				}
			}
			for _, want := range tt.rest {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %q", want)
				}
			}
			for _, no := range tt.never {
				if strings.Contains(text, no) {
					t.Errorf("it says %q", no)
				}
			}
			begin := caseGap.Add(5*time.Hour - tt.voice.skewed)
			if f.Severity != tt.severity || f.Subject.CPU != tt.cpu || f.Detector != logs.Name ||
				f.Start != model.TimeOf(begin) {
				t.Errorf("%v, CPU %d, %s, from %v (want %v)", f.Severity, f.Subject.CPU, f.Detector, f.Start, begin)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// TestNoFalseBlame has bursts that have nothing to do with the silence, as busy hosts have them all day.
func TestNoFalseBlame(t *testing.T) {
	blamed, zones := 0, 0
	const runs = 10
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 9))
		at := map[int64]bool{}
		for range 12 {
			begin := caseStart.Unix() + random.Int64N(4800)
			for s := range 5 + random.Int64N(20) {
				at[begin+s] = true
			}
		}
		share := func(core int, now time.Time) float64 {
			if core == 2 && at[now.Unix()] {
				return 0.9
			}
			return 0.01
		}
		for _, f := range joined(t, voice{seed: seed, cvp: share, onePC: true}.write(t)) {
			if strings.Contains(f.Title, "which chance alone") {
				blamed++
			}
			if strings.Contains(f.Title, "zone") {
				zones++
			}
		}
	}
	if blamed > 1 || zones > 1 {
		t.Errorf("of %d silences without a cause %d were blamed, and %d on the zone", runs, blamed, zones)
	}
}
