package run

import (
	"fmt"
	"strconv"

	"lostbeat/model"
	"lostbeat/pipeline"
)

// Keys of the facts that a slice says of itself.
const (
	// MetaCutFrom is what it was cut from and which time that covers.
	MetaCutFrom = "cut_from"
	// metaCutFindings is how many findings of the whole it has, metaCutEarlier how many of those began before it.
	metaCutFindings = "cut_findings"
	metaCutEarlier  = "cut_findings_earlier"
	// MetaCutLost says which events were lost before the slice, MetaCutIncomplete what of the whole could not be read.
	MetaCutLost       = "cut_lost_before"
	MetaCutIncomplete = "cut_incomplete"
)

// slice is what a stream says of itself where it is a part that was cut out of another: detectors that see the part
// alone lack what they knew by then, so that the findings of the whole are recorded with it.
type slice struct {
	// is says that the stream is such a part.
	is          bool
	from        string
	has, before int
	// final are the findings as they ended in the whole, seen their updates within the part.
	final, seen model.FindingList
}

// apply takes a batch, and returns the updates of findings in it.
func (s *slice) apply(b *model.Batch) (updates []pipeline.Verdict) {
	for i := range b.Events {
		e := &b.Events[i]
		switch e.Kind {
		case model.KindMeta:
			s.meta(b, e)
		case model.KindFinding:
			f, ok := b.Finding(e)
			switch {
			case !s.is || !ok:
			case e.Flags&model.FlagKeyframe != 0:
				s.final.Add(f)
			default:
				s.seen.Add(f)
				updates = append(updates, pipeline.Verdict{At: e.Time, Finding: f})
			}
		}
	}
	return updates
}

func (s *slice) meta(b *model.Batch, e *model.Event) {
	v, _ := b.Meta(e)
	switch v.Key {
	case MetaCutFrom:
		s.is, s.from = true, v.Value
	case metaCutFindings:
		s.has, _ = strconv.Atoi(v.Value)
	case metaCutEarlier:
		s.before, _ = strconv.Atoi(v.Value)
	}
}

// findings returns those of the whole, and of a slice that was not written to its end those known by then.
func (s *slice) findings() []model.Finding {
	if final := s.final.All(); len(final) > 0 || s.has == 0 {
		return final
	}
	return s.seen.All()
}

// sentence says what the part is of; whole says that its findings are those of the whole.
func (s *slice) sentence(whole bool) string {
	text := "this is a part, cut from " + s.from
	if !whole {
		return text + "; other thresholds than the defaults were given, so it was judged by itself: what lay before it " +
			"is not known"
	}
	text += "; the findings are those of the whole"
	switch {
	case s.before == 1:
		text += ", one of which began before this part"
	case s.before > 1:
		text += fmt.Sprintf(", %d of which began before this part", s.before)
	}
	return text
}
