package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

var start = model.TimeOf(time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))

// at is a number of seconds after the start.
func at(seconds float64) model.Time { return start + model.Time(seconds*1e9) }

// collect is what a Collector makes of events, with the given number of them in each batch of a stream.
func collect(t *testing.T, add func(b *model.Builder, second int), seconds int) *Capture {
	t.Helper()
	c := NewCollector()
	for s := range seconds {
		var b model.Builder
		add(&b, s)
		b.SortByTime()
		if batch := b.Take(); batch != nil {
			c.Watch(batch)
			c.History().Apply(batch)
		}
		if s%30 == 0 {
			c.Take(false)
		}
	}
	c.Take(true)
	out := c.Finish(fold.New(fold.Options{}))
	out.File, out.Format, out.Complete = "x.lostbeat", "lostbeat", true
	out.Start, out.End = start, at(float64(seconds))
	return out
}

// busy adds a second of a host that lost packets in seconds 100 to 102 and was not observed in 200 to 259.
func busy(b *model.Builder, s int) {
	if s == 0 {
		b.AddMeta(model.Meta{Time: at(0), Key: "host", Value: "web-07"})
		b.AddProbe(model.Probe{Time: at(0), Name: "drop", Part: "packets", State: model.ProbeOn})
	}
	if s >= 200 && s < 260 {
		return
	}
	end := at(float64(s) + 1)
	for cpu := range int32(2) {
		b.AddCPUTime(model.CPUTime{
			Time: end, Dur: time.Second, CPU: cpu, User: time.Second / 4, Idle: 3 * time.Second / 4,
		})
		b.AddDeferredHist(model.DeferredHist{
			Time: end, Dur: time.Second, CPU: cpu, Class: model.ClassSoftirq, Name: "NET_RX", Count: 10,
			Busy: time.Duration(s%10) * 50 * time.Millisecond, MaxRun: time.Millisecond,
		})
	}
	if s >= 100 && s < 103 {
		b.AddDrop(model.Drop{
			Time: end, Dur: time.Second, CPU: 0, PID: -1, TID: -1, Place: model.PlaceBacklog, Reason: "CPU_BACKLOG",
			Device: "eth0", Count: uint64(1000 * (s - 99)),
		})
	}
}

func TestCollect(t *testing.T) {
	c := collect(t, busy, 300)
	if c.Host != "web-07" || len(c.CPUs) != 2 || len(c.Work) != 2 || len(c.Places) != 1 {
		t.Fatalf("%s, %d CPUs, %d rows of work, %d places", c.Host, len(c.CPUs), len(c.Work), len(c.Places))
	}
	drops := c.Places[0]
	if drops.Place != "backlog" || drops.Packets != 6000 {
		t.Errorf("%s: %d packets", drops.Place, drops.Packets)
	}
	for _, test := range []struct {
		series *Series
		second int
		want   float32
	}{
		{&c.CPUs[0], 10, 0.25},
		{&c.Work[0].Share, 19, 0.45},
		{&drops.Rate, 101, 2000},
		{&drops.Rate, 50, 0}, // it was watched, and there was none
		{&drops.Rate, 230, float32(math.NaN())},
		{&c.CPUs[1], 230, float32(math.NaN())},
	} {
		got := test.series.Values[(at(float64(test.second))-test.series.First)/model.Time(test.series.Step)]
		if got != test.want && !(got != got && test.want != test.want) {
			t.Errorf("%s at second %d: %v, want %v", test.series.Name, test.second, got, test.want)
		}
	}
}

// TestStepsGrow keeps the highest second, whatever the length of the steps, and leaves gaps.
func TestStepsGrow(t *testing.T) {
	var a axis
	s := a.series()
	const seconds = 5 * maxBins
	for i := range seconds {
		if i/1000 == 3 {
			continue
		}
		v := float32(1)
		if i == 7001 {
			v = 9
		}
		s.add(at(float64(i)), v)
	}
	got := s.sealed("x", "", nil)
	if got.Step != 8*time.Second || len(got.Values) > maxBins {
		t.Fatalf("%d steps of %v", len(got.Values), got.Step)
	}
	if v := got.Values[7001/8]; v != 9 {
		t.Errorf("the highest second became %v", v)
	}
	if v := got.Values[3500/8]; v == v {
		t.Errorf("what was not measured became %v", v)
	}
	w := window{at(0), at(seconds), time.UTC}
	cols := w.columns(&got)
	most := float32(0)
	for _, v := range cols {
		most = higher(most, v)
	}
	if len(cols) != columns || most != 9 {
		t.Errorf("%d columns, at most %v", len(cols), most)
	}
	if v := cols[3500*columns/seconds]; v == v {
		t.Errorf("a gap of 1,000 s became %v", v)
	}
}

// TestIntervalsOfMinutes leaves no gaps between counters that are read once a minute.
func TestIntervalsOfMinutes(t *testing.T) {
	c := collect(t, func(b *model.Builder, s int) {
		if s%60 == 59 {
			b.AddCPUTime(model.CPUTime{Time: at(float64(s) + 1), Dur: time.Minute, CPU: 0, Idle: 30 * time.Second,
				User: 30 * time.Second})
		}
	}, 1200)
	for i, v := range c.CPUs[0].Values {
		if v != v {
			t.Errorf("step %d of %d was not measured", i, len(c.CPUs[0].Values))
		}
	}
}

func TestRounded(t *testing.T) {
	for v, want := range map[float32]float64{0: 0, 0.123456: 0.1235, 12.3456: 12.35, 123456: 123500, 1: 1, 0.99999: 1} {
		if got := rounded(v); math.Abs(got-want) > 1e-9*want {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}

// ofCapture is a report of one capture with findings.
func ofCapture(c *Capture, findings ...model.Finding) *Report {
	r := &Report{Tool: "lostbeat test"}
	r.Add(c, findings)
	r.Finish()
	return r
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.WriteHTML(&out, time.UTC); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// hour is an hour of a host with eight CPUs that each run five vectors, with two pools.
func hour(b *model.Builder, s int) {
	end := at(float64(s) + 1)
	if s == 0 {
		for i, name := range []string{"rpc", "ephemeral"} {
			b.AddPortPool(model.PortPool{
				Time: at(0), Protocol: model.ProtocolUDP, Low: uint16(5000 + 1000*i), High: uint16(5999 + 1000*i), Size: 1000,
				Source: model.PoolConfigured, Name: name,
			})
		}
	}
	for cpu := range int32(8) {
		b.AddCPUTime(model.CPUTime{
			Time: end, Dur: time.Second, CPU: cpu, User: time.Duration(s*7919%997) * time.Millisecond, Idle: time.Second,
		})
		for i, name := range []string{"NET_RX", "TIMER", "SCHED", "RCU", "BLOCK"} {
			b.AddDeferredHist(model.DeferredHist{
				Time: end, Dur: time.Second, CPU: cpu, Class: model.ClassSoftirq, Name: name, Count: 10,
				Busy: time.Duration((s*6151+i*31+int(cpu))%499) * time.Millisecond, MaxRun: time.Millisecond,
			})
		}
	}
	b.AddDrop(model.Drop{
		Time: end, Dur: time.Second, CPU: 0, PID: -1, TID: -1, Place: model.PlaceSocket, Reason: "SOCKET_RCVBUFF",
		Count: uint64(s*3571%991 + 1),
	})
}

// TestSizeOfAnHour keeps a page of an hour below 2 MB, of two hosts as well.
func TestSizeOfAnHour(t *testing.T) {
	c := collect(t, hour, 3600)
	r := ofCapture(c)
	other := *c
	r.Add(&other, nil)
	r.Finish()
	if n := len(pageOf(t, r)); n > 2_000_000 || n < 200_000 {
		t.Errorf("the page has %d bytes", n)
	}
	if c.CPUs[0].Step > 2*time.Second {
		t.Errorf("an hour in steps of %v", c.CPUs[0].Step)
	}
}

// TestPage checks what a page must have to be read anywhere.
func TestPage(t *testing.T) {
	r := ofCapture(collect(t, busy, 300), model.Finding{
		ID: "a", Detector: "packet-drop", Severity: model.SeverityWarning, Title: "it is lost", Start: at(100), End: at(103),
		Causes: []string{"why it is"}, Advice: []string{"do this"}, RuledOut: []string{"not that"},
		Subject:  model.Subject{CPU: 0, PID: -1, Device: "eth0"},
		Evidence: []model.Evidence{{Name: "lost", Value: 6000, Unit: "packets"}},
	})
	page := pageOf(t, r)
	for _, want := range []string{
		"it is lost", "why it is", "do this", "not that", "6,000", "CPU 0, eth0", `lang="en"`, `role="img"`, "<caption>",
		"2026-11-22 14:04:40.000", "prefers-color-scheme: dark", "@media print", "No pictures of what the file does not have",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if url := regexp.MustCompile(`(?i)(src|href|url|import)\s*[=(]\s*["']?\s*(https?:|//)`).FindString(page); url != "" {
		t.Errorf("the page loads %q", url)
	}
	if attribute := regexp.MustCompile(`<[^>]+\s(style|on[a-z]+)=`).FindString(page); attribute != "" {
		t.Errorf("the policy refuses the attribute in %q", attribute)
	}
	for element, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		content := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindStringSubmatch(page)
		if content == nil {
			t.Fatalf("there is no %s", element)
		}
		sum := sha256.Sum256([]byte(content[1]))
		if want := directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(page, want) {
			t.Errorf("the policy has not %s", want)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("%s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("nothing is at #%s", m[1])
		}
	}
}

// TestReasons does not repeat the title in the reason, as no other output does.
func TestReasons(t *testing.T) {
	page := pageOf(t, ofCapture(&Capture{File: "x", Complete: true, Start: at(0), End: at(9)}, model.Finding{
		ID: "a", Title: "it is lost", Start: at(1), End: at(2), Causes: []string{"It is lost, because nobody reads"},
	}))
	if !strings.Contains(page, "Because nobody reads") || strings.Contains(page, "It is lost, because") {
		t.Error("the reason repeats the title")
	}
}

// TestHostileNames writes names as they are, and as nothing else.
func TestHostileNames(t *testing.T) {
	evil := "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\u202e\u2066{{.}}`|"
	c := collect(t, func(b *model.Builder, s int) {
		b.AddMeta(model.Meta{Time: at(0), Key: "host", Value: evil})
		b.AddMeta(model.Meta{Time: at(0), Key: "kernel", Value: evil})
		b.AddProbe(model.Probe{Time: at(0), Name: "drop", Part: evil, State: model.ProbeOff, Reason: evil, Hint: evil})
		b.AddDeferredHist(model.DeferredHist{
			Time: at(1), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Name: evil, Driver: evil, Count: 1, Busy: time.Second,
		})
		b.AddDrop(model.Drop{
			Time: at(1), Dur: time.Second, CPU: 0, PID: 7, Place: model.PlaceSocket, Reason: evil, Device: evil, Process: evil,
			Location: evil, Count: 3,
		})
	}, 1)
	c.File, c.Integrity, c.Notes = evil, evil, []string{evil}
	c.Lines = []Line{{Time: at(0), Log: evil, Host: evil, What: evil, Text: evil}}
	r := ofCapture(c, model.Finding{
		ID: evil, Detector: evil, Title: evil, Start: at(0), End: at(1), Causes: []string{evil}, Advice: []string{evil},
		RuledOut: []string{evil}, Evidence: []model.Evidence{{Name: evil, Value: 1, Unit: evil}},
		Subject: model.Subject{Process: evil, Device: evil},
	})
	page := pageOf(t, r)
	if n := strings.Count(page, "<script"); n != 2 {
		t.Errorf("%d elements of script, want 2", n)
	}
	if strings.Contains(page, "<img") || strings.ContainsAny(page, "\x1b\u202e\u2066") {
		t.Error("a name became an element, or steers the text")
	}
	var md bytes.Buffer
	if err := r.WriteMarkdown(&md, time.UTC); err != nil {
		t.Fatal(err)
	}
	element := regexp.MustCompile(`[^\\]<(script|img)`)
	if strings.ContainsAny(md.String(), "\x1b\u202e\u2066") || element.MatchString(md.String()) {
		t.Error("a name became an element of Markdown, or steers the text")
	}
}

// TestQuotesInAttributes writes names inside attributes, which end neither these nor their elements.
func TestQuotesInAttributes(t *testing.T) {
	evil := `x" onload="alert(1)' onclick='alert(2)' ><b>&quot;`
	c := collect(t, func(b *model.Builder, s int) {
		b.AddDeferredHist(model.DeferredHist{
			Time: at(1), Dur: time.Second, CPU: 0, Class: model.ClassDPC, Name: evil, Driver: evil, Count: 1, Busy: time.Second,
		})
	}, 1)
	page, _, _ := strings.Cut(pageOf(t, ofCapture(c, model.Finding{
		ID: evil, Detector: evil, Title: evil, Start: at(0), End: at(1),
	})), "<script")
	values := regexp.MustCompile(`="[^"]*"`)
	for _, tag := range regexp.MustCompile(`<[a-z][^>]*>`).FindAllString(page, -1) {
		if rest := values.ReplaceAllString(tag, ""); strings.ContainsAny(rest, `"'=&`) || strings.HasPrefix(rest, "<b>") {
			t.Fatalf("a name broke out of %s", tag)
		}
	}
	if !strings.Contains(page, `aria-label="CPU 0 x&#34; onload=&#34;alert(1)&#39;`) {
		t.Error("no label has the name")
	}
	if want := html.EscapeString(evil); !strings.Contains(page, want) {
		t.Errorf("the page has no %s", want)
	}
}

func TestWaterfall(t *testing.T) {
	g := Gap{Stages: []Stage{
		{"did not arrive", 25 * time.Millisecond, true},
		{"lost at its socket", 0, false},
		{"in the queue of its socket", 75 * time.Millisecond, true},
	}}
	rows := g.rows()
	for i, want := range []string{"25 %", "not measured", "75 %"} {
		if rows[i].Note != want {
			t.Errorf("row %d: %q, want %q", i, rows[i].Note, want)
		}
	}
	if !strings.Contains(string(rows[2].Plot), `x="25%"`) || !strings.Contains(string(rows[2].Plot), `width="75%"`) {
		t.Errorf("the bar is %s", rows[2].Plot)
	}
	if rows[1].Value != none {
		t.Errorf("what was not measured is %q", rows[1].Value)
	}
}

// TestNothing writes a page of no event, and one of no finding.
func TestNothing(t *testing.T) {
	page := pageOf(t, ofCapture(&Capture{File: "empty", Complete: true}))
	if !strings.Contains(page, "No finding: the input has no events") || strings.Contains(page, "1970") {
		t.Error("no event makes a time")
	}
	if page := pageOf(t, ofCapture(collect(t, busy, 60))); !strings.Contains(page, "No finding in 60\u00a0s") {
		t.Error("the page does not say that nothing was found, and in which time")
	}
}
