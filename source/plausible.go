package source

import "lostbeat/model"

// What an event from a file may say; no host says anything else.
const (
	// earliest and latest bound event times: from 1970 to 2200. Steps of a second beyond
	// the latter still fit a model.Time.
	earliest = model.Time(0)
	latest   = model.MaxTime
	// MaxCPUs is above every number of a CPU: Linux supports 8192, Windows 2048.
	MaxCPUs = 8192
)

// Plausible runs a file's source and hands its events on to emit, without those
// that no host could have sent: at a time before 1970 or after 2200, of a
// negative duration, on a CPU beyond MaxCPUs. Each consumer would otherwise have
// to expect them. They become loss events; left is how many there were.
func Plausible(run func(Emit) error, emit Emit) (left uint64, err error) {
	p := plausible{emit: emit}
	if err := run(p.batch); err != nil {
		return p.total, err
	}
	return p.total, p.report()
}

// PlausibleTime returns t, or the nearest time that Plausible lets through.
func PlausibleTime(t model.Time) model.Time { return min(max(t, earliest), latest) }

type plausible struct {
	emit Emit
	last model.Time
	lost uint64
	// total is lost, not only since the last report.
	total uint64
	// batches were handed on since the last report.
	batches int
}

// reportEvery is how many batches lie between two reports at least.
const reportEvery = 256

func isPlausible(e *model.Event) bool {
	return e.Time >= earliest && e.Time < latest && e.Dur >= 0 && e.CPU < MaxCPUs
}

func (p *plausible) batch(b *model.Batch) error {
	bad := 0
	for i := range b.Events {
		if !isPlausible(&b.Events[i]) {
			bad++
		}
	}
	if bad > 0 {
		p.lost += uint64(bad)
		p.total += uint64(bad)
		kept := *b
		kept.Events = make([]model.Event, 0, len(b.Events)-bad)
		for i := range b.Events {
			if isPlausible(&b.Events[i]) {
				kept.Events = append(kept.Events, b.Events[i])
			}
		}
		b = &kept
	}
	if n := len(b.Events); n > 0 {
		p.last = max(p.last, b.Events[n-1].Time)
		if err := p.emit(b); err != nil {
			return err
		}
	}
	if p.batches++; p.lost > 0 && p.batches >= reportEvery {
		return p.report()
	}
	return nil
}

// report hands on a loss event for what was left out.
func (p *plausible) report() error {
	p.batches = 0
	if p.lost == 0 {
		return nil
	}
	var b model.Builder
	b.AddLoss(model.Loss{
		Time: p.last, CPU: -1, Lost: p.lost, Origin: model.OriginFile,
		Detail: "events that no host sends: before 1970 or after 2200, of a negative duration, or on a CPU above 8191",
	})
	p.lost = 0
	return p.emit(b.Take())
}
