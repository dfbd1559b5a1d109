package metrics

import (
	"bytes"
	"fmt"
	"net"
	"strings"

	"lostbeat/internal/redact"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// page is the metrics at one moment, under way.
type page struct {
	families map[string]*dto.MetricFamily
	labels   map[string][]string
	seen     map[string]bool
	// names gives pseudonyms to what tells whose the host is; nil leaves names as they are.
	names *redact.Shared
}

func newPage(names *redact.Shared) *page {
	p := &page{
		families: map[string]*dto.MetricFamily{}, labels: map[string][]string{}, seen: map[string]bool{}, names: names,
	}
	kinds := map[Kind]dto.MetricType{
		Counter: dto.MetricType_COUNTER, Gauge: dto.MetricType_GAUGE, Histogram: dto.MetricType_HISTOGRAM,
	}
	for _, m := range Table {
		p.families[m.Name] = &dto.MetricFamily{Name: new(m.Name), Help: new(m.Help), Type: kinds[m.Kind].Enum()}
		p.labels[m.Name] = m.Labels
	}
	return p
}

// maxLabel bounds the length of a label's value, in bytes.
const maxLabel = 96

// label makes a name from the host fit for a label.
func label(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// value returns the value of a label.
func (p *page) value(name, s string) string {
	if p.names != nil {
		switch name {
		case labelPeer:
			s = p.peer(s)
		case labelNetns:
			s = p.names.Netns(s)
		case labelPool:
			s = p.names.Text(s)
		}
	}
	return label(s)
}

// peer replaces the address of a peer, and leaves its port.
func (p *page) peer(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return p.names.Address(s)
	}
	return net.JoinHostPort(p.names.Address(host), port)
}

// metric adds a series, and returns false where there is one of the same labels. A name or number of labels that is
// not the table's is a programming error.
func (p *page) metric(name string, m *dto.Metric, values []string) bool {
	family, labels := p.families[name], p.labels[name]
	if family == nil || len(labels) != len(values) {
		panic(fmt.Sprintf("metric %s with %d labels is not in the table", name, len(values)))
	}
	key := name
	for i, l := range labels {
		value := p.value(l, values[i])
		m.Label = append(m.Label, &dto.LabelPair{Name: new(l), Value: new(value)})
		key += "\x00" + value
	}
	if p.seen[key] {
		return false
	}
	p.seen[key] = true
	family.Metric = append(family.Metric, m)
	return true
}

func (p *page) gauge(name string, v float64, values ...string) bool {
	return p.metric(name, &dto.Metric{Gauge: &dto.Gauge{Value: new(v)}}, values)
}

func (p *page) counter(name string, v float64, values ...string) bool {
	return p.metric(name, &dto.Metric{Counter: &dto.Counter{Value: new(v)}}, values)
}

func (p *page) histogram(name string, d *distribution, values ...string) {
	h := &dto.Histogram{SampleSum: new(float64(d.sum) / 1e9)}
	var total uint64
	for i, n := range d.counts {
		total += n
		if i < len(bounds) {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(upper(i)), CumulativeCount: new(total)})
		}
	}
	h.SampleCount = new(total)
	p.metric(name, &dto.Metric{Histogram: h}, values)
}

// text writes the page in Prometheus' text format, version 0.0.4, in the order of the table.
func (p *page) text() ([]byte, error) {
	var out bytes.Buffer
	for _, m := range Table {
		if family := p.families[m.Name]; len(family.Metric) > 0 {
			if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
				return nil, fmt.Errorf("write metric %s: %w", m.Name, err)
			}
		}
	}
	return out.Bytes(), nil
}
