package metrics

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"lostbeat/fold"
	"lostbeat/internal/redact"
	"lostbeat/model"

	"github.com/prometheus/otlptranslator"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/prototext"
)

// busy is a host of which every metric has a series.
func busy(t *testing.T) *Metrics {
	t.Helper()
	m := New(Options{Detectors: []string{"port-leak"}, Version: "v1", Exports: true})
	var h model.Histogram
	for _, d := range []uint64{0, 9_000, 11_000, 5_000_000, 2_000_000_000} {
		h.Observe(d)
	}
	write(t, m, func(b *model.Builder) {
		b.AddFinding(second, model.Finding{ID: "a", Detector: "port-leak", Severity: model.SeverityWarning, Ongoing: true})
		b.AddDeferredHist(model.DeferredHist{Time: second, Name: "NET_RX", WaitHist: &h, RunHist: &h})
		b.AddCounter(model.Counter{Time: second, Dur: time.Second, Name: "self.cpu", Value: 0.25})
		b.AddDrop(model.Drop{Time: second, Place: model.PlaceSocket, Count: 7})
	})
	m.publish(&fold.Levels{At: second, Beats: []fold.BeatTotal{beat(3, 1, "203.0.113.7", 5405)}, Pools: []fold.PoolLevel{
		{Name: "rpc", Protocol: model.ProtocolUDP, Netns: "blue", Used: 3, Size: 10, Filling: fold.Forecast{
			Rate: fold.Rate{PerSecond: 1}, Left: 7 * time.Second,
		}},
	}})
	m.Failed(Unreachable)
	return m
}

// exported returns the values of OTLP metrics by the series that Prometheus makes of them, as values does of a page.
func exported(t *testing.T, list []*otlp.Metric) map[string]float64 {
	t.Helper()
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	out := map[string]float64{}
	for _, m := range list {
		of := otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: otlptranslator.MetricTypeGauge}
		points := m.GetGauge().GetDataPoints()
		switch {
		case m.GetSum() != nil:
			of.Type, points = otlptranslator.MetricTypeMonotonicCounter, m.GetSum().DataPoints
			if !m.GetSum().IsMonotonic || m.GetSum().AggregationTemporality != 2 {
				t.Errorf("%s is not monotonic and cumulative", m.Name)
			}
		case m.GetHistogram() != nil:
			of.Type = otlptranslator.MetricTypeHistogram
		}
		name, err := namer.Build(of)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			key := name
			for _, a := range p.Attributes {
				key += " " + a.Value.GetStringValue()
			}
			out[key] = p.GetAsDouble()
			if (p.StartTimeUnixNano != 0) != (m.GetSum() != nil) || p.StartTimeUnixNano > p.TimeUnixNano {
				t.Errorf("%s: start %d, time %d", m.Name, p.StartTimeUnixNano, p.TimeUnixNano)
			}
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			key := name
			for _, a := range p.Attributes {
				key += " " + a.Value.GetStringValue()
			}
			out[key+" count"], out[key+" sum"] = float64(p.Count), p.GetSum()
			var below uint64
			for i, n := range p.BucketCounts {
				below += n
				bound := math.Inf(1)
				if i < len(p.ExplicitBounds) {
					bound = p.ExplicitBounds[i]
				}
				out[fmt.Sprintf("%s le %g", key, bound)] = float64(below)
			}
			if p.StartTimeUnixNano == 0 || below != p.Count || m.GetHistogram().AggregationTemporality != 2 {
				t.Errorf("%s: %v", m.Name, p)
			}
		}
	}
	return out
}

// Every series of the page is sent, with the same value, under a name of which Prometheus makes the name of the page.
func TestOTLP(t *testing.T) {
	m := busy(t)
	page, sent := values(t, m), exported(t, m.OTLP(nil))
	for series, v := range page {
		got, ok := sent[series]
		if !ok || got != v {
			t.Errorf("%s: %v is sent (%v), %v is on the page", series, got, ok, v)
		}
	}
	if len(sent) != len(page) || len(page) < len(Table) {
		t.Errorf("%d series are sent, %d are on the page", len(sent), len(page))
	}
	want(t, sent, "lostbeat_failed_exports_total unreachable", 1)
	want(t, sent, "lostbeat_dropped_packets_total socket", 7)
}

// Counters have one start. When the wall clock is set back to before it, the start follows.
func TestOTLPStart(t *testing.T) {
	began := time.Unix(1000, 0)
	for now, want := range map[int64]int64{1000: 1000, 1007: 1000, 5000: 1000, 999: 992} {
		c := newConverter(time.Unix(now, 0), began, 7*time.Second)
		if c.start != uint64(want)*1e9 || c.at != uint64(now)*1e9 {
			t.Errorf("at %d: start %d, time %d, want %d", now, c.start, c.at, want)
		}
	}
}

// With pseudonyms, what is sent names no peer and no namespace, the page does, and nothing gets lost without a count.
func TestOTLPRedact(t *testing.T) {
	m := busy(t)
	l := m.levels.Load()
	l.At++
	l.Beats = append(l.Beats, beat(1, 0, "203.0.113.8", 5405), beat(1, 0, "203.0.113.9", 5405),
		beat(1, 0, "203.0.113.10", 5405))
	l.Pools = append(l.Pools, fold.PoolLevel{Name: "billing", Netns: "crimson", Size: 1})
	names := redact.Share(redact.NewBounded(2))
	var b model.Builder
	b.AddProcess(model.Process{Time: second, PID: 7, Name: "billing"})
	if err := names.Write(b.Take()); err != nil {
		t.Fatal(err)
	}
	list := m.OTLP(names)
	var text strings.Builder
	for _, metric := range list {
		text.WriteString(prototext.Format(metric))
	}
	for _, name := range []string{"203.0.113", "blue", "crimson", "billing"} {
		if strings.Contains(text.String(), name) {
			t.Errorf("%s is in what is sent", name)
		}
	}
	if _, ok := values(t, m)["lostbeat_pool_size_ports billing unknown crimson"]; !ok {
		t.Errorf("the page has pseudonyms, too: %v", values(t, m))
	}
	sent := exported(t, list)
	want(t, sent, "lostbeat_series_left_out flows", 1) // there is room for two addresses
}

// TestTextRedact has no peer and no namespace on the page of a recorder that writes pseudonyms.
func TestTextRedact(t *testing.T) {
	m := busy(t)
	m.opts.Redact = redact.Share(redact.New())
	page, err := m.Text()
	if err != nil || !strings.Contains(string(page), `peer="198.18.`) {
		t.Errorf("%v\n%s", err, page)
	}
	for _, name := range []string{"203.0.113", "blue"} {
		if strings.Contains(string(page), name) {
			t.Errorf("%s is on the page", name)
		}
	}
}
