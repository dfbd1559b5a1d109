package all_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lostbeat/detect/detecttest"
	"lostbeat/internal/hostile"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
)

// FuzzHostileStream gives the detectors streams that contradict themselves. They may find anything, and whatever they
// say is well-formed: in order, within the time of the stream, with finite numbers, in the right tense, and the same
// for batches of any size. What they allocate is bounded.
func FuzzHostileStream(f *testing.F) {
	fuzztest.Quick(f)
	base := detecttest.Hosts()
	for i := range base {
		f.Add([]byte{byte(i)})
		for what := range byte(12) {
			f.Add([]byte{byte(i), what, 0, 200, 9, what, 1, 0, 0x15, what, 0, 90, 0xf3})
		}
	}
	for _, found := range []string{
		"e13e2988ff1caf3a952b0133305b34deab",                         // times that overflow
		"1fd049639ad70bfb0237462405cbc18913471a1a2c64ff977068cea04b", // more time in interrupts than there is
		"b026b36747bff2012f0c622bebf4c4fa0c",                         // counters whose difference is no number
		// control characters in a title
		"a80e0121af5f33741d3b4d766f810a68c519ba1bb08d0c281819226bcc9a4f6ada1d00679cbeec1c" +
			"367c1ddd26",
		"7d8dfb24d3e8fc8bc46e88deab9ea501c08747c1897fa6e5ac", // more than all of a CPU
		// an absurd time in a loss of heartbeats
		"e766b7ac00570019938cba455f0ff240f2f78b83c2c1f9428ddd6df3829563b50e9f36a87f2b432b" +
			"09a0cf9366",
	} {
		data, err := hex.DecodeString(found)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		batches := hostile.Stream(data, base...)
		before := allocated()
		out := detecttest.RunBatches(batches)
		if n := allocated() - before; n > 256<<20 {
			t.Errorf("%d MiB were allocated for %d bytes", n>>20, len(data))
		}
		first, last := span(batches)
		at := model.Time(0)
		for _, e := range out {
			f := e.Finding
			if e.At < at {
				t.Errorf("a finding of %v follows one of %v", e.At, at)
			}
			at = e.At
			if faults := wrong(f); len(faults) > 0 {
				t.Errorf("%s\n%+v", strings.Join(faults, "\n"), f)
			}
			if f.Start < first || f.End > last || f.Start > f.End || e.At > last {
				t.Errorf("the stream is from %v to %v, the finding from %v to %v, emitted at %v: %s", first, last, f.Start, f.End,
					e.At, f.Title)
			}
		}
	})
}

// span returns the time in which findings of a stream can be: from the earliest moment that an event reports on.
func span(batches []*model.Batch) (first, last model.Time) {
	first = math.MaxInt64
	for _, b := range batches {
		for i := range b.Events {
			e := &b.Events[i]
			if !e.Possible() {
				continue
			}
			from := e.Start()
			for j, f := range model.SpecOf(e.Kind).Args {
				if f.Unit == model.UnitNanoseconds {
					from -= min(model.Time(e.Args[j]), from-math.MinInt64)
				}
			}
			first, last = min(first, from), max(last, e.Time)
		}
	}
	return first, last
}

var (
	notFinite = regexp.MustCompile(`\bNaN\b|[-+∞]Inf\b|∞|%!`)
	percent   = regexp.MustCompile(`([0-9][0-9.,]*) %(?: of (?:the )?(?:token )?(\pL+))?`)
	partOf    = regexp.MustCompile(`\b([0-9][0-9,]*) of (?:the )?([0-9][0-9,]*) ` +
		`(?:packets|ports|datagrams|allocations|ephemeral|dynamic|samples|connections)\b`)
	nothing = regexp.MustCompile(`(?:^|[ (])0 (?:packets|ports|datagrams|allocations)\b`)
)

// wrong returns what is wrong with a finding of a stream that may say anything.
func wrong(f model.Finding) (faults []string) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if f.ID == "" || f.Detector == "" || f.Title == "" || int(f.Severity) >= len(model.SeverityEnum.Names) {
		add("it lacks its identity, its detector, its title or a severity")
	}
	for _, text := range slices.Concat([]string{f.Title}, f.Causes, f.RuledOut, f.Advice) {
		if found := notFinite.FindString(text); found != "" {
			add("%q is in %q", found, text)
		}
		if strings.ContainsAny(text, "\x00\x07\x1b\t\r\n") {
			add("there are control characters in %q", text)
		}
		for _, share := range percent.FindAllStringSubmatch(text, -1) {
			if v := number(share[1]); v > 100 && share[2] != "timeout" {
				add("%v %% in %q", v, text)
			}
		}
		for _, of := range partOf.FindAllStringSubmatch(text, -1) {
			if number(of[1]) > number(of[2]) {
				add("%q in %q", of[0], text)
			}
		}
	}
	if found := nothing.FindString(f.Title); found != "" {
		add("%q in the title %q", found, f.Title)
	}
	for _, e := range f.Evidence {
		if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) || e.Unit == "" || e.Name == "" {
			add("the evidence %+v", e)
		}
	}
	return append(faults, detecttest.Tense(f)...)
}

func number(text string) float64 {
	v, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimRight(text, ".,"), ",", ""), 64)
	if err != nil {
		return 0
	}
	return v
}

// allocated returns how many bytes the process has allocated since its start.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
