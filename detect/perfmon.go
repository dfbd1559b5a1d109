package detect

import (
	"lostbeat/model"
)

// Counter logs (perfmon) are judged here; the statistics are those of package
// internal/stats.

// counterFacts keeps the sampled counters that detectors judge.
type counterFacts struct{ max int }

func newCounterFacts(max int) *counterFacts { return &counterFacts{max} }

func (c *counterFacts) add(v model.Counter) {}

type counterWatch struct{}

func newCounterWatch(s Settings) detector { return &counterWatch{} }

func (*counterWatch) tick(*world, func(model.Finding))   {}
func (*counterWatch) finish(*world, func(model.Finding)) {}
