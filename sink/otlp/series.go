package otlp

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"time"

	"lostbeat/internal/guard"
	"lostbeat/internal/plain"
	"lostbeat/internal/redact"
	"lostbeat/sink/metrics"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// SeriesOptions say what is sent, and where to.
type SeriesOptions struct {
	Config
	// From has the metrics, and counts exports that fail.
	From *metrics.Metrics
	// Host is where they come from, and Version that of this program.
	Host    Host
	Version string
	// Redact gives pseudonyms to names; nil sends names.
	Redact *redact.Shared
	// Say is told of outages and refusals.
	Say func(string)

	pace Pace
}

// SeriesExporter sends metrics. It keeps nothing that could not be sent: the next export has newer values, and the
// counters what happened meanwhile.
type SeriesExporter struct {
	options  SeriesOptions
	client   *client
	resource *resourcepb.Resource
	work     guard.Background
	// hurry is closed when there is no time left to wait; stop ends a request that goes on.
	hurry chan struct{}
	stop  context.CancelFunc
}

// StartSeries begins to send metrics.
func StartSeries(o SeriesOptions) *SeriesExporter {
	o.pace.setDefaults()
	o.Interval = cmp.Or(o.Interval, defaultInterval)
	o.pace.MaxPause = min(o.pace.MaxPause, o.Interval)
	if o.Redact != nil {
		o.Host.BootID = cmp.Or(o.Host.BootID, crand.Text())
		o.Host.Name = pseudonym(o.Host)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &SeriesExporter{
		options: o, client: newClient(o.Config, "lostbeat/"+o.Version), hurry: make(chan struct{}), stop: stop,
		resource: newResource(o.Host, o.Config, o.Version),
	}
	e.work.Go("--otlp-metrics", func() { e.run(ctx) })
	return e
}

// run sends until hurry is closed, and then once more.
func (e *SeriesExporter) run(ctx context.Context) {
	var (
		down outage
		// refusal is what was said last about one.
		refusal string
	)
	next := rand.N(e.options.Interval) // hosts that start together do not send together
	for last := false; !last; {
		last = !rest(e.hurry, next)
		began := time.Now()
		a := e.export(ctx)
		next = e.options.Interval - time.Since(began)
		why := ""
		switch {
		case a.again:
			e.options.From.Failed(metrics.Unreachable)
			if down.pause == 0 {
				e.say(fmt.Sprintf("%v; values are not kept: the next export has newer ones", a.err))
			}
			next = down.wait(&e.options.pace, a)
			continue
		case a.err != nil:
			e.options.From.Failed(metrics.Refused)
			why = fmt.Sprintf("metrics are refused: %v", a.err)
		case a.rejected > 0:
			e.options.From.Failed(metrics.Partial)
			why = "some series are left out: " + cmp.Or(a.message, "no reason given")
		}
		if down.pause > 0 && a.err == nil {
			e.say(fmt.Sprintf("metrics are delivered again, after %s", plain.Span(time.Since(down.since))))
		}
		down = outage{}
		if why != "" && why != refusal {
			e.say(why)
		}
		refusal = why
	}
}

// say says something about the receiver.
func (e *SeriesExporter) say(text string) {
	e.options.Say(fmt.Sprintf("--otlp-metrics: %s: %s", plain.Text(e.options.URL.Host), text))
}

// export sends the metrics of this moment.
func (e *SeriesExporter) export(ctx context.Context) answer {
	scope := &otlp.ScopeMetrics{
		Scope: &commonpb.InstrumentationScope{Name: scopeName}, Metrics: e.options.From.OTLP(e.options.Redact),
	}
	body, err := proto.Marshal(&otlp.MetricsData{ // on the wire it is an export request
		ResourceMetrics: []*otlp.ResourceMetrics{{Resource: e.resource, ScopeMetrics: []*otlp.ScopeMetrics{scope}}},
	})
	if err != nil {
		return answer{err: fmt.Errorf("encode metrics: %w", err)}
	}
	return e.client.post(ctx, body)
}

// Close sends the metrics once more, within the given time.
func (e *SeriesExporter) Close(within time.Duration) {
	close(e.hurry)
	late := time.AfterFunc(within, e.stop)
	defer late.Stop()
	e.work.Wait()
	e.stop()
	e.work.Rethrow()
}
