package detect

// Moments keeps what a case looked like, by its cause: how much was lost under
// each cause, and the moment in which most was lost under it. The cause of a case
// is the one under which most was lost. The seconds in which a fault begins and
// ends look different from it, and cost less.
//
// The zero Moments is ready for use. C is the detector's own type of cause, M
// what it needs of a moment to describe the fault.
type Moments[C comparable, M any] struct {
	list []causeMoments[C, M]
}

type causeMoments[C comparable, M any] struct {
	cause C
	// lost is what was lost in all moments with this cause, most what was lost in the worst of them.
	lost, most float64
	worst      M
}

// Note takes up a moment, in which so much was lost; 0 is a moment, too. Of
// moments in which as much was lost, the last is the worst.
func (l *Moments[C, M]) Note(cause C, lost float64, m M) {
	for i := range l.list {
		if o := &l.list[i]; o.cause == cause {
			o.lost += lost
			if lost >= o.most {
				o.most, o.worst = lost, m
			}
			return
		}
	}
	l.list = append(l.list, causeMoments[C, M]{cause, lost, lost, m})
}

// Move puts down to a cause, which has been noted, what was lost under others,
// at most so much: it turned out to be the cause of that, too.
func (l *Moments[C, M]) Move(to C, lost float64) {
	for i := range l.list {
		target := &l.list[i]
		if target.cause != to {
			continue
		}
		for j := len(l.list) - 1; j >= 0 && lost > 0; j-- {
			if o := &l.list[j]; j != i {
				part := min(o.lost, lost)
				o.lost -= part
				target.lost += part
				lost -= part
			}
		}
	}
}

// Worst returns the cause under which most was lost, with its worst moment;
// zero values before any moment.
func (l *Moments[C, M]) Worst() (cause C, m M) {
	most := -1.0
	for i := range l.list {
		if o := &l.list[i]; o.lost > most {
			cause, m, most = o.cause, o.worst, o.lost
		}
	}
	return cause, m
}
