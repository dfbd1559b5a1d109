package metrics

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/fold"
	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/source"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prommodel "github.com/prometheus/common/model"
)

const second = model.Time(time.Second)

// read parses a page with Prometheus' own parser.
func read(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(prommodel.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%v in\n%.2000s", err, text)
	}
	return families
}

// values returns the values of a page by their series, histograms as count and sum.
func values(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	text, err := m.page(nil).text()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for name, family := range read(t, text) {
		for _, metric := range family.Metric {
			key := name
			for _, l := range metric.Label {
				key += " " + l.GetValue()
			}
			switch {
			case metric.Counter != nil:
				out[key] = metric.Counter.GetValue()
			case metric.Gauge != nil:
				out[key] = metric.Gauge.GetValue()
			case metric.Histogram != nil:
				out[key+" count"] = float64(metric.Histogram.GetSampleCount())
				out[key+" sum"] = metric.Histogram.GetSampleSum()
				for _, b := range metric.Histogram.Bucket {
					out[fmt.Sprintf("%s le %g", key, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
			}
		}
	}
	return out
}

func write(t *testing.T, m *Metrics, fill func(*model.Builder)) {
	t.Helper()
	var b model.Builder
	fill(&b)
	if err := m.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, got map[string]float64, series string, value float64) {
	t.Helper()
	if v, ok := got[series]; !ok || math.Abs(v-value) > 1e-9*math.Abs(value) {
		t.Errorf("%s is %v (there: %v), want %v", series, v, ok, value)
	}
}

// A finding is active while it is ongoing, and counts once at each severity that it has had.
func TestFindings(t *testing.T) {
	m := New(Options{Detectors: []string{"port-leak"}, Version: "v1"})
	tell := func(id, detector string, s model.Severity, ongoing bool) {
		write(t, m, func(b *model.Builder) {
			b.AddFinding(second, model.Finding{ID: id, Detector: detector, Severity: s, Ongoing: ongoing})
		})
	}
	const active, total = "lostbeat_findings_active ", "lostbeat_findings_total "
	want(t, values(t, m), active+"port-leak critical", 0)
	tell("a", "port-leak", model.SeverityWarning, true)
	tell("a", "port-leak", model.SeverityWarning, true)
	tell("b", "port-leak", model.SeverityWarning, false) // it was over before it was reported
	tell("c", "of another version", model.SeverityInfo, true)
	v := values(t, m)
	want(t, v, active+"port-leak warning", 1)
	want(t, v, total+"port-leak warning", 2)
	want(t, v, active+"other info", 1)
	tell("a", "port-leak", model.SeverityCritical, true)
	v = values(t, m)
	want(t, v, active+"port-leak warning", 0)
	want(t, v, active+"port-leak critical", 1)
	want(t, v, total+"port-leak warning", 2)
	want(t, v, total+"port-leak critical", 1)
	tell("a", "port-leak", model.SeverityCritical, false)
	tell("a", "port-leak", model.SeverityCritical, false)
	v = values(t, m)
	want(t, v, active+"port-leak critical", 0)
	want(t, v, total+"port-leak critical", 1)
	want(t, v, "lostbeat_build_info v1 "+goVersion(v), 1)
}

func goVersion(v map[string]float64) string {
	for k := range v {
		if rest, ok := strings.CutPrefix(k, "lostbeat_build_info v1 "); ok {
			return rest
		}
	}
	return ""
}

// A duration at a bound and one a nanosecond above it are told apart, as the bound says.
func TestBoundsAreExact(t *testing.T) {
	m := New(Options{})
	durations := []uint64{0}
	for i := range bounds {
		durations = append(durations, uint64(math.Round(upper(i)*1e9)), uint64(math.Round(upper(i)*1e9))+1)
	}
	var h model.Histogram
	for _, d := range durations {
		h.Observe(d)
	}
	write(t, m, func(b *model.Builder) {
		b.AddDeferredHist(model.DeferredHist{Time: second, Dur: time.Second, Name: "NET_RX", RunHist: &h})
	})
	got := values(t, m)
	for i := range bounds {
		n := 0.0
		for _, d := range durations {
			if float64(d)/1e9 <= upper(i) {
				n++
			}
		}
		want(t, got, fmt.Sprintf("lostbeat_deferred_run_seconds NET_RX le %g", upper(i)), n)
	}
	want(t, got, "lostbeat_deferred_run_seconds NET_RX count", float64(len(durations)))
	want(t, got, "lostbeat_deferred_run_seconds NET_RX sum", float64(h.Sum)/1e9)
	if _, ok := got["lostbeat_deferred_wait_seconds NET_RX count"]; ok {
		t.Error("there is a histogram of waits that nobody measured")
	}
}

// What the stream tells of drops, refusals, lostbeat's own cost and losses, and of its probes.
func TestCounters(t *testing.T) {
	m := New(Options{})
	for range 2 {
		write(t, m, func(b *model.Builder) {
			at := second
			b.AddDrop(model.Drop{Time: at, Place: model.PlaceSocket, Count: 3})
			b.AddPortFail(model.PortFail{Time: at})
			b.AddLoss(model.Loss{Time: at, Lost: 5, Origin: "ringbuf"})
			for name, v := range map[string]float64{"self.cpu": 0.25, "self.kernel_cpu": 0.125, "self.rss_bytes": 1 << 20} {
				b.AddCounter(model.Counter{Time: at, Dur: 2 * time.Second, CPU: -1, Name: name, Value: v})
			}
			shed := model.ShedParts[2]
			b.AddProbe(model.Probe{Time: at, Name: shed.Probe, Part: shed.Part, State: model.ProbeOff, Reason: model.NotSampled})
			b.AddProbe(model.Probe{Time: at, Name: "drop", State: model.ProbeOn})
		})
	}
	got := values(t, m)
	want(t, got, "lostbeat_dropped_packets_total socket", 6)
	want(t, got, "lostbeat_dropped_packets_total ring", 0)
	want(t, got, "lostbeat_port_refusals_total", 2)
	want(t, got, "lostbeat_lost_events_total ringbuf", 10)
	want(t, got, "lostbeat_lost_events_total queue", 0)
	want(t, got, "lostbeat_process_cpu_seconds_total", 1)
	want(t, got, "lostbeat_kernel_cpu_seconds_total", 0.5)
	want(t, got, "lostbeat_resident_memory_bytes", 1<<20)
	want(t, got, "lostbeat_detail_left_out stack requests", 1)
	want(t, got, "lostbeat_detail_left_out sched requests", 0)
	want(t, got, "lostbeat_probe_parts off", 1)
	want(t, got, "lostbeat_probe_parts on", 1)
	if _, ok := got["lostbeat_judged_timestamp_seconds"]; ok {
		t.Error("a second was judged before there was one")
	}
}

func beat(cookie, late uint64, peer string, port uint16) fold.BeatTotal {
	return fold.BeatTotal{
		Series: fold.FlowSeries{Protocol: model.ProtocolUDP, LPort: 5405, Peer: peer, Port: port},
		Name:   fmt.Sprint(cookie), KnownAs: "corosync", Period: 100 * time.Millisecond, Timeout: time.Second,
		Packets: 10 * late, Late: late, Longest: time.Duration(late) * time.Second,
	}
}

// Flows that differ in their socket or the peer's port only are one series, whose counters never fall.
func TestFlows(t *testing.T) {
	m := New(Options{})
	see := func(at model.Time, beats ...fold.BeatTotal) map[string]float64 {
		m.publish(&fold.Levels{At: at, Beats: beats})
		return values(t, m)
	}
	name := func(metric string) string { return metric + " corosync udp 5405 10.0.0.2 sent" }
	v := see(1*second, beat(1, 2, "10.0.0.2", 40000), beat(2, 3, "10.0.0.2", 40001))
	for series := range v {
		if strings.HasPrefix(series, "lostbeat_heartbeat_late_total ") {
			name = func(metric string) string {
				return metric + strings.TrimPrefix(series, "lostbeat_heartbeat_late_total")
			}
		}
	}
	want(t, v, name("lostbeat_heartbeat_late_total"), 5)
	want(t, v, name("lostbeat_heartbeat_longest_gap_seconds"), 3)
	want(t, v, name("lostbeat_heartbeat_timeout_seconds"), 1)
	v = see(2*second, beat(2, 4, "10.0.0.2", 40001)) // the other one has been forgotten
	want(t, v, name("lostbeat_heartbeat_late_total"), 6)
	want(t, v, name("lostbeat_heartbeat_packets_total"), 60)
	v = see(3 * second)
	want(t, v, name("lostbeat_heartbeat_late_total"), 6)
	if _, ok := v[name("lostbeat_heartbeat_longest_gap_seconds")]; ok {
		t.Error("a flow that is gone has a gap")
	}
	want(t, v, "lostbeat_judged_timestamp_seconds", 3)
}

// Pools: the forecast is there only while they fill.
func TestPools(t *testing.T) {
	m := New(Options{})
	m.publish(&fold.Levels{At: second, Pools: []fold.PoolLevel{
		{Name: "rpc", Protocol: model.ProtocolUDP, Used: 90, Resting: 5, Size: 101, Filling: fold.Forecast{
			Rate: fold.Rate{PerSecond: 2}, Left: 3 * time.Second,
		}},
		{Name: "ephemeral", Protocol: model.ProtocolTCP, Netns: "web\xff\n\"", Used: 1, Size: 28232},
	}})
	v := values(t, m)
	want(t, v, "lostbeat_pool_used_ports rpc udp ", 90)
	want(t, v, "lostbeat_pool_resting_ports rpc udp ", 5)
	want(t, v, "lostbeat_pool_size_ports rpc udp ", 101)
	want(t, v, "lostbeat_pool_exhaustion_seconds rpc udp ", 3)
	want(t, v, "lostbeat_pool_used_ports ephemeral tcp web\uFFFD\n\"", 1)
	if _, ok := v["lostbeat_pool_exhaustion_seconds ephemeral tcp web\uFFFD\n\""]; ok {
		t.Error("a pool that does not fill will be exhausted")
	}
}

// However much there is on a host, the number of series is that of the table, and what is left out is counted.
func TestCardinality(t *testing.T) {
	m := New(Options{Detectors: make([]string, 100)})
	for i := range 100_000 {
		write(t, m, func(b *model.Builder) {
			name := fmt.Sprint(strings.Repeat("x", 200), i) // the same once it is cut
			b.AddPortFail(model.PortFail{Time: second, LocalPort: uint16(i), PID: int32(i), Process: name})
			if i >= 6000 {
				return
			}
			b.AddFinding(second, model.Finding{ID: name, Detector: name, Ongoing: true, Severity: model.Severity(i % 4)})
			var h model.Histogram
			h.Observe(uint64(i))
			b.AddDeferredHist(model.DeferredHist{Time: second, Name: "routine", Driver: name, WaitHist: &h, RunHist: &h})
			b.AddDrop(model.Drop{Time: second, Place: model.Place(i), Count: 1, Reason: name, Device: name})
			b.AddLoss(model.Loss{Time: second, Lost: 1, Origin: name})
			b.AddProbe(model.Probe{Time: second, Name: name, Part: name, State: model.ProbeState(i)})
			b.AddCounter(model.Counter{Time: second, Name: name, Instance: name})
		})
	}
	l := &fold.Levels{At: second, PoolsLeftOut: 900, BeatsLeftOut: 300}
	for i := range 100 {
		l.Pools = append(l.Pools, fold.PoolLevel{Name: strings.Repeat("p", 500), Netns: fmt.Sprint(i), Size: 1})
		l.Beats = append(l.Beats, beat(uint64(i), uint64(i), fmt.Sprint("10.0.0.", i), 5405))
	}
	l.Pools[1].Netns = l.Pools[0].Netns // and two of one name
	m.publish(l)
	text, err := m.page(nil).text()
	if err != nil {
		t.Fatal(err)
	}
	bytesMost, series := 600<<10, 0
	families := read(t, text)
	for _, metric := range Table {
		family := families[metric.Name]
		if n := len(family.GetMetric()); n > metric.Most {
			t.Errorf("%s has %d series, %d are allowed", metric.Name, n, metric.Most)
		} else {
			series += n
		}
	}
	v := values(t, m)
	want(t, v, "lostbeat_port_refusals_total", 100_000)
	for what, n := range map[string]float64{"vectors": 1024, "origins": 1024, "flows": 336} {
		want(t, v, "lostbeat_series_left_out "+what, n)
	}
	if n := v["lostbeat_series_left_out pools"]; n != 901 {
		t.Errorf("%v pools are left out", n)
	}
	if v["lostbeat_series_left_out findings"] == 0 {
		t.Error("no finding was left out")
	}
	t.Log(series, "label sets,", len(text), "bytes")
	if len(text) > bytesMost {
		t.Errorf("the page has %d bytes", len(text))
	}
}

// Every metric of the table is used, named as Prometheus wants it, and explained in docs/METRICS.md.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, m := range Table {
		if names[m.Name] || m.Help == "" || m.Most == 0 {
			t.Errorf("%s is there twice, or lacks its help or bound", m.Name)
		}
		names[m.Name] = true
		if total := strings.HasSuffix(m.Name, "_total"); total != (m.Kind == Counter) {
			t.Errorf("%s is a %s", m.Name, m.Kind)
		}
	}
	m := busy(t)
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for name := range read(t, text) {
		delete(names, name)
	}
	if len(names) > 0 {
		t.Errorf("never exported: %v", names)
	}
	var edges []string
	for i := range bounds {
		edges = append(edges, fmt.Sprint(upper(i)))
	}
	intro, err := os.ReadFile("testdata/intro.md")
	if err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "../../../docs/METRICS.md", strings.NewReplacer(
		"{{bounds}}", strings.Join(edges, ", "), "{{series}}", fmt.Sprint(len(bounds)+3),
	).Replace(string(intro))+markdown())
}

// markdown is the table as docs/METRICS.md has it.
func markdown() string {
	var out strings.Builder
	out.WriteString("| metric | kind | labels | at most | what |\n|---|---|---|---|---|\n")
	for _, m := range Table {
		fmt.Fprintf(&out, "| `%s` | %s | %s | %d | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), m.Most, m.Help)
	}
	out.WriteString("\n| metric | name in OTLP | unit in OTLP | kind in OTLP |\n|---|---|---|---|\n")
	for _, m := range Table {
		kind := map[Kind]string{Counter: "sum, monotonic", Gauge: "gauge", Histogram: "histogram"}[m.Kind]
		fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s |\n", m.Name, m.OTLP, m.Unit, kind)
	}
	return out.String()
}

// namesIn are the metrics that a text names.
var namesIn = regexp.MustCompile(`\blostbeat_[a-z_]+`)

// The alert rules and the dashboard use metrics that exist.
func TestRulesNameMetrics(t *testing.T) {
	exist := map[string]bool{}
	for _, m := range Table {
		exist[m.Name] = true
	}
	files, err := filepath.Glob("../../contrib/prometheus/*.yml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range append(files, "../../contrib/grafana/lostbeat.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := namesIn.FindAllString(string(text), -1)
		if len(names) < 4 {
			t.Errorf("%s names %v", file, names)
		}
		for _, name := range names {
			if !exist[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// stream is a source of one batch.
type stream struct{ batch *model.Batch }

// Run implements source.Source.
func (s stream) Run(_ context.Context, emit source.Emit) error { return emit(s.batch) }

// The levels that the detectors' facts give are those of the stream, and are bounded.
func TestLevelsOfFacts(t *testing.T) {
	var b model.Builder
	for i := range 100 {
		b.AddPortPool(model.PortPool{
			Time: second, Protocol: model.ProtocolUDP, Low: uint16(1000 + 10*i), High: uint16(1009 + 10*i), Size: 10,
			Source: model.PoolConfigured, Name: fmt.Sprint("pool", i), Netns: int64(i), NetnsName: fmt.Sprint("ns", i),
		})
	}
	for port := range uint16(4) {
		b.AddPortAcquire(model.PortAcquire{
			Time: second, PID: 7, Cookie: uint64(port + 1), Protocol: model.ProtocolUDP, LocalPort: 1990 + port,
			How: model.HowBindPort, Netns: 99, LocalAddr: "0.0.0.0", Process: "leaker",
		})
	}
	b.AddPortFail(model.PortFail{Time: 3 * second}) // a second ends
	m := New(Options{})
	settings := all.Settings()
	_, err := pipeline.Run(t.Context(), stream{b.Take()}, pipeline.Options{
		Detect: &settings, Outputs: []pipeline.Output{m.Output()},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := values(t, m)
	want(t, got, "lostbeat_pool_used_ports pool99 udp ns99", 4)
	want(t, got, "lostbeat_pool_size_ports pool99 udp ns99", 10)
	want(t, got, "lostbeat_series_left_out pools", 36)
	want(t, got, "lostbeat_judged_timestamp_seconds", 2)
}

// A benchmark of what a page costs on a host with everything.
func BenchmarkText(b *testing.B) {
	m := New(Options{Detectors: []string{"port-leak", "ring-drop"}})
	var h model.Histogram
	h.Observe(1)
	var events model.Builder
	for i := range maxVectors {
		events.AddDeferredHist(model.DeferredHist{Time: second, Name: fmt.Sprint(i), WaitHist: &h, RunHist: &h})
	}
	if err := m.Write(events.Take()); err != nil {
		b.Fatal(err)
	}
	l := &fold.Levels{At: second}
	for i := range maxPools {
		l.Pools = append(l.Pools, fold.PoolLevel{Name: fmt.Sprint(i), Size: 1})
		l.Beats = append(l.Beats, beat(uint64(i), 1, fmt.Sprint(i), 5405))
	}
	m.publish(l)
	b.ReportAllocs()
	for b.Loop() {
		text, err := m.page(nil).text()
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Discard.Write(text)
	}
}
