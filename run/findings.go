package run

import (
	"context"

	"lostbeat/detect"
	"lostbeat/model"
	"lostbeat/source"
)

// signals are what findings go by, and the probes that show them.
var signals = []struct{ probe, name string }{
	{"deferred", "deferred work (DPCs, softirqs) of single CPUs"},
	{"interrupt", "interrupts"},
	{"drop", "packets dropped in protocols and sockets"},
	{"port", "ports"},
}

// Findings runs the detectors over a capture and returns the last state of
// every finding, in the order in which they arose, and the signals that were not
// there to be judged: those of which every part was off. A source that says
// nothing of its probes is taken to have all. progress is told how far it is, nil
// for nobody.
func Findings(
	ctx context.Context, c *Capture, settings detect.Settings, progress source.Progress,
) (findings []model.Finding, unseen []string, err error) {
	engine := detect.New(settings, detect.Options{})
	var found model.FindingList
	keep := func(_ model.Time, f model.Finding) { found.Add(f) }
	parts := map[[2]string]model.ProbeState{}
	start, end := c.Span()
	err = c.Run(ctx, func(b *model.Batch) error {
		if progress != nil && !c.Format.OwnProgress && len(b.Events) > 0 {
			progress(int64(b.Events[0].Time-start), int64(end-start))
		}
		for i := range b.Events {
			if b.Events[i].Kind == model.KindProbe {
				p, _ := b.Probe(&b.Events[i])
				parts[[2]string{p.Name, p.Part}] = p.State
			}
		}
		engine.Apply(b, keep)
		return nil
	})
	engine.Finish(keep)
	if err == nil {
		err = ctx.Err()
	}
	for _, s := range signals {
		known, shown := false, false
		for part, state := range parts {
			if part[0] == s.probe {
				known, shown = true, shown || state != model.ProbeOff
			}
		}
		if known && !shown {
			unseen = append(unseen, s.name)
		}
	}
	return found.All(), unseen, err
}
