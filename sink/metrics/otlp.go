package metrics

import (
	"time"

	"lostbeat/internal/redact"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// OTLP returns the metrics of this moment as OTLP has them: sums and histograms are cumulative since the start. names
// gives pseudonyms, nil for none.
func (m *Metrics) OTLP(names *redact.Shared) []*otlp.Metric {
	c := newConverter(time.Now(), m.began, time.Since(m.began))
	p := m.page(names)
	var out []*otlp.Metric
	for _, metric := range Table {
		if family := p.families[metric.Name]; len(family.Metric) > 0 {
			out = append(out, c.metric(&metric, family.Metric))
		}
	}
	return out
}

// converter makes OTLP of series. at is their time, and start that of the counters, both in nanoseconds since 1970.
type converter struct{ at, start uint64 }

func newConverter(now, began time.Time, elapsed time.Duration) converter {
	c := converter{at: uint64(now.UnixNano()), start: uint64(began.UnixNano())}
	if c.at < c.start { // the wall clock was set back
		c.start = uint64(now.Add(-elapsed).UnixNano())
	}
	return c
}

func (c converter) metric(m *Metric, series []*dto.Metric) *otlp.Metric {
	out := &otlp.Metric{Name: m.OTLP, Description: m.Help, Unit: m.Unit}
	const cumulative = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch m.Kind {
	case Gauge:
		g := &otlp.Gauge{}
		for _, s := range series {
			g.DataPoints = append(g.DataPoints, c.number(s, s.Gauge.GetValue(), 0))
		}
		out.Data = &otlp.Metric_Gauge{Gauge: g}
	case Counter:
		sum := &otlp.Sum{AggregationTemporality: cumulative, IsMonotonic: true}
		for _, s := range series {
			sum.DataPoints = append(sum.DataPoints, c.number(s, s.Counter.GetValue(), c.start))
		}
		out.Data = &otlp.Metric_Sum{Sum: sum}
	case Histogram:
		h := &otlp.Histogram{AggregationTemporality: cumulative}
		for _, s := range series {
			h.DataPoints = append(h.DataPoints, c.histogram(s))
		}
		out.Data = &otlp.Metric_Histogram{Histogram: h}
	}
	return out
}

func (c converter) number(s *dto.Metric, value float64, start uint64) *otlp.NumberDataPoint {
	return &otlp.NumberDataPoint{
		Attributes: attributes(s), StartTimeUnixNano: start, TimeUnixNano: c.at,
		Value: &otlp.NumberDataPoint_AsDouble{AsDouble: value},
	}
}

// histogram converts buckets: those of Prometheus count what is below, too, and both include their upper bounds.
func (c converter) histogram(s *dto.Metric) *otlp.HistogramDataPoint {
	h := s.Histogram
	out := &otlp.HistogramDataPoint{
		Attributes: attributes(s), StartTimeUnixNano: c.start, TimeUnixNano: c.at, Count: h.GetSampleCount(),
		Sum: new(h.GetSampleSum()),
	}
	var below uint64
	for _, b := range h.Bucket {
		out.ExplicitBounds = append(out.ExplicitBounds, b.GetUpperBound())
		out.BucketCounts = append(out.BucketCounts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	out.BucketCounts = append(out.BucketCounts, h.GetSampleCount()-below)
	return out
}

func attributes(s *dto.Metric) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, len(s.Label))
	for i, l := range s.Label {
		out[i] = &commonpb.KeyValue{Key: l.GetName(), Value: &commonpb.AnyValue{
			Value: &commonpb.AnyValue_StringValue{StringValue: l.GetValue()},
		}}
	}
	return out
}
