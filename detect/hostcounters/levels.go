package hostcounters

import (
	"fmt"
	"math"
	"time"

	"lostbeat/detect"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// What is growth of the number of sockets: by so many, over so long, of which less than a tenth was given back between.
const (
	leastGrown  = 1000
	leastGrowth = 10 * time.Minute
	mostFallen  = 0.1
)

// growth says that the number of sockets grew and hardly fell.
func (h *host) growth(name, protocol string) (out []model.Finding) {
	for _, k := range h.of(name, model.CounterGauge) {
		points := h.c.Series[k]
		if len(points) < int(h.settings.MinSamples) {
			continue
		}
		// from is the lowest level after which it was never fallen by much.
		last := points[len(points)-1]
		from, top, fallen := points[0], points[0].Value, 0.0
		for _, p := range points {
			top = max(top, p.Value)
			fallen = max(fallen, top-p.Value)
			if p.Value <= from.Value {
				from, top, fallen = p, p.Value, 0
			}
		}
		grown := last.Value - from.Value
		if grown < leastGrown || last.Time.Sub(from.Time) < leastGrowth || fallen > mostFallen*grown {
			continue
		}
		span := last.Time.Sub(from.Time)
		f := model.Finding{
			ID: h.id(name), Severity: model.SeverityWarning, Start: from.Time, End: last.Time,
			Subject: model.Subject{Kind: "host", CPU: -1, PID: -1},
			Title: fmt.Sprintf("%s sockets in use%s grew from %s to %s in %s and hardly fell: about "+
				"%s per minute; sar does not say whose", protocol, h.on(), words.Exact(uint64(from.Value)),
				words.Exact(uint64(last.Value)), words.Span(span),
				words.Number(uint64(math.Round(grown/span.Minutes())))),
			Causes: []string{"A program that does not close its sockets looks like this, and so does a rising load",
				"Each may hold a port of the ephemeral range (32768 to 60999 unless it was changed)"},
			Advice: []string{"Find the program: save ss -tunap every few minutes and open the tables with lostbeat, unless " +
				"the level is normal for a busy server"},
			Evidence: []model.Evidence{detect.Evidence("sockets at the end", last.Value, "sockets"),
				detect.Evidence("sockets at the start of the growth", from.Value, "sockets"),
				detect.Evidence("most that were closed again in between", fallen, "sockets")},
		}
		out = append(out, f)
	}
	return out
}
