package otlp

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
	"lostbeat/sink/metrics"

	"github.com/prometheus/common/expfmt"
	prommodel "github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

// forwarding is the configuration of a collector that confirms what the receiver at URL has confirmed. PROCESSORS are
// between the two.
const forwarding = `
receivers:
  otlp: {protocols: {http: {endpoint: ADDRESS}}}
processors:
  memory_limiter: {check_interval: 100ms, limit_mib: 1}
exporters:
  otlp_http: {endpoint: URL, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}
service:
  pipelines:
    logs: {receivers: [otlp], processors: [PROCESSORS], exporters: [otlp_http]}
    metrics: {receivers: [otlp], processors: [PROCESSORS], exporters: [otlp_http]}
`

// configured fills in a configuration.
func configured(config, url, processors string) string {
	return strings.NewReplacer("URL", url, "PROCESSORS", processors).Replace(config)
}

// TestLongCollector sends findings and metrics through an OpenTelemetry collector. It takes 10 s, and 40 to 60 s more
// where the collector was not built before.
func TestLongCollector(t *testing.T) {
	testutil.Nightly(t, "a collector is built for minutes; the receiver of the other tests and VictoriaLogs take the same")
	collector := testutil.NewCollector(t)
	t.Run("what arrives", func(t *testing.T) {
		direct, through := newReceiver(t), newReceiver(t)
		collector.Start(configured(forwarding, through.URL, ""))
		defer collector.Kill()
		for url, r := range map[string]*receiver{direct.URL: direct, collector.URL: through} {
			to := &said{}
			o := options(t, url, t.TempDir(), to)
			o.now = func() time.Time { return epoch.Std() }
			e := start(t, o)
			write(t, e, one(1, model.SeverityCritical, true))
			e.Close(5 * time.Second)
			if r.found() != 1 || to.all() != "[]" {
				t.Fatalf("%d findings at %s, said %s", r.found(), url, to.all())
			}
		}
		k := key{"boot-1", "socket-drop/1", 3_601_000}
		if want, got := direct.stored[k], through.stored[k]; !proto.Equal(got, want) {
			t.Errorf("through the collector:\n%v\nwithout it:\n%v", got, want)
		}
		if want, got := fmt.Sprint(direct.resources), fmt.Sprint(through.resources); got != want {
			t.Errorf("resource through the collector: %s, without it: %s", got, want)
		}
	})
	t.Run("killed", func(t *testing.T) { killCollector(t, collector) })
	t.Run("out of memory", func(t *testing.T) { refuse(t, collector) })
	t.Run("throttled", func(t *testing.T) { throttle(t, collector) })
	t.Run("refused", func(t *testing.T) { refuseForGood(t, collector) })
	t.Run("metrics", func(t *testing.T) { collectMetrics(t, collector) })
}

// killCollector ends a collector three times when the receiver behind it has taken findings that are not confirmed yet.
func killCollector(t *testing.T, collector *testutil.Collector) {
	const findings, kills = 200, 3
	r, to := newReceiver(t), &said{}
	killed := make(chan struct{}, kills)
	requests := 0
	r.set(func(http.ResponseWriter, int) bool {
		if requests++; requests%20 == 0 && requests/20 <= kills {
			collector.Kill()
			killed <- struct{}{}
		}
		return true
	})
	collector.Start(configured(forwarding, r.URL, ""))
	defer collector.Kill()
	e := start(t, options(t, collector.URL, t.TempDir(), to))
	outages := 0
	for n := range findings {
		write(t, e, one(n, model.SeverityCritical, true))
		time.Sleep(5 * time.Millisecond)
		select {
		case <-killed:
			outages++
			eventually(t, "an outage", func() bool { return strings.Count(to.all(), "findings wait in") == outages })
			collector.Start(configured(forwarding, r.URL, ""))
		default:
		}
	}
	eventually(t, "delivery", func() bool { _, waiting, _ := e.journal.State(); return waiting == 0 })
	e.Close(5 * time.Second)
	if r.found() != findings || len(r.stored) != findings || r.lost() != 0 {
		t.Errorf("%d findings, %d keys, want %d; %d lost; said %s", r.found(), len(r.stored), findings, r.lost(), to.all())
	}
	if outages != kills || r.records < findings+kills {
		t.Errorf("%d outages and %d records: none was repeated", outages, r.records)
	}
}

// refuse sends a finding to a collector that is out of memory until it is started again.
func refuse(t *testing.T, collector *testutil.Collector) {
	r, to := newReceiver(t), &said{}
	collector.Start(configured(forwarding, r.URL, "memory_limiter"))
	defer collector.Kill()
	e := start(t, options(t, collector.URL, t.TempDir(), to))
	n := 0
	eventually(t, "a refusal", func() bool { // after the first check of memory
		write(t, e, one(n, model.SeverityCritical, true))
		n++
		time.Sleep(10 * time.Millisecond)
		return strings.Contains(to.all(), "503")
	})
	if r.found() == n {
		t.Error("the collector was not out of memory")
	}
	collector.Kill()
	collector.Start(configured(forwarding, r.URL, ""))
	eventually(t, "delivery", func() bool { return r.found() == n })
	e.Close(5 * time.Second)
	if at, waiting, _ := e.journal.State(); at.lost != 0 || waiting != 0 {
		t.Errorf("%d lost, %d wait; said %s", at.lost, waiting, to.all())
	}
}

// refuseOnce answers the first request with a status, and with a pause to be made unless that is empty.
func refuseOnce(status int, pause string) func(w http.ResponseWriter, _ int) bool {
	refused := false
	return func(w http.ResponseWriter, _ int) bool {
		if refused {
			return true
		}
		refused = true
		if pause != "" {
			w.Header().Set("Retry-After", pause)
		}
		w.WriteHeader(status)
		return false
	}
}

// throttle has the server behind a collector ask for a pause. The collector passes the status on.
func throttle(t *testing.T, collector *testutil.Collector) {
	r, to := newReceiver(t), &said{}
	r.set(refuseOnce(http.StatusTooManyRequests, "1"))
	collector.Start(configured(forwarding, r.URL, ""))
	defer collector.Kill()
	e := start(t, options(t, collector.URL, t.TempDir(), to))
	write(t, e, one(1, model.SeverityCritical, true))
	eventually(t, "delivery", func() bool { return r.found() == 1 })
	e.Close(5 * time.Second)
	if at, waiting, _ := e.journal.State(); at.lost != 0 || waiting != 0 || !strings.Contains(to.all(), "429") {
		t.Errorf("%d lost, %d wait; said %s", at.lost, waiting, to.all())
	}
}

// refuseForGood has the server behind a collector refuse a finding for good: it is lost, and counted.
func refuseForGood(t *testing.T, collector *testutil.Collector) {
	r, to := newReceiver(t), &said{}
	r.set(refuseOnce(http.StatusUnauthorized, ""))
	collector.Start(configured(forwarding, r.URL, ""))
	defer collector.Kill()
	e := start(t, options(t, collector.URL, t.TempDir(), to))
	write(t, e, one(1, model.SeverityCritical, true))
	eventually(t, "a loss", func() bool { return strings.Contains(to.all(), "findings are lost") })
	write(t, e, one(2, model.SeverityCritical, true))
	eventually(t, "the count of losses", func() bool { return r.lost() == 1 && r.found() == 1 })
	e.Close(5 * time.Second)
}

// collectMetrics compares the metrics that a collector passes on with the page for Prometheus, before and after the
// collector was killed.
func collectMetrics(t *testing.T, collector *testutil.Collector) {
	r, to := newSeriesReceiver(t, nil), &said{}
	collector.Start(configured(forwarding, r.URL, ""))
	defer collector.Kill()
	o := series(t, collector.URL, to)
	e := StartSeries(o)
	eventually(t, "an export", func() bool { return r.count() > 0 })
	collector.Kill()
	var events model.Builder
	var h model.Histogram
	for _, d := range []uint64{100, 20_000, 7_000_000, 3_000_000_000} {
		h.Observe(d)
	}
	events.AddDeferredHist(model.DeferredHist{Time: epoch, Name: "NET_RX", WaitHist: &h, RunHist: &h})
	events.AddDrop(model.Drop{Time: epoch, Place: model.PlaceSocket, Count: 7})
	if err := o.From.Write(events.Take()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an outage", func() bool { return strings.Contains(to.all(), "newer ones") })
	collector.Start(configured(forwarding, r.URL, ""))
	eventually(t, "the end of the outage", func() bool { return strings.Contains(to.all(), "delivered again") })
	e.Close(5 * time.Second)
	page, err := o.From.Text()
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(prommodel.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, metric := range metrics.Table {
		for _, want := range families[metric.Name].GetMetric() {
			var labels []string
			for _, l := range want.Label {
				labels = append(labels, l.GetValue())
			}
			compared++
			if h := want.Histogram; h != nil {
				if got := r.histogram(metric.OTLP, labels...); got.GetCount() != h.GetSampleCount() ||
					got.GetSum() != h.GetSampleSum() || len(got.BucketCounts) != len(h.Bucket) {
					t.Errorf("%s%v: %v through the collector, %v on the page", metric.Name, labels, got, h)
				}
				continue
			}
			got, ok := r.value(metric.OTLP, labels...)
			if value := want.GetCounter().GetValue() + want.GetGauge().GetValue(); !ok || got != value {
				t.Errorf("%s%v: %v through the collector (%v), %v on the page", metric.Name, labels, got, ok, value)
			}
		}
	}
	if v, _ := r.value("lostbeat.failed_exports", "unreachable"); v == 0 || compared < 40 {
		t.Errorf("%v exports failed, %d series are compared", v, compared)
	}
}
