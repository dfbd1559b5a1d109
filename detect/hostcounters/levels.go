package hostcounters

import (
	"fmt"
	"math"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/stats"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// leastDropped is the share of a device's packets from which its drops are a warning: frames of protocols that nobody
// asked for are dropped on every host.
const leastDropped = 0.01

// rateFloor is the least spread of a rate that counts, in packets a second.
const rateFloor = 1

// deviceDrops says which devices dropped unusually many packets that no backlog counted, by sar.
func (h *host) deviceDrops() (out []model.Finding) {
	for _, k := range h.of("device/rx_dropped", model.CounterRate) {
		points := h.c.Series[k]
		values := make([]float64, max(len(points), h.samples)) // those that are missing are 0
		for i, p := range points {
			values[i] = p.Value
		}
		usual := stats.NewBaseline(values)
		var high []fold.HostPoint
		for _, p := range points {
			if usual.Z(p.Value, rateFloor) >= h.settings.RobustZ {
				high = append(high, p)
			}
		}
		b := worst(bursts(high))
		if b == nil || usual.N < int(h.settings.MinSamples) || b.lost < float64(h.settings.LeastLost) {
			continue
		}
		backlog := 0.0
		for _, s := range h.of("softnet/dropped", model.CounterRate) {
			backlog += lostIn(h.c.Series[s], b.from, b.to)
		}
		if math.Abs(backlog-b.lost) <= 2*sameWithin*backlog {
			continue // the same packets
		}
		f := model.Finding{
			ID: h.id(fold.Printable(k.Instance) + "/rx_dropped"), Severity: model.SeverityInfo, Start: b.from, End: b.to,
			Subject: model.Subject{Kind: "device", CPU: -1, PID: -1, Device: fold.Printable(k.Instance)},
			Title: fmt.Sprintf("%s%s dropped %s received packets from %s (rx_dropped; usually %s a second)",
				fold.Printable(k.Instance),
				h.on(), words.About(b.lost), times(b.from, b.to), words.Rate(usual.Median)),
			Causes: []string{"rx_dropped counts what the kernel threw away behind the driver: a backlog, a protocol that " +
				"nobody " +
				"asked for, a filter; sar does not say which"},
			Advice: []string{"Compare with ip -s -s link and /proc/net/softnet_stat while it lasts; lostbeat record " +
				"--flight 5m " +
				"names the reason of each drop"},
			Evidence: []model.Evidence{detect.Evidence("packets dropped (rates times intervals)", math.Round(b.lost), "packets"),
				detect.Evidence("length of a sample", b.interval.Seconds(), "s")},
		}
		received := 0.0
		for _, r := range h.of("device/rx_packets", model.CounterRate) {
			if r.Instance == k.Instance {
				received = lostIn(h.c.Series[r], b.from, b.to)
			}
		}
		if share := fold.Ratio(b.lost, received); share >= leastDropped {
			f.Severity = model.SeverityWarning
			f.Title += fmt.Sprintf(", %s of what it received", words.Percent(share))
		}
		if backlog > 0 {
			f.Causes = append(f.Causes, fmt.Sprintf("of backlogs, %s were counted in the same time: the two overlap, and "+
				"are not "+
				"to be added", words.About(backlog)))
		}
		out = append(out, f)
	}
	return out
}

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
			Title: fmt.Sprintf("%s sockets in use%s grew from %s to %s in %s and hardly fell: about %s a minute; sar does "+
				"not say "+
				"whose", protocol, h.on(), words.Exact(uint64(from.Value)), words.Exact(uint64(last.Value)), words.Span(span),
				words.Number(uint64(math.Round(grown/span.Minutes())))),
			Causes: []string{"a program that opens sockets and does not close them looks like this, and so does a load that " +
				"rises",
				"each may hold a port of the ephemeral range (32768 to 60999 unless it was changed)"},
			Advice: []string{"Find the program: ss -tunap every few minutes, and give the tables to lostbeat; not when the " +
				"level " +
				"is that of a busy server"},
			Evidence: []model.Evidence{detect.Evidence("sockets at the end", last.Value, "sockets"),
				detect.Evidence("sockets at the start of the growth", from.Value, "sockets"),
				detect.Evidence("most that were closed again in between", fallen, "sockets")},
		}
		out = append(out, f)
	}
	return out
}
