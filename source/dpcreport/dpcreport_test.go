package dpcreport

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"

	"golang.org/x/text/encoding/unicode"
)

// xperf makes a report over so many seconds, in whose last quarter ndis.sys takes the given share of CPU 1.
func xperf(seconds int, share float64, point string) string {
	var b strings.Builder
	number := func(v float64) string { return strings.Replace(fmt.Sprintf("%.2f", v), ".", point, 1) }
	for section, name := range []string{"DPC Info", "Interrupt Info"} {
		busy := share
		if section == 1 {
			busy = 0.01
		}
		fmt.Fprintf(&b, "%s\r\n%s\r\n%s\r\n\r\nCPU Usage from 0 us to %d us:\r\n\r\n", strings.Repeat("-", 60), name,
			strings.Repeat("-", 60), seconds*1_000_000)
		b.WriteString("    CPU 0 Usage,    CPU 1 Usage,\r\n    usec      %,    usec      %, Module\r\n")
		quarter := busy * float64(seconds/4)
		fmt.Fprintf(&b, "%8d %6s, %8d %6s, %s\r\n", 1200, number(0.01), int(quarter*1e6), number(25*busy), "ndis.sys")
		fmt.Fprintf(&b, "%8d %6s, %8d %6s, %s\r\n\r\n", 300, number(0), 0, number(0), "storport.sys")
		b.WriteString("Total = 350\r\n" +
			"Elapsed Time, >        0 usecs AND <=        1 usecs,    340, or  97" + point + "1%\r\n" +
			"Elapsed Time, >        1 usecs AND <=        2 usecs,     10, or   2" + point + "9%\r\nTotal,      350\r\n\r\n")
		b.WriteString("Total = 300 for module ndis.sys\r\n" +
			"Elapsed Time, >      512 usecs AND <=     1024 usecs,    298, or  99" + point + "3%\r\n" +
			"Elapsed Time, >     1024 usecs AND <=     2048 usecs,      2, or   0" + point + "7%\r\nTotal,      300\r\n\r\n")
		fmt.Fprintf(&b, "Usage From 0 ms to %d ms, Summing In 1 second intervals. Intervals=%d\r\n", seconds*1000, seconds)
		for i := range seconds {
			v := 0.0
			if i >= seconds-seconds/4 {
				v = busy
			}
			fmt.Fprintf(&b, "%8d - %8d :, %8d %6s, %8d %6s,\r\n", i*1000, (i+1)*1000, 200, number(0.02), int(v*1e6),
				number(100*v))
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

// latencyMon makes a report as LatencyMon does.
func latencyMon(point string) string {
	row := func(name, value string) string { return fmt.Sprintf("%-54s%s\r\n", name+":", value) }
	n := func(s string) string { return strings.Replace(s, ".", point, 1) }
	line := strings.Repeat("_", 100) + "\r\n"
	text := line + "CONCLUSION\r\n" + line + "Your system appears to be suitable for handling real-time audio.\r\n" +
		"LatencyMon has been analyzing your system for  0:01:45  (h:mm:ss) on all processors.\r\n\r\n" +
		row("Duration", "0:01:45  (h:mm:ss)") + line + "REPORTED DPCs\r\n" + line +
		row("Highest DPC routine execution time (µs)", n("612.45")) +
		row("Driver with highest DPC routine execution time", "ndis.sys - Network Driver Interface, Microsoft") +
		row("DPC count (execution time 500-10000 µs)", "3") + line + "PER CPU DATA\r\n" + line
	for cpu, count := range []string{"241319", "5694"} {
		text += row(fmt.Sprintf("CPU %d ISR count", cpu), "12") +
			row(fmt.Sprintf("CPU %d DPC total execution time (s)", cpu), n("3.25")) +
			row(fmt.Sprintf("CPU %d DPC count", cpu), count)
	}
	return text
}

func open(t *testing.T, text string) *File {
	t.Helper()
	path := filepath.Join(testutil.TempDir(t), "report.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// counters returns the values of a report's stream by name, driver and CPU, summed.
func counters(t *testing.T, f *File) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	var check model.Validator
	if err := f.Run(t.Context(), func(b *model.Batch) error {
		for i := range b.Events {
			if c, ok := b.Counter(&b.Events[i]); ok {
				out[fmt.Sprintf("%s %s %d", c.Name, c.Instance, c.CPU)] += c.Value
			}
		}
		return check.Check(b)
	}); err != nil || check.Finish() != nil {
		t.Error(err, check.Finish())
	}
	return out
}

func utf16(t *testing.T, text string) string {
	t.Helper()
	out, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestXperf(t *testing.T) {
	for name, text := range map[string]string{
		"plain": xperf(40, 0.5, "."), "comma": xperf(40, 0.5, ","), "utf-16": utf16(t, xperf(40, 0.5, ".")),
		"line feeds": strings.ReplaceAll(xperf(40, 0.5, "."), "\r\n", "\n"),
	} {
		if !Detect([]byte(text)) {
			t.Errorf("%s is not recognised", name)
		}
		f := open(t, text)
		got := counters(t, f)
		for key, want := range map[string]float64{
			"Processor/% DPC Time 1 1": 10 * 0.5, "Processor/% DPC Time 0 0": 40 * 0.0002,
			"Processor/% Interrupt Time 1 1": 10 * 0.01, "driver/DPC time ndis.sys 1": 5, "driver/ISR time ndis.sys 1": 0.1,
			"driver/DPC time storport.sys 0": 0.0003,
		} {
			if math.Abs(got[key]-want) > 1e-6 {
				t.Errorf("%s: %s is %v, want %v", name, key, got[key], want)
			}
		}
		start, end := f.Span()
		if end.Sub(start) != 40*time.Second || f.cpus != 2 {
			t.Errorf("%s: %v, %d CPUs", name, end.Sub(start), f.cpus)
		}
		if notes := strings.Join(f.Notes(), "\n"); !strings.Contains(notes,
			"ndis.sys: its longest DPC took between 1.024ms and 2.048ms (2 in that class)") {
			t.Errorf("%s: %s", name, notes)
		}
	}
}

func TestLatencyMon(t *testing.T) {
	for name, text := range map[string]string{
		"point": "\xef\xbb\xbf" + latencyMon("."), "comma": latencyMon(","),
		"cp1252": strings.ReplaceAll(latencyMon("."), "µ", "\xb5"), "utf-16": utf16(t, latencyMon(".")),
	} {
		if !Detect([]byte(text)) {
			t.Errorf("%s is not recognised", name)
		}
		f := open(t, text)
		got := counters(t, f)
		if got["report/DPCs  0"] != 241319 || got["report/DPC time  1"] != 3.25 || got["report/ISRs  1"] != 12 {
			t.Errorf("%s: %v", name, got)
		}
		driver := "longest DPC, often a wrapper of another one: ndis.sys"
		if notes := strings.Join(f.Notes(), "\n"); !strings.Contains(notes, driver) {
			t.Errorf("%s: %s", name, notes)
		}
		if start, end := f.Span(); end.Sub(start) != 105*time.Second {
			t.Errorf("%s: %v", name, end.Sub(start))
		}
	}
}

func TestDetect(t *testing.T) {
	for _, text := range []string{
		"", "a: b\nc: d\n", "2026-11-28 10:00:00 INFO started\n",
		"  TCP    192.0.2.15:49671  198.51.100.5:389  ESTABLISHED  772\n",
		"CPU Usage from 0 us to 100 us:\n", "host: a\nduration: 0:01:45\nCPU 0 DPC count: many\n",
	} {
		if Detect([]byte(text)) {
			t.Errorf("%q is taken for a report", text)
		}
	}
	text := xperf(40, 0.5, ".")
	if f := open(t, text[:len(text)/3]); len(f.totals) == 0 {
		t.Error("nothing of a report that is cut off")
	}
}

func FuzzRead(f *testing.F) {
	fuzztest.Quick(f)
	for _, seed := range []string{xperf(3, 0.5, "."), xperf(3, 0.5, ","), latencyMon("."), latencyMon(",")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &report{}
		if r.read(strings.NewReader(string(data))) != nil {
			return
		}
		if len(r.totals) > maxDrivers*8 || len(r.seconds) > maxSeconds || len(r.notes) > 32 || r.span < 0 {
			t.Errorf("%d totals, %d seconds, %d notes, %v", len(r.totals), len(r.seconds), len(r.notes), r.span)
		}
		for _, s := range r.seconds {
			if s.share < 0 || s.share > 1 || s.end <= s.start {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestLongLine reads what is around a line that is too long for a report, and says that it was not read.
func TestLongLine(t *testing.T) {
	text := xperf(20, 0.5, ".")
	whole := open(t, text)
	if i := whole.Integrity(); !i.Complete() {
		t.Errorf("%+v", i)
	}
	for length, damage := range map[int]int{maxLine - 1: 0, maxLine: 0, maxLine + 1: 1, 3 * maxLine: 1} {
		f := open(t, text[:len(text)/2]+strings.Repeat("x", max(0, length-1))+"\n"+text[len(text)/2:])
		g := open(t, strings.Repeat("x", length-1)+"\n"+text)
		if i := g.Integrity(); len(i.Damage) != damage || i.Read != whole.Integrity().Read {
			t.Errorf("%d: %+v, want %+v", length, i, whole.Integrity())
		}
		if len(f.seconds) <= len(whole.seconds)/2 {
			t.Errorf("%d: the rest was not read: %d of %d intervals", length, len(f.seconds), len(whole.seconds))
		}
	}
}
