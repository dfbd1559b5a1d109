// Package logs is the detector log-silence: when an application's log fell
// silent or reported missed heartbeats, what the counters of the hosts show at
// those seconds, and how often chance alone would show it.
package logs

import (
	_ "embed"
	"fmt"
	"math"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/model"
)

//go:embed doc.md
var doc string

// Name is the detector's name in findings, Table that of its settings.
const (
	Name  = "log-silence"
	Table = "logs"
)

// Definition describes the detector.
func Definition() detect.Definition { return detect.Define(Table, doc, New, nil) }

// New returns the detector. It judges the logs of its own stream by the counters
// of its own stream; Join does so for several.
func New(s Settings, l detect.Lifecycle) detect.Detector {
	return &silence{settings: s, watcher: newWatcher(s, l), emitted: map[string]model.Finding{}}
}

type silence struct {
	settings Settings
	// watcher has the logs that are followed beside their host.
	watcher watcher
	// logs and samples are how much was judged last.
	logs, samples int
	emitted       map[string]model.Finding
}

// Judge implements detect.Detector.
func (d *silence) Judge(t *detect.Tick) { d.watcher.judge(t) }

// Report implements detect.Detector.
func (d *silence) Report(t *detect.Tick, emit func(model.Finding)) {
	if t.Logs.Total != d.logs {
		d.run(t, emit)
	}
	d.watcher.report(t, false, emit)
}

// Finish implements detect.Detector: what follows a silence changes what is usual.
func (d *silence) Finish(t *detect.Tick, emit func(model.Finding)) {
	if t.Logs.Total != d.logs || t.Logs.Total > 0 && t.Counters.Total != d.samples {
		d.run(t, emit)
	}
	d.watcher.report(t, true, emit)
}

func (d *silence) run(t *detect.Tick, emit func(model.Finding)) {
	d.logs, d.samples = t.Logs.Total, t.Counters.Total
	found := Join([]Input{{Host: t.State.Meta["host"], Counters: t.Counters, Logs: t.Logs}}, d.settings)
	for _, f := range found {
		f.Loss = t.Loss.Total
		if last, ok := d.emitted[f.ID]; ok && last.Title == f.Title && last.End == f.End {
			continue
		}
		d.emitted[f.ID] = f
		emit(f)
	}
}

// Input is what one file, or one stream, knows.
type Input struct {
	// Host is whose counters they are where the counters do not say.
	Host string
	// Counters and Logs are nil where there are none.
	Counters *fold.Counters
	Logs     *fold.Logs
	// Assumed are what the times of its logs leave open, by log.
	Assumed map[string][]string
}

// Bounds of what is said.
const (
	// maxFindings is how many silences are findings of their own.
	maxFindings = 50
	// maxAlone is how many gaps without a line are.
	maxAlone = 10
)

// Join judges the logs of all inputs by the counters of all of them.
func Join(inputs []Input, s Settings) []model.Finding {
	var gaps []model.LogGap
	var lines []model.LogLine
	var hosts []*host
	assumed := map[string][]string{}
	for _, in := range inputs {
		if in.Logs != nil {
			gaps, lines = append(gaps, in.Logs.Gaps...), append(lines, in.Logs.Lines...)
		}
		for log, list := range in.Assumed {
			assumed[log] = append(assumed[log], list...)
		}
		if in.Counters == nil {
			continue
		}
		for _, name := range in.Counters.Hosts() {
			h := newHost(name, in.Counters.Of(name))
			if h == nil {
				continue
			}
			if h.name == "" {
				h.name = in.Host
			}
			hosts = append(hosts, h)
		}
	}
	list := incidents(gaps, lines, s)
	list, left := choose(list)
	tests := float64(max(len(hosts), 1) * max(len(list), 1))
	var out []model.Finding
	for _, i := range list {
		c := newTelling(i, hosts, s, tests)
		out = append(out, c.finding(assumed))
	}
	if len(out) > 0 && left > 0 {
		last := &out[len(out)-1]
		last.Evidence = append(last.Evidence, detect.Evidence("more silences and lines that are not listed", float64(left),
			"incidents"))
	}
	for i := range out {
		out[i] = detect.Typeset(out[i])
	}
	return out
}

// choose keeps the incidents that are findings: those with a line first, of the others the least expected.
func choose(list []*incident) (kept []*incident, left int) {
	order := slices.Clone(list)
	slices.SortStableFunc(order, func(a, b *incident) int {
		if (len(a.lines) > 0) != (len(b.lines) > 0) {
			if len(a.lines) > 0 {
				return -1
			}
			return 1
		}
		if len(a.lines) == 0 && a.gaps[0].ExpectedCount != b.gaps[0].ExpectedCount {
			if a.gaps[0].ExpectedCount < b.gaps[0].ExpectedCount {
				return -1
			}
			return 1
		}
		return 0
	})
	keep := map[*incident]bool{}
	alone := 0
	for _, i := range order {
		if len(i.lines) == 0 {
			alone++
		}
		if len(keep) < maxFindings && (len(i.lines) > 0 || alone <= maxAlone) {
			keep[i] = true
		}
	}
	for _, i := range list {
		if keep[i] {
			kept = append(kept, i)
		}
	}
	return kept, len(list) - len(kept)
}

// telling is an incident with what the hosts show of it.
type telling struct {
	*incident
	settings Settings
	// log is the one it is told after, gap its silence, line the one to quote; nil for none.
	log  string
	gap  *model.LogGap
	line *model.LogLine
	// from and to are what the counters were looked at for.
	from, to model.Time
	sights   []*sight
	// best is the sight that decides, nil without counters.
	best *sight
	// moved is a sight at another offset of the log's clock, nil for none.
	moved  *sight
	offset time.Duration
}

func newTelling(i *incident, hosts []*host, s Settings, tests float64) *telling {
	t := &telling{incident: i, settings: s, from: i.from, to: i.to}
	t.log, t.gap = i.main()
	t.line = i.line(t.log)
	if t.gap != nil {
		t.from, t.to = t.gap.Time.Add(-t.gap.Dur), t.gap.Time
	}
	for _, h := range hosts {
		v := h.see(t.from, t.to, s, tests)
		t.sights = append(t.sights, v)
		if t.best == nil || v.verdict < t.best.verdict || v.verdict == t.best.verdict && v.share() > t.best.share() {
			t.best = v
		}
	}
	if t.best != nil && t.best.verdict > unproven {
		t.moved, t.offset = elsewhere(hosts, t.from, t.to, s, tests)
	}
	return t
}

// share is the busiest CPU's share of time; that of a CPU that was not seen is less than any other.
func (t *sight) share() float64 {
	if len(t.cpus) == 0 {
		return math.Inf(-1)
	}
	return t.cpus[0].mean
}

// id is that of the incident's finding.
func (t *telling) id() string {
	return fmt.Sprintf("%s/%s/%d", Name, t.log, int64(t.from)/int64(time.Second))
}
