package counters_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/detect"
	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
	"lostbeat/source/perfmon"
	"lostbeat/source/perfmon/perfmontest"
)

var logStart = time.Date(2026, 3, 10, 19, 30, 0, 0, time.UTC)

// judgeLog returns the last state of each finding of the detector of counter
// logs, by ID, for a log in a file.
func judgeLog(t *testing.T, data []byte) []model.Finding {
	t.Helper()
	l, err := perfmon.New(bytes.NewReader(data), int64(len(data)), "test", perfmon.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine := detect.New(all.Settings(), detect.Options{})
	last := map[string]model.Finding{}
	var order []string
	take := func(_ model.Time, f model.Finding) {
		if f.Detector != "counter-coincidence" {
			return
		}
		if _, ok := last[f.ID]; !ok {
			order = append(order, f.ID)
		}
		last[f.ID] = f
	}
	if err := l.Run(t.Context(), func(b *model.Batch) error { engine.Apply(b, take); return nil }); err != nil {
		t.Fatal(err)
	}
	engine.Finish(take)
	var out []model.Finding
	for _, id := range order {
		detecttest.Words(t, last[id])
		out = append(out, detecttest.Blanks(last[id]))
	}
	return out
}

// host is a quiet host of 8 cores whose DPC Rate is never quiet.
func host(samples int) perfmontest.Scenario {
	return perfmontest.Scenario{Machine: "CVP01", Start: logStart, Samples: samples, Cores: 8, Seed: 11}
}

// at returns a function that is n in the given samples and 0 otherwise.
func at(n int, samples ...int) func(int) int {
	return func(i int) int {
		if slices.Contains(samples, i) {
			return n
		}
		return 0
	}
}

// busy returns DPC shares: usual everywhere, high on one core in the given samples.
func busy(usual, high float64, core int, samples ...int) func(int, int) float64 {
	return func(c, i int) float64 {
		if c == core && slices.Contains(samples, i) {
			return high
		}
		return usual + 0.005*float64((i*7+c*3)%5)
	}
}

// busyAll is busy on several cores.
func busyAll(high float64, cores []int, samples ...int) func(int, int) float64 {
	return func(c, i int) float64 {
		if slices.Contains(cores, c) {
			return busy(0.01, high, c, samples...)(c, i)
		}
		return busy(0.01, high, -1)(c, i)
	}
}

// span is n samples from first on.
func span(first, n int) (out []int) {
	for i := range n {
		out = append(out, first+i)
	}
	return out
}

// Without any counter of losses, cores that have no time for anything else for
// long are a warning by themselves, and nothing is said of losses.
func TestCounterLogWithoutLosses(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		want    model.Severity
	}{{"long", 11, model.SeverityWarning}, {"short", 9, model.SeverityInfo}} {
		s := host(600)
		s.DPC = busyAll(0.97, []int{1, 4}, span(300, c.seconds)...)
		log := s.Text(perfmontest.Text{Zone: " (GMT)(0)"})
		keep := func(path string) bool {
			return !strings.Contains(path, "UDPv") && !strings.Contains(path, "Discarded") && !strings.Contains(path, "Dropped")
		}
		withoutColumns(log, keep)
		found := judgeLog(t, log.Bytes())
		if len(found) != 1 || found[0].Severity != c.want || !strings.HasPrefix(found[0].Title, "CPUs 1 and 4 spent") ||
			strings.Contains(found[0].Title, "no loss") {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

// withoutColumns leaves out the columns that keep does not want.
func withoutColumns(log *perfmontest.Text, keep func(string) bool) {
	var paths []string
	rows := make([][]float64, len(log.Rows))
	for i, p := range log.Paths {
		if !keep(p) {
			continue
		}
		paths = append(paths, p)
		for j := range log.Rows {
			rows[j] = append(rows[j], log.Rows[j].Values[i])
		}
	}
	log.Paths = paths
	for j := range log.Rows {
		log.Rows[j].Values = rows[j]
	}
}

func TestCounterLogs(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*perfmontest.Scenario)
		severity model.Severity
		cpu      int32
		// want are parts of the one finding's title; none for no finding.
		want []string
	}{
		{"starved core", func(s *perfmontest.Scenario) {
			s.DPC, s.Discards, s.UDPErrors = busy(0.01, 0.97, 5, 300, 301, 302, 303), at(40, 301, 302, 303), at(7, 302, 303)
		}, model.SeverityCritical, 5, []string{"CPU 5 spent 97.0 % in DPCs", "usually 2.0 %", "and 1 other " +
			"loss", "chance alone does that in 1 of "}},
		{"a third of a core", func(s *perfmontest.Scenario) {
			s.DPC, s.Discards = busy(0.01, 0.35, 5, 300, 301, 302, 303), at(40, 301, 302, 303)
		}, model.SeverityWarning, 5, []string{"CPU 5 spent 35 %"}},
		{"cores that are busy together", func(s *perfmontest.Scenario) {
			s.DPC, s.UDPErrors = busyAll(0.97, []int{2, 5}, 300, 301, 302, 303), at(7, 301, 302, 303)
		}, model.SeverityCritical, 2, []string{"CPUs 2 and 5 spent 97.0 % in DPCs", "(21 in 3 samples)"}},
		{"one core lost, another later", func(s *perfmontest.Scenario) {
			s.DPC, s.UDPErrors = busyAll(0.97, []int{2}, 300, 301, 302, 303), at(7, 301, 302, 303)
		}, model.SeverityCritical, 2, []string{"CPU 2 spent"}},
		{"interrupts", func(s *perfmontest.Scenario) {
			s.IRQ, s.Discards = busy(0.001, 0.8, 1, 300, 301, 302, 303), at(40, 301, 302, 303)
		}, model.SeverityCritical, 1, []string{"CPU 1 spent 80 % in interrupts", "usually 1.1 %"}},
		{"gauge that is high all day", func(s *perfmontest.Scenario) {
			s.UDPErrors = at(3, 17, 130, 131, 340, 480)
		}, model.SeverityInfo, -1, []string{"not DPC: ", "UDPv4/Datagrams Received Errors (15 in 5 samples)"}},
		{"rise that is too small", func(s *perfmontest.Scenario) {
			s.DPC, s.Discards = busy(0.01, 0.09, 2, 300, 301, 302), at(40, 300, 301, 302)
		}, model.SeverityInfo, 2, []string{"the time in DPCs rises with", "only to 9.0 % of CPU 2: too little to starve it"}},
		{"busy all the time", func(s *perfmontest.Scenario) {
			s.DPC = func(core, i int) float64 {
				if core == 3 {
					return 0.4 + 0.05*float64((i*13)%7)
				}
				return 0.01
			}
			s.Discards = at(40, 100, 250, 251, 420)
		}, model.SeverityInfo, 3, []string{"CPU 3 spent", "no evidence of a link"}},
		{"_Total only", func(s *perfmontest.Scenario) {
			s.TotalOnly = true
			s.DPC, s.Discards = busy(0.01, 0.97, 5, 300, 301, 302, 303), at(40, 301, 302, 303)
		}, model.SeverityInfo, -1, []string{"weak evidence: _Total spent 14 % of the time in DPCs"}},
		{"short log", func(s *perfmontest.Scenario) {
			s.Samples = 60
			s.DPC, s.Discards = busy(0.01, 0.97, 5, 30, 31, 32), at(40, 31, 32)
		}, model.SeverityWarning, 5, []string{"CPU 5 spent 97.0 %", "but in 59 samples chance alone does that in 1 of "}},
		{"nothing lost", func(s *perfmontest.Scenario) {
			s.DPC = busy(0.01, 0.97, 5, 300, 301)
		}, model.SeverityInfo, 5, []string{"CPU 5 spent up to 97.0 % of its time in DPCs, usually 2.0 %, in 2 samples; " +
			"no loss"}},
		{"nothing lost on three cores", func(s *perfmontest.Scenario) {
			s.DPC = busyAll(0.97, []int{1, 4, 6}, span(300, 60)...)
		}, model.SeverityInfo, 1, []string{"CPUs 1, 4 and 6 spent up to 97.0 % of their time in DPCs", "no loss"}},
		{"likely", func(s *perfmontest.Scenario) {
			s.DPC, s.Discards, s.UDPErrors = busy(0.01, 0.97, 5, 300, 301, 302, 303), at(40, 301, 302, 303), at(7, 302, 303)
			s.DropsSocket, s.Samples = at(30, 301, 302), 500
		}, model.SeverityWarning, 5, []string{"and 2 other losses; usually 2.0 %, but in 499 samples chance alone does " +
			"that in 1 of 83 cases"}},
		{"quiet", func(*perfmontest.Scenario) {}, 0, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := host(600)
			c.change(&s)
			text := judgeLog(t, s.Text(perfmontest.Text{Zone: " (GMT)(0)"}).Bytes())
			binary := judgeLog(t, s.Binary(&perfmontest.BLG{}, false).Bytes())
			if !s.TotalOnly { // the binary generator has all cores
				if len(text) != len(binary) {
					t.Errorf("%d findings from the text, %d from the binary log", len(text), len(binary))
				}
				for i := range min(len(text), len(binary)) {
					if text[i].Title != binary[i].Title || text[i].ID != binary[i].ID {
						t.Errorf("text:   %s\nbinary: %s", text[i].Title, binary[i].Title)
					}
				}
			}
			if c.want == nil {
				for _, f := range text {
					t.Errorf("unexpected: %s", f.Title)
				}
				return
			}
			if len(text) != 1 {
				for _, f := range text {
					t.Log(f.Severity, f.Title)
				}
				t.Fatalf("%d findings", len(text))
			}
			f := text[0]
			t.Logf("%s: %s", f.Severity, f.Title)
			for _, part := range c.want {
				if said := f.Title + strings.Join(f.Causes, ""); !strings.Contains(said, part) {
					t.Errorf("%q has no %q", said, part)
				}
			}
			if f.Severity != c.severity || f.Subject.CPU != c.cpu || f.Ongoing || len(f.Advice) == 0 || len(f.Evidence) == 0 {
				t.Errorf("finding %+v", f)
			}
			if !strings.Contains(strings.Join(f.RuledOut, " "), "DPC Rate was not used") {
				t.Errorf("nothing is said of the gauge: %q", f.RuledOut)
			}
		})
	}
}

// TestCounterLogsByChance gives logs with bursts of DPC time and of losses that
// have nothing to do with each other: they must not be called related.
func TestCounterLogsByChance(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	blamed, suspected := 0, 0
	const logs = 40
	for seed := range logs {
		s := host(500)
		s.Seed = uint64(seed)
		s.Cores = 4
		burst := make([]float64, 500)
		for range 6 {
			for i, from := 0, random.IntN(490); i < 8; i++ {
				burst[from+i] = 0.3 + 0.6*random.Float64()
			}
		}
		s.DPC = func(core, i int) float64 {
			if core == 1 {
				return max(0.01, burst[i])
			}
			return 0.01
		}
		from := random.IntN(480)
		s.Discards = func(i int) int {
			if i >= from && i < from+6 {
				return 10
			}
			return 0
		}
		for _, f := range judgeLog(t, s.Text(perfmontest.Text{Zone: " (GMT)(0)"}).Bytes()) {
			switch {
			case f.Severity == model.SeverityInfo:
			case strings.Contains(f.Title+strings.Join(f.Causes, ""), "but in 499 samples chance alone"):
				suspected++
			default:
				blamed++
			}
		}
	}
	// 0.4 and 2 are expected: 1 % and 5 % of the logs.
	if blamed > 2 || suspected > 6 {
		t.Errorf("of %d logs DPC is blamed in %d and suspected in %d by mistake", logs, blamed, suspected)
	}
}

// TestCounterLogWithdrawn checks that a coincidence early in the log is taken
// back when the rest of the log shows it to be nothing special.
func TestCounterLogWithdrawn(t *testing.T) {
	s := host(2000)
	s.Discards = at(40, 50, 51)
	s.DPC = func(core, i int) float64 {
		if core == 1 && (i == 50 || i == 51 || i > 400 && i%9 < 3) {
			return 0.9
		}
		return 0.01
	}
	for _, f := range judgeLog(t, s.Text(perfmontest.Text{Zone: " (GMT)(0)"}).Bytes()) {
		if f.Severity != model.SeverityInfo {
			t.Errorf("still blamed: %s", f.Title)
		}
	}
}

// TestCounterLogLate takes late samples of the log itself as a loss.
func TestCounterLogLate(t *testing.T) {
	s := host(400)
	s.DPC = busy(0.01, 0.95, 0, 200, 201, 202)
	text := s.Text(perfmontest.Text{Zone: " (GMT)(0)"})
	for i := 200; i < len(text.Rows); i++ {
		text.Rows[i].Time = text.Rows[i].Time.Add(time.Duration(min(i-199, 3)) * 4 * time.Second)
	}
	found := judgeLog(t, text.Bytes())
	if len(found) != 1 || !strings.Contains(found[0].Title, "3 late samples") || found[0].Subject.CPU != 0 {
		for _, f := range found {
			t.Log(f.Title)
		}
		t.Errorf("%d findings", len(found))
	}
}

// TestTotals counts a total that wraps, and what was lost while the log has no value of it.
func TestTotals(t *testing.T) {
	log := func(loss func(i int) string) []byte {
		b := bytes.NewBufferString(`"(PDH-CSV 4.0) (UTC)(0)","\\A\Processor(0)\% DPC Time",` +
			`"\\A\UDPv4\Datagrams Received Errors"` + "\n")
		for i := range 120 {
			dpc := 2 + i%3
			if i >= 60 && i < 70 {
				dpc = 95
			}
			when := logStart.Add(time.Duration(i) * time.Second).Format("01/02/2006 15:04:05.000")
			fmt.Fprintf(b, "\"%s\",\"%d\",\"%s\"\n", when, dpc, loss(i))
		}
		return b.Bytes()
	}
	lost := func(i int) uint64 { return 4294967000 + uint64(max(0, min(i-59, 10)))*100 }
	for name, loss := range map[string]func(i int) string{
		"wraps": func(i int) string { return fmt.Sprint(lost(i) % (1 << 32)) },
		"has holes": func(i int) string {
			if i == 63 || i == 64 {
				return " "
			}
			return fmt.Sprint(lost(i))
		},
	} {
		got := judgeLog(t, log(loss))
		if len(got) != 1 || !strings.Contains(strings.Join(got[0].Causes, " "), "(1,000 in ") {
			t.Errorf("a total that %s: %+v", name, got)
		}
	}
}
