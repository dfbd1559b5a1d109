package otlp

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lostbeat/internal/redact"
	"lostbeat/model"
	"lostbeat/sink/metrics"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// seriesReceiver keeps the metrics that it was sent last.
type seriesReceiver struct {
	*httptest.Server

	mu sync.Mutex
	// answer is called for each request, and reports whether it is taken.
	answer   func(w http.ResponseWriter) bool
	requests int
	path     string
	last     *otlp.MetricsData
}

func newSeriesReceiver(t testing.TB, answer func(w http.ResponseWriter) bool) *seriesReceiver {
	t.Helper()
	r := &seriesReceiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *seriesReceiver) serve(w http.ResponseWriter, q *http.Request) {
	body, err := unpacked(q)
	var data otlp.MetricsData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.path = q.URL.Path
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.answer == nil || r.answer(w):
		r.last = &data
	}
}

// count returns how many requests there were.
func (r *seriesReceiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// metric returns a metric that was sent last.
func (r *seriesReceiver) metric(name string) *otlp.Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.last.GetResourceMetrics() {
		for _, metric := range m.ScopeMetrics[0].Metrics {
			if metric.Name == name {
				return metric
			}
		}
	}
	return nil
}

// has says that a point has the given attributes.
func has(point interface{ GetAttributes() []*commonpb.KeyValue }, attributes []string) bool {
	return slices.EqualFunc(point.GetAttributes(), attributes, func(a *commonpb.KeyValue, value string) bool {
		return a.Value.GetStringValue() == value
	})
}

// value returns a value of a metric, and whether it was sent.
func (r *seriesReceiver) value(name string, attributes ...string) (v float64, ok bool) {
	m := r.metric(name)
	for _, p := range append(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()...) {
		if has(p, attributes) {
			return p.GetAsDouble(), true
		}
	}
	return 0, false
}

// histogram returns a histogram that was sent, nil when it was not.
func (r *seriesReceiver) histogram(name string, attributes ...string) *otlp.HistogramDataPoint {
	for _, p := range r.metric(name).GetHistogram().GetDataPoints() {
		if has(p, attributes) {
			return p
		}
	}
	return nil
}

// series are options of a test with metrics that count one finding.
func series(t testing.TB, url string, to *said) SeriesOptions {
	t.Helper()
	c, err := Read(Metrics, Endpoint{URL: url}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	c.Interval = 10 * time.Millisecond
	m := metrics.New(metrics.Options{Detectors: []string{"socket-drop"}, Version: "test", Exports: true})
	if err := m.Write(one(1, model.SeverityCritical, true)); err != nil {
		t.Fatal(err)
	}
	return SeriesOptions{
		Config: c, From: m, Host: Host{Name: "web-1", BootID: "boot-1"}, Version: "test", Say: to.say, pace: fast,
	}
}

// Metrics are sent again and again, and once more at the end, with the resource of the findings.
func TestSeries(t *testing.T) {
	r, to := newSeriesReceiver(t, nil), &said{}
	o := series(t, r.URL, to)
	e := StartSeries(o)
	eventually(t, "three exports", func() bool { return r.count() >= 3 })
	if err := o.From.Write(one(2, model.SeverityCritical, true)); err != nil {
		t.Fatal(err)
	}
	e.Close(5 * time.Second)
	if v, _ := r.value("lostbeat.findings.active", "socket-drop", "critical"); v != 2 || r.path != "/v1/metrics" {
		t.Errorf("%v findings at %s, said %s", v, r.path, to.all())
	}
	resource := map[string]string{}
	for _, a := range r.last.ResourceMetrics[0].Resource.Attributes {
		resource[a.Key] = a.Value.GetStringValue()
	}
	if resource[AttrService] != "lostbeat" || resource[AttrHost] != "web-1" || resource[AttrInstance] != "web-1" {
		t.Errorf("resource %v", resource)
	}
	if to.all() != "[]" {
		t.Error(to.all())
	}
}

// What a receiver does not take is counted, said once, and not kept: the next export has the newest values.
func TestSeriesFailures(t *testing.T) {
	for _, test := range []struct {
		name, said string
		reason     string
		answer     func(w http.ResponseWriter) bool
	}{
		{"too many", "429 Too Many Requests", "unreachable", func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusTooManyRequests)
			return false
		}},
		{"unauthorized", "401 Unauthorized", "refused", func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}},
		{"partial", "out of order", "partial", func(w http.ResponseWriter) bool {
			left := protowire.AppendVarint(protowire.AppendTag(nil, fieldRejected, protowire.VarintType), 3)
			left = protowire.AppendString(protowire.AppendTag(left, fieldMessage, protowire.BytesType), "out of order")
			_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, fieldPartialSuccess, protowire.BytesType), left))
			return false
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			const failures = 3
			to, n := &said{}, 0
			r := newSeriesReceiver(t, func(w http.ResponseWriter) bool {
				n++
				return n > failures || test.answer(w)
			})
			o := series(t, r.URL, to)
			e := StartSeries(o)
			eventually(t, "refusals", func() bool { return r.count() >= failures })
			if err := o.From.Write(one(2, model.SeverityCritical, true)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "delivery", func() bool {
				v, _ := r.value("lostbeat.findings.active", "socket-drop", "critical")
				return v == 2
			})
			e.Close(5 * time.Second)
			if v, ok := r.value("lostbeat.failed_exports", test.reason); !ok || v != failures {
				t.Errorf("%v failures (%v), want %d", v, ok, failures)
			}
			if strings.Count(to.all(), test.said) != 1 {
				t.Errorf("said %s", to.all())
			}
		})
	}
}

// Neither a receiver that does not answer nor one that is not there holds up the end, or the output of the metrics.
func TestSeriesEnds(t *testing.T) {
	t.Parallel()
	hangs := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(func() { close(hangs); hung.Close() })
	for name, url := range map[string]string{"hangs": hung.URL, "is not there": "http://127.0.0.1:1"} {
		to := &said{}
		o := series(t, url, to)
		e := StartSeries(o)
		time.Sleep(50 * time.Millisecond)
		if err := o.From.Write(one(2, model.SeverityCritical, true)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		e.Close(100 * time.Millisecond)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: the end took %v", name, took)
		}
	}
}

// With pseudonyms, the host has the name that it has in findings.
func TestSeriesRedact(t *testing.T) {
	r, to := newSeriesReceiver(t, nil), &said{}
	o := series(t, r.URL, to)
	o.Redact = redact.Share(redact.New())
	StartSeries(o).Close(5 * time.Second)
	if text := r.last.String(); strings.Contains(text, "web-1") || !strings.Contains(text, pseudonym(o.Host)) {
		t.Errorf("sent %s", text)
	}
}

// unpacked returns the body of a request.
func unpacked(q *http.Request) ([]byte, error) {
	if q.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(q.Body)
	}
	body, err := gzip.NewReader(q.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}
